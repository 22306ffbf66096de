"""A server's status while it is stopped, started and restarted: never ahead of its host."""

from __future__ import annotations

import pytest

from tests.lab.test_instance_faults import processes
from tests.support.running_lab import RunningLab
from tests.support.tenant import COMPUTE, Tenant

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


def test_a_reboot_starts_the_instance_anew_on_its_own_disk(lab: RunningLab) -> None:
    with Tenant(lab) as tenant:
        network = tenant.network("reboot", "10.67.0.0/24")
        server = tenant.boot("reboot", "compute1", network, tenant.group({}))
        tenant.instance(server).reaches("10.67.0.2")
        path = f"{COMPUTE}/servers/{server}"
        root = f"/run/netloom/agent/roots/{server}"
        lab.exec("compute1", "touch", f"{root}/tmp/kept")

        def restarted(kind: str, status: str, task: str) -> None:
            before = processes(lab, server)
            tenant.request("POST", f"{path}/action", json={"reboot": {"type": kind}})
            shown = tenant.get(path)["server"]
            # It may be done already; until then it says so.
            if processes(lab, server) == before:
                assert (shown["status"], shown["OS-EXT-STS:task_state"]) == (status, task)
            lab.until(
                lambda: tenant.get(path)["server"]["status"] == "ACTIVE",
                60,
                f"{kind}: never ACTIVE",
            )
            assert processes(lab, server) not in ("", "0", before)
            tenant.instance(server).reaches("10.67.0.2")

        restarted("SOFT", "REBOOT", "rebooting")
        restarted("hard", "HARD_REBOOT", "rebooting_hard")
        tenant.request("POST", f"{path}/action", json={"os-stop": None})
        lab.until(lambda: tenant.get(path)["server"]["status"] == "SHUTOFF", 30)
        restarted("HARD", "HARD_REBOOT", "rebooting_hard")
        assert lab.exec("compute1", "ls", f"{root}/tmp").split() == ["kept"]
