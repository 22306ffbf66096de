"""Status rows: what became of each API object on this host, from what became of its host objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netloom.agent.reconcile import repairs
from netloom.agent.reconcile.retry import Trouble
from netloom.model import bounds
from netloom.model.hosts import Aspect, State, Status
from netloom.model.hoststate import HostState, Interface, Key, Refusal
from netloom.model.networking import Port

_WEIGHT: dict[State, int] = {"ok": 0, "pending": 1, "error": 2}

_OF_PORTS: tuple[Aspect, ...] = ("l2", "l3", "dhcp", "metadata")
"""The aspects of ports."""

Row = tuple[str, str, Aspect]
"""(kind, id, aspect)."""
Said = tuple[State, str]
"""(state, detail)."""


def collect(state: HostState, trouble: Mapping[Key, Trouble]) -> dict[Row, Said]:
    """Every object of the API behind a host object → (state, detail): the worst that befell any of them.

    That a port is well its own host says: others have flows for it too, which say nothing of its wire.
    """
    rows: dict[Row, Said] = {}
    here = {origin for item in state.each(Interface) for origin in item.origin}
    for key, item in state.objects.items():
        bad = trouble.get(key)
        for origin in item.origin:
            innocent = bad is None or (bad.blame is not None and origin not in bad.blame)
            now = ("ok", "") if bad is None or innocent else (bad.state, bad.detail)
            if isinstance(item, Refusal):
                now = (item.state, item.detail)
            kind, _, ident = origin.partition("/")
            if kind == Port.KIND and now[0] == "ok" and origin not in here:
                continue
            row = (kind, ident, item.aspect)
            if row not in rows or _WEIGHT[now[0]] > _WEIGHT[rows[row][0]]:
                rows[row] = now
    return rows


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
        if row not in after and (state != "ok" or row[2] == repairs.ASPECT)
    }
    return [
        Status(
            kind=row[0],
            id=row[1],
            aspect=row[2],
            seq=seq,
            state=state,
            detail=bounds.one_line(detail),
        )
        for row, (state, detail) in {**after, **gone}.items()
        if before.get(row) != (state, detail)
    ]
