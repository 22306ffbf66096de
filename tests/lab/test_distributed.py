"""Distributed routers with real packets: who carries what, and that nobody notices where the router is."""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from netloom.lab import wiring
from netloom.lab.topology import FABRIC, OUTSIDE, WEB
from tests.support.pings import Pinging, answered, unanswered
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import NETWORKING, Capture, Instance, Tenant, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

NETWORK_HOSTS = ("network1", "network2")
RED, BLUE = "10.71.0.1", "10.72.0.1"
"""The router's addresses."""
SHARED = "10.72.0.200"
"""An address that two instances may have."""
OUTAGE = 1.0
"""Seconds without an answer that a failover of the SNAT may cost."""
FOLLOWS = 3.0
"""Seconds within which packets follow an address that moved."""


class Cloud(SimpleNamespace):
    """A distributed router between two networks, with instances on two hosts."""

    lab: RunningLab
    tenant: Tenant

    def outside(self, *command: str) -> str:
        """Run a tool of this machine outside of the cloud."""
        line = on_host(self.lab, OUTSIDE, *command)
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    def from_outside(self, address: str, seconds: float = 20.0) -> None:
        """Wait until an address answers a machine outside."""
        RunningLab.until(
            lambda: answered(self.outside, address), seconds, f"{address} is silent from outside"
        )

    def at_network_host(self, *filter_: str) -> tuple[Capture, Capture]:
        """What the host of the SNAT hears on its tunnels' card and on the external network."""
        where = on_host(self.lab, self.middle())
        return (
            Capture(where, "eth-underlay", "udp", "port", "4789"),
            Capture(where, "eth-public", *filter_),
        )

    def change(self, **attributes: object) -> None:
        """Change the router."""
        path = f"{NETWORKING}/routers/{self.router['id']}"
        self.tenant.put(path, {"router": attributes})

    def middle(self) -> str:
        """The host that has the router's SNAT."""
        name = f"snat-{self.router['id']}"
        (found,) = (host for host in NETWORK_HOSTS if name in self.namespaces(host))
        return found

    def flows(self, host: str, table: int) -> str:
        """A table of br-int."""
        tool = ("ovs-ofctl", "-O", "OpenFlow15", "dump-flows", "br-int", f"table={table}")
        return self.lab.exec(host, *tool)

    def devices(self, host: str) -> str:
        """The devices in the router's namespace on a host."""
        name = f"qrouter-{self.router['id']}"
        return self.lab.exec(host, "ip", "netns", "exec", name, "ip", "-br", "link")

    def namespaces(self, host: str) -> set[str]:
        """The router's namespaces on a host."""
        found = self.lab.exec(host, "ip", "netns")
        return {line.split()[0] for line in found.splitlines() if self.router["id"] in line}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with own_lab("dvr", 2, networks=2) as lab, Tenant(lab) as tenant:
        made = Cloud(lab=lab, tenant=tenant)
        made.group = tenant.group({})
        made.red = tenant.network("red", "10.71.0.0/24")
        made.blue = tenant.network("blue", "10.72.0.0/24")
        made.router = tenant.router(made.red, made.blue, distributed=True)
        asked = [
            tenant.boot("a", "compute1", made.red, made.group),
            tenant.boot("b", "compute2", made.blue, made.group),
        ]
        made.a, made.b = map(tenant.instance, asked)
        made.a.reaches(made.b.address, 40)
        yield made


def hop(instance: Instance, address: str, hops: int) -> str:
    """Who says that a ping with so many hops has no more of them; empty where nobody does."""
    said = instance.run("ping", "-n", "-c", "1", "-W", "2", "-t", str(hops), address)
    found = re.search(r"From (\S+) icmp_seq=1 Time to live exceeded", said)
    return found[1] if found else ""


def longest_silence(said: str) -> float:
    """The longest time between two answers, from what `ping -D` said."""
    at = [float(found) for found in re.findall(r"^\[([\d.]+)\].*icmp_seq=.*ttl=", said, re.M)]
    assert len(at) > 10, said
    return max(then - before for before, then in itertools.pairwise(at))


def test_east_west_goes_from_host_to_host(cloud: Cloud) -> None:
    cloud.b.reaches(WEB, 40)  # the SNAT is there, and idle
    tunnels, wire = cloud.at_network_host("host", cloud.a.address)
    between = Capture(on_host(cloud.lab, "compute1"), "eth-underlay", "udp", "port", "4789")
    with tunnels, wire, between:
        said = cloud.a.run("ping", "-n", "-c", "5", "-i", "0.2", cloud.b.address)
    print(between.text)
    assert " 5 received" in said and "ttl=63" in said, said
    assert len([f for f in between.frames if "ICMP echo re" in f]) == 10, between.text
    assert not [f for f in tunnels.frames if cloud.a.address in f], tunnels.text
    assert cloud.namespaces("compute1") == {f"qrouter-{cloud.router['id']}"}
    assert cloud.namespaces(cloud.middle()) == {f"snat-{cloud.router['id']}"}


def test_the_router_answers_as_a_central_one(cloud: Cloud) -> None:
    for address in (RED, BLUE):
        said = cloud.a.run("ping", "-n", "-c", "2", "-i", "0.2", address)
        assert " 2 received" in said and "ttl=64" in said, said
    assert hop(cloud.a, cloud.b.address, 1) == RED
    assert hop(cloud.b, cloud.a.address, 1) == BLUE
    # To the world: the router is one hop, wherever its parts are.
    assert hop(cloud.b, WEB, 1) == BLUE
    assert cloud.b.pings(WEB, "-t", "2") or hop(cloud.b, WEB, 2)
    assert "unreachable" in cloud.a.run("ping", "-n", "-c", "1", "-W", "4", "10.72.0.99").lower()


def test_floating_ips_enter_and_leave_at_the_instances_host(cloud: Cloud) -> None:
    address = cloud.tenant.floating_ip(cloud.a.port["id"])["floating_ip_address"]
    cloud.from_outside(address)
    cloud.outside("ping", "-n", "-c", "2", "-i", "0.2", address)
    tunnels, wire = cloud.at_network_host("icmp")
    seen = Capture(on_host(cloud.lab, OUTSIDE), "any", "icmp")
    with tunnels, wire, seen:
        out = cloud.outside("ping", "-n", "-c", "5", "-i", "0.2", address)
        back = cloud.a.run("ping", "-n", "-c", "5", "-i", "0.2", WEB)
    print(seen.text)
    assert " 5 received" in out and " 5 received" in back, out + back
    assert f"{address} > {WEB}" in seen.text, seen.text
    assert not [f for f in (*wire.frames, *tunnels.frames) if "ICMP" in f], wire.text
    assert hop(cloud.a, WEB, 1) == RED
    # From an instance without one, by the SNAT, and by the router itself.
    assert cloud.b.pings(address, count=2)
    assert cloud.a.pings(address)
    # It keeps its MAC address wherever it goes, so nobody outside has to learn it anew.
    fip = cloud.tenant.get(f"{NETWORKING}/floatingips", floating_ip_address=address)["floatingips"][
        0
    ]
    path = f"{NETWORKING}/floatingips/{fip['id']}"
    before = cloud.outside("ip", "neigh", "show", address).split("lladdr")[1].split()[0]
    out = Pinging(on_host(cloud.lab, OUTSIDE, "ping", "-n", "-D", "-i", "0.05", address))
    for port in (cloud.b.port, cloud.a.port):
        time.sleep(1.0)
        cloud.tenant.put(path, {"floatingip": {"port_id": port["id"]}})
        where = port["binding:host_id"]
        RunningLab.until(lambda where=where: "fg-" in cloud.devices(where), 10)
        time.sleep(1.0)
        assert before in cloud.outside("ip", "neigh", "show", address)
    silent = longest_silence(out.stop())
    print(f"a floating IP that moved was silent for {silent:.2f} s")
    assert silent < FOLLOWS
    cloud.floating = address


def test_an_address_that_moves_between_instances_is_followed(cloud: Cloud) -> None:
    tenant = cloud.tenant
    pair = [{"ip_address": SHARED}]
    subnet = cloud.blue["subnet"]["id"]
    shared = tenant.make(
        "ports",
        name="shared",
        network_id=cloud.blue["id"],
        fixed_ips=[{"subnet_id": subnet, "ip_address": SHARED}],
    )
    path = f"{NETWORKING}/ports/{cloud.b.port['id']}"
    tenant.put(path, {"port": {"allowed_address_pairs": pair}})
    port = tenant.make(
        "ports",
        network_id=cloud.blue["id"],
        security_groups=[cloud.group["id"]],
        allowed_address_pairs=pair,
    )
    c = tenant.instance(tenant.boot_on("c", "compute1", port))
    address = tenant.floating_ip(shared["id"])["floating_ip_address"]
    holders = [cloud.b, c]
    for turn in range(3):
        old, new = holders[(turn + 1) % 2], holders[turn % 2]
        old.run("ip", "addr", "del", f"{SHARED}/24", "dev", "eth0")
        new.run("ip", "addr", "add", f"{SHARED}/24", "dev", "eth0")
        new.run("arping", "-U", "-c", "1", "-I", "eth0", SHARED)
        moved = time.monotonic()
        if turn == 0:
            cloud.a.reaches(SHARED, 20)
            cloud.from_outside(address)
            continue
        cloud.a.reaches(SHARED, FOLLOWS)
        cloud.from_outside(address, FOLLOWS)
        print(f"followed after {time.monotonic() - moved:.2f} s")


def test_explain_walks_through_the_stages(cloud: Cloud) -> None:
    answer = cloud.tenant.get("/explain/v1", source=cloud.a.id, destination=cloud.b.id)
    assert answer["verdict"] == "reachable", answer
    hops = [*answer["there"], *answer["back"]]
    print("\n".join(f"{hop['host']:9} {hop['kind']:8} {hop['text']}" for hop in hops))
    assert {hop["host"] for hop in hops} == {"compute1", "compute2"}, answer
    assert sum("NEIGHBOUR" in hop["text"] for hop in hops) == 2, answer
    answer = cloud.tenant.get("/explain/v1", source=cloud.b.id, destination="outside")
    assert answer["verdict"] == "reachable", answer
    assert any(hop["place"] == f"snat-{cloud.router['id']}" for hop in answer["there"]), answer
    cloud.change(admin_state_up=False)
    try:
        fix = f"openstack router set --enable {cloud.router['id']}"
        ends = {"source": cloud.a.id, "destination": cloud.b.id}
        RunningLab.until(lambda: cloud.tenant.get("/explain/v1", **ends)["fix"] == fix, 10)
    finally:
        cloud.change(admin_state_up=True)
    cloud.a.reaches(cloud.b.address)


def test_wires_routes_and_further_subnets(cloud: Cloud) -> None:
    tenant, lab = cloud.tenant, cloud.lab
    wire = {"provider:network_type": "vlan", "provider:physical_network": "extnet"}
    wire["provider:segmentation_id"] = "301"
    green = tenant.network("green", "10.73.0.0/24", mtu=1400, **wire)
    second = tenant.make("subnets", network_id=green["id"], ip_version=4, cidr="10.74.0.0/24")
    # Only members of the instances' group may enter: what comes through the router from one of them does.
    members = tenant.group({"remote_group_id": cloud.group["id"]})
    tenant.attach(cloud.router, green)
    tenant.attach(cloud.router, {"subnet": second})
    d = tenant.instance(tenant.boot("d", "compute1", green, members, address="10.73.0.9"))
    cloud.b.reaches(d.address, 20)
    with Capture(on_host(lab, "compute2"), "eth-extnet", "vlan", "301") as seen:
        assert cloud.b.pings(d.address, count=2) and cloud.a.pings(d.address)
    (router_mac,) = {
        port["mac_address"]
        for port in tenant.get(f"{NETWORKING}/ports", network_id=green["id"])["ports"]
        if port["fixed_ips"][0]["ip_address"] == "10.73.0.1"
    }
    asked = [frame for frame in seen.frames if f"> {d.address}: ICMP echo request" in frame]
    assert len(asked) == 2 and all("vlan 301" in frame for frame in asked), seen.text
    assert not [frame for frame in asked if frame.startswith(router_mac)], seen.text
    # What is too big for the next network, its sender is told.
    said = cloud.b.run("ping", "-n", "-c", "2", "-i", "0.2", "-M", "do", "-s", "1400", d.address)
    assert "mtu = 1400" in said, said
    assert d.pings("10.74.0.1")
    # A network behind an instance, by an extra route.
    path = f"{NETWORKING}/ports/{cloud.a.port['id']}"
    tenant.put(path, {"port": {"allowed_address_pairs": [{"ip_address": "10.99.0.0/24"}]}})
    cloud.a.run("ip", "address", "add", "10.99.0.1/32", "dev", "lo")
    cloud.change(routes=[{"destination": "10.99.0.0/24", "nexthop": cloud.a.address}])
    cloud.b.reaches("10.99.0.1", 10)
    cloud.change(routes=[])


def test_damage_to_its_flows_is_repaired(cloud: Cloud) -> None:
    cloud.a.reaches(cloud.b.address)
    for table in (41, 42):
        cloud.lab.exec(
            "compute1", "ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-int", f"table={table}"
        )
        RunningLab.until(
            lambda table=table: "actions" in cloud.flows("compute1", table), 20, f"table {table}"
        )
    cloud.a.reaches(cloud.b.address, 20)


def test_a_router_becomes_central_and_distributed_again(cloud: Cloud) -> None:
    for spread in (False, True):
        cloud.change(admin_state_up=False)
        RunningLab.until(lambda: not cloud.a.pings(cloud.b.address), 10)
        cloud.change(distributed=spread)
        cloud.change(admin_state_up=True)
        cloud.a.reaches(cloud.b.address, 20)
        cloud.b.reaches(WEB, 20)
        cloud.from_outside(cloud.floating)
        wanted = {f"qrouter-{cloud.router['id']}"} if spread else set[str]()
        RunningLab.until(lambda wanted=wanted: cloud.namespaces("compute1") == wanted, 20)


def test_its_snat_moves_to_another_host(cloud: Cloud) -> None:
    cloud.change(admin_state_up=False)
    cloud.change(ha=True)
    cloud.change(admin_state_up=True)
    path = f"{NETWORKING}/routers/{cloud.router['id']}/l3-agents"

    def active() -> list[str]:
        agents = cloud.tenant.get(path)["agents"]
        return [agent["host"] for agent in agents if agent["ha_state"] == "active"]

    RunningLab.until(lambda: len(active()) == 1, 20, "no active replica")
    cloud.b.reaches(WEB, 20)
    (host,) = active()
    cables = [f"{network}-{host}" for network in "uep"]
    out = Pinging(cloud.b.line("ping", "-n", "-D", "-i", "0.05", WEB))
    beside = Pinging(cloud.a.line("ping", "-n", "-i", "0.05", cloud.b.address))
    time.sleep(0.5)
    try:
        fabric(cloud.lab, cables, "down")
        time.sleep(3.0)
        said, east_west = out.stop(), beside.stop()
        assert active() != [host]
    finally:
        fabric(cloud.lab, cables, "up")
    silent = longest_silence(said)
    print(f"no answer for {silent:.2f} s")
    assert silent < OUTAGE, said
    assert not unanswered(east_west), east_west


def fabric(lab: RunningLab, cables: list[str], state: str) -> None:
    """Pull cables out of the switches (`down`), or plug them in again (`up`)."""
    for cable in cables:
        command = ("ip", "link", "set", cable, state)
        wiring.run(wiring.inside(lab.process(FABRIC), command, network_only=True))
