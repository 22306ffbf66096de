"""Rules to flows: sizes that add up and never multiply, ranges, protocols, odd input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.model import SecurityGroupRule
from netloom.model.hoststate import Flow
from netloom.model.openflow import Ct
from netloom.plan import plan
from netloom.plan.ovs.pipeline import Stage
from netloom.plan.ovs.rule_services import port_masks, protocol_number, service_of
from tests.support import worlds


@given(st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted))
def test_a_range_is_covered_exactly(ends):
    low, high = ends
    covered: set[int] = set()
    for part in port_masks(low, high):
        value, mask = (part, 0xFFFF) if isinstance(part, int) else part
        size = 0x10000 - mask
        block = set(range(value, value + size))
        assert not covered & block
        covered |= block
    assert covered == set(range(low, high + 1))


def rule(**more) -> SecurityGroupRule:
    return SecurityGroupRule(id="r", security_group_id="g", direction="ingress", **more)


@pytest.mark.parametrize(
    ("given_rule", "number"),
    [
        (rule(), None),
        (rule(protocol="tcp"), 6),
        (rule(protocol="47"), 47),
        (rule(protocol="icmp", ethertype="IPv6"), 58),
        (rule(protocol="any"), None),
    ],
)
def test_protocols(given_rule, number):
    assert protocol_number(given_rule) == number


def test_what_cannot_be_matched_lets_nothing_in():
    assert service_of(rule(protocol="nonsense")) == []
    assert service_of(rule(protocol="dccp", port_range_min=1, port_range_max=2)) == []


def test_rules_and_members_add_up():
    def flows(members: int, rules: int) -> int:
        world = worlds.World()
        world.host("compute1")
        world.host("compute2")
        world.network("net")
        world.subnet("sub", "net", "10.0.0.0/16")
        world.group("web")
        world.group("db")
        for number in range(rules):
            more = {
                "protocol": "tcp",
                "port_range_min": 100 + number,
                "port_range_max": 100 + number,
            }
            world.rule(f"rule{number}", "db", "ingress", remote_group_id="web", **more)
        for number in range(members):
            world.port(
                f"{number:04d}member",
                "net",
                [("sub", f"10.0.1.{number + 1}")],
                "compute2",
                security_groups=("web",),
            )
        port = world.port("db-port", "net", [("sub", "10.0.0.9")], security_groups=("db",))
        world.server("vm", "compute1", port)
        state = plan(world.view("compute1"))
        return sum(f.table == Stage.INGRESS_RULES for f in state.each(Flow))

    small = flows(1, 1)
    assert flows(101, 1) == small + 100
    assert flows(1, 51) == small + 50
    assert flows(101, 51) == small + 150


def test_an_empty_remote_group_leaves_no_half_of_a_conjunction():
    world = worlds.remote_group()
    world.change("ports", "port1", security_groups=())
    state = plan(world.view("compute2"))
    assert not [f for f in state.each(Flow) if "db/IPv4/web" in repr(f)]


def test_a_port_without_groups_is_closed():
    world = worlds.two_hosts()
    world.change("ports", "port1", security_groups=())
    key = world.tables["ports"]["port1"].key
    rules = [f for f in plan(world.view("compute1")).each(Flow) if f.match.dst_port == key]
    assert [f.actions for f in rules if f.table == Stage.INGRESS_RULES] == [()]


def test_macs_of_address_pairs_in_any_spelling():
    world = worlds.two_hosts()
    world.change(
        "ports", "port1", allowed_address_pairs=(worlds.pair("10.0.0.50", "00-00-5E-00-01-0A"),)
    )
    macs = {f.match.eth_src for f in plan(world.view("compute1")).each(Flow)}
    assert "00:00:5e:00:01:0a" in macs


def test_ports_of_stateless_groups_are_not_tracked():
    def tracking(world: worlds.World) -> set[int | None]:
        flows = list(plan(world.view("compute1")).each(Flow))
        return {
            f.match.src_port or f.match.dst_port
            for f in flows
            if any(isinstance(action, Ct) for action in f.actions) and not f.match.ip_frag
        }

    def remembering(world: worlds.World) -> set[int | None]:
        commits = [
            f
            for f in plan(world.view("compute1")).each(Flow)
            if any(isinstance(action, Ct) and action.commit for action in f.actions)
        ]
        return {f.match.src_port or f.match.dst_port for f in commits}

    world = worlds.two_hosts()
    key = world.tables["ports"]["port1"].key
    assert key in tracking(world)
    world.change("security_groups", "sg-default", stateful=False)
    assert key not in tracking(world)
    # Their fragments are gathered all the same: only together do they have ports. Nothing is remembered of them.
    assert key not in remembering(world)
    # One stateful group is enough to track a port.
    world.group("other")
    world.change("ports", "port1", security_groups=("other", "sg-default"))
    assert key in tracking(world)
