"""Addresses that a host makes itself from a subnet's prefix and its MAC address (SLAAC, RFC 4862, with EUI-64). Pure."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from netloom.model import Subnet
from netloom.model.names import INTERFACE_OWNERS, OWNER_SNAT

MODES = frozenset({"slaac", "dhcpv6-stateless"})
"""Modes in which addresses come from the prefix and not from a pool."""

WITHOUT = INTERFACE_OWNERS | {OWNER_SNAT}
"""Owners whose ports advertise the prefix, and so have in it the address that they are told."""


def is_automatic(subnet: Subnet) -> bool:
    """Tell whether the subnet's addresses are made from MAC addresses."""
    return subnet.ipv6_ra_mode in MODES or subnet.ipv6_address_mode in MODES


def address(subnet: Subnet, mac_address: str) -> str:
    """Return the address that a MAC address has in a subnet whose prefix has 64 bits."""
    octets = bytearray.fromhex(mac_address.replace(":", ""))
    octets[0] ^= 2
    interface = bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]])
    prefix = int(IPv6Network(subnet.cidr).network_address)
    return str(IPv6Address(prefix | int.from_bytes(interface)))


def is_derived(value: str) -> bool:
    """Tell whether an address looks as if it were made from a MAC address."""
    found = ip_address(value)
    return found.version == 6 and int(found) >> 24 & 0xFFFF == 0xFFFE
