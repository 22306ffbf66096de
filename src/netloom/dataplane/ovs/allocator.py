"""Numbers that depend on history: conntrack zones, meters, conjunction ids, ranges of user ids.

Each name gets the lowest free number, kept in the `Open_vSwitch` row's external_ids as
`netloom-<kind>-<name>`: a restarted agent, and a restarted switch, find the same numbers again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from netloom.dataplane.ovs.ovsdb import Ovsdb, to_map

FIRST = {"zone": 1, "conj": 1, "meter": 1, "uids": 16}
LAST = {"zone": 65535, "conj": 0xFFFFFFFE, "meter": 0xFFFF0000, "uids": 65535}
"""First and last number of each kind. `uids` counts ranges of 65,536 user ids."""

_PREFIXES = tuple(f"netloom-{kind}-" for kind in FIRST)


class Notes(Protocol):
    """Where numbers are kept, as text by name."""

    def read(self) -> dict[str, str]:
        """All that is kept there."""
        ...

    def change(self, gone: Iterable[str], come: Mapping[str, str]) -> None:
        """Take names out, then put others in; raises ApplyError."""
        ...


class InDatabase:
    """Kept in the switch's database."""

    def __init__(self, database: Ovsdb) -> None:
        self._database = database

    def read(self) -> dict[str, str]:
        found: dict[str, str] = self._database.root().get("external_ids", {})
        return found

    def change(self, gone: Iterable[str], come: Mapping[str, str]) -> None:
        # Insert never overwrites: a name that was freed and allotted anew is deleted first.
        mutations: list[list[object]] = []
        if gone := set(gone):
            mutations.append(["external_ids", "delete", ["set", sorted(gone)]])
        if come:
            mutations.append(["external_ids", "insert", to_map({**come})])
        self._database.transact(
            [{"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": mutations}]
        )


class Allocator:
    """Names → numbers. Changes are held back until `save`, so that many cost one transaction."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._numbers: dict[str, dict[str, int]] = {kind: {} for kind in FIRST}
        self._taken: dict[str, set[int]] = {kind: set() for kind in FIRST}
        self._lowest = dict(FIRST)
        self._added: dict[str, str] = {}
        self._removed: list[str] = []
        self._loaded = False

    def load(self) -> None:
        """Take over what the database holds; what is no number, or another name's, goes with the next `save`.

        From the second time on memory is right, as flows name these numbers: what the database has lost since, or holds
        otherwise, is written again with the next `save`.
        """
        if self._loaded:
            self._restore()
            return
        self._loaded = True
        external = self._notes.read()
        self._added.clear()
        self._removed.clear()
        for kind in FIRST:
            prefix = f"netloom-{kind}-"
            numbers: dict[str, int] = {}
            taken = set[int]()
            for key, value in external.items():
                if not key.startswith(prefix):
                    continue
                number = int(value) if value.isdecimal() else 0
                if FIRST[kind] <= number <= LAST[kind] and number not in taken:
                    numbers[key.removeprefix(prefix)] = number
                    taken.add(number)
                else:
                    self._removed.append(key)
            self._numbers[kind], self._taken[kind] = numbers, taken
            self._lowest[kind] = FIRST[kind]

    def _restore(self) -> None:
        external = self._notes.read()
        there = {key: v for key, v in external.items() if key.startswith(_PREFIXES)}
        ours = {
            f"netloom-{kind}-{name}": str(number)
            for kind, numbers in self._numbers.items()
            for name, number in numbers.items()
        }
        self._added = {key: value for key, value in ours.items() if there.get(key) != value}
        # Insert never overwrites.
        self._removed = [key for key, value in there.items() if ours.get(key) != value]

    def number(self, kind: str, name: str) -> int:
        """The number of `name`, allotted now if it has none."""
        found = self._numbers[kind].get(name)
        if found is not None:
            return found
        number = self._lowest[kind]
        while number in self._taken[kind]:
            number += 1
        if number > LAST[kind]:
            raise OverflowError(f"no free {kind} number is left on this host")
        self._lowest[kind] = number + 1
        self._numbers[kind][name] = number
        self._taken[kind].add(number)
        self._added[f"netloom-{kind}-{name}"] = str(number)
        return number

    def names(self, kind: str) -> set[str]:
        """All names of this kind that have a number."""
        return set(self._numbers[kind])

    def lost(self, kind: str) -> set[str]:
        """Names whose number is not (yet) in the database as it is here."""
        prefix = f"netloom-{kind}-"
        there = self._notes.read()
        known = self._numbers[kind].items()
        return {name for name, number in known if there.get(f"{prefix}{name}") != str(number)}

    def forget(self, kind: str, name: str) -> None:
        """Free a name's number."""
        self.keep(kind, self.names(kind) - {name})

    def keep(self, kind: str, names: set[str]) -> list[int]:
        """Free the numbers of all other names of this kind, and return them."""
        freed: list[int] = []
        for name in [name for name in self._numbers[kind] if name not in names]:
            number = self._numbers[kind].pop(name)
            freed.append(number)
            self._taken[kind].discard(number)
            self._lowest[kind] = min(self._lowest[kind], number)
            self._added.pop(f"netloom-{kind}-{name}", None)
            self._removed.append(f"netloom-{kind}-{name}")
        return freed

    def save(self) -> None:
        """Write what is new and drop what is gone; raises ApplyError, and keeps it for the next time."""
        if not self._added and not self._removed:
            return
        self._notes.change(self._removed, self._added)
        self._added.clear()
        self._removed.clear()
