"""Subports: a classifying flow and a tagged output of their own, and no device."""

from __future__ import annotations

import pytest

from netloom.explain.walk.hosts import World
from netloom.explain.walk.walk import Walker
from netloom.model.hoststate import Flow, HostState, Interface, Zone
from netloom.model.openflow import ForgetInPort, Goto, Load, Match, Output, PopVlan, PushVlan
from netloom.plan import plan
from netloom.plan.ovs.pipeline import Stage
from tests.support import worlds


@pytest.fixture
def world() -> worlds.World:
    """Two hosts; `sub` on a second network is carried by port1's device with the tag 102, `near` on port1's own with 103."""
    made = worlds.two_hosts()
    made.network("net-b")
    made.subnet("sub-b", "net-b", "10.1.0.0/24")
    trunk = {"trunk_id": "trunk", "trunk_parent": "port1", "device_owner": "trunk:subport"}
    group = {"security_groups": ("sg-default",)}
    sub = [("sub-b", "10.1.0.5")]
    made.port("sub", "net-b", sub, host="compute1", trunk_vlan=102, **trunk, **group)
    near = [("sub-a", "10.0.0.15")]
    made.port("near", "net-a", near, host="compute1", trunk_vlan=103, **trunk, **group)
    made.change("ports", "port1", trunk_id="trunk")
    peer = made.port("peer", "net-b", [("sub-b", "10.1.0.6")], **group)
    made.server("vm9", "compute2", peer)
    return made


def flows(state: HostState, stage: Stage, match: Match) -> list[Flow]:
    return [f for f in state.each(Flow) if f.table == stage and f.match == match]


def test_a_subport_is_a_flow_in_and_a_flow_out(world: worlds.World) -> None:
    state = plan(world.view("compute1"))
    ports = world.tables["ports"]
    sub, parent = ports["sub"], ports["port1"]
    net = world.tables["networks"]["net-b"].key
    (into,) = flows(state, Stage.CLASSIFY, Match(in_port="tapport1", vlan=102))
    load = (Load("net", net), Load("src_port", sub.key))
    assert into.actions == (PopVlan(), *load, Goto(int(Stage.PORT_SECURITY)))
    (out,) = flows(state, Stage.OUTPUT, Match(dst_port=sub.key))
    assert out.actions == (ForgetInPort(), PushVlan(102), Output("tapport1"))
    (card,) = flows(state, Stage.OUTPUT, Match(dst_port=parent.key))
    assert card.actions == (ForgetInPort(), Output("tapport1"))
    for port in (sub, parent):
        (itself,) = flows(state, Stage.OUTPUT, Match(src_port=port.key, dst_port=port.key))
        assert not itself.actions and itself.priority > out.priority
    assert not {"tapsub", "tapnear"} & {interface.name for interface in state.each(Interface)}
    assert {"sub", "near"} <= {zone.name for zone in state.each(Zone)}


def test_a_card_that_is_off_takes_its_subports_with_it_no_more_than_they_take_it(
    world: worlds.World,
) -> None:
    world.change("ports", "port1", admin_state_up=False)
    state = plan(world.view("compute1"))
    (card,) = flows(state, Stage.CLASSIFY, Match(in_port="tapport1", vlan=0))
    assert not card.actions
    assert flows(state, Stage.CLASSIFY, Match(in_port="tapport1", vlan=102))[0].actions
    world.change("ports", "port1", admin_state_up=True)
    world.change("ports", "sub", admin_state_up=False)
    state = plan(world.view("compute1"))
    assert not flows(state, Stage.CLASSIFY, Match(in_port="tapport1", vlan=102))[0].actions
    assert flows(state, Stage.CLASSIFY, Match(in_port="tapport1", vlan=0))[0].actions


@pytest.mark.parametrize(
    ("source", "address"),
    [("sub", "10.1.0.6"), ("peer", "10.1.0.5"), ("near", "10.0.0.12"), ("port2", "10.0.0.15")],
)
def test_walks_to_and_from_subports(world: worlds.World, source: str, address: str) -> None:
    walker = Walker(World.of(world.views()))
    walk = walker.exchange(walker.world.endpoints[source], address)
    assert walk.reachable
    assert "tapport1.10" in str((walk.there.steps, walk.back))


def test_a_card_and_a_subport_on_one_network_meet(world: worlds.World) -> None:
    walker = Walker(World.of(world.views()))
    for source, address in (("port1", "10.0.0.15"), ("near", "10.0.0.11")):
        assert walker.exchange(walker.world.endpoints[source], address).reachable
