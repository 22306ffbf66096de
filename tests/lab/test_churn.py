"""A tenant makes and deletes servers as fast as it can: others boot all the same, and nothing of it stays on the host."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.running_lab import RunningLab
from tests.support.tenant import COMPUTE, NETWORKING, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOST = "compute1"
ROUNDS, SERVERS = 10, 10

TRACES = """
cd {state}; ls -A instances images; ls -A /run/netloom/agent/crun /run/netloom/agent/roots
grep -o 'netloom/agent/roots/[^ ]*' /proc/mounts
find /sys/fs/cgroup -path '*/netloom/*' -type d
ps axo args | grep -E '[c]run|[n]etloom.instances' | sort
ls /sys/class/net | grep -E '^(tap|nic)'
ovs-vsctl --bare get Open_vSwitch . external_ids | tr ',' '\\n' | grep -E 'netloom-(uids|zone|conj)' | cut -d= -f1
ip netns | cut -d' ' -f1
losetup -a | grep {state}
true
"""


def traces(lab: RunningLab) -> list[str]:
    """All that instances leave on a host while they are there."""
    state = str(lab.lab.host(HOST) / "state")
    return sorted(lab.exec(HOST, "sh", "-c", TRACES.replace("{state}", state)).split("\n"))


def many(tenant: Tenant, network: dict[str, Any], name: str) -> list[str]:
    """Ask for ten servers at once; returns their ids."""
    image = tenant.get("/image/v2/images", name="small")["images"][0]["id"]
    flavors = tenant.get(f"{COMPUTE}/flavors")["flavors"]
    body = {
        "name": name,
        "imageRef": image,
        "flavorRef": next(f["id"] for f in flavors if f["name"] == "m1.tiny"),
        "networks": [{"uuid": network["id"]}],
        "availability_zone": f"nova:{HOST}",
        "min_count": SERVERS,
        "max_count": SERVERS,
    }
    tenant.request("POST", f"{COMPUTE}/servers", json={"server": body})
    found = tenant.get(f"{COMPUTE}/servers", name=name)["servers"]
    assert len(found) == SERVERS
    return [server["id"] for server in found]


def test_churn_delays_nobody_and_leaves_nothing(lab: RunningLab) -> None:
    with Tenant(lab) as ours, Tenant(lab, "demo") as theirs:
        network = theirs.network("churn", "10.90.0.0/24")
        quiet, group = ours.network("quiet", "10.91.0.0/24"), ours.group({})
        asked = time.monotonic()
        first = ours.boot("before", HOST, quiet, group)
        lab.until(lambda: status(ours, first) == "ACTIVE", 60, "the first does not boot")
        undisturbed = time.monotonic() - asked
        # In the folders of instances, crun and mounts, as mount, control group, loop device, and with its numbers.
        assert sum(first in line for line in traces(lab)) >= 7
        ours.delete(f"{COMPUTE}/servers/{first}")
        lab.until(lambda: first not in "".join(traces(lab)), 30, "the first stays")
        before = traces(lab)
        late = ""
        for number in range(ROUNDS):
            made = many(theirs, network, f"round{number}-")
            if number == ROUNDS // 2:
                late = ours.boot("amid", HOST, quiet, group)
            for ident in made:
                theirs.delete(f"{COMPUTE}/servers/{ident}")
            if number == ROUNDS // 2:
                booted(lab, ours, late, 10 + undisturbed)
        ours.delete(f"{COMPUTE}/servers/{late}")
        lab.until(
            lambda: (
                not theirs.get(
                    f"{NETWORKING}/ports", device_owner="compute:nova", network_id=network["id"]
                )["ports"]
            ),
            30,
        )
        lab.until(lambda: traces(lab) == before, 30, "the churn leaves something")


def status(tenant: Tenant, ident: str) -> str:
    return tenant.get(f"{COMPUTE}/servers/{ident}")["server"]["status"]


def booted(lab: RunningLab, tenant: Tenant, ident: str, seconds: float) -> None:
    """It boots 10 s later than without churn at most, whatever else the host has been asked for."""
    lab.until(lambda: status(tenant, ident) == "ACTIVE", seconds, "it waits behind the churn")
