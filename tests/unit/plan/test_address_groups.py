"""Address groups: one element of a set, or one flow, for each address; whatever ports and rules there are."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from netloom.model.filtering import FarSet, GroupFilter
from netloom.model.hoststate import Flow
from netloom.plan import Parts, plan
from netloom.plan.ovs.pipeline import Stage
from tests.support import worlds

RANGES = tuple(f"192.0.{number}.0/24" for number in range(50))


def cloud(ports: int, rules: int, *addresses: str) -> worlds.World:
    world = worlds.World()
    world.host("compute1")
    world.network("net")
    world.subnet("sub", "net", "10.0.0.0/16")
    world.group("web")
    world.addresses("partners", *addresses)
    for number in range(rules):
        more = {"protocol": "tcp", "port_range_min": 100 + number, "port_range_max": 100 + number}
        world.rule(f"r{number}", "web", "ingress", remote_address_group_id="partners", **more)
    for number in range(ports):
        port = world.port(
            f"p{number}", "net", [("sub", f"10.0.0.{10 + number}")], security_groups=("web",)
        )
        world.server(f"vm{number}", "compute1", port)
    return world


def flows(world: worlds.World) -> int:
    state = plan(world.view("compute1"))
    return sum(flow.table == Stage.INGRESS_RULES for flow in state.each(Flow))


def test_addresses_ports_and_rules_add_up():
    small = flows(cloud(1, 1, *RANGES[:1]))
    assert flows(cloud(1, 1, *RANGES)) == small + 49
    assert flows(cloud(1, 21, *RANGES)) == small + 49 + 20
    assert flows(cloud(11, 21, *RANGES)) - flows(cloud(10, 21, *RANGES)) == (
        flows(cloud(2, 1, *RANGES)) - flows(cloud(1, 1, *RANGES))
    )


@pytest.mark.parametrize("backend", ["ovs", "linuxbridge"])
def test_an_address_added_changes_one_object_on_a_host_with_many_ports(backend):
    def view(*addresses: str):
        made = cloud(30, 5, *addresses).view("compute1")
        return replace(made, facts=replace(made.facts, backend=backend))

    parts = Parts(view(*RANGES[:10]))
    before = parts.planned
    delta = parts.follow(view(*RANGES[:11]), {"address_groups": {"partners"}})
    assert (len(delta.put), len(delta.gone)) == (1, 0)
    assert parts.planned == before + 1
    delta = parts.follow(view(*RANGES[:10]), {"address_groups": {"partners"}})
    assert len(delta.put) + len(delta.gone) == 1


def test_what_is_within_another_range_is_said_once():
    world = cloud(1, 1, "10.1.0.0/16", "10.0.0.0/8", "10.2.0.1/32", "11.0.0.1/32", "2001:db8::/32")
    state = plan(world.view("compute1"))
    assert {
        flow.match.ip_src for flow in state.each(Flow) if flow.table == Stage.INGRESS_RULES
    } >= {
        "10.0.0.0/8",
        "11.0.0.1",
    }
    view = world.view("compute1")
    bridged = plan(replace(view, facts=replace(view.facts, backend="linuxbridge")))
    (made,) = (each for each in bridged.each(FarSet) if each.kind == "listed")
    assert made.elements == ("10.0.0.0/8", "11.0.0.1")


@pytest.mark.parametrize("backend", ["ovs", "linuxbridge"])
def test_an_address_group_without_addresses_lets_nobody_in(backend):
    world = cloud(1, 1)
    view = world.view("compute1")
    state = plan(replace(view, facts=replace(view.facts, backend=backend)))
    assert not [flow for flow in state.each(Flow) if "partners" in repr(flow.match.conj)]
    assert all(made.elements == () for made in state.each(FarSet))
    for chain in state.each(GroupFilter):
        assert all(rule.far for rule in chain.rules if chain.direction == "ingress")
