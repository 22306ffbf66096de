"""Address families: what differs between IPv4 and IPv6, as one value that functions take as a parameter.

No function is written twice, and none has the name of a family in it: it asks its Family. A family's own protocols (ARP and
neighbour discovery, DHCP and DHCPv6) are what is left; they are chosen in one place each.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Literal

from msgspec import Struct


class Family(Struct, frozen=True, kw_only=True):
    """`ethertype`: as security group rules name it; `eth_type`: as flows match it; `nft`, `nft_type`: as nftables names it.

    `bits`: of an address. `any_address`: none yet. `anywhere`: every address. `metadata`: where metadata is answered.
    `groups`: multicast, and in IPv4 broadcast. `dhcp_client`, `dhcp_server`: UDP ports; `dhcp_everybody`: where requests to every server go. `translated`: routers may
    translate addresses (NAT).
    """

    version: Literal[4, 6]
    ethertype: str
    eth_type: str
    nft: str
    nft_type: str
    bits: int
    any_address: str
    anywhere: str
    metadata: str
    groups: str
    dhcp_client: int
    dhcp_server: int
    dhcp_everybody: str
    translated: bool

    def has(self, address: str) -> bool:
        """Whether an address or CIDR is of this family."""
        return (":" in address) == (self.version == 6)


V4 = Family(
    version=4,
    ethertype="IPv4",
    eth_type="ip",
    nft="ip",
    nft_type="ipv4_addr",
    bits=32,
    any_address="0.0.0.0",
    anywhere="0.0.0.0/0",
    metadata="169.254.169.254",
    groups="224.0.0.0/3",
    dhcp_client=68,
    dhcp_server=67,
    dhcp_everybody="255.255.255.255",  # RFC 919: the broadcast address of the own network
    translated=True,
)
V6 = Family(
    version=6,
    ethertype="IPv6",
    eth_type="ipv6",
    nft="ip6",
    nft_type="ipv6_addr",
    bits=128,
    any_address="::",
    anywhere="::/0",
    metadata="fe80::a9fe:a9fe",
    groups="ff00::/8",
    dhcp_client=546,
    dhcp_server=547,
    dhcp_everybody="ff02::1:2",
    translated=False,
)

FAMILIES = (V4, V6)
"""What security group rules and allowed address pairs may name."""

ADDRESSED = FAMILIES
"""What subnets may have: these addresses are served, routed, and answered for."""

BY_VERSION: dict[int, Family] = {family.version: family for family in FAMILIES}
BY_ETHERTYPE: dict[str, Family] = {family.ethertype: family for family in FAMILIES}


LINK_LOCAL = "fe80::/64"
"""Where every IPv6 device has an address of its own, good on its link alone."""


def link_local(mac: str) -> str:
    """Return the IPv6 address that a device with this MAC address gives itself on its link (RFC 4291, 2.5.6)."""
    octets = bytearray(bytes.fromhex(mac.replace(":", "")))
    octets[0] ^= 2
    low = int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:], "big")
    return str(IPv6Address((0xFE80 << 112) | low))


def is_link_local(address: str) -> bool:
    """Return whether an address is an IPv6 one that is good on one link alone."""
    return ":" in address and IPv6Address(address).is_link_local


def of(address: str) -> Family:
    """Return the family of an address or CIDR."""
    return V6 if ":" in address else V4
