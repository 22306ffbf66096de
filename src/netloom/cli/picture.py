"""The way of a packet as a picture: a box for each host, in it the stations of the packet, between two boxes the wire."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

WIDTH = 92
"""Of the text in a box, in columns."""
_STEM = 8
"""Columns before the line between two boxes."""

Hop = dict[str, Any]


def picture(hops: Sequence[Hop]) -> str:
    """Draw hops of one direction, as `/explain/v1` answers with them."""
    boxes = [(host, list(some)) for host, some in itertools.groupby(hops, lambda h: h["host"])]
    inside = [
        [line for station in _stations(some) for line in _wrapped(station)] for _, some in boxes
    ]
    width = max((len(line) for lines in inside for line in lines), default=0)
    drawn: list[str] = []
    for number, ((host, some), lines) in enumerate(zip(boxes, inside, strict=True)):
        if number:
            drawn += [" " * _STEM + f"│ {_wire(boxes[number - 1][1][-1], some[0])}".rstrip()]
            drawn += [" " * _STEM + "▼"]
        drawn.append(f"┌─ {host} " + "─" * max(0, width - len(host) - 1) + "┐")
        drawn += [f"│ {line.ljust(width)} │" for line in lines]
        drawn.append("└" + "─" * (width + 2) + "┘")
    return "\n".join(drawn)


def _stations(hops: Sequence[Hop]) -> Iterator[str]:
    """One text a station; the flows of a switch that a packet passes in one go are one."""
    for switch, run in itertools.groupby(hops, lambda h: _switch(h) if h["kind"] == "flow" else ""):
        if switch:
            yield f"{switch}: " + " → ".join(hop["text"].partition(":")[0] for hop in run)
        else:
            yield from (hop["text"] for hop in run)


def _switch(hop: Hop) -> str:
    return str(hop["place"]).partition(" ")[0]


def _wire(before: Hop, after: Hop) -> str:
    """What joins two hosts: the tunnel or physical network by which the packet left, or came in."""
    leaving = before["place"] if before["kind"] in ("tunnel", "outside") else ""
    arriving = after["place"] if after["kind"] in ("wire", "outside") else ""
    return str(leaving or arriving)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]
