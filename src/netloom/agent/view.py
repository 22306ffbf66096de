"""The host's view as it arrives: a snapshot, then deltas; and its copy on disk for the next start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from netloom.model.hosts import TABLES, HostFacts, HostView, ViewDelta

_KEY = {"chassis": "host"}


class Cached(Struct, frozen=True):
    """The view on disk, and the server's feed that its `seq` belongs to."""

    epoch: str
    view: HostView


def typed(delta: ViewDelta) -> ViewDelta:
    """A step as it came, with its rows as structs; raises msgspec.ValidationError where one is malformed.

    A table that is not known here is left to those who plan for it.
    """
    upsert = {
        table: [msgspec.convert(row, kind) for row in delta.upsert.get(table, ())]
        for table, kind in TABLES.items()
    }
    return msgspec.structs.replace(delta, upsert={table: rows for table, rows in upsert.items() if rows})


def apply_delta(view: HostView, delta: ViewDelta) -> HostView:
    """The view after one step of the stream, as `typed` gives it."""
    changed: dict[str, Any] = {}
    for table in TABLES:
        if not delta.snapshot and table not in delta.upsert and table not in delta.delete:
            continue
        rows = {} if delta.snapshot else dict(getattr(view, table))
        for ident in delta.delete.get(table, ()):
            rows.pop(ident, None)
        for row in delta.upsert.get(table, ()):
            rows[getattr(row, _KEY.get(table, "id"))] = row
        changed[table] = rows
    return msgspec.structs.replace(view, seq=delta.seq, **changed)


def save(path: Path, epoch: str, view: HostView) -> None:
    """Keep the view for the next start. It holds user data, so it is for root alone."""
    partial = path.with_name(path.name + ".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(Cached(epoch, view)))
    partial.replace(path)


def load(path: Path, facts: HostFacts) -> Cached | None:
    """The view of the last run with today's facts; None where there is none that can be read."""
    try:
        cached = msgspec.json.decode(path.read_bytes(), type=Cached)
    except (OSError, msgspec.MsgspecError):
        return None  # a first start, or another version's file: the server sends all of it again
    if cached.view.facts.host != facts.host:
        return None
    return Cached(cached.epoch, msgspec.structs.replace(cached.view, facts=facts))
