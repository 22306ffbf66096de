"""A router that is given a packet from an address of another side of it: explain says so, and who is to blame."""

from __future__ import annotations

from netloom.explain.answer.explain import Explanation, explain
from netloom.explain.walk.hosts import World
from netloom.explain.walk.walk import Arrival, Outside, Walker
from tests.support.explained import cloud
from tests.support.routed import attacked, two_routers
from tests.support.worlds import pair


def ask(world, source: str, destination: str) -> Explanation:
    return explain(cloud(world), source, destination)


def test_a_neighbour_s_name_from_another_network():
    world, attacker, _ = attacked()
    world.change("subnets", "shared-sub", gateway_ip="10.1.0.77")
    assert ask(world, "attacker", "victim").verdict == "reachable"
    world.change("ports", "attacker", port_security_enabled=True, security_groups=("open",))
    # An address that is connected nowhere may be behind the instance.
    for address, verdict in (("10.1.0.99", "unreachable"), ("192.0.2.8", "unknown")):
        pairs = (pair(address, attacker.mac_address),)
        world.change("ports", "attacker", allowed_address_pairs=pairs)
        answer = ask(world, address, "victim")
        assert answer.verdict == verdict, answer.sentence
        if verdict == "unreachable":
            assert (answer.cause, answer.decided_by) == ("source_elsewhere", "router/router1")
            assert answer.sentence == (
                "Router router1 forwards nothing from 10.1.0.99 to 10.1.0.12 that comes in by network own: "
                "the address belongs to subnet shared-sub (10.1.0.0/24) on network shared."
            )
            assert answer.fix and answer.there[-1].command.endswith("nft list table ip netloom")


def test_a_subnet_of_the_victim_s_network_that_the_router_is_not_in():
    """Elsewhere the same addresses are anybody's; there they are a neighbour's."""
    world, attacker, _ = attacked()
    world.change("subnets", "shared-sub", gateway_ip="10.1.0.77")
    world.network("twin")
    world.subnet("twin-sub", "twin", "10.4.0.0/24")
    world.interface("router1", "twin", "twin-sub", "10.4.0.1")
    world.port("same", "twin", [("twin-sub", "10.4.0.9")], "a", security_groups=("open",))
    answer = ask(world, "same", "victim")
    assert (answer.verdict, answer.cause) == ("unreachable", "source_elsewhere")
    assert "belongs to subnet shared-more (10.4.0.0/24) on network shared" in answer.sentence
    assert ask(world, "same", attacker.id).verdict == "reachable"


def test_ways_that_are_not_the_same_there_and_back():
    world = two_routers()
    # To a floating IP by the outside, and back by the transit network: the answer is from an external address.
    answer = ask(world, "g1", "198.51.100.77")
    assert answer.verdict == "reachable", answer.sentence
    assert any("out of qr-" in hop.text and "rb" in hop.place for hop in answer.back)
    # An inside address that comes in from outside: whoever wrote the route is to blame, else the router refuses it.
    answer = ask(world, "t1", "198.51.100.77")
    assert (answer.verdict, answer.decided_by) == ("unreachable", "subnet/transit-sub")
    world.change("subnets", "transit-sub", gateway_ip="10.60.0.9", host_routes=())
    answer = ask(world, "t1", "198.51.100.77")
    assert (answer.verdict, answer.cause) == ("unreachable", "source_elsewhere")
    assert answer.decided_by == "router/ra"
    assert "from 10.60.0.20 to 10.61.0.11 that comes in by network public" in answer.sentence


def test_an_answer_never_leaves_outside_in_the_name_of_who_is_there():
    """The question had a source that is connected nowhere; what looks like its answer comes from inside as well."""
    world, attacker, _ = attacked()
    w = Walker(World.of(world.views()))
    asker = w.world.endpoints[attacker.id]
    forged = type(asker)(**{**asker.__dict__, "networks": (("203.0.113.9", "203.0.113.9/32"),)})
    there = w.send(forged, "198.51.100.99")
    assert isinstance(there.at, Outside) and there.frame.ip_src == "198.51.100.10"
    as_if = Arrival(asker, "a", there.frame, ())
    back = w.answer(as_if)
    assert not back.delivered
    assert "forwards nothing from 198.51.100.99" in back.steps[-1].text
