"""The plan as a whole: the same view gives the same state, whatever the order of its objects."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from msgspec.structs import replace

from netloom.model.hoststate import Bucket, Dnsmasq, Flow, Group, Interface, Refusal
from netloom.model.openflow import Load, Output, SetTunnel, ToGroup
from netloom.plan import plan
from netloom.plan.ovs.pipeline import MOST_BUCKETS, Stage
from tests.support import worlds
from tests.support.worlds import two_hosts


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
    port = world.tables["ports"]["port1"]
    flows = list(plan(world.view("compute1")).each(Flow))
    touching = [
        f
        for f in flows
        if f.match.in_port == "tapport1" or port.key in (f.match.src_port, f.match.dst_port)
    ]
    assert touching
    assert all(not f.actions for f in touching)


def test_60_a_network_that_is_down_is_dead():
    world = two_hosts()
    world.change("networks", "net-a", admin_state_up=False)
    port = world.tables["ports"]["port1"]
    state = plan(world.view("compute1"))
    assert not list(state.each(Dnsmasq))
    flows = list(state.each(Flow))
    touching = [
        f
        for f in flows
        if f.match.in_port == "tapport1" or port.key in (f.match.src_port, f.match.dst_port)
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
    found = {action.device for action in flow.actions if isinstance(action, Output)}
    return found | {name for name in (flow.match.in_port,) if name}


def test_plugging_a_device_changes_two_flows():
    """Only CLASSIFY and OUTPUT name devices: all rules of a port can stand before its device."""
    for view in worlds.walkthrough_b().views().values():
        state = plan(view)
        for interface in state.each(Interface):
            naming = [f for f in state.each(Flow) if interface.name in _named(f)]
            if interface.bridge == "br-int":
                assert {f.table for f in naming} <= {Stage.CLASSIFY, Stage.OUTPUT}
                ports = [o for o in interface.origin if o.kind == "port"]
                assert len(naming) == 2 or not ports


def test_every_key_leads_out_of_one_device():
    """What a flow or a bucket sends to a port's device goes where OUTPUT has a flow for it."""
    for make in (
        worlds.two_hosts,
        worlds.walkthrough_a,
        worlds.walkthrough_b,
        worlds.provider_vlan,
    ):
        for view in make().views().values():
            state = plan(view)
            ways = {
                f.match.dst_port: f.actions for f in state.each(Flow) if f.table == Stage.OUTPUT
            }
            for item in (*state.each(Flow), *state.each(Bucket)):
                for action in item.actions:
                    if isinstance(action, Load) and action.field == "dst_port":
                        assert [type(a) for a in ways[action.value]] == [Output]
            groups = {group.group for group in state.each(Group)}
            assert {bucket.group for bucket in state.each(Bucket)} <= groups
            for flow in state.each(Flow):
                assert {a.group for a in flow.actions if isinstance(a, ToGroup)} <= groups


def test_a_large_domain_is_spread_over_groups_that_fit_in_a_message():
    world = worlds.World()
    world.host("h1")
    world.network("net")
    world.subnet("sub", "net", "10.0.0.0/16")
    for number in range(3000):
        address = f"10.0.{1 + number // 250}.{number % 250 + 1}"
        world.port(f"{number:05}", "net", [("sub", address)], "h1", device_owner="compute:nova")
    state = plan(world.view("h1"))
    sizes = Counter(bucket.group for bucket in state.each(Bucket))
    assert max(sizes.values()) <= MOST_BUCKETS
    (question,) = (
        f
        for f in state.each(Flow)
        if f.table == Stage.L2 and f.match.eth_type == "arp" and f.match.remote == 1
    )
    asked = [action.group for action in question.actions]
    assert sum(sizes[group] for group in asked) == 3000


def test_a_port_without_a_number_is_refused_and_named():
    world = two_hosts()
    world.change("ports", "port1", key=0)
    state = plan(world.view("compute1"))
    assert [str(o) for item in state.each(Refusal) for o in item.origin] == ["port/port1"]
    assert not any("tapport1" in _named(f) for f in state.each(Flow))


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


@pytest.mark.parametrize("kind", ["vxlan", "gre", "geneve"])
def test_tunnel_ends_of_ipv6_have_buckets_of_their_own(kind: str) -> None:
    """Two addresses that fold to one number too; and the number of one does not follow from who else is there."""
    world = worlds.World()
    network = world.network("net", kind, 77)
    ends = {
        "a": "fd00::1",
        "b": "fd00::2",
        "c": "fd00::3",
        "d": "fd00::8000:2",
        "e": "fd00::1:8000:3",
    }
    for name, address in ends.items():
        world.hosts[name] = replace(world.host(name), tunnel_ip=address, tunnel_types=(kind,))
        world.port(f"p-{name}", "net", [], host=name)

    def buckets(*hosts: str) -> dict[str, int]:
        view = world.view("a")
        chassis = {name: view.chassis[name] for name in ("a", *hosts)}
        found = plan(replace(view, chassis=chassis)).each(Bucket)
        sent = [(b.bucket, a) for b in found for a in b.actions if isinstance(a, SetTunnel)]
        return {
            action.dst: number for number, action in sent if action.key == network.segmentation_id
        }

    every = buckets("b", "c", "d", "e")
    assert set(every) == set(ends.values()) - {"fd00::1"}
    assert len(set(every.values())) == len(every)
    assert all(0 <= number < 2**32 - 256 for number in every.values())
    for name in "bc":
        assert buckets(name) == {ends[name]: every[ends[name]]}


def test_a_physical_network_on_several_cards_is_a_bond() -> None:
    world = worlds.World()
    facts = world.host("a", mappings={"extnet": "br-extnet"})
    bonded = replace(
        facts,
        physical_interfaces={"br-extnet": "bond-extnet"},
        bonds={"bond-extnet": ("eth1", "eth2")},
    )
    one, other = (plan(replace(world.view("a"), facts=each)) for each in (facts, bonded))
    found = [i for i in other.each(Interface) if i.type == "bond"]
    assert [(i.name, i.bridge, i.members) for i in found] == [
        ("bond-extnet", "br-extnet", ("eth1", "eth2"))
    ]
    gone = {i.name for i in one.each(Interface)} - {i.name for i in other.each(Interface)}
    assert gone == {"eth1"}
