"""From the words a person types to the two ends of a packet's way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from netloom.explain.cloud import Cloud
from netloom.model.errors import UserError
from netloom.model.names import METADATA_ADDRESS, OWNER_DHCP, OWNER_FLOATING_IP
from netloom.model.networking import FloatingIP, Network, Port
from netloom.plan.index import ROUTER_OWNERS

OUTSIDE = "outside"
SOMEWHERE = "192.0.2.1"
"""Stands for «any address of the Internet» (reserved for documentation, RFC 5737)."""


@dataclass(frozen=True)
class Spot:
    """One end: an address, and the port or floating IP that it belongs to; neither: it is outside."""

    word: str
    address: str
    port: Port | None = None
    floatingip: FloatingIP | None = None

    @property
    def outside(self) -> bool:
        """Whether nothing of ours has the address."""
        return self.port is None and self.floatingip is None


def candidates(cloud: Cloud, word: str) -> list[Spot]:
    """Everything that a word may mean. Raises UserError where it means nothing."""
    if word == OUTSIDE:
        return [Spot(word, SOMEWHERE)]
    try:
        address = str(ipaddress.IPv4Address(word))
    except ValueError:
        return _named(cloud, word)
    return list(_at(cloud, word, address)) or [Spot(word, address)]


def _at(cloud: Cloud, word: str, address: str) -> Iterator[Spot]:
    for _, fip in sorted(cloud.floatingips.items()):
        if fip.floating_ip_address == address:
            yield Spot(word, address, cloud.ports.get(fip.port_id or ""), fip)
    for _, port in sorted(cloud.ports.items()):
        holds = any(fixed.ip_address == address for fixed in port.fixed_ips)
        if holds and port.device_owner != OWNER_FLOATING_IP:
            yield Spot(word, address, port)


def _named(cloud: Cloud, word: str) -> list[Spot]:
    servers = [s for _, s in sorted(cloud.servers.items()) if word in (s.id, s.name)]
    if len(servers) > 1 and not any(server.id == word for server in servers):
        ids = ", ".join(server.id for server in servers)
        raise UserError(f"several instances are called {word}: say which by id ({ids})")
    ports: list[Port] = []
    for server in servers[:1]:
        ports = [cloud.ports[port_id] for port_id in server.port_ids if port_id in cloud.ports]
        ports += [p for _, p in sorted(cloud.ports.items()) if p.device_id == server.id and p not in ports]
        if not ports:
            raise UserError(f"instance {word} has no port: give it one (openstack server add port)")
    if not servers:
        ports = [p for _, p in sorted(cloud.ports.items()) if word in (p.id, p.name) and word]
        if len(ports) > 1 and not any(port.id == word for port in ports):
            ids = ", ".join(port.id for port in ports)
            raise UserError(f"several ports are called {word}: say which by id ({ids})")
    if not ports:
        raise UserError(f"there is no instance, port or address {word}")
    spots = [
        Spot(word, fixed.ip_address, port)
        for port in ports
        for fixed in port.fixed_ips
        if ":" not in fixed.ip_address
    ]
    if not spots:
        raise UserError(f"{word} has no IPv4 address")
    return spots


def network_of(cloud: Cloud, spot: Spot) -> Network | None:
    """The network that a spot's address is on; None for outside."""
    if spot.floatingip is not None:
        return cloud.networks.get(spot.floatingip.floating_network_id)
    return cloud.networks.get(spot.port.network_id) if spot.port else None


def ends(cloud: Cloud, source: str, destination: str) -> tuple[Spot, Spot]:
    """The pair of ends that is meant: two on one network before any other.

    From outside, an instance is reached by its floating IP where it has one. Raises UserError.
    """
    starts, targets = candidates(cloud, source), candidates(cloud, destination)
    if destination == METADATA_ADDRESS:
        targets = [Spot(destination, METADATA_ADDRESS)]
    starts = [_sender(spot) for spot in starts]
    if starts[0].outside:
        if targets[0].outside:
            raise UserError(f"{source} and {destination} are both outside: this cloud is not between them")
        return starts[0], _from_outside(cloud, targets)
    for start in starts:
        for target in targets:
            if target.port and start.port and target.port.network_id == start.port.network_id:
                return start, target
    return starts[0], targets[0]


def _sender(spot: Spot) -> Spot:
    """A source must be something that sends by itself."""
    if spot.port is None and spot.floatingip is not None:
        raise UserError(f"floating IP {spot.address} is associated with no port, so nobody sends from it")
    if spot.port is not None and (
        spot.port.device_owner in ROUTER_OWNERS or spot.port.device_owner == OWNER_DHCP
    ):
        raise UserError(
            f"{spot.word} belongs to a router or DHCP: name an instance, a port or an address outside"
        )
    if spot.floatingip is not None and spot.port is not None:
        fixed = spot.floatingip.fixed_ip_address or spot.port.fixed_ips[0].ip_address
        return Spot(spot.word, fixed, spot.port)
    return spot


def _from_outside(cloud: Cloud, targets: list[Spot]) -> Spot:
    if targets[0].floatingip is not None:
        return targets[0]
    for target in targets:
        network = network_of(cloud, target)
        if network is not None and network.physical_network:
            return target
    ports = {target.port.id for target in targets if target.port}
    for _, fip in sorted(cloud.floatingips.items()):
        if fip.port_id in ports:
            return Spot(targets[0].word, fip.floating_ip_address, cloud.ports.get(fip.port_id or ""), fip)
    return targets[0]
