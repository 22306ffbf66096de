"""A server's status while it is stopped and started: never ahead of its host."""

from __future__ import annotations

import pytest
from test_instance_faults import processes

from support.running_lab import RunningLab
from support.tenant import COMPUTE, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_active_and_shutoff_are_said_when_it_is_so(lab: RunningLab) -> None:
    with Tenant(lab) as tenant:
        network = tenant.network("power", "10.59.0.0/24")
        server = tenant.boot("power", "compute1", network, tenant.group({}))
        tenant.instance(server)
        path = f"{COMPUTE}/servers/{server}"

        def becomes(status: str) -> None:
            lab.until(
                lambda: tenant.get(path)["server"]["status"] == status, 30, f"it never is {status}"
            )

        for _ in range(3):
            tenant.request("POST", f"{path}/action", json={"os-stop": None})
            becomes("SHUTOFF")
            assert processes(lab, server) == ""
            tenant.request("POST", f"{path}/action", json={"os-start": None})
            becomes("ACTIVE")
            assert processes(lab, server) not in ("", "0")
        # Stopped and started at once: whatever its host makes of it, it runs in the end.
        for action in ("os-stop", "os-start", "os-stop", "os-start"):
            tenant.request("POST", f"{path}/action", json={action: None})
        becomes("ACTIVE")
        lab.until(lambda: processes(lab, server) not in ("", "0"), 30, "it does not run")
        lab.until(
            lambda: tenant.get(path)["server"]["OS-EXT-STS:task_state"] is None,
            30,
            "it never settles",
        )
