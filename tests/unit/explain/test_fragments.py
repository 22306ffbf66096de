"""The walker takes fragments the way that the switch takes them: later ones together with an accepted first one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netloom.explain.walk.frames import UDP, Frame
from netloom.explain.walk.hosts import World
from netloom.explain.walk.ovs import Switches
from tests.support import worlds


def way(stateful: bool = True) -> tuple[Switches, World, Frame]:
    """From port1 to port2 on another host, whose group lets in UDP 5000."""
    world = worlds.two_hosts()
    world.change("security_groups", "sg-default", stateful=stateful)
    del world.tables["security_group_rules"]["sg-default-in"]
    ports = {"port_range_min": 5000, "port_range_max": 5000}
    world.rule("in", "sg-default", "ingress", protocol="udp", **ports)
    planned = World.of(world.views())
    macs = [world.tables["ports"][name].mac_address for name in ("port1", "port2")]
    frame = Frame(
        eth_src=macs[0],
        eth_dst=macs[1],
        ip_src="10.0.0.11",
        ip_dst="10.0.0.12",
        ip_proto=UDP,
        tp_src=4000,
        tp_dst=5000,
    )
    return Switches(planned), planned, frame


def arrives(switches: Switches, world: World, frame: Frame) -> bool:
    outcomes = switches.enter(world.hosts["compute1"], "tapport1", frame)
    return any(outcome.end == "device" and outcome.place == "tapport2" for outcome in outcomes)


@pytest.mark.parametrize("stateful", [True, False])
def test_all_fragments_of_an_allowed_datagram_arrive(stateful: bool) -> None:
    switches, world, frame = way(stateful)
    for frag in ("first", "later", "later"):
        assert arrives(switches, world, replace(frame, frag=frag))


@pytest.mark.parametrize("stateful", [True, False])
def test_no_fragment_of_a_forbidden_datagram_arrives(stateful: bool) -> None:
    switches, world, frame = way(stateful)
    for frag in ("first", "later", "later"):
        assert not arrives(switches, world, replace(frame, tp_dst=5001, frag=frag))


def test_a_later_fragment_alone_does_not_arrive() -> None:
    switches, world, frame = way()
    assert not arrives(switches, world, replace(frame, frag="later"))
