"""Bonds of Open vSwitch: several cards as one port of a physical network's bridge, of which one carries all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from netloom.dataplane.ovs.ovsdb import Ovsdb, Row, first, many, unopened
from netloom.model.hoststate import Interface

COLUMNS: dict[str, Any] = {"bond_mode": "active-backup", "bond_downdelay": 0, "bond_updelay": 1000}
"""Of a bond's Port. One card carries all, so that no switch needs to know of it; when it loses its link (which the kernel tells
at once) the next one does. A link that comes back must stay for a second (`bond_updelay`, in ms) before it counts."""


def parts(item: Interface) -> list[Interface]:
    """A port as its interfaces: a bond's members, or itself."""
    return [replace(item, name=name, type="system", members=()) for name in item.members] or [item]


def why_not(item: Interface, missing: Mapping[str, str], there: bool) -> str:
    """Why a port cannot be made; empty where it can. `missing`: device → why it is not there.

    A new bond begins with the cards that are there; one that is there, and works, is not taken apart for one that is gone.
    """
    lost = [missing[name] for name in item.devices if name in missing]
    return lost[0] if lost and (there or len(lost) == len(item.devices)) else ""


def odd(database: Ovsdb, port: Row, item: Interface) -> str:
    """What of a bond is not as wanted, in words."""
    rows = database.rows("Interface")
    there = {rows[uuid]["name"]: rows[uuid] for uuid in many(port["interfaces"]) if uuid in rows}
    for name in item.members:
        if name not in there:
            return f"{name} was not in it"
        if why := unopened(there[name]):
            return f"Open vSwitch had lost {name}: {why}"
    more = sorted(there.keys() - set(item.members))
    if more:
        return f"{more[0]} was in it"
    for column, value in COLUMNS.items():
        now = first(port[column])
        if now != value:
            return f"its {column} was {now} and not {value}"
    return ""
