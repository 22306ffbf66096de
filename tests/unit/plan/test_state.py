"""The plan as a whole: the same view gives the same state, whatever the order of its objects."""

from __future__ import annotations

import random

import msgspec

from netloom.model.hoststate import Dnsmasq, Flow, Interface
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
