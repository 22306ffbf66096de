"""Status rows: what became of each API object on this host, from what became of its host objects."""

from __future__ import annotations

from collections.abc import Mapping

from netloom.agent import repairs
from netloom.agent.trouble import Trouble
from netloom.model.hosts import Status
from netloom.model.hoststate import HostState, Key

_WEIGHT = {"ok": 0, "pending": 1, "error": 2}

Row = tuple[str, str, str]
"""(kind, id, aspect)."""


def collect(state: HostState, trouble: Mapping[Key, Trouble]) -> dict[Row, tuple[str, str]]:
    """Every object of the API behind a host object → (state, detail): the worst that befell any of them."""
    rows: dict[Row, tuple[str, str]] = {}
    for key, item in state.objects.items():
        bad = trouble.get(key)
        for origin in item.origin:
            innocent = bad is None or (bad.blame is not None and origin not in bad.blame)
            now = ("ok", "") if bad is None or innocent else (bad.state, bad.detail)
            kind, _, ident = origin.partition("/")
            row = (kind, ident, item.aspect)
            if row not in rows or _WEIGHT[now[0]] > _WEIGHT[rows[row][0]]:
                rows[row] = now
    return rows


def tunnels(wrong: Mapping[str, str]) -> dict[Row, tuple[str, str]]:
    """Rows on other hosts: what is wrong with the tunnel to each, empty where it is well."""
    return {
        ("host", host, "tunnel"): ("error" if text else "ok", text) for host, text in wrong.items()
    }


def of_host(host: str, wrong: str) -> dict[Row, tuple[str, str]]:
    """The row on this host itself: what is wrong with its state folder, empty where it is well."""
    return {("host", host, "state"): ("error" if wrong else "ok", wrong)}


def changes(
    before: Mapping[Row, tuple[str, str]], after: Mapping[Row, tuple[str, str]], seq: int
) -> list[Status]:
    """The rows to send: those that are new or differ, and of those that are no more the ones that somebody may read."""
    gone = {
        row: ("gone", "")
        for row, (state, _) in before.items()
        if row not in after and (state != "ok" or row[2] == repairs.ASPECT)
    }
    return [
        Status(kind=row[0], id=row[1], aspect=row[2], seq=seq, state=state, detail=detail)
        for row, (state, detail) in {**after, **gone}.items()
        if before.get(row) != (state, detail)
    ]
