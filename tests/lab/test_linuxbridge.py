"""Hosts with Linux bridges, and one with Open vSwitch among them: one cloud, the same rules, real packets.

What is the same on both backends is tested by the same tests: `pytest --backend linuxbridge tests/lab/test_isolation.py …`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from netloom.agent.doctor import Request, ask
from netloom.lab.topology import GATEWAYS, WEB
from netloom.model.errors import UserError
from tests.support.pings import Pinging, unanswered
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import NETWORKING, Capture, Instance, Tenant, flat_network

pytestmark = [pytest.mark.root, pytest.mark.slow]

TABLE = "netloom-bridge"
PING = {"protocol": "icmp"}


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    with own_lab("lbr", 3, backend="linuxbridge", backends={"compute3": "ovs"}) as running:
        yield running


@pytest.fixture(scope="module")
def cloud(lab: RunningLab) -> Iterator[SimpleNamespace]:
    """A network on all hosts behind a router, and instances on each compute host."""
    with Tenant(lab) as tenant:
        made = SimpleNamespace(tenant=tenant)
        made.open = tenant.group(
            PING, {"protocol": "tcp", "port_range_min": 80, "port_range_max": 90}
        )
        made.red = tenant.network("red", "10.61.0.0/24")
        made.router = tenant.router(made.red)
        asked = {
            f"red{n}": tenant.boot(f"red{n}", f"compute{n}", made.red, made.open) for n in (1, 2, 3)
        }
        for name, server in asked.items():
            setattr(made, name, tenant.instance(server))
        yield made


def test_hosts_of_both_backends_share_a_vxlan_network(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    for one in (cloud.red1, cloud.red2, cloud.red3):
        for other in (cloud.red1, cloud.red2, cloud.red3):
            one.reaches(other.address)
    cloud.red1.reaches(WEB)
    # Connection tracking puts fragments together, and the bridge takes them apart again.
    assert cloud.red1.pings(cloud.red2.address, "-s", "4000")
    assert "ovs-vswitchd" not in lab.exec("compute1", "ps", "ax")


def says(cloud: SimpleNamespace, one: Instance, other: Instance, verdict: str) -> dict[str, str]:
    """What explain says of a ping, once no host that it is about lags behind."""
    ends = {"source": one.port["id"], "destination": other.port["id"]}
    answer: dict[str, str] = {}

    def sure() -> bool:
        answer.update(cloud.tenant.get("/explain/v1", **ends))
        return answer["verdict"] == verdict

    RunningLab.until(sure, 20, f"explain says {answer}")
    return answer


def test_a_rule_that_goes_cuts_what_it_let_in(lab: RunningLab, cloud: SimpleNamespace) -> None:
    """Also what goes on; answers need no rule, and explain says which rule decides."""
    tenant, red1, red2, red3 = cloud.tenant, cloud.red1, cloud.red2, cloud.red3
    for far in (red2, red3):
        says(cloud, far, red1, "reachable")
    group = tenant.group()
    tenant.put(
        f"{NETWORKING}/ports/{red1.port['id']}", {"port": {"security_groups": [group["id"]]}}
    )
    RunningLab.until(lambda: not red2.pings(red1.address), 30, "nothing was cut")
    assert red1.pings(red2.address) and red1.pings(red3.address)  # answers
    said = says(cloud, red2, red1, "unreachable")
    assert said["decided_by"] == f"security_group/{group['id']}"
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "icmp"}
    made = tenant.make("security-group-rules", **rule, remote_group_id=cloud.open["id"])
    for far in (red2, red3):
        far.reaches(red1.address)
        says(cloud, far, red1, "reachable")
    running = Pinging(red2.line("ping", "-n", "-i", "0.2", red1.address))
    tenant.delete(f"{NETWORKING}/security-group-rules/{made['id']}")
    RunningLab.until(lambda: not red3.pings(red1.address), 30, "the rule's going changed nothing")
    with Capture(red1.line(), "eth0", "icmp") as seen:
        RunningLab.until(lambda: red1.pings(red2.address), 5)
    running.stop()
    asked = [line for line in seen.frames if f"{red2.address} > {red1.address}" in line]
    assert not any("echo request" in line for line in asked)
    groups = {"port": {"security_groups": [cloud.open["id"]]}}
    tenant.put(f"{NETWORKING}/ports/{red1.port['id']}", groups)
    red2.reaches(red1.address)


def test_an_address_group_lets_in_whom_it_lists_on_both_backends(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    """An address that comes lets its instance in, one that goes cuts what goes on; explain names the group."""
    tenant = cloud.tenant
    listed = tenant.make("address-groups", name="partners")
    path = f"{NETWORKING}/address-groups/{listed['id']}"
    group = tenant.group({"protocol": "icmp", "remote_address_group_id": listed["id"]})
    own = {"port": {"security_groups": [group["id"]]}}
    for target, others in ((cloud.red1, (cloud.red2, cloud.red3)), (cloud.red3, (cloud.red1,))):
        port = f"{NETWORKING}/ports/{target.port['id']}"
        tenant.put(port, own)
        for far in others:
            says(cloud, far, target, "unreachable")
            RunningLab.until(lambda: not far.pings(target.address), 30, "an empty list lets in")  # noqa: B023
            addresses = {"addresses": [far.address]}
            tenant.put(f"{path}/add_addresses", addresses)
            far.reaches(target.address)
            said = says(cloud, far, target, "reachable")
            assert "address group partners" in str(said)
            # Wider and narrower at once: the switch and the kernel hold both.
            tenant.put(f"{path}/add_addresses", {"addresses": ["10.61.0.0/24"]})
            tenant.put(f"{path}/remove_addresses", addresses)
            far.reaches(target.address)
            tenant.put(f"{path}/remove_addresses", {"addresses": ["10.61.0.0/24"]})
            RunningLab.until(lambda: not far.pings(target.address), 30, "it was not cut")  # noqa: B023
        tenant.put(port, {"port": {"security_groups": [cloud.open["id"]]}})
    cloud.red2.reaches(cloud.red1.address)


def test_floating_ip_flat_network_and_what_is_refused(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    tenant = cloud.tenant
    floating = tenant.floating_ip(cloud.red1.port["id"])
    outside = lambda: lab.exec(  # noqa: E731
        "outside", "ping", "-n", "-c", "1", "-W", "1", floating["floating_ip_address"], check=False
    )
    RunningLab.until(lambda: " 1 received" in outside(), 30, "no answer from the floating IP")
    flat = tenant.instance(tenant.boot("flat1", "compute1", flat_network(tenant), cloud.open))
    flat.reaches(GATEWAYS["extnet"])
    assert "ovs" not in lab.exec("compute1", "ip", "link", "show", "eth-extnet")
    agents = tenant.get(f"{NETWORKING}/agents", host="compute1")["agents"]
    (mine,) = (each for each in agents if each["agent_type"] == "Linux bridge agent")
    assert mine["binary"] == "neutron-linuxbridge-agent"
    assert flat.port["binding:vif_type"] == "bridge"
    # What these hosts cannot carry is refused for the port, as in Neutron.
    host = {"binding:host_id": "compute1"}
    for kind in ({"provider:network_type": "geneve"}, {"provider:network_type": "gre"}):
        network = tenant.network("other", "10.62.0.0/24", **kind)
        port = tenant.make("ports", network_id=network["id"], **host)
        assert port["binding:vif_type"] == "binding_failed"
        tenant.delete(f"{NETWORKING}/ports/{port['id']}")


def test_nothing_is_lost_when_the_agent_starts_again(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    RunningLab.until(lambda: look(lab, "compute1") == [], 30, "it is not at rest")
    running = Pinging(cloud.red1.line("ping", "-n", "-i", "0.1", cloud.red2.address))
    before = filtered(lab, "compute1")
    pid = next(
        line.split()[0]
        for line in lab.exec("compute1", "ps", "-wweo", "pid,args").splitlines()
        if "netloom agent" in line
    )
    lab.exec("compute1", "kill", "-9", pid)
    RunningLab.until(lambda: look(lab, "compute1") is not None, 30, "no agent came back")
    assert not look(lab, "compute1")
    assert not unanswered(running.stop())
    assert filtered(lab, "compute1") == before


def filtered(lab: RunningLab, host: str) -> str:
    """Devices and rules of a host with their numbers: what was made anew has another one."""
    words = ("ip -o link", "bridge fdb show state static", "nft -a list ruleset")
    return "".join(lab.exec(host, *each.split()) for each in words)


def look(lab: RunningLab, host: str) -> list[Any] | None:
    """What the doctor finds on a host; None where its agent does not answer."""
    try:
        report = ask(lab.lab.host(host) / "state", Request())
    except (UserError, OSError):
        return None
    return None if report.wrong else list(report.findings)


def test_an_address_that_moves_is_found_at_once(lab: RunningLab, cloud: SimpleNamespace) -> None:
    """Another port has it, on another host: those who knew the old one hear of it."""
    tenant, address = cloud.tenant, "10.61.0.77"
    first = tenant.boot("moves", "compute2", cloud.red, cloud.open, address=address)
    port = tenant.instance(first).port
    cloud.red1.reaches(address)
    tenant.delete(f"/compute/v2.1/servers/{first}")
    path = f"{NETWORKING}/ports/{port['id']}"
    RunningLab.until(lambda: not tenant.get(path)["port"]["device_id"], 20, "it is not free")
    tenant.delete(path)
    with Capture(cloud.red1.line(), "eth0", "arp") as seen:
        tenant.instance(tenant.boot("moved", "compute1", cloud.red, cloud.open, address=address))
        cloud.red1.reaches(address, 3)
    assert any(f"who-has {address} tell {address}" in line for line in seen.frames)


def test_a_bridge_that_asks_nobody_passes_nothing(lab: RunningLab, cloud: SimpleNamespace) -> None:
    """Another program may switch off that packets of bridges are filtered; and one that filters itself is named."""
    bridge = f"brq{cloud.red['id'][:11]}"
    state = lab.lab.host("compute1") / "state"
    ask(state, Request(hold=60))
    lab.exec("compute1", "ip", "link", "set", bridge, "type", "bridge", "nf_call_iptables", "0")
    assert not cloud.red2.pings(cloud.red1.address)
    ask(state, Request(hold=0))
    cloud.red2.reaches(cloud.red1.address, 10)
    docker = "add table ip docker; add chain ip docker F { type filter hook forward priority 0; policy drop; }"
    lab.exec("compute1", "nft", docker)
    (found,) = look(lab, "compute1") or []
    assert found.action == "leave" and "drops packets of bridges" in found.why
    lab.exec("compute1", "nft", "delete", "table", "ip", "docker")
    cloud.red2.reaches(cloud.red1.address, 10)


def test_what_somebody_damages_is_repaired_at_once(lab: RunningLab, cloud: SimpleNamespace) -> None:
    """The agent hears of it: no audit is waited for."""
    red1, red2 = cloud.red1, cloud.red2
    vni = cloud.tenant.get(f"{NETWORKING}/networks/{cloud.red['id']}")["network"]
    vxlan = f"vxlan-{vni['provider:segmentation_id']}"
    bridge = f"brq{cloud.red['id'][:11]}"
    for damage in (
        f"ip link del {vxlan}",
        f"ip link set {red1.tap} nomaster",
        f"ip link set {bridge} down",
        f"nft delete table inet {TABLE}",
        f"nft flush chain bridge {TABLE} from-{red1.tap}",
    ):
        lab.exec("compute1", *damage.split())
        RunningLab.until(lambda: look(lab, "compute1") == [], 30, f"not well after {damage}")
        red1.reaches(red2.address, 10)
        red2.reaches(red1.address, 10)
    # A table that is gone is back with all that was in it.
    assert re.search(rf"chain ingress-of-{red1.tap} ", filtered(lab, "compute1"))
