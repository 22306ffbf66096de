"""From the words a person types to the two ends of a packet's way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from netloom.explain.cloud import Cloud
from netloom.model.errors import UserError
from netloom.model.names import METADATA_ADDRESS, OWNER_FLOATING_IP, SERVICE_OWNERS
from netloom.model.networking import (
    FloatingIP,
    Network,
    Port,
    PortForwarding,
    Router,
    SecurityGroup,
    Subnet,
)
from netloom.model.origin import Origin
from netloom.model.port_ranges import led_to

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
    forwarding: PortForwarding | None = None
    """Of a floating IP that forwards single ports: what it does with the port that is asked for."""
    pair: bool = False
    """The address is the port's by an allowed address pair only: the instance may or may not have taken it."""

    @property
    def anywhere(self) -> bool:
        """Whether it stands for any address outside."""
        return self.word == OUTSIDE

    @property
    def inside(self) -> str:
        """The address that the instance itself has: behind a floating IP the fixed one."""
        if self.forwarding is not None:
            return self.forwarding.internal_ip_address
        return (self.floatingip and self.floatingip.fixed_ip_address) or self.address

    @property
    def outside(self) -> bool:
        """Whether nothing of ours has the address."""
        return self.port is None and self.floatingip is None


def candidates(cloud: Cloud, word: str) -> list[Spot]:
    """Everything that a word may mean. Raises UserError where it means nothing."""
    if word == OUTSIDE:
        return [Spot(word, SOMEWHERE)]
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        return [spot for found in _named(cloud, word) for spot in holders(cloud, found)]
    if address.version == 6:
        raise UserError(f"{word} is an IPv6 address: explain follows IPv4 packets only")
    if (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or int(address) == 0xFFFFFFFF
    ):
        raise UserError(f"{word} is no address of one machine")
    found = [spot for at in _at(cloud, word, str(address)) for spot in holders(cloud, at)]
    return found or [Spot(word, str(address))]


def _at(cloud: Cloud, word: str, address: str) -> Iterator[Spot]:
    """Who has an address: floating IPs, ports, and ports that may take it by an allowed address pair."""
    for _, fip in sorted(cloud.floatingips.items()):
        if fip.floating_ip_address == address:
            yield Spot(word, address, cloud.ports.get(fip.port_id or ""), fip)
    fixed = [
        Spot(word, address, port)
        for port in cloud.ports_with(address)
        if port.device_owner != OWNER_FLOATING_IP
    ]
    yield from fixed
    # A port of the network that has the address itself comes before those that may share it.
    taken = {spot.port.network_id for spot in fixed if spot.port}
    for port in cloud.ports_where(lambda port: bool(port.allowed_address_pairs)):
        if port.network_id not in taken and may_take(port, address):
            exact = any(
                p.ip_address.removesuffix("/32") == address for p in port.allowed_address_pairs
            )
            # A range that a port may use (all of 0.0.0.0/0, where it forwards) is no claim to what lies elsewhere.
            if exact or _is_near(cloud, port, address):
                yield Spot(word, address, port, pair=True)


def _is_near(cloud: Cloud, port: Port, address: str) -> bool:
    """Whether an address is in a subnet of the port, and not that subnet's gateway."""
    for fixed in port.fixed_ips:
        subnet = cloud.subnets.get(fixed.subnet_id)
        if subnet is None or subnet.ip_version != 4 or subnet.gateway_ip == address:
            continue
        if ipaddress.IPv4Address(address) in ipaddress.IPv4Network(subnet.cidr):
            return True
    return False


def may_take(port: Port, address: str) -> bool:
    """Whether an allowed address pair lets a port use an address."""
    return any(
        ":" not in pair.ip_address
        and ipaddress.IPv4Address(address) in ipaddress.IPv4Network(pair.ip_address, strict=False)
        for pair in port.allowed_address_pairs
    )


def holders(cloud: Cloud, spot: Spot) -> list[Spot]:
    """Whoever has a virtual address: a port that no instance has keeps it, others may take it by an address pair.

    A spot of any other kind is given back as it is.
    """
    port = spot.port
    if port is None or port.host or port.device_owner.startswith("network:"):
        return [spot]
    found = [
        replace(spot, port=other, pair=True)
        for other in cloud.ports_of_network(port.network_id)
        if other is not port and other.host and may_take(other, spot.inside)
    ]
    return found or [spot]


def _unchecked(cloud: Cloud, word: str, address: str) -> Iterator[Spot]:
    """Ports whose addresses nobody checks: an instance there may have any address of its subnet."""
    for port in cloud.ports_where(lambda port: not port.port_security_enabled):
        owned = port.device_owner in SERVICE_OWNERS
        if owned or not port.host:
            continue
        if _is_near(cloud, port, address):
            yield Spot(word, address, port, pair=True)


def _named(cloud: Cloud, word: str) -> list[Spot]:
    servers = [s for s in cloud.servers.values() if word in (s.id, s.name)]
    servers.sort(key=lambda server: server.id)
    if len(servers) > 1 and not any(server.id == word for server in servers):
        ids = ", ".join(server.id for server in servers)
        raise UserError(f"several instances are called {word}: say which by id ({ids})")
    ports: list[Port] = []
    for server in servers[:1]:
        ports = [cloud.ports[port_id] for port_id in server.port_ids if port_id in cloud.ports]
        if not ports:
            raise UserError(
                f"instance {word} has no port: an instance gets its ports when it is made"
            )
    if not servers:
        ports = cloud.ports_named(word)
        if len(ports) > 1 and not any(port.id == word for port in ports):
            ids = ", ".join(port.id for port in ports)
            raise UserError(f"several ports are called {word}: say which by id ({ids})")
    if not ports:
        raise UserError(f"there is no instance, port or address {word}{_other(cloud, word)}")
    spots = [
        Spot(word, fixed.ip_address, port)
        for port in ports
        for fixed in port.fixed_ips
        if ":" not in fixed.ip_address
    ]
    if not spots:
        raise UserError(f"{word} has no IPv4 address")
    return spots


def _other(cloud: Cloud, word: str) -> str:
    """What else a word names."""
    for kind in (Network.KIND, Subnet.KIND, Router.KIND, SecurityGroup.KIND):
        for thing in cloud.objects.get(kind, {}).values():
            if word in (thing.id, thing.name) and word:
                return f": it is a {kind.replace('_', ' ')}; name an instance, a port or an address"
    return ""


def network_of(cloud: Cloud, spot: Spot) -> Network | None:
    """The network that a spot's address is on; None for outside."""
    if spot.floatingip is not None:
        return cloud.networks.get(spot.floatingip.floating_network_id)
    return cloud.networks.get(spot.port.network_id) if spot.port else None


def ends(cloud: Cloud, source: str, destination: str) -> tuple[Spot, Spot]:
    """The pair of ends that is meant: two on one network before any other, then two that routers join.

    From outside, an instance is reached by its floating IP where it has one. Raises UserError.
    """
    starts, targets = candidates(cloud, source), candidates(cloud, destination)
    if starts[0].outside and not starts[0].anywhere:
        starts = list(_unchecked(cloud, source, starts[0].address)) or starts
    if destination == METADATA_ADDRESS:
        targets = [Spot(destination, METADATA_ADDRESS)]
    starts = [_sender(spot) for spot in starts]
    if starts[0].outside:
        if targets[0].outside:
            raise UserError(_both_outside(cloud, starts[0], targets[0]))
        subnet = subnet_around(cloud, starts[0].address) if source != OUTSIDE else None
        if subnet is not None:
            named = cloud.name(Origin.of(subnet))
            raise UserError(
                f"nobody has the address {source} of {named}; for a machine outside, say {OUTSIDE}"
            )
        return starts[0], _from_outside(cloud, targets)
    joined = _joined(cloud)
    # An instance that may take a virtual address asks for it when another one has it.
    pairs = [(start, target) for start in starts for target in targets]
    apart = [(s, t) for s, t in pairs if s.port is not t.port or not (s.pair or t.pair)]
    ranked = sorted(
        ((_distance(start, target, joined), start, target) for start, target in apart or pairs),
        key=lambda pair: pair[0],
    )
    best = [(start, target) for far, start, target in ranked if far == ranked[0][0]]
    start, target = best[0]
    _must_be_one(cloud, start, [start for start, _ in best])
    _must_be_one(cloud, target, [target for _, target in best])
    if start.port is target.port and target.floatingip is None:
        raise UserError(
            f"{source} and {destination} are the same port: no packet leaves the instance"
        )
    return start, target


def _distance(start: Spot, target: Spot, joined: Mapping[str, int]) -> int:
    """0 on one network, 1 where routers join the networks, 2 in one project, else 3."""
    if start.port is None or target.port is None:
        return 3
    near, far = start.port, target.port
    if near.network_id == far.network_id:
        return 0
    if joined.get(near.network_id, -1) == joined.get(far.network_id, -2):
        return 1
    return 2 if near.project_id == far.project_id else 3


def _joined(cloud: Cloud) -> dict[str, int]:
    """Network id → a number that all networks share between which routers have interfaces."""
    numbers: dict[str, int] = {}
    for number, router in enumerate(sorted(cloud.routers)):
        mine = {port.network_id for port in cloud.interfaces(router)}
        merged = {numbers[network] for network in mine if network in numbers}
        mine |= {network for network, old in numbers.items() if old in merged}
        numbers |= dict.fromkeys(mine, number)
    return numbers


def _must_be_one(cloud: Cloud, chosen: Spot, spots: list[Spot]) -> None:
    """An address that several ports have, none of them nearer, must be named otherwise. Raises UserError."""
    if chosen.word != chosen.address or chosen.pair:
        return
    ports = {spot.port.id: spot.port for spot in spots if spot.port}
    if len(ports) > 1:
        known = ", ".join(
            f"{ident} on {cloud.name(Origin(Network.KIND, port.network_id))}"
            for ident, port in ports.items()
        )
        raise UserError(f"several ports have the address {chosen.word}: say which by id ({known})")


def _both_outside(cloud: Cloud, start: Spot, target: Spot) -> str:
    for spot in (start, target):
        subnet = subnet_around(cloud, spot.address, wires=True) if spot.word != OUTSIDE else None
        network = cloud.networks[subnet.network_id] if subnet else None
        # The gateway of a physical network is a machine outside.
        if (
            subnet
            and network
            and not (network.physical_network and subnet.gateway_ip == spot.address)
        ):
            return f"nobody has the address {spot.word} of {cloud.name(Origin.of(subnet))}"
    return f"{start.word} and {target.word} are both outside: this cloud is not between them"


def led_on(cloud: Cloud, spot: Spot, protocol: str, port: int | None) -> Spot:
    """The end of a packet to a floating IP that forwards single ports: behind one of them, or the router itself for a ping.

    Any other spot is given back as it is.
    """
    fip = spot.floatingip
    forwardings = cloud.forwardings_of.get(fip.id, []) if fip and spot.port is None else []
    for each in forwardings:
        if each.protocol == protocol and port and led_to(port, each.external, each.internal):
            return replace(spot, port=cloud.ports.get(each.internal_port_id), forwarding=each)
    if forwardings and protocol == "icmp":
        router = cloud.routers.get(forwardings[0].router_id)
        gateway = cloud.ports.get((router.gw_port_id if router else None) or "")
        return replace(spot, port=gateway, floatingip=None)
    return spot


def inside_port(spot: Spot, port: int | None) -> int | None:
    """The port that an end itself sees where `port` is asked for."""
    if spot.forwarding is None or port is None:
        return port
    return led_to(port, spot.forwarding.external, spot.forwarding.internal)


def subnet_around(cloud: Cloud, address: str, *, wires: bool = False) -> Subnet | None:
    """A subnet whose range an address lies in; those on physical networks only with `wires`."""
    for _, subnet in sorted(cloud.subnets.items()):
        network = cloud.networks.get(subnet.network_id)
        if network is None or (network.physical_network and not wires) or subnet.ip_version != 4:
            continue
        if ipaddress.IPv4Address(address) in ipaddress.IPv4Network(subnet.cidr):
            return subnet
    return None


def _sender(spot: Spot) -> Spot:
    """A source must be something that sends by itself."""
    if spot.port is None and spot.floatingip is not None:
        raise UserError(
            f"floating IP {spot.address} is associated with no port, so nobody sends from it"
        )
    if spot.port is not None and spot.port.device_owner in SERVICE_OWNERS:
        raise UserError(
            f"{spot.word} belongs to a router or DHCP: name an instance, a port or an address outside"
        )
    if spot.floatingip is not None and spot.port is not None:
        fixed = spot.floatingip.fixed_ip_address or spot.port.fixed_ips[0].ip_address
        return replace(spot, address=fixed, floatingip=None)
    return spot


def _from_outside(cloud: Cloud, targets: list[Spot]) -> Spot:
    """What a word means outside: an address by that very address, an instance by its floating IP."""
    for target in targets:
        network = network_of(cloud, target)
        if network is not None and network.physical_network:
            return target
    if targets[0].word == targets[0].address:
        _must_be_one(cloud, targets[0], targets)
        return targets[0]
    for _, fip in sorted(cloud.floatingips.items()):
        owner = cloud.ports.get(fip.port_id or "")
        if owner is not None and any(_leads_to(fip, owner, target) for target in targets):
            return holders(cloud, Spot(targets[0].word, fip.floating_ip_address, owner, fip))[0]
    return targets[0]


def _leads_to(fip: FloatingIP, owner: Port, target: Spot) -> bool:
    """Whether a floating IP, whose port is `owner`, leads to a spot: its port, or the virtual address that it may take."""
    if target.port is None:
        return False
    shared = target.pair and owner.network_id == target.port.network_id
    return owner.id == target.port.id or (shared and fip.fixed_ip_address == target.inside)
