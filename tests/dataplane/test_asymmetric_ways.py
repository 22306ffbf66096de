"""Two routers between the same networks: real packets, and explain says the same of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.explain.answer.explain import explain
from tests.support.agents import apply_view, plug, settings
from tests.support.explained import cloud as explained
from tests.support.host import Host
from tests.support.routed import routed_host, two_routers

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    with routed_host() as made:
        yield made


def test_packets_and_explain_agree(host: Host, tmp_path: Path) -> None:
    cloud = two_routers()
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    apply_view(host, config, cloud.view("a"))
    spaces = {name: plug(host, cloud.tables["ports"][name]) for name in ("r1", "g1", "t1")}
    for name, (address, gateway) in {
        "r1": ("10.61.0.11", "10.61.0.1"),
        "g1": ("10.63.0.11", "10.63.0.1"),
        "t1": ("10.60.0.20", "10.60.0.1"),
    }.items():
        host.sh(
            f"ip -n {spaces[name]} addr add {address}/24 dev eth0\n"
            f"ip -n {spaces[name]} route add default via {gateway}"
        )
    host.sh(f"ip -n {spaces['t1']} route add 198.51.100.0/24 via 10.60.0.9")
    apply_view(host, config, cloud.view("a"))
    places = ("198.51.100.77", "10.61.0.11", "10.63.0.11", "10.60.0.20", "198.51.100.10")
    asked = [(source, place) for source in spaces for place in places]
    asked = [(s, p) for s, p in asked if cloud.tables["ports"][s].fixed_ips[0].ip_address != p]
    found = {
        (source, place): " 0 received"
        not in host.sh(f"ip netns exec {spaces[source]} ping -c 2 -W 1 {place}", check=False)
        for source, place in asked
    }
    answers = {pair: explain(explained(cloud), *pair) for pair in asked}
    assert {p: a.verdict == "reachable" for p, a in answers.items()} == found
    # By the outside and back by the transit network; and from an address that is on another side of ra.
    assert found["g1", "198.51.100.77"]
    refused = answers["t1", "198.51.100.77"]
    assert (refused.verdict, refused.cause) == ("unreachable", "wrong_route")
    assert refused.decided_by == "subnet/transit-sub"
    last = refused.there[-1]
    assert "forwards nothing from 10.60.0.20 that comes in by qg-gw-ra" in last.text
    assert "network/transit" in host.run(*last.command.split())
    ping = "ip netns exec outside ping -c 2 -W 1 198.51.100.77"
    assert " 0 received" not in host.sh(ping, check=False)
