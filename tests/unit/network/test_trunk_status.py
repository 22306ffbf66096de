"""A trunk's status in the API, from those of its ports."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from netloom.model import Port
from netloom.network.status import trunk_status

PARENT = Port(id="parent", network_id="n", mac_address="fa:16:3e:00:00:01", host="c1")
SUBS = [
    Port(id=name, network_id="n", mac_address=f"fa:16:3e:00:00:0{number}", host="c1")
    for number, name in enumerate("ab", 2)
]


@pytest.mark.parametrize(
    ("parent", "a", "b", "said"),
    [
        ("ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE"),
        ("DOWN", "ACTIVE", "ACTIVE", "DOWN"),
        ("ERROR", "ACTIVE", "ACTIVE", "DOWN"),
        ("ACTIVE", "DOWN", "ACTIVE", "BUILD"),
        ("ACTIVE", "ERROR", "ACTIVE", "DEGRADED"),
        ("ACTIVE", "ERROR", "DOWN", "DEGRADED"),
    ],
)
def test_a_trunk_is_as_its_ports_are(parent: str, a: str, b: str, said: str) -> None:
    statuses = {"parent": parent, "a": a, "b": b}
    assert trunk_status(PARENT, statuses, SUBS) == said
    assert trunk_status(replace(PARENT, host=""), statuses, SUBS) == "DOWN"
    assert trunk_status(None, statuses, SUBS) == "DOWN"


def test_a_subport_that_is_switched_off_holds_nothing_up() -> None:
    off = [replace(SUBS[0], admin_state_up=False), SUBS[1]]
    statuses = {"parent": "ACTIVE", "a": "DOWN", "b": "ACTIVE"}
    assert trunk_status(PARENT, statuses, off) == "ACTIVE"
    assert trunk_status(PARENT, {"parent": "ACTIVE"}, []) == "ACTIVE"
