"""Arithmetic of IPv4 ranges: allocation pools, gateways, overlaps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Any

import netaddr
from neutron_lib import exceptions as lib

from netloom.model import AllocationPool

Range = tuple[int, int]
"""First and last address, both included, as numbers."""


def bounds(network: IPv4Network) -> Range:
    """Return the addresses that ports may have: all but the network's own and broadcast, from /30 up."""
    first, last = int(network.network_address), int(network.broadcast_address)
    return (first + 1, last - 1) if network.prefixlen <= 30 else (first, last)


def default_gateway(network: IPv4Network) -> str:
    """Return the gateway of a subnet whose creator named none: the address after the network's."""
    return str(IPv4Address(int(network.network_address) + 1))


def is_reserved(network: IPv4Network, address: IPv4Address) -> bool:
    """Tell whether an address is the network's own or its broadcast address."""
    return address in (network.network_address, network.broadcast_address)


def default_pools(network: IPv4Network, gateway: str | None) -> tuple[AllocationPool, ...]:
    """Return all addresses that ports may have, without the gateway: one pool, or two around it."""
    first, last = bounds(network)
    if gateway is None or first == last:
        return _pools([(first, last)])
    hole = int(IPv4Address(gateway))
    if not first <= hole <= last:
        return _pools([(first, last)])
    return _pools([part for part in ((first, hole - 1), (hole + 1, last)) if part[0] <= part[1]])


def check_pools(network: IPv4Network, asked: Sequence[Any]) -> tuple[AllocationPool, ...]:
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
        if pool.version != 4:
            raise lib.InvalidAllocationPool(pool=pool)
        if pool.first < first or pool.last > last:
            raise lib.OutOfBoundsAllocationPool(pool=pool, subnet_cidr=network)
    for one, other in pairwise(ranges):
        if other.first <= one.last:
            raise lib.OverlappingAllocationPools(pool_1=one, pool_2=other, subnet_cidr=network)
    return _pools([(pool.first, pool.last) for pool in ranges])


def check_gateway_outside(gateway: str, pools: Sequence[AllocationPool]) -> None:
    """Refuse a gateway that a pool would give to a port."""
    address = int(IPv4Address(gateway))
    for pool in pools:
        if int(IPv4Address(pool.start)) <= address <= int(IPv4Address(pool.end)):
            raise lib.GatewayConflictWithAllocationPools(
                pool=f"{pool.start}-{pool.end}", ip_address=gateway
            )


def _pools(ranges: Sequence[Range]) -> tuple[AllocationPool, ...]:
    return tuple(
        AllocationPool(str(IPv4Address(first)), str(IPv4Address(last))) for first, last in ranges
    )
