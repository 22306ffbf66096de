"""Random clouds: what the API's objects intend, worked out naively, is what the planned flows do."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netloom.explain.walk.hosts import World
from netloom.explain.walk.walk import Outside, Walker
from netloom.plan import plan
from netloom.scope import Inventory, select
from tests.support import worlds

HOSTS = ("compute1", "compute2", "network1")
SERVICES = (("icmp", 1, 0), ("tcp", 6, 22), ("tcp", 6, 443), ("udp", 17, 53))
RARELY = st.sampled_from([True, True, True, True, False])


@st.composite
def rules(draw, group, groups, number):
    protocol = draw(st.sampled_from([None, "icmp", "tcp", "tcp", "udp"]))
    more = {}
    if protocol in ("tcp", "udp") and draw(st.booleans()):
        low = draw(st.sampled_from([1, 20, 22, 53, 400]))
        more = {
            "port_range_min": low,
            "port_range_max": low + draw(st.sampled_from([0, 3, 100, 5000])),
        }
    remote = draw(st.sampled_from(["any", "any", "prefix", "group", "list"]))
    if remote == "prefix":
        more["remote_ip_prefix"] = draw(
            st.sampled_from(["10.1.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "10.2.0.11"])
        )
    elif remote == "group":
        more["remote_group_id"] = draw(st.sampled_from(groups))
    elif remote == "list":
        more["remote_address_group_id"] = draw(st.sampled_from(["none", "some", "all"]))
    direction = draw(st.sampled_from(["ingress", "ingress", "egress"]))
    return {
        "id": f"{group}-{number}",
        "group": group,
        "direction": direction,
        "protocol": protocol,
        **more,
    }


@st.composite
def clouds(draw):
    world = worlds.three_hosts()
    groups = ["g1", "g2", "g3"]
    world.addresses("none")
    world.addresses("some", "10.1.0.0/24", "10.1.0.11/32", "10.2.0.11/32", "10.3.0.12/31")
    world.addresses("all", "2001:db8::/64", "0.0.0.0/0")
    for group in groups:
        world.group(group)
        for number in range(draw(st.integers(0, 3))):
            world.rule(**draw(rules(group, groups, number)))
    networks = draw(st.integers(1, 3))
    for number in range(1, networks + 1):
        up = draw(RARELY)
        if draw(st.booleans()):
            world.network(f"n{number}", admin_state_up=up)
        else:
            world.network(
                f"n{number}", "vlan", 100 + number, physical_network="extnet", admin_state_up=up
            )
        world.subnet(f"s{number}", f"n{number}", f"10.{number}.0.0/24")
    for number in range(1, draw(st.integers(0, 2)) + 1):
        router = f"r{number}"
        world.router(router, draw(st.sampled_from(HOSTS)), admin_state_up=draw(RARELY))
        for net in range(1, networks + 1):
            if draw(st.booleans()):
                # The first router takes the gateway's address, the second another one.
                port = world.interface(
                    router, f"n{net}", f"s{net}", f"10.{net}.0.{1 if number == 1 else 3}"
                )
                world.change("ports", port.id, admin_state_up=draw(RARELY))
    for number in range(draw(st.integers(2, 4))):
        net = draw(st.integers(1, networks))
        secured = draw(RARELY)
        port = world.port(
            f"p{number}",
            f"n{net}",
            [(f"s{net}", f"10.{net}.0.{11 + number}")],
            admin_state_up=draw(RARELY),
            port_security_enabled=secured,
            security_groups=tuple(draw(st.sets(st.sampled_from(groups), max_size=2)))
            if secured
            else (),
        )
        world.server(f"vm{number}", draw(st.sampled_from(HOSTS)), port)
    return world


def allows(world, port, direction, peer, protocol, service) -> bool:
    """Whether one of a port's rules lets a packet to or from a peer pass."""
    if not port.port_security_enabled:
        return True
    peer_ip = ipaddress.ip_address(peer.fixed_ips[0].ip_address)
    for rule in world.tables.get("security_group_rules", {}).values():
        if rule.security_group_id not in port.security_groups or rule.direction != direction:
            continue
        if rule.protocol not in (None, protocol):
            continue
        low, high = rule.port_range_min, rule.port_range_max
        if low is not None and not low <= service <= high:
            continue
        if rule.remote_ip_prefix and peer_ip not in ipaddress.ip_network(rule.remote_ip_prefix):
            continue
        if listed := rule.remote_address_group_id:
            addresses = world.tables["address_groups"][listed].addresses
            if not any(peer_ip in ipaddress.ip_network(each) for each in addresses):
                continue
        if rule.remote_group_id and rule.remote_group_id not in peer.security_groups:
            continue
        return True
    return False


def is_up(world, port) -> bool:
    return port.admin_state_up and world.tables["networks"][port.network_id].admin_state_up


def routed(world, source, target) -> bool:
    """Whether the source's gateway is a working router that is also on the target's network."""
    ports = [
        p for p in world.tables["ports"].values() if p.device_owner == "network:router_interface"
    ]
    gateway = world.tables["subnets"][source.fixed_ips[0].subnet_id].gateway_ip
    for near in ports:
        router = world.tables["routers"][near.device_id]
        if near.network_id != source.network_id or near.fixed_ips[0].ip_address != gateway:
            continue
        far = [p for p in ports if p.device_id == router.id and p.network_id == target.network_id]
        return router.admin_state_up and is_up(world, near) and any(is_up(world, p) for p in far)
    return False


def intended(world, source, target, protocol, service) -> bool:
    """What a person would say from the API's objects alone."""
    if not (is_up(world, source) and is_up(world, target)):
        return False
    if source.network_id != target.network_id and not (
        routed(world, source, target) and routed(world, target, source)
    ):
        return False
    out = allows(world, source, "egress", target, protocol, service)
    return out and allows(world, target, "ingress", source, protocol, service)


def check(world) -> None:
    """Every pair of instances, every service: the walk ends as intended, and nowhere else."""
    planned = World.of(world.views())
    ports = [p for p in world.tables["ports"].values() if p.device_owner.startswith("compute")]
    for source in ports:
        for target in ports:
            if source is target:
                continue
            for protocol, number, service in SERVICES:
                walk = Walker(planned).exchange(
                    planned.endpoints[source.id],
                    target.fixed_ips[0].ip_address,
                    proto=number,
                    port=service,
                )
                # What leaves by a physical network may find anybody there, but not one of our instances.
                reached = walk.reachable and not isinstance(walk.there.at, Outside)
                wanted = intended(world, source, target, protocol, service)
                assert reached == wanted, (
                    f"{source.id} to {target.id} {protocol}/{service}: intended {wanted}; "
                    f"{(walk.back or walk.there).steps[-1]}"
                )
                if reached:
                    assert walk.there.at == planned.endpoints[target.id]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(clouds())
def test_the_walker_finds_what_was_intended(world):
    check(world)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(clouds())
def test_the_walker_finds_what_was_intended_in_many_clouds(world):
    check(world)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(clouds(), st.randoms(use_true_random=False))
def test_the_order_of_objects_never_matters(world, rng):
    before = {host: plan(view) for host, view in world.views().items()}
    for table, rows in world.tables.items():
        items = list(rows.items())
        rng.shuffle(items)
        world.tables[table] = dict(items)
    for host, view in world.views().items():
        state = plan(view)
        assert state == before[host]
        assert list(state.objects) == list(before[host].objects)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(clouds())
def test_what_scope_gives_a_host_is_enough(world):
    """The view that the server sends makes the same plan as knowing everything would."""
    scope_world = Inventory()
    for table, rows in world.tables.items():
        for row in rows.values():
            scope_world.put(table, row)
    scope_world.facts = dict(world.hosts)
    for host in world.hosts:
        assert plan(select(scope_world, host, 1)) == plan(world.view(host))
