"""The plan as a whole: the same view gives the same state, whatever the order of its objects."""

from __future__ import annotations

import random

import msgspec
import pytest

import worlds
from netloom.model.hoststate import Dnsmasq, Flow, Interface
from netloom.model.openflow import Load, Output
from netloom.plan import plan
from worlds import two_hosts


def shuffled(view, seed):
    rng = random.Random(seed)
    tables = {}
    for name in view.__struct_fields__:
        value = getattr(view, name)
        if isinstance(value, dict):
            items = list(value.items())
            rng.shuffle(items)
            tables[name] = dict(items)
    return msgspec.structs.replace(view, **tables)


def test_order_of_objects_never_matters():
    view = two_hosts().view("compute1")
    state = plan(view)
    for seed in range(5):
        other = plan(shuffled(view, seed))
        assert other == state
        assert list(other.objects) == list(state.objects)


def test_every_object_says_what_caused_it():
    for view in two_hosts().views().values():
        for item in plan(view).objects.values():
            assert item.origin, item.key


def test_only_local_ports_get_devices_and_leases():
    state = plan(two_hosts().view("compute1"))
    assert {i.name for i in state.each(Interface)} == {"vxlan0", "tapport1", "tapdhcp-sub-a"}
    (server,) = state.each(Dnsmasq)
    assert [lease.ip for lease in server.leases] == ["10.0.0.11"]


def test_a_port_that_is_down_forwards_nothing():
    world = two_hosts()
    world.change("ports", "port1", admin_state_up=False)
    flows = list(plan(world.view("compute1")).each(Flow))
    touching = [
        f for f in flows if "tapport1" in (f.match.in_port, f.match.src_port, f.match.dst_port)
    ]
    assert touching
    assert all(not f.actions for f in touching)


def test_60_a_network_that_is_down_is_dead():
    world = two_hosts()
    world.change("networks", "net-a", admin_state_up=False)
    state = plan(world.view("compute1"))
    assert not list(state.each(Dnsmasq))
    flows = list(state.each(Flow))
    touching = [
        f for f in flows if "tapport1" in (f.match.in_port, f.match.src_port, f.match.dst_port)
    ]
    assert touching and all(not f.actions for f in touching)
    tunnel = [f for f in flows if f.match.in_port == "vxlan0" and f.match.tun_id is not None]
    assert tunnel and all(not f.actions for f in tunnel)


def dhcp_server(world):
    (server,) = plan(world.view("compute1")).each(Dnsmasq)
    return server


def test_52_the_mtu_reaches_dhcp_and_every_device():
    world = two_hosts()
    world.change("networks", "net-a", mtu=1300)
    assert dhcp_server(world).mtu == 1300
    interfaces = plan(world.view("compute1")).each(Interface)
    assert {interface.mtu for interface in interfaces if interface.name != "vxlan0"} == {1300}


def _named(flow: Flow) -> set[str]:
    """Devices that a flow names."""
    match = flow.match
    found = {match.in_port, match.src_port, match.dst_port}
    for action in flow.actions:
        if isinstance(action, Load) and isinstance(action.value, str):
            found.add(action.value)
        elif isinstance(action, Output):
            found.add(action.device)
    return {name for name in found if name}


@pytest.mark.parametrize("table", ["networks", "ports", "routers"])
def test_flows_name_devices_that_the_plan_has(table: str) -> None:
    """Whatever is down: a flow whose device nobody makes would wait for it for ever."""
    for make in (worlds.two_hosts, worlds.walkthrough_a, worlds.walkthrough_b, worlds.remote_group):
        for name in make().tables.get(table, {}):
            world = make()
            world.change(table, name, admin_state_up=False)
            for host in world.hosts:
                state = plan(world.view(host))
                devices = {item.name for item in state.each(Interface)}
                for flow in state.each(Flow):
                    assert _named(flow) <= devices, (make.__name__, name, host, flow)
