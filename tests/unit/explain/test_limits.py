"""Limits and marks on the way are told; the verdict is as without them."""

from __future__ import annotations

from netloom.explain.answer.explain import explain
from tests.support import worlds
from tests.support.explained import cloud


def told(world: worlds.World, source: str, destination: str) -> tuple[str, list[str]]:
    """The verdict, and what stages of limits say on the way there."""
    answer = explain(cloud(world), source, destination)
    stages = ("_BITS: ", "_PACKETS: ")
    return answer.verdict, [h.text for h in answer.there if any(s in h.text for s in stages)]


def test_limits_of_ports() -> None:
    assert told(worlds.limited(), "my2", "my3") == (
        "reachable",
        [
            "SENT_BITS: no more than 1000 kbit/s get on",
            "SENT_PACKETS: no more than 1000 packets/s get on, it is marked with DSCP 26",
        ],
    )
    assert told(worlds.limited(), "my3", "my2") == (
        "reachable",
        [
            "SENT_PACKETS: it is marked with DSCP 8",
            "RECEIVED_BITS: no more than 2000 kbit/s get on",
            "RECEIVED_PACKETS: no more than 2000 packets/s get on",
        ],
    )


def test_limits_of_addresses_outside() -> None:
    assert told(worlds.limited(), "outside", "my2") == (
        "reachable",
        [
            "ADDRESS_RECEIVED_BITS: no more than 4000 kbit/s get on",
            "RECEIVED_BITS: no more than 2000 kbit/s get on",
            "RECEIVED_PACKETS: no more than 2000 packets/s get on",
        ],
    )
    _, gateway = told(worlds.limited(), "my3", "203.0.113.9")
    assert gateway[-1] == "ADDRESS_SENT_BITS: no more than 5000 kbit/s get on"
