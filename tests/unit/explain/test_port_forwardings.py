"""What explain says of single ports that a floating IP leads on."""

from __future__ import annotations

from netloom.explain.answer.explain import explain
from tests.support.explained import cloud
from tests.unit.plan.test_port_forwardings import forwarding


def test_a_port_that_is_led_on() -> None:
    answer = explain(cloud(forwarding()), "outside", "198.51.100.20", "tcp", 2222)
    assert answer.verdict == "reachable", answer.sentence
    nat = next(hop for hop in answer.there if hop.kind == "nat")
    assert "destination 198.51.100.20:2222 becomes 10.0.0.5:22 (port forwarding)" in nat.text
    back = next(hop for hop in answer.back if hop.kind == "nat")
    assert "198.51.100.20" in back.text
    assert (
        explain(cloud(forwarding()), "outside", "198.51.100.20", "tcp", 3002).verdict == "reachable"
    )
    assert (
        explain(cloud(forwarding()), "outside", "198.51.100.20", "tcp", 5004).verdict == "reachable"
    )


def test_the_rule_that_is_missing_names_the_port_inside() -> None:
    world = forwarding()
    del world.tables["security_group_rules"]["all-tcp"]
    answer = explain(cloud(world), "outside", "198.51.100.20", "tcp", 2222)
    assert answer.verdict == "unreachable" and answer.decided_by == "security_group/sg-all"
    assert "lets tcp/22 in" in answer.sentence and "--dst-port 22" in answer.fix


def test_a_port_that_is_not_led_on() -> None:
    answer = explain(cloud(forwarding()), "outside", "198.51.100.20", "tcp", 22)
    assert answer.verdict == "unreachable" and answer.decided_by == "floatingip/fip1"
    assert "tcp/2222" in answer.sentence


def test_the_router_answers_a_ping_itself() -> None:
    assert explain(cloud(forwarding()), "outside", "198.51.100.20").verdict == "reachable"
