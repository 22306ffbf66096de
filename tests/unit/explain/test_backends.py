"""Hosts of each backend, and hosts of both beside each other, do the same with a packet."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace

from netloom.explain.walk.frames import ICMP, TCP, UDP
from netloom.explain.walk.hosts import World
from netloom.explain.walk.walk import Outside, Walker
from tests.support import worlds

SERVICES = ((ICMP, 0), (TCP, 22), (TCP, 80), (UDP, 53))


def outcomes(world: worlds.World, backends: tuple[str, ...]) -> dict[tuple[str, ...], bool]:
    """Who is reached from where, on hosts that have these backends in turn."""
    for number, (name, facts) in enumerate(sorted(world.hosts.items())):
        backend = backends[number % len(backends)]
        world.hosts[name] = replace(facts, backend=backend)  # type: ignore[arg-type]
    seen = World.of(world.views())
    ends = {name: end for name, end in seen.endpoints.items() if end.networks}
    addresses = {address for end in ends.values() for address in end.addresses}
    addresses |= {
        ip.ip for host in seen.hosts.values() for d in host.devices.values() for ip in d.addresses
    }
    addresses |= {
        nat.external for h in seen.hosts.values() for n in h.floating.values() for nat in n
    }
    addresses |= {"198.51.100.10", "10.0.0.99"}
    found: dict[tuple[str, ...], bool] = {}
    for (name, end), address, (proto, port) in product(ends.items(), sorted(addresses), SERVICES):
        walk = Walker(seen).exchange(end, address, proto=proto, port=port)
        found[name, address, str(proto), str(port)] = walk.reachable
    outside = Outside("public", 0, "203.0.113.1")
    for address, (proto, port) in product(sorted(addresses), SERVICES):
        walk = Walker(seen).exchange(outside, address, proto=proto, port=port)
        found["outside", address, str(proto), str(port)] = walk.reachable
    return found


@pytest.mark.parametrize("scenario", worlds.PLAIN, ids=lambda scenario: scenario.__name__)
def test_backends_agree(scenario) -> None:
    with_switches = outcomes(scenario(), ("ovs",))
    assert any(with_switches.values()) and not all(with_switches.values())
    for backends in (("linuxbridge",), ("linuxbridge", "ovs"), ("ovs", "linuxbridge")):
        found = outcomes(scenario(), backends)
        assert {k: v for k, v in found.items() if with_switches[k] != v} == {}, backends
