"""Which hosts a change of the inventory concerns: those that need a row that it touches, or needed it before.

Nobody writes down which change concerns whom: it follows from what `select.needs` read for each host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netloom.scope.inventory import Inventory, Read
from netloom.scope.select import Needs, covered, covering, needs, row_of

Row = tuple[str, str]
"""(table, id)."""


class Concern:
    """What each host needs, and so which rows of its view a change may alter."""

    def __init__(self) -> None:
        self._needs: dict[str, Needs] = {}
        self._holders: dict[Read, set[str]] = {}
        self._askers: dict[Read, set[str]] = {}

    def take_in(self, inventory: Inventory, host: str) -> None:
        """Look after a host from now on."""
        self._put(host, needs(inventory, host))

    def covers(self, host: str) -> frozenset[Read]:
        """What a host's view has the rows of."""
        return self._needs[host].covers

    def concerned(self, table: str, row: Any) -> set[str]:
        """The hosts that need a row as it is."""
        return {host for cover in covering(table, row) for host in self._holders.get(cover, ())}

    def change(
        self, inventory: Inventory, changes: Iterable[tuple[str, str, Any | None]]
    ) -> dict[str, set[Row]]:
        """Put rows in their old ones' places (None: take them out); returns host → rows of its view that may differ.

        The table `facts` holds what hosts report of themselves.
        """
        found: dict[str, set[Row]] = {}
        again: set[str] = set()
        for table, id, row in changes:
            if table == "facts":
                self._facts(inventory, id, row, found)
                continue
            for each in (inventory.table(table).get(id), row):
                for host in self.concerned(table, each) if each is not None else ():
                    found.setdefault(host, set()).add((table, id))
            touched = inventory.remove(table, id) if row is None else inventory.put(table, row)
            for read in touched:
                again |= self._askers.get(read, set())
        for host in again:
            old, new = self._needs[host], needs(inventory, host)
            for cover in old.covers ^ new.covers:
                found.setdefault(host, set()).update(covered(inventory, cover))
            self._put(host, new)
        return found

    def _facts(
        self, inventory: Inventory, host: str, facts: Any | None, found: dict[str, set[Row]]
    ) -> None:
        if facts is None:
            inventory.facts.pop(host, None)
        else:
            inventory.facts[host] = facts
        for other in self._holders.get(("chassis", host), ()):
            found.setdefault(other, set()).add(("chassis", host))

    def _put(self, host: str, fresh: Needs) -> None:
        old = self._needs.get(host, Needs(frozenset(), frozenset()))
        self._needs[host] = fresh
        _move(self._holders, host, old.covers, fresh.covers)
        _move(self._askers, host, old.because, fresh.because)


def _move(
    hosts: dict[Read, set[str]], host: str, old: frozenset[Read], new: frozenset[Read]
) -> None:
    for read in old - new:
        hosts[read].discard(host)
        if not hosts[read]:
            del hosts[read]
    for read in new - old:
        hosts.setdefault(read, set()).add(host)


def fresh_rows(
    inventory: Inventory, covers: frozenset[Read], rows: Iterable[Row]
) -> Mapping[Row, Any | None]:
    """The rows of a view as they are now; None for those that the view does not have."""
    found: dict[Row, Any | None] = {}
    for table, id in sorted(rows):
        row = row_of(inventory, table, id)
        there = row is not None and any(cover in covers for cover in covering(table, row))
        found[table, id] = row if there else None
    return found
