"""The picture of a packet's way: a box a host, the flows of a switch on one line, the wire between."""

from __future__ import annotations

import re
from pathlib import Path

from netloom.cli.picture import WIDTH, picture
from tests.pictures.clouds import PICTURES

PAGE = Path(__file__).parents[3] / "docs/architectures.md"


def hop(host: str, kind: str, place: str, text: str) -> dict[str, str]:
    return {"host": host, "kind": kind, "place": place, "text": text}


WAY = [
    hop("one", "instance", "tap1", "10.0.0.1 sends to 10.0.0.2 by tap1"),
    hop("one", "flow", "br-int table 0", "CLASSIFY: which network"),
    hop("one", "flow", "br-int table 60", "OUTPUT: out of the device"),
    hop("one", "tunnel", "vxlan0", "vxlan tunnel, key 1, to two"),
    hop("two", "flow", "br-int table 0", "CLASSIFY: which network"),
    hop("two", "instance", "tap2", "arrives at 10.0.0.2"),
]

DRAWN = """\
┌─ one ──────────────────────────────┐
│ 10.0.0.1 sends to 10.0.0.2 by tap1 │
│ br-int: CLASSIFY → OUTPUT          │
│ vxlan tunnel, key 1, to two        │
└────────────────────────────────────┘
        │ vxlan0
        ▼
┌─ two ──────────────────────────────┐
│ br-int: CLASSIFY                   │
│ arrives at 10.0.0.2                │
└────────────────────────────────────┘"""


def test_a_box_for_each_host_and_the_wire_between() -> None:
    assert picture(WAY) == DRAWN


def test_nothing_is_wider_than_a_page() -> None:
    drawn = picture([hop("a-host", "route", "qrouter-1", "word " * 60)])
    assert {len(line) for line in drawn.splitlines()} <= set(range(WIDTH + 5))
    assert picture([]) == ""


def test_the_page_has_a_place_for_each_picture() -> None:
    found = re.findall(r"<!-- picture: (\S+) -->\n```\n(.*?)\n```", PAGE.read_text(), re.S)
    assert sorted(name for name, _ in found) == sorted(PICTURES)
    assert all("REACHABLE: " in text for _, text in found)
