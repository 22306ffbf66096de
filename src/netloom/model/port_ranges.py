"""Ranges of transport ports, and how the ports of one lead to those of another."""

from __future__ import annotations

Span = tuple[int, int]
"""The first port and the last one."""

PORT_PROTOCOLS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132}
"""Protocols whose ports can be led to others, and their numbers in IP headers."""


def span_of(text: str) -> Span:
    """Return what a range says: `FIRST:LAST`, or one port."""
    first, _, last = text.partition(":")
    return int(first), int(last or first)


def led_to(port: int, external: Span, internal: Span) -> int | None:
    """Return where a port of `external` leads: to its own place in `internal`, or to the one port there; None for no port of it."""
    (first, last), (low, high) = external, internal
    if not first <= port <= last:
        return None
    return low if low == high else low + port - first
