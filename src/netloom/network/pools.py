"""Arithmetic of ranges of addresses: allocation pools, gateways, overlaps. Pure, of either family."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import pairwise
from typing import Any

import netaddr
from neutron_lib import exceptions as lib

from netloom.model import AllocationPool

IPNetwork = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address

Range = tuple[int, int]
"""First and last address, both included, as numbers."""


def bounds(network: IPNetwork) -> Range:
    """Return the addresses that pools may hold.

    Of IPv4 all but the network's own and broadcast, from /30 up; of IPv6 all but the network's own, which is every router's.
    """
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 6:
        return min(first + 1, last), last
    return (first + 1, last - 1) if network.prefixlen <= 30 else (first, last)


def default_gateway(network: IPNetwork) -> str:
    """Return the gateway of a subnet whose creator named none: the address after the network's; of IPv6 that one itself."""
    first = network.network_address
    return str(first if network.version == 6 else first + 1)


def is_reserved(network: IPNetwork, address: IPAddress) -> bool:
    """Tell whether an address is none that a gateway may have: the network's own or its broadcast address, of IPv4."""
    return network.version == 4 and address in (network.network_address, network.broadcast_address)


def default_pools(network: IPNetwork, gateway: str | None) -> tuple[AllocationPool, ...]:
    """Return all addresses that ports may have, without the gateway: one pool, or two around it."""
    first, last = bounds(network)
    if gateway is None or network.num_addresses == 1:
        return _pools(network, [(first, last)])
    hole = int(ip_address(gateway))
    if not first <= hole <= last:
        return _pools(network, [(first, last)])
    around = ((first, hole - 1), (hole + 1, last))
    return _pools(network, [part for part in around if part[0] <= part[1]])


def check_pools(network: IPNetwork, asked: Sequence[Any]) -> tuple[AllocationPool, ...]:
    """Return the pools that a client asked for, in order; raises what Neutron raises for wrong ones."""
    ranges: list[netaddr.IPRange] = []
    for pool in asked:
        try:
            ranges.append(netaddr.IPRange(pool["start"], pool["end"]))
        except netaddr.AddrFormatError:
            raise lib.InvalidAllocationPool(pool=pool) from None
    ranges.sort()
    first, last = bounds(network)
    for pool in ranges:
        if pool.version != network.version:
            raise lib.InvalidAllocationPool(pool=pool)
        if pool.first < first or pool.last > last:
            raise lib.OutOfBoundsAllocationPool(pool=pool, subnet_cidr=network)
    for one, other in pairwise(ranges):
        if other.first <= one.last:
            raise lib.OverlappingAllocationPools(pool_1=one, pool_2=other, subnet_cidr=network)
    return _pools(network, [(pool.first, pool.last) for pool in ranges])


def check_gateway_outside(gateway: str, pools: Sequence[AllocationPool]) -> None:
    """Refuse a gateway that a pool would give to a port."""
    address = int(ip_address(gateway))
    for pool in pools:
        if int(ip_address(pool.start)) <= address <= int(ip_address(pool.end)):
            raise lib.GatewayConflictWithAllocationPools(
                pool=f"{pool.start}-{pool.end}", ip_address=gateway
            )


def _pools(network: IPNetwork, ranges: Sequence[Range]) -> tuple[AllocationPool, ...]:
    of = IPv4Address if network.version == 4 else IPv6Address
    return tuple(AllocationPool(str(of(first)), str(of(last))) for first, last in ranges)
