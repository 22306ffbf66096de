"""Meters of the switch: there before the flows that name them, gone after these.

All meters of a bridge of ours are ours; which one is whose is kept in the switch's database (`allocator`), as zones are.
"""

from __future__ import annotations

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, each
from netloom.dataplane.mark import broken
from netloom.dataplane.ovs import bridges, meters
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.model.hoststate import Key
from netloom.model.meter import Meter
from netloom.model.names import INTEGRATION_BRIDGE

_NOBODYS = "#"
"""How the name of a meter begins of which the database says nothing; its number follows."""


class Meters(Kind):
    """Meters of br-int: no other bridge has any."""

    name = "meter"
    sorts = ("meter",)
    after = ("bridge",)

    def __init__(self, database: Ovsdb, table: meters.MeterTable, allocator: Allocator) -> None:
        self._database = database
        self._table = table
        self._allocator = allocator
        self._there: set[int] = set()

    def read(self, look: Look) -> dict[Key, Mark]:
        self._there = set()
        if INTEGRATION_BRIDGE not in bridges.ours(self._database):
            return {}
        there = self._table.read(INTEGRATION_BRIDGE)
        self._there = set(there)
        names = {self._allocator.number("meter", n): n for n in self._allocator.names("meter")}
        lost = self._allocator.lost("meter")
        found: dict[Key, Mark] = {}
        for number, text in there.items():
            name = names.get(number, f"{_NOBODYS}{number}")
            key = ("meter", INTEGRATION_BRIDGE, name)
            found[key] = (
                broken(f"the database had lost its number {number}") if name in lost else text
            )
        return found

    def mark(self, item: Meter) -> Mark:
        return meters.text(item.unit, item.rate, item.burst)

    def apply(self, change: Change) -> dict[Key, Failure]:
        wanted = [item for item in change.make if isinstance(item, Meter)]
        failed = each(wanted, self._make)
        failed |= each(change.remove, self._remove)
        self._allocator.save()
        return failed

    def _make(self, item: Meter) -> None:
        number = self._allocator.number("meter", item.name)
        self._table.put(item.bridge, number, self.mark(item), number in self._there)
        self._there.add(number)

    def _remove(self, key: Key) -> None:
        name = key[2]
        nobodys = name.startswith(_NOBODYS)
        number = int(name[1:]) if nobodys else self._allocator.number("meter", name)
        self._table.remove(key[1], number)
        self._there.discard(number)
        if not nobodys:
            self._allocator.forget("meter", name)

    def goes_with(self, key: Key) -> Key | None:
        return ("bridge", key[1])
