"""A host whose disk is full, and one whose files were damaged: said on what it concerns, and nothing else stands still."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from netloom.lab import status
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import COMPUTE, NETWORKING, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOST = "compute1"
FILL = "cat /dev/zero > {0}/filler 2>/dev/null; test -s {0}/filler"


@pytest.fixture(scope="module")
def own() -> Iterator[RunningLab]:
    """A lab of its own, whose compute host has a small disk for the agent's state."""
    with own_lab("disk", 1, bare=True) as lab:
        lab.exec(HOST, "mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk(lab))
        kill_agent(lab)
        yield lab


def disk(lab: RunningLab) -> str:
    """The agent's state folder."""
    return str(lab.lab.host(HOST) / "state")


def agent(lab: RunningLab) -> str:
    """The agent's process id in its host."""
    return lab.exec(HOST, "sh", "-c", "pgrep -f '[n]etloom agent' | head -n 1", check=False).strip()


def kill_agent(lab: RunningLab) -> None:
    before = agent(lab)
    lab.exec(HOST, "kill", "-9", before)
    lab.until(lambda: agent(lab) not in ("", before), 20, "the agent does not come back")


def errors(lab: RunningLab) -> dict[str, str]:
    return {each["object"]: each["detail"] for each in status.collect(lab.lab)["errors"]}


def server(tenant: Tenant, ident: str) -> dict[str, Any]:
    return tenant.get(f"{COMPUTE}/servers/{ident}")["server"]


def active(lab: RunningLab, tenant: Tenant, ident: str) -> None:
    """Wait until an instance runs; where it does not, say what the host says of it."""
    try:
        lab.until(lambda: server(tenant, ident)["status"] == "ACTIVE", 60)
    except AssertionError:
        log = lab.exec(
            HOST, "tail", "-n", "40", str(lab.lab.host(HOST) / "logs/agent.log"), check=False
        )
        space = lab.exec(HOST, "df", disk(lab), check=False)
        raise AssertionError(f"{server(tenant, ident)}\n{errors(lab)}\n{space}\n{log}") from None


def test_a_full_disk_is_said_of_what_it_concerns_and_heals(own: RunningLab) -> None:
    with Tenant(own) as tenant:
        network, group = tenant.network("full", "10.60.0.0/24"), tenant.group({})
        own.exec(HOST, "sh", "-c", FILL.format(disk(own)))
        before = agent(own)
        ident = tenant.boot("late", HOST, network, group)
        own.until(
            lambda: server(tenant, ident)["status"] == "ERROR",
            60,
            "the instance starts on a full disk?",
        )
        assert "No space left on device" in server(tenant, ident)["fault"]["message"]
        assert "server.sock" not in server(tenant, ident)["fault"]["message"]
        own.until(
            lambda: "the view cannot be kept" in errors(own).get(f"host/{HOST}", ""),
            30,
            "not said of the host",
        )
        # The rest of the host goes on: what needs no disk of the agent's own is made.
        path = f"{NETWORKING}/ports/{plugged(own, tenant, network, 'beside')}"
        own.until(
            lambda: tenant.get(path)["port"]["status"] == "ACTIVE",
            30,
            "another port waits for the disk",
        )
        assert agent(own) == before, "the agent ended"
        kill_agent(own)  # one that starts now starts all the same, and still offers instances
        own.until(lambda: "the view" in errors(own).get(f"host/{HOST}", ""), 30, "not said again")
        log = own.exec(HOST, "cat", str(own.lab.host(HOST) / "logs/agent.log"))
        assert "offers no instances" not in log

        own.exec(HOST, "rm", f"{disk(own)}/filler")
        active(own, tenant, ident)
        own.until(lambda: not errors(own), 30, "an error stays")
        assert "fault" not in server(tenant, ident)
        unplug(own, path)


def test_a_second_agent_of_a_host_is_refused(own: RunningLab) -> None:
    config = str(own.lab.host(HOST) / "agent.toml")
    script = '"$@" 2>&1; echo "status $?"'
    said = own.exec(
        HOST, "sh", "-c", script, "sh", sys.executable, "-m", "netloom", "agent", "--config", config
    )
    assert said == f"netloom: another agent works with {disk(own)}: stop that first\nstatus 2\n"


def plugged(lab: RunningLab, tenant: Tenant, network: dict[str, Any], name: str) -> str:
    """A port with a device that somebody else plugged."""
    where = {"network_id": network["id"], "device_owner": "compute:nova", "binding:host_id": HOST}
    port = tenant.make("ports", name=name, device_id="by-hand", **where)["id"]
    device = f"tap{port[:11]}"
    lab.exec(
        HOST,
        "sh",
        "-ec",
        f"ip link add {device} type veth peer name beside; ip link set {device} up; ovs-vsctl add-port br-int {device}"
        f" -- set interface {device} external_ids:iface-id={port}",
    )
    return port


def running(lab: RunningLab, ident: str) -> bool:
    """Whether the agent has written down an instance that runs."""
    words = lab.exec(
        HOST, "sh", "-c", f"tr -cd '0-9 a-f' < {disk(lab)}/instances/{ident}/running"
    ).split()
    started = f"cut -d' ' -f22 /proc/{words[0]}/stat" if words else "false"
    return len(words) == 3 and lab.exec(HOST, "sh", "-c", started, check=False).strip() == words[1]


def unplug(lab: RunningLab, path: str) -> None:
    device = f"tap{path.rpartition('/')[2][:11]}"
    lab.exec(HOST, "sh", "-c", f"ovs-vsctl del-port br-int {device}; ip link del {device}")


def test_an_agent_starts_whatever_its_files_say(own: RunningLab) -> None:
    with Tenant(own) as tenant:
        network = tenant.network("damaged", "10.61.0.0/24")
        group = tenant.group({})
        ident = tenant.boot("whole", HOST, network, group)
        active(own, tenant, ident)
        draw = random.Random(4)
        files = own.exec(
            HOST,
            "sh",
            "-c",
            f"ls {disk(own)}/view.json {disk(own)}/instances/*/running /run/netloom/agent/dhcp/*/*",
        ).split()
        assert len(files) >= 6
        for damage, number in ((draw.randbytes(50), "²"), (b"12 34 56", "99999999")):
            for file in files:
                written = f"open(r'{file}', 'wb').write({damage!r})"
                own.exec(HOST, "python3", "-c", written, check=False)
            external = "ovs-vsctl set Open_vSwitch . external_ids:netloom-uids-{0}={1} external_ids:netloom-zone-x={1}"
            own.exec(HOST, "sh", "-c", external.format(ident, number))
            kill_agent(own)
            own.until(
                lambda: status.collect(own.lab)["well"], 60, "the agent does not come to rest"
            )
            # All is there again: DHCP with the leases, and the instance.
            count = f"grep -ac '^fa:16:3e:.*,10[.]61[.]0[.]' /run/netloom/agent/dhcp/{network['id']}/hosts"
            own.until(
                lambda count=count: own.exec(HOST, "sh", "-c", count, check=False).strip() == "1",
                60,
                "leases",
            )
            own.until(
                lambda: running(own, ident) and status.collect(own.lab)["well"],
                60,
                "the instance is gone",
            )
            own.until(lambda: server(tenant, ident)["status"] == "ACTIVE", 60, "it is not ACTIVE")
        assert "Traceback" not in (own.lab.host(HOST) / "logs/agent.log").read_text()
