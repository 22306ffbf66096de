"""Protocol and ports of security group rules, as matches."""

from __future__ import annotations

from typing import Any

from netloom.model.networking import SecurityGroupRule
from netloom.model.origin import Origin
from netloom.plan.ovs.ports import ICMPV6

PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "icmpv6": 58, "igmp": 2,
    "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
    "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17,
    "udplite": 136, "vrrp": 112,
}  # fmt: skip
"""Protocol names of the Networking API → numbers (IANA)."""

WITH_PORTS = frozenset({6, 17, 132})
"""Protocols whose ports Open vSwitch can match."""

UNKNOWN = -1
"""Stands for a protocol that has no number; no packet has it."""


def protocol_number(rule: SecurityGroupRule) -> int | None:
    """A rule's protocol as a number; None for any. ICMP in an IPv6 rule is ICMPv6."""
    if rule.protocol in (None, "any"):
        return None
    text = (rule.protocol or "").lower()
    number = int(text) if text.isdecimal() else PROTOCOLS.get(text, UNKNOWN)
    return ICMPV6 if rule.ethertype == "IPv6" and number == 1 else number


def service_of(rule: SecurityGroupRule) -> list[dict[str, Any]] | None:
    """A rule's protocol and ports as matches; None where it lets everything through.

    A port range becomes the fewest (value, mask) pairs. For ICMP the range is type and code.
    """
    number = protocol_number(rule)
    if number is None:
        return None
    if number == UNKNOWN:
        return []
    low, high = rule.port_range_min, rule.port_range_max
    match: dict[str, Any] = {"ip_proto": number}
    if number in (1, ICMPV6):
        if low is not None:
            match["icmp_type"] = low
        if high is not None:
            match["icmp_code"] = high
        return [match]
    if low is None:
        return [match]
    if number not in WITH_PORTS:
        return []  # cannot be looked at, so nothing is let in
    return [match | {"tp_dst": part} for part in port_masks(low, high if high is not None else low)]


def services_of(members: list[SecurityGroupRule]) -> dict[str, tuple[dict[str, Any], list[Origin]]]:
    """All services of rules, equal ones once, each with the rules that name it."""
    found: dict[str, tuple[dict[str, Any], list[Origin]]] = {}
    for rule in members:
        for service in service_of(rule) or ():
            _, why = found.setdefault(repr(service), (service, []))
            why.append(Origin.of(rule))
    return found


def port_masks(low: int, high: int) -> list[int | tuple[int, int]]:
    """A range of ports, both ends included, as single ports and aligned blocks (value, mask)."""
    if (low, high) == (0, 65535):
        return [(0, 0)]
    parts: list[int | tuple[int, int]] = []
    while low <= high:
        size = low & -low or 1 << 16
        while low + size - 1 > high:
            size >>= 1
        parts.append(low if size == 1 else (low, 0xFFFF & ~(size - 1)))
        low += size
    return parts
