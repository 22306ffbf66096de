"""An instance that ends by itself is started anew, at once: its devices go with its namespace and are made again."""

from __future__ import annotations

import pytest

from tests.support.running_lab import RunningLab
from tests.support.tenant import Tenant, background

pytestmark = [pytest.mark.root, pytest.mark.slow]

CRUN = ("crun", "--root", "/run/netloom/agent/crun", "list")


def processes(lab: RunningLab, server_id: str) -> str:
    """The process id of an instance's first process, in its host; empty where none runs."""
    lines = [line.split() for line in lab.exec("compute1", *CRUN).splitlines()]
    return next(
        (line[1] for line in lines if line[0] == f"netloom-{server_id}" and line[2] == "running"),
        "",
    )


def test_an_instance_that_ends_runs_again(lab: RunningLab) -> None:
    with Tenant(lab) as tenant:
        network = tenant.network("ends", "10.58.0.0/24")
        server = tenant.boot("ends", "compute1", network, tenant.group({}))
        instance = tenant.instance(server)
        instance.reaches("10.58.0.2")
        first = processes(lab, instance.id)
        # Its network namespace, and its card in it, outlive it for a while: the kernel clears up when it has time.
        holding = instance.line("sleep", "2.5")
        with background(holding):
            lab.exec("compute1", "kill", "-9", first)
            RunningLab.until(
                lambda: processes(lab, instance.id) not in ("", "0", first),
                30,
                "it was not started again",
            )
            # Never in ERROR meanwhile: `instance` looks.
            tenant.instance(server).reaches("10.58.0.2", 30)
        assert tenant.get(f"/compute/v2.1/servers/{instance.id}")["server"]["status"] == "ACTIVE"
