"""One sentence for each reason that a packet may not arrive, with the object that decides it."""

from __future__ import annotations

import pytest

from netloom.explain.answer.explain import explain
from netloom.model.errors import UserError
from netloom.store import StatusRow
from tests.support import worlds
from tests.support.explained import cloud


def ssh(world, source, destination, **more):
    return explain(cloud(world, **more), source, destination, "tcp", 22)


def test_walkthrough_a():
    world = worlds.walkthrough_a()
    for source in ("outside", "203.0.113.99"):
        for target in ("vm-my1", "my1", "203.0.113.50"):
            answer = ssh(world, source, target)
            assert answer.verdict == "reachable", answer.sentence
    assert explain(cloud(world), "vm-my1", "outside").verdict == "reachable"


def test_walkthrough_b_names_every_hop():
    answer = ssh(worlds.walkthrough_b(), "outside", "vm-my2")
    assert answer.verdict == "reachable", answer.sentence
    assert answer.decided_by == ""
    kinds = [hop.kind for hop in answer.there]
    assert [k for k in kinds if k in ("outside", "wire", "nat", "route", "tunnel", "instance")] == [
        "outside",
        "wire",
        "nat",
        "route",
        "tunnel",
        "instance",
    ]
    assert all(hop.command for hop in answer.there)
    nat = next(hop for hop in answer.there if hop.kind == "nat")
    assert "10.0.0.5" in nat.text
    assert nat.command == "ip netns exec qrouter-router1 nft list table ip netloom"
    assert "floatingip 198.51.100.20" in nat.because
    assert answer.back[-1].kind == "outside"


def test_a_missing_rule():
    world = worlds.walkthrough_b()
    del world.tables["security_group_rules"]["all-tcp"]
    answer = ssh(world, "outside", "vm-my2")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "security_group/sg-all"
    assert answer.sentence == (
        "No rule of security group sg-all lets tcp/22 in from 198.51.100.1 at port my2."
    )
    assert explain(cloud(world), "outside", "vm-my2").verdict == "reachable"


def test_a_missing_router_interface():
    world = worlds.walkthrough_b()
    for port_id in [p for p in world.tables["ports"] if p.startswith("if")]:
        del world.tables["ports"][port_id]
    answer = explain(cloud(world), "vm-my2", "192.0.2.77")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "subnet/priv-sub"
    assert "No router has an interface in subnet priv-sub" in answer.sentence


def test_a_missing_gateway():
    world = worlds.walkthrough_b()
    del world.tables["ports"]["gw-router1"], world.tables["floatingips"]["fip1"]
    world.change("routers", "router1", external_gateway_info=None, gw_port_id=None)
    answer = explain(cloud(world), "vm-my2", "192.0.2.77")
    assert answer.decided_by == "router/router1"
    assert (
        answer.sentence == "Router router1 has no route to 192.0.2.77: it has no external gateway."
    )


def test_a_floating_ip_on_the_wrong_port():
    world = worlds.walkthrough_b()
    port = world.port("my3", "private", [("priv-sub", "10.0.0.6")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    answer = ssh(world, "outside", "vm-my3")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "floatingip/fip1"
    assert "floating IP 198.51.100.20 leads to port my2" in answer.sentence
    # asked by address, it is the way to the port that it does lead to
    assert ssh(world, "outside", "198.51.100.20").verdict == "reachable"


def test_a_floating_ip_without_a_port():
    world = worlds.walkthrough_b()
    world.change("floatingips", "fip1", port_id=None, fixed_ip_address=None, router_id=None)
    answer = ssh(world, "outside", "198.51.100.20")
    assert answer.verdict == "unreachable"
    assert answer.sentence == "Floating IP 198.51.100.20 is associated with no port."
    assert "No floating IP leads to port my2" in ssh(world, "outside", "vm-my2").sentence


def test_a_port_that_is_switched_off():
    world = worlds.two_hosts()
    world.change("ports", "port2", admin_state_up=False)
    for source, target in (("vm1", "vm2"), ("vm2", "vm1")):
        answer = explain(cloud(world), source, target)
        assert answer.verdict == "unreachable"
        assert answer.decided_by == "port/port2"
        assert "administratively down" in answer.sentence


def test_a_port_that_is_down_and_why():
    row = StatusRow(
        "port", "port2", "compute2", "l2", 1, "pending", "device tapport2 is not plugged", "now"
    )
    answer = explain(cloud(worlds.two_hosts(), [row]), "vm1", "vm2")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "port/port2"
    assert "device tapport2 is not plugged" in answer.sentence


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ({"alive": False}, "does not report any more"),
        ({"wanted_seq": 9}, "has applied change 1, but change 9 concerns it"),
        ({"plan_version": "0"}, "plans with version 0"),
    ],
)
def test_what_cannot_be_said(health, words):
    answer = explain(cloud(worlds.two_hosts(), compute2=health), "vm1", "vm2")
    assert answer.verdict == "unknown"
    assert answer.decided_by == "host/compute2"
    assert words in answer.sentence


def test_a_doubtful_host_off_the_way_does_not_matter():
    world = worlds.walkthrough_b()
    answer = explain(cloud(world, compute2={"alive": False}), "outside", "vm-my2")
    assert answer.verdict == "reachable"


def test_an_unbound_port():
    world = worlds.two_hosts()
    world.port("loose", "net-a", [("sub-a", "10.0.0.50")])
    assert explain(cloud(world), "vm1", "loose").decided_by == "port/loose"
    assert (
        explain(cloud(world), "loose", "vm1").sentence
        == "Port loose is bound to no host: no instance has it."
    )


def test_two_subnets_without_a_router():
    world = worlds.two_hosts()
    world.network("net-b")
    world.subnet("sub-b", "net-b", "10.9.0.0/24")
    port = world.port("portb", "net-b", [("sub-b", "10.9.0.5")], security_groups=("sg-default",))
    world.server("vmb", "compute2", port)
    answer = explain(cloud(world), "vm1", "vmb")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "subnet/sub-a"


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "port"),
    [
        ("nobody", "vm1", "icmp", None),
        ("vm1", "vm2", "tcp", None),
        ("vm1", "vm2", "nonsense", None),
        ("outside", "192.0.2.9", "icmp", None),
        ("vm1", "vm2", "tcp", 70000),
    ],
)
def test_words_that_mean_nothing(source, destination, protocol, port):
    with pytest.raises(UserError) as raised:
        explain(cloud(worlds.two_hosts()), source, destination, protocol, port)
    assert "\n" not in str(raised.value)


def test_metadata_can_be_explained():
    answer = explain(cloud(worlds.two_hosts()), "vm1", "169.254.169.254", "tcp", 80)
    assert answer.verdict == "reachable", answer.sentence


def test_a_way_through_somebody_elses_router():
    world = worlds.walkthrough_b()
    world.network("provider", "flat", physical_network="extnet")
    world.subnet("prov-sub", "provider", "203.0.113.0/24")
    port = world.port("my1", "provider", [("prov-sub", "203.0.113.5")], security_groups=("sg-all",))
    world.server("vm-my1", "compute2", port)
    answer = ssh(world, "vm-my1", "198.51.100.20")
    assert answer.verdict == "unknown"
    assert "leaves the cloud by physical network extnet" in answer.sentence
