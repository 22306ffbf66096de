"""Status rows: what became of each API object on this host, from what became of its host objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from netloom.agent.reconcile import repairs
from netloom.agent.reconcile.diff import News
from netloom.agent.reconcile.retry import Trouble
from netloom.model import bounds
from netloom.model.hosts import Aspect, State, Status
from netloom.model.hoststate import Flow, HostObject, Interface, Key, Refusal
from netloom.model.networking import Port
from netloom.model.origin import Origin

_WEIGHT: dict[State, int] = {"ok": 0, "pending": 1, "error": 2}

_OF_PORTS: tuple[Aspect, ...] = ("l2", "l3", "dhcp", "metadata")
"""The aspects of ports."""
_ASPECTS: tuple[Aspect, ...] = get_args(Aspect)

Row = tuple[str, str, Aspect]
"""(kind, id, aspect)."""
Said = tuple[State, str]
"""(state, detail)."""
_WELL: Said = ("ok", "")


class Rows:
    """The rows of a state, kept up with it: what is said of each costs work for what changed and what is in trouble.

    That a port is well its own host says: others have flows for it too, which say nothing of its wire.
    """

    def __init__(self) -> None:
        self._objects: Mapping[Key, HostObject] = {}
        self._known: Counter[Row] = Counter()
        self._refused: dict[Key, Refusal] = {}
        self._here: Counter[Origin] = Counter()  # origins of what only a port of this host has
        self._well: dict[Row, Said] = {}  # what is said where nothing is in trouble

    def follow(self, news: News) -> None:
        """Take in what changed of the state."""
        self._objects = news.after
        touched: set[Row] = set()
        for key in news.fresh:
            self._replace(news.before.get(key), news.after[key], touched)
        for key in news.gone:
            self._replace(news.before.get(key), None, touched)
            self._refused.pop(key, None)
        for row in touched:
            if self._known[row] and (row[0] != Port.KIND or self._here[Origin(row[0], row[1])]):
                self._well[row] = _WELL
            else:
                self._well.pop(row, None)
            if not self._known[row]:
                del self._known[row]

    def _replace(self, old: HostObject | None, new: HostObject | None, touched: set[Row]) -> None:
        """Count an object in another's place. One that stands for a thousand ports has nearly all its origins in both."""
        if isinstance(new, Refusal):
            self._refused[new.key] = new
        had, has = _origins(old), _origins(new)
        if old is None or new is None or old.aspect == new.aspect:
            had, has = had - has, has - had
        for more, item, origins in ((1, new, has), (-1, old, had)):
            rows: set[Row] = {(origin.kind, origin.id, item.aspect) for origin in origins if item}
            self._known.update(dict.fromkeys(rows, more))
            touched |= rows
        had_here, has_here = _here(old), _here(new)
        for more, origins in ((1, has_here - had_here), (-1, had_here - has_here)):
            for origin in origins:
                self._here[origin] += more
                if not self._here[origin]:
                    del self._here[origin]
                touched.update((origin.kind, origin.id, aspect) for aspect in _ASPECTS)

    def said(self, trouble: Mapping[Key, Trouble]) -> dict[Row, Said]:
        """Each object of the API behind a host object → the worst that befell any of them; `trouble`: with host objects."""
        rows = dict(self._well)
        for key, bad in sorted(trouble.items()):
            item = self._objects.get(key)
            for row in _rows_of(item) if item is not None else ():
                if bad.blame is None or Origin(row[0], row[1]) in bad.blame:
                    _worse(rows, row, (bad.state, bad.detail))
        for item in self._refused.values():
            for row in _rows_of(item):
                _worse(rows, row, (item.state, item.detail))
        return rows


def _rows_of(item: HostObject) -> Iterator[Row]:
    for origin in item.origin:
        yield origin.kind, origin.id, item.aspect


def _origins(item: HostObject | None) -> set[Origin]:
    return set(item.origin) if item is not None else set()


def _here(item: HostObject | None) -> set[Origin]:
    """What is on this host by an object: whose device it is, or whose tagged frames it takes in (a subport has no device)."""
    tagged = isinstance(item, Flow) and item.match.in_port is not None and bool(item.match.vlan)
    return _origins(item) if tagged or isinstance(item, Interface) else set()


def _worse(rows: dict[Row, Said], row: Row, said: Said) -> None:
    if row not in rows or _WEIGHT[said[0]] > _WEIGHT[rows[row][0]]:
        rows[row] = said


def say_again(sent: dict[Row, tuple[str, str]], ports: Iterable[str]) -> None:
    """Mark in `sent` what was said of these ports, which changed: the next report says it again.

    The server forgets that a port was well when the port is bound elsewhere, also where it is back before
    this host has heard of either.
    """
    for ident in ports:
        for aspect in _OF_PORTS:
            if (Port.KIND, ident, aspect) in sent:
                sent[Port.KIND, ident, aspect] = ("", "")


def tunnels(wrong: Mapping[str, str]) -> dict[Row, Said]:
    """Rows on other hosts: what is wrong with the tunnel to each, empty where it is well."""
    return {
        ("host", host, "tunnel"): ("error" if text else "ok", text) for host, text in wrong.items()
    }


def of_host(host: str, wrong: str) -> dict[Row, Said]:
    """The row on this host itself: what is wrong with its state folder, empty where it is well."""
    return {("host", host, "state"): ("error" if wrong else "ok", wrong)}


def changes(
    before: Mapping[Row, tuple[str, str]], after: Mapping[Row, Said], seq: int
) -> list[Status]:
    """The rows to send: those that are new or differ, and of those that are no more the ones that somebody may read."""
    gone: dict[Row, Said] = {
        row: ("gone", "")
        for row, (state, _) in before.items()
        if row not in after and (state != "ok" or row[2] in (repairs.ASPECT, "tunnel"))
    }
    return [
        Status(
            kind=row[0],
            id=row[1],
            aspect=row[2],
            seq=seq,
            state=said[0],
            detail=bounds.one_line(said[1]),
        )
        for rows in (after, gone)
        for row, said in rows.items()
        if before.get(row) != said
    ]
