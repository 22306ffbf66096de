"""Allocation of addresses: which a port gets, and the claim that makes it its own.

An address is a claim `ip:<network id>` → address, owned by the port. Addresses come at random from the
pools, as Neutron's do; those of DHCP ports are the lowest free; those of SLAAC are made from MAC addresses. A pool is
never listed: a few random tries come first, then the free gaps are counted from the claims.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from msgspec import Struct
from neutron_lib import constants
from neutron_lib import exceptions as lib

from netloom.contract.errors import HTTPBadRequest
from netloom.contract.port_errors import AllocationOnAutoAddressSubnet, IpAddressAlreadyAllocated
from netloom.model import FixedIP, Subnet
from netloom.model.names import INTERFACE_OWNERS
from netloom.network import slaac
from netloom.store import Claimed, Writer

TRIES = 8
"""Random tries before the free addresses are counted: enough for pools that are up to two thirds full."""

Range = tuple[int, int]


class PortFacts(Struct, frozen=True):
    """What of a port decides on its addresses. `held`: those that it has."""

    owner: str = ""
    mac_address: str = ""
    held: frozenset[str] = frozenset()


ANY_PORT = PortFacts()
"""Of a user, who asks for addresses of pools."""


class Wish(Struct, frozen=True):
    """One entry of `fixed_ips` as asked for: of these subnets (the first that has one), maybe this address."""

    subnets: tuple[Subnet, ...]
    address: str | None = None


def scope(network_id: str) -> str:
    """Scope of the claims of a network's addresses."""
    return f"ip:{network_id}"


def inside(subnet: Subnet, address: str, owner: str = "") -> bool:
    """True for an address that a port of this owner may have: in the CIDR, not its network or broadcast.

    An IPv6 network's own address is that of its routers (RFC 4291, 2.6.1), so they may have it.
    """
    cidr, value = ip_network(subnet.cidr), ip_address(address)
    if value.version != cidr.version or value not in cidr:
        return False
    if cidr.version == 6:
        return value != cidr.network_address or not owner or owner in constants.ROUTER_PORT_OWNERS
    return cidr.prefixlen >= 31 or value not in (cidr.network_address, cidr.broadcast_address)


def ranges(subnet: Subnet) -> list[Range]:
    """Return the allocation pools as numbers, both ends included."""
    return [(int(ip_address(p.start)), int(ip_address(p.end))) for p in subnet.allocation_pools]


def gaps(pools: Iterable[Range], taken: Iterable[int]) -> list[Range]:
    """Return what of the pools is free, as ranges in order; costs as much as there are taken addresses."""
    used = sorted(set(taken))
    free: list[Range] = []
    for start, end in sorted(pools):
        low = start
        for number in used:
            if number < low:
                continue
            if number > end:
                break
            if number > low:
                free.append((low, number - 1))
            low = number + 1
        if low <= end:
            free.append((low, end))
    return free


def pick(free: Sequence[Range], index: int) -> int:
    """Return the address number `index` of the ranges put one after the other."""
    for start, end in free:
        size = end - start + 1
        if index < size:
            return start + index
        index -= size
    raise IndexError(index)


def size(free: Iterable[Range]) -> int:
    """Return how many addresses the ranges hold."""
    return sum(end - start + 1 for start, end in free)


def _text(subnet: Subnet, number: int) -> str:
    return str(IPv4Address(number) if subnet.ip_version == 4 else IPv6Address(number))


def claim(w: Writer, network_id: str, subnet: Subnet, address: str, owner: str) -> FixedIP:
    """Take this very address; raises IpAddressAlreadyAllocated."""
    address = str(ip_address(address))
    try:
        w.claim(scope(network_id), address, owner)
    except Claimed:
        raise IpAddressAlreadyAllocated(ip=address, subnet_id=subnet.id) from None
    return FixedIP(subnet.id, address)


def take_any(
    w: Writer, network_id: str, subnet: Subnet, owner: str, *, lowest: bool = False
) -> FixedIP | None:
    """Take an address of the subnet's pools, at random or the lowest free one; None where all are taken."""
    pools = ranges(subnet)
    total = size(pools)
    if not total:
        return None
    where = scope(network_id)
    for _ in range(0 if lowest else TRIES):
        address = _text(subnet, pick(pools, random.randrange(total)))
        try:
            w.claim(where, address, owner)
        except Claimed:
            continue
        return FixedIP(subnet.id, address)
    version = 4 if subnet.ip_version == 4 else 6
    taken = (ip_address(key) for key in w.claims(where))
    free = gaps(pools, (int(address) for address in taken if address.version == version))
    if not free:
        return None
    number = pick(free, 0 if lowest else random.randrange(size(free)))
    return claim(w, network_id, subnet, _text(subnet, number), owner)


def wishes(
    network_id: str,
    subnets: Sequence[Subnet],
    asked: Sequence[Any] | None,
    known: Iterable[str] = (),
    port: PortFacts = ANY_PORT,
) -> list[Wish]:
    """Turn `fixed_ips` of a request into wishes; None (not given) asks for one address of each IP version.

    What a port gets by itself (`automatic`) is not among them. `subnets` are the network's; `known` are ids of subnets of
    other networks that exist, so that naming one of those is InvalidInput where an unknown one is SubnetNotFound. Raises
    the API's errors; claims nothing.
    """
    if asked is None:
        pooled = [s for s in subnets if not slaac.is_automatic(s)]
        by_version = [tuple(s for s in pooled if s.ip_version == v) for v in (4, 6)]
        return [Wish(of_version) for of_version in by_version if of_version]
    if asked and not subnets:
        raise lib.InvalidInput(error_message="IP allocation requires subnets for network")
    by_id = {s.id: s for s in subnets}
    found: list[Wish] = []
    seen: set[str] = set()
    for entry in asked:
        subnet_id, address = entry.get("subnet_id"), entry.get("ip_address")
        if not subnet_id and not address:
            raise lib.InvalidInput(error_message="IP allocation requires subnet_id or ip_address")
        if address:
            address = str(ip_address(address))
            if address in seen:
                raise HTTPBadRequest(
                    f"Invalid input for fixed_ips. Reason: Duplicate IP address '{address}'."
                )
            seen.add(address)
        if subnet_id:
            subnet = _named(network_id, by_id, subnet_id, set(known))
        else:
            subnet = _containing(subnets, str(address), port.owner)
        if address and not inside(subnet, address, port.owner):
            raise lib.InvalidIpForSubnet(ip_address=address)
        if slaac.is_automatic(subnet):
            if address is None and port.owner not in slaac.WITHOUT:
                continue
            if address is not None and not _may_have(subnet, address, port):
                raise AllocationOnAutoAddressSubnet(ip=address, subnet_id=subnet.id)
        found.append(Wish((subnet,), address))
    return found


def _may_have(subnet: Subnet, address: str, port: PortFacts) -> bool:
    """Tell whether a port may have this address in a subnet whose addresses are made from MAC addresses."""
    if port.owner in INTERFACE_OWNERS or address in port.held:
        return True
    return address == slaac.address(subnet, port.mac_address)


def automatic(
    subnets: Iterable[Subnet], port: PortFacts, without: Container[str] = ()
) -> list[Wish]:
    """Return the addresses that a port has by itself, whatever is asked: one of each prefix that is announced to it.

    `without`: ids of subnets in which it has one.
    """
    if port.owner in slaac.WITHOUT:
        return []
    return [
        Wish((subnet,), slaac.address(subnet, port.mac_address))
        for subnet in subnets
        if slaac.is_automatic(subnet) and subnet.id not in without
    ]


def _named(network_id: str, by_id: dict[str, Subnet], subnet_id: str, known: set[str]) -> Subnet:
    if subnet_id in by_id:
        return by_id[subnet_id]
    if subnet_id not in known:
        raise lib.SubnetNotFound(subnet_id=subnet_id)
    raise lib.InvalidInput(
        error_message=(
            f"Failed to create port on network {network_id}, "
            f"because fixed_ips included invalid subnet {subnet_id}"
        )
    )


def _containing(subnets: Sequence[Subnet], address: str, owner: str) -> Subnet:
    for subnet in subnets:
        if inside(subnet, address, owner):
            return subnet
    raise lib.InvalidIpForNetwork(ip_address=address)


def keep(old: Sequence[FixedIP], wanted: Sequence[Wish]) -> tuple[list[FixedIP], list[Wish]]:
    """Match wishes with the addresses that a port has: those that it keeps, and the wishes that remain.

    An address that is named is matched first; then a wish for any address of a subnet keeps one there.
    """
    left = {fixed.ip_address: fixed for fixed in old}
    kept: list[FixedIP] = []
    rest: list[Wish] = []
    for wish in wanted:
        if wish.address is not None and wish.address in left:
            kept.append(left.pop(wish.address))
        else:
            rest.append(wish)
    remaining: list[Wish] = []
    for wish in rest:
        of_subnet = [f for f in left.values() if f.subnet_id in {s.id for s in wish.subnets}]
        if wish.address is None and of_subnet:
            # Neutron takes the last in the order of addresses; so does a client that compares.
            last = left.pop(of_subnet[-1].ip_address)
            # As in Neutron: what looks like an address of another prefix is given anew.
            (remaining.append(wish) if slaac.is_derived(last.ip_address) else kept.append(last))
        else:
            remaining.append(wish)
    return kept, remaining


def allocate(
    w: Writer, network_id: str, wanted: Sequence[Wish], owner: str, *, lowest: bool = False
) -> list[FixedIP]:
    """Claim what is wished for. Raises IpAddressAlreadyAllocated or IpAddressGenerationFailure."""
    got: list[FixedIP] = []
    # Named addresses first: a random one must not take what the same request names.
    for wish in sorted(wanted, key=lambda wish: wish.address is None):
        if wish.address is not None:
            got.append(claim(w, network_id, wish.subnets[0], wish.address, owner))
            continue
        for subnet in wish.subnets:
            fixed = take_any(w, network_id, subnet, owner, lowest=lowest)
            if fixed is not None:
                got.append(fixed)
                break
        else:
            raise lib.IpAddressGenerationFailure(net_id=network_id)
    return got


def release(w: Writer, network_id: str, addresses: Iterable[FixedIP]) -> None:
    """Give addresses back."""
    for fixed in addresses:
        w.release(scope(network_id), fixed.ip_address)


def ordered(addresses: Iterable[FixedIP]) -> tuple[FixedIP, ...]:
    """Return addresses as the API lists them: by their text."""
    return tuple(sorted(addresses, key=lambda fixed: fixed.ip_address))
