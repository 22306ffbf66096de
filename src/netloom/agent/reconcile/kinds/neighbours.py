"""The neighbours of namespaces, and the bound for those that nobody knows: all changes of a namespace at once."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look
from netloom.agent.reconcile.kinds.inside import seen, tables
from netloom.dataplane.linux import neightable, nft
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import HostObject, Key, Neighbour, NeighbourBound
from netloom.render.nft import NEIGHBOUR_TABLE, neighbour_ruleset

TABLE = ("ip", NEIGHBOUR_TABLE)


class Neighbours(Kind):
    """Permanent neighbours, and the table that lets only these be asked for without a bound."""

    name = "neighbour"
    sorts = ("neighbour-bound", "neighbour")
    after = ("device", "route")
    at_once = True
    inside = True

    def __init__(self) -> None:
        self._expected = nft.Expected()
        self._known: dict[str, dict[str, str]] = {}  # namespace → device and address → address
        self._wanted: dict[Key, HostObject] = {}

    def mark(self, item: Neighbour | NeighbourBound) -> Mark:
        self._wanted[item.key] = item
        if isinstance(item, Neighbour):
            self._known.setdefault(item.namespace, {})[f"{item.device} {item.address}"] = (
                item.address
            )
        return fingerprint(item)

    def forget(self, key: Key) -> None:
        self._wanted.pop(key, None)
        if key[0] == "neighbour" and key[1] in self._known:
            self._known[key[1]].pop(f"{key[2]} {key[3]}", None)
            if not self._known[key[1]]:
                del self._known[key[1]]

    def _addresses(self, namespace: str) -> set[str]:
        return set(self._known.get(namespace, {}).values())

    def read(self, look: Look) -> dict[Key, Mark]:
        there = seen(look)
        found = {key: mark for part in there.values() for key, mark in part.neighbours.items()}
        if look.sorts is not None and "neighbour-bound" not in look.sorts:
            return found
        texts: dict[str, nft.Wanted] = {}
        for name in there:
            bound = self._wanted.get(("neighbour-bound", name))
            if isinstance(bound, NeighbourBound):
                text = neighbour_ruleset(bound, {*bound.known, *self._addresses(name)})
                texts[name] = nft.Wanted(TABLE, text)
        expected = self._expected.tables(texts, forget=look.only is None)
        for name in there:
            table = tables(look, name).get(TABLE)
            key = ("neighbour-bound", name)
            if table is None:
                continue
            wrong = "it is not known"
            if name in expected:
                wrong = nft.in_short(nft.differences(expected[name], table))
            found[key] = broken(wrong) if wrong else fingerprint(self._wanted[key])
        return found

    def apply(self, change: Change) -> dict[Key, Failure]:
        bounds: dict[str, NeighbourBound] = {}
        come: dict[str, list[Neighbour]] = defaultdict(list)
        gone: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for item in change.make:
            if isinstance(item, NeighbourBound):
                bounds[item.namespace] = item
            elif isinstance(item, Neighbour):
                come[item.namespace].append(item)
        for key in change.remove:
            if key[0] == "neighbour":
                gone[key[1]].append((key[2], key[3]))
        failed: dict[Key, Failure] = {}
        for name in sorted({*bounds, *come, *gone}):
            asked: list[Any] = [*come[name], *([bounds[name]] if name in bounds else [])]
            keys = [*(item.key for item in asked), *(("neighbour", name, *g) for g in gone[name])]
            try:
                bad = neightable.apply(
                    name, bounds.get(name), self._addresses(name), gone[name], come[name]
                )
            except (ApplyError, OSError) as error:
                failed |= dict.fromkeys(keys, Failure(str(error)))
            else:
                failed |= {key: Failure(reason) for key, reason in bad.items()}
        return failed

    def goes_with(self, key: Key) -> Key | None:
        return ("namespace", key[1])
