"""A question plans what its packet can meet, and gets the answer that it would get if every host were planned whole."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from netloom.explain.answer import beyond
from netloom.explain.answer.explain import Explanation, Hop, Inquiry, explain
from netloom.explain.cloud import Cloud
from netloom.explain.walk import hosts as walked
from netloom.explain.walk.hosts import World
from netloom.model import HostView, Route
from netloom.model.errors import UserError
from netloom.scope import Moment
from tests.support import worlds
from tests.support.explained import cloud
from tests.unit.explain.test_intended import HOSTS, RARELY, clouds

SERVICES = (("icmp", None), ("tcp", 22))


def whole(seen: Cloud) -> type[Inquiry]:
    """Inquiries into every host's whole plan, without a reach."""
    planned = World.of(seen.moment.views(), beyond.ranges(seen))

    class Whole(Inquiry):
        @property
        def world(self) -> World:  # type: ignore[override]
            return planned

    return Whole


def asked(ask: Callable[[], Explanation]) -> Explanation | str:
    try:
        return ask()
    except UserError as error:
        return str(error)


def same(few: Hop, all_: Hop) -> bool:
    """The same step. Where security group rules decide, hosts join what groups of other networks say: that may be less."""
    if "rule" not in all_.text and "_RULES" not in all_.text:
        return few == all_
    assert set(few.origin) <= set(all_.origin)
    return (few.host, few.kind, few.place) == (all_.host, all_.kind, all_.place)


def compare(world: worlds.World) -> None:
    """Every pair of instances and outside: with what the packet meets as with everything."""
    names = [*world.tables.get("servers", {}), "outside", "198.51.100.20"]
    seen = cloud(world)
    old = whole(seen)
    for source in names:
        for target in names:
            for protocol, port in SERVICES:
                ask = functools.partial(explain, seen, source, target, protocol, port)
                few = asked(ask)
                with pytest.MonkeyPatch.context() as patched:
                    patched.setattr("netloom.explain.answer.explain.Inquiry", old)
                    all_ = asked(ask)
                if isinstance(few, str) or isinstance(all_, str):
                    assert few == all_, (source, target)
                    continue
                for near, far in ((few.there, all_.there), (few.back, all_.back)):
                    assert len(near) == len(far), (source, target, near, far)
                    for one, other in zip(near, far, strict=True):
                        assert same(one, other), (source, target, one, other)
                plain = {"there": [], "back": []}
                assert replace(few, **plain) == replace(all_, **plain), (source, target)


@pytest.mark.parametrize(
    "name",
    [
        "two_hosts",
        "walkthrough_a",
        "walkthrough_b",
        "remote_group",
        "address_pairs",
        "provider_vlan",
    ],
)
def test_the_clouds_of_other_tests(name: str) -> None:
    compare(getattr(worlds, name)())


@st.composite
def wide(draw):
    """A random cloud with a way outside, floating IPs, routes that users wrote, pairs, and second cards."""
    world = draw(clouds())
    world.network(
        "public", "flat", physical_network="public", external=True, admin_state_up=draw(RARELY)
    )
    world.subnet("pub-sub", "public", "198.51.100.0/24", enable_dhcp=False)
    tables = world.tables
    routers = list(tables.get("routers", {}))
    for number, router in enumerate(routers):
        if draw(RARELY):
            world.gateway(router, "public", "pub-sub", f"198.51.100.{10 + number}", draw(RARELY))
    vms = [p for p in tables["ports"].values() if p.device_owner.startswith("compute")]
    led = draw(st.sampled_from(vms))
    for router in routers:
        legs = [p for p in tables["ports"].values() if p.device_id == router]
        inside = any(p.network_id == led.network_id for p in legs)
        if (
            inside
            and tables["routers"][router].external_gateway_info
            and "fip" not in tables.get("floatingips", {})
        ):
            more = {
                "port_id": led.id,
                "fixed_ip_address": led.fixed_ips[0].ip_address,
                "router_id": router,
            }
            world.floating("fip", "public", "pub-sub", "198.51.100.20", **more)
    hop = st.sampled_from(
        ["10.1.0.1", "10.1.0.3", "10.2.0.3", "10.1.0.11", "198.51.100.10", "10.1.0.99"]
    )
    to = st.sampled_from(["10.2.0.0/24", "10.3.0.0/24", "198.51.100.0/24"])
    if routers and draw(st.booleans()):
        route = Route(draw(to), draw(hop))
        world.change("routers", draw(st.sampled_from(routers)), routes=(route,))
    if draw(st.booleans()):
        subnet = draw(st.sampled_from([s for s in tables["subnets"] if s != "pub-sub"]))
        world.change("subnets", subnet, host_routes=(Route(draw(to), draw(hop)),))
    if draw(st.booleans()):
        port = draw(st.sampled_from(vms))
        address = draw(st.sampled_from(["10.1.0.50", "10.2.0.0/28", "10.1.0.11", "10.3.0.0/24"]))
        pairs = (worlds.pair(address, port.mac_address),)
        world.change("ports", port.id, allowed_address_pairs=pairs)
    if draw(st.booleans()):
        first = draw(st.sampled_from(vms))
        subnet = draw(st.sampled_from([s for s in tables["subnets"] if s != "pub-sub"]))
        network = tables["subnets"][subnet].network_id
        address = tables["subnets"][subnet].cidr.replace(".0/24", ".77")
        secured = {"port_security_enabled": draw(st.booleans())}
        card = world.port("second", network, [(subnet, address)], **secured)
        host = tables["ports"][first.id].host or draw(st.sampled_from(HOSTS))
        owner = {"device_id": first.device_id, "device_owner": "compute:nova", "host": host}
        world.change("ports", card.id, **owner)
    return world


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(wide())
def test_random_clouds(world: worlds.World) -> None:
    compare(world)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(wide())
def test_many_random_clouds(world: worlds.World) -> None:
    compare(world)


def many(networks: int, hosts: int) -> worlds.World:
    """Networks in a row, with two instances each; every second one has a router to the world."""
    world = worlds.World()
    mappings = {"public": "br-public"}
    for number in range(hosts):
        world.host(f"h{number}", mappings=mappings, network=True)
    world.network("public", "flat", physical_network="public", external=True)
    world.subnet("pub-sub", "public", "198.51.100.0/24", enable_dhcp=False)
    for number in range(networks):
        network, subnet, group = f"n{number}", f"s{number}", f"g{number}"
        world.default_group(group)
        world.network(network)
        world.subnet(subnet, network, f"10.{number}.0.0/24")
        for card in range(2):
            place = f"h{(2 * number + card) % hosts}"
            port = world.port(
                f"p{number}-{card}",
                network,
                [(subnet, f"10.{number}.0.1{card}")],
                security_groups=(group,),
            )
            world.server(f"vm{number}-{card}", place, port)
        if number % 2:
            world.router(f"r{number}", f"h{(2 * number + 5) % hosts}")
            world.interface(f"r{number}", network, subnet, f"10.{number}.0.1")
            world.gateway(f"r{number}", "public", "pub-sub", f"198.51.100.{100 + number}")
    return world


@pytest.mark.parametrize("networks", [20, 60])
def test_only_what_the_packet_meets_is_planned(
    networks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[HostView] = []
    real = walked.plan

    def plan(view: HostView):  # type: ignore[no-untyped-def]
        planned.append(view)
        return real(view)

    monkeypatch.setattr(walked, "plan", plan)
    seen = cloud(many(networks, 2 * networks))
    assert explain(seen, "vm2-0", "vm2-1").verdict == "reachable"
    assert {view.facts.host for view in planned} == {"h4", "h5"}
    assert len(planned) == 2 and all(set(view.networks) == {"n2"} for view in planned)
    # Out by a router: its host, and who may be at the other end of the wire, are planned as well.
    planned.clear()
    assert explain(seen, "vm3-0", "outside").verdict == "reachable"
    inside = {name for view in planned for name in view.networks}
    assert inside <= {"n3", "public"}
    hosts = {view.facts.host for view in planned if "n3" in view.networks}
    assert {"h6", "h11"} <= hosts <= {"h6", "h7", "h11"}


def test_no_host_is_planned_where_an_end_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walked, "plan", None)
    world = many(2, 4)
    world.change("servers", "vm0-1", power="off")
    assert explain(cloud(world), "vm0-0", "vm0-1").cause == "server_stopped"


def test_a_part_of_a_moment_is_none_where_members_have_ranges() -> None:
    world = many(3, 6)
    whole = cloud(world).moment
    part = whole.part({"n1"}, {"r1"})
    assert part is not None and set(part.networks) == {"n1", "public"}
    assert {p.network_id for p in part.ports.values()} == {"n1", "public"}
    world.change(
        "ports", "p1-0", allowed_address_pairs=(worlds.pair("10.9.0.0/24", "fa:16:3e:00:00:01"),)
    )
    assert Moment(world.tables, world.hosts).part({"n1"}, {"r1"}) is None
