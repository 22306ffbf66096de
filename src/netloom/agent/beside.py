"""The neighbours of namespaces: all changes of one namespace at once, and nothing for those that do not change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from netloom.dataplane.linux import neightable
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import HostState, Key, Neighbour, NeighbourBound


def bring_about(
    state: HostState,
    bounds: Iterable[NeighbourBound],
    come: Iterable[Neighbour],
    found: dict[Key, str],
) -> tuple[dict[Key, str], list[Key]]:
    """Make these, and remove the neighbours that were found and are not wanted.

    Returns (key → reason of those that failed, keys of those that were removed).
    """
    anew = {item.namespace: item for item in bounds}
    coming: dict[str, list[Neighbour]] = defaultdict(list)
    for item in come:
        coming[item.namespace].append(item)
    gone: dict[str, list[Key]] = defaultdict(list)
    for key in found:
        if key[0] == "neighbour" and key not in state.objects:
            gone[key[1]].append(key)
    failed: dict[Key, str] = {}
    removed: list[Key] = []
    known: dict[str, set[str]] = defaultdict(set)
    if anew:
        for item in state.each(Neighbour):
            known[item.namespace].add(item.address)
    for name in sorted({*anew, *coming, *gone}):
        removed += gone[name]
        if ("namespace", name) not in found or ("namespace", name) not in state.objects:
            failed |= {item.key: f"namespace {name} is not there" for item in coming[name]}
            continue  # what was found goes with it
        leaving = [(key[2], key[3]) for key in gone[name]]
        try:
            failed |= neightable.apply(name, anew.get(name), known[name], leaving, coming[name])
        except (ApplyError, OSError) as error:
            found.pop(("neighbour-bound", name), None)  # it may be what is missing
            whole = [*coming[name], *([anew[name]] if name in anew else [])]
            failed |= {item.key: str(error) for item in whole}
    return failed, removed
