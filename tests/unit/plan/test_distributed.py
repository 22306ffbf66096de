"""Distributed routers: which host has what of them, and what flows do without their namespace."""

from __future__ import annotations

from netloom.explain.walk.hosts import World
from netloom.explain.walk.walk import Walker
from netloom.model.hoststate import Device, Dnsmasq, FloatingNat, Flow, NsRoute, SourceNat
from netloom.model.names import host_mac
from netloom.model.openflow import DecTtl, Normal, SetEth
from netloom.plan import Parts, plan
from netloom.plan.ovs.pipeline import Stage
from tests.support import worlds

LOCAL, SNAT = "qrouter-router1", "snat-router1"


def devices(world: worlds.World, host: str) -> dict[str, set[str]]:
    """Namespace → devices that lie in it, of routers."""
    found: dict[str, set[str]] = {}
    for device in plan(world.view(host)).each(Device):
        if not device.namespace.startswith("qdhcp-"):
            found.setdefault(device.namespace, set()).add(device.name[:3])
    return found


def test_each_host_has_its_part_of_the_router() -> None:
    world = worlds.distributed()
    assert devices(world, "compute1") == {LOCAL: {"qr-", "fg-"}}
    assert devices(world, "compute2") == {LOCAL: {"qr-"}}
    assert devices(world, "network1") == {SNAT: {"sg-", "qg-"}}
    one, net = plan(world.view("compute1")), plan(world.view("network1"))
    (entry,) = one.each(FloatingNat)
    assert (entry.external, entry.internal, entry.namespace) == (
        "198.51.100.20",
        "10.0.1.5",
        LOCAL,
    )
    assert not [*net.each(FloatingNat)] and not [*one.each(SourceNat)]
    assert [nat.namespace for nat in net.each(SourceNat)] == [SNAT]
    assert {r.gateway for r in one.each(NsRoute) if r.destination == "0.0.0.0/0"} == {
        "198.51.100.1"
    }
    # The other network is there for the router alone: nobody there asks for an address.
    assert [d.namespace for d in one.each(Dnsmasq)] == ["qdhcp-red"]


def test_a_floating_ip_without_a_host_is_in_the_middle() -> None:
    world = worlds.distributed()
    world.change("ports", "fip1-port", entry="")
    assert devices(world, "compute1") == {LOCAL: {"qr-"}}
    (entry,) = plan(world.view("network1")).each(FloatingNat)
    assert entry.namespace == SNAT


def test_nothing_stays_without_an_instance() -> None:
    world = worlds.distributed()
    del world.tables["ports"]["port-red"]
    world.tables["servers"].clear()
    world.change("ports", "fip1-port", entry="")
    world.tables["floatingips"].clear()
    assert devices(world, "compute1") == {}
    state = plan(world.view("compute1"))
    assert not [f for f in state.each(Flow) if f.match.net is not None]


def test_on_a_wire_it_speaks_with_the_hosts_own_address() -> None:
    world = worlds.distributed()
    wire = {"network_type": "vlan", "physical_network": "extnet", "segmentation_id": 301}
    world.change("networks", "blue", **wire)
    leg = next(p for p in world.tables["ports"].values() if p.fixed_ips[0].ip_address == "10.0.2.1")
    state = plan(world.view("compute1"))
    out = [f for f in state.each(Flow) if f.bridge == "br-extnet" and f.match.eth_src]
    assert [(f.match.vlan, f.match.eth_src) for f in out] == [(301, leg.mac_address)]
    assert out[0].actions == (SetEth(src=host_mac("compute1")), Normal())
    assert host_mac("compute1") != host_mac("compute2")
    # What comes for it from the wire, but an answer to a question, is nobody's.
    (inward,) = (
        f
        for f in state.each(Flow)
        if f.table == Stage.L2
        and (f.match.eth_dst, f.match.remote, f.match.eth_type) == (leg.mac_address, 1, None)
    )
    assert inward.actions == ()


def planned_for_one_more_host(others: int) -> int:
    """How many parts of compute1's plan are planned when the router comes to another host."""
    world = worlds.distributed()
    for number in range(others):
        world.port(f"p{number}", "blue", [("blue-sub", f"10.0.2.{20 + number}")], "compute2")
    parts = Parts(world.view("compute1"))
    before = parts.planned
    world.host("compute9")
    world.port("new", "blue", [("blue-sub", "10.0.2.200")], "compute9")
    parts.follow(world.view("compute1"))
    assert parts.state == plan(world.view("compute1"))
    return parts.planned - before


def test_a_host_more_costs_nothing_for_the_ports_that_are_there() -> None:
    assert planned_for_one_more_host(5) == planned_for_one_more_host(100)


def known(world: worlds.World, host: str) -> set[str | None]:
    """Addresses whose MAC address flows know."""
    flows = plan(world.view(host)).each(Flow)
    return {f.match.ip_dst for f in flows if f.table == Stage.NEIGHBOUR and f.match.ip_dst}


def test_neighbours_are_known_unless_they_may_move() -> None:
    world = worlds.distributed()
    assert {"10.0.1.5", "10.0.2.5"} < known(world, "compute1")
    assert not {"10.0.1.1", "10.0.2.1"} & known(world, "compute1")
    pair = worlds.pair("10.0.2.5", "fa:16:3e:99:99:99")
    world.change("ports", "port-red", allowed_address_pairs=())
    other = world.port("other", "blue", [("blue-sub", "10.0.2.9")], allowed_address_pairs=(pair,))
    assert other.id
    assert "10.0.2.5" not in known(world, "compute1")
    # One that went elsewhere costs one flow here.
    world = worlds.distributed()
    before = plan(world.view("compute1")).objects
    world.port("more", "blue", [("blue-sub", "10.0.2.7")], "compute2", security_groups=("sg-all",))
    after = plan(world.view("compute1")).objects
    new = [item for key, item in after.items() if key not in before]
    routed = [f for f in new if isinstance(f, Flow) and f.table in (Stage.ROUTE, Stage.NEIGHBOUR)]
    (one,) = routed
    assert isinstance(one.actions[0], SetEth) and one.actions[1] == DecTtl()
    assert len(new) <= 3


def test_a_packet_stays_on_the_instances_hosts() -> None:
    world = worlds.distributed()
    walker = Walker(World.of(world.views()))
    red, blue = (walker.world.endpoints[f"port-{net}"] for net in ("red", "blue"))
    walk = walker.exchange(red, "10.0.2.5")
    assert walk.reachable
    steps = [*walk.there.steps, *(walk.back.steps if walk.back else ())]
    assert {step.host for step in steps} == {"compute1", "compute2"}
    assert {Stage.ROUTE, Stage.NEIGHBOUR} < {step.stage for step in steps}
    assert walk.there.frame.ip_ttl == 63
    out = walker.exchange(blue, "192.0.2.77")
    assert out.reachable and "network1" in {step.host for step in out.there.steps}
    assert out.there.frame.ip_src == "198.51.100.10"
    out = walker.exchange(red, "192.0.2.77")
    assert out.reachable and {s.host for s in out.there.steps} == {"compute1", "outside"}
    assert out.there.frame.ip_src == "198.51.100.20"
    for source in (red, blue):
        assert walker.exchange(source, "10.0.1.1").reachable


def test_one_that_is_down_forwards_nothing() -> None:
    world = worlds.distributed()
    world.change("routers", "router1", admin_state_up=False)
    flows = [f for f in plan(world.view("compute1")).each(Flow) if f.table == Stage.ROUTE]
    assert not [f for f in flows if f.match.dst_port]
    walker = Walker(World.of(world.views()))
    assert not walker.exchange(walker.world.endpoints["port-red"], "10.0.2.5").reachable
