"""«outside» is any address: which ones to try, so that an answer holds for all of them or says on what it depends."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from netloom.explain.answer import beyond
from netloom.explain.answer.asked import Asked
from netloom.explain.answer.resolve import SOMEWHERE, Spot, may_take, network_of
from netloom.explain.cloud import Cloud
from netloom.model.networking import Port

MOST = 8
"""How many addresses are tried: rules rarely name more prefixes outside."""

PRIVATE = tuple(
    ipaddress.IPv4Network(cidr)
    for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
)


def variants(cloud: Cloud, asked: Asked) -> list[Asked]:
    """Every question that is meant: each address that «outside» stands for, each port that may have a virtual address."""
    starts = _once(_variants(cloud, asked.start, asked.target, "ingress"))
    targets = _once(_variants(cloud, asked.target, asked.start, "egress"))
    found = [
        replace(asked, start=start, target=target)
        for start in starts
        for target in targets
        if start.port is None or start.port is not target.port or target.floatingip
    ]
    return found[:MOST] or [asked]


def _once(spots: Iterator[Spot]) -> list[Spot]:
    found: dict[tuple[str, str], Spot] = {}
    for spot in spots:
        found.setdefault((spot.address, spot.port.id if spot.port else ""), spot)
    return list(found.values())


def _variants(cloud: Cloud, spot: Spot, other: Spot, direction: str) -> Iterator[Spot]:
    if spot.anywhere:
        near = _neighbour(cloud, other) if direction == "ingress" else None
        for address in (near, SOMEWHERE, *_named(cloud, other.port, direction)):
            if address is not None:
                yield replace(spot, address=address)
        return
    yield spot
    if spot.pair and spot.port is not None:
        for port in cloud.ports_of_network(spot.port.network_id):
            if port.host and may_take(port, spot.inside):
                yield replace(spot, port=port)


def _named(cloud: Cloud, port: Port | None, direction: str) -> Iterator[str]:
    """An address outside for each prefix that the rules of a port's groups name."""
    groups = set(port.security_groups) if port is not None else set[str]()
    rules = (rule for rule in cloud.rules.values() if rule.security_group_id in groups)
    for rule in sorted(rules, key=lambda rule: rule.id):
        if (
            rule.direction == direction
            and rule.remote_ip_prefix
            and ":" not in rule.remote_ip_prefix
        ):
            prefix = ipaddress.IPv4Network(rule.remote_ip_prefix, strict=False)
            address = _outside(cloud, prefix) if prefix.prefixlen else None
            if address is not None:
                yield address


def _outside(cloud: Cloud, prefix: ipaddress.IPv4Network) -> str | None:
    """An address of a prefix that a machine outside may have; None where it is the cloud's own or private."""
    private, wires = [], []
    for subnet in cloud.subnets.values():
        network = cloud.networks.get(subnet.network_id)
        if network is not None and subnet.ip_version == 4:
            side = wires if network.physical_network else private
            side.append(ipaddress.IPv4Network(subnet.cidr))
    if any(prefix.overlaps(own) for own in private):
        return None
    if any(prefix.subnet_of(own) for own in PRIVATE) and not any(prefix.overlaps(w) for w in wires):
        return None
    taken = {fixed.ip_address for port in cloud.ports.values() for fixed in port.fixed_ips}
    first = int(prefix.network_address) + (1 if prefix.prefixlen < 31 else 0)
    for number in range(first, min(first + 256, int(prefix.broadcast_address) + 1)):
        if (address := str(ipaddress.IPv4Address(number))) not in taken:
            return address
    return None


def _neighbour(cloud: Cloud, target: Spot) -> str | None:
    """The gateway of the subnet by which outside reaches the target: a machine that surely could ask."""
    network, address = network_of(cloud, target), target.address
    if network is not None and not network.physical_network:
        known = beyond.behind_router(beyond.ranges(cloud), address)
        router = cloud.routers.get(known.router_id) if known else None
        if known is None or router is None or router.external_gateway_info is None:
            return None
        network, address = cloud.networks.get(router.external_gateway_info.network_id), known.via
    for subnet in cloud.subnets.values():
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)
        if network and subnet.network_id == network.id and inside:
            return subnet.gateway_ip
    return None
