"""The host's view as it arrives: a snapshot, then deltas; and its copy on disk for the next start."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from netloom.model import bounds
from netloom.model.files import write_whole
from netloom.model.hosts import TABLES, Chassis, HostFacts, HostView, ViewDelta

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""When what the disk did not take is tried again."""

FILE = "view.json"
"""Its name in the agent's state folder."""
FORMAT = 2
"""How the saved rows are to be read; raise it where a field that the plan needs is no longer what it was."""
_KEY = {"chassis": "host"}


class Cached(Struct, frozen=True):
    """The view on disk, and the server's feed that its `seq` belongs to. `digest`: of its bytes."""

    epoch: str
    view: HostView
    digest: str = ""


class _File(Struct, frozen=True):
    """How it lies there. `digest`: SHA-256 of `view`, as a damaged view may well be one that can be read.

    `format`: of a file from before it was written down, the first one.
    """

    epoch: str
    digest: str
    view: msgspec.Raw
    format: int = 1


def typed(delta: ViewDelta) -> ViewDelta:
    """A step as it came, with its rows as structs; raises msgspec.ValidationError where one is malformed.

    A table that is not known here is left to those who plan for it. A host whose tunnel end is none has none: that is
    another host's word, and this one goes on without tunnels to it.
    """
    upsert = {
        table: [_chassis(row) if kind is Chassis else msgspec.convert(row, kind) for row in rows]
        for table, kind in TABLES.items()
        if (rows := delta.upsert.get(table))
    }
    return msgspec.structs.replace(
        delta, upsert={table: rows for table, rows in upsert.items() if rows}
    )


def _chassis(row: Any) -> Chassis:
    try:
        return msgspec.convert(row, Chassis)
    except msgspec.ValidationError as error:
        host = row.get("host") if isinstance(row, dict) else None
        if not isinstance(host, str):
            raise
        log.warning(
            "no tunnels to host %s: %s", bounds.one_line(host, 60), bounds.one_line(str(error))
        )
        return Chassis(host=host)


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
    """Keep the view for the next start. It holds user data, so it is for root alone.

    Raises OSError; then none is kept: an older one would undo, at the next start, what came since.
    """
    encoded = msgspec.json.encode(view)
    content = msgspec.json.encode(
        _File(epoch, hashlib.sha256(encoded).hexdigest(), msgspec.Raw(encoded), FORMAT)
    )
    try:
        write_whole(path, content)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def load(path: Path, facts: HostFacts) -> Cached | None:
    """The view of the last run with today's facts; None where there is none that can be read.

    A file that is there and cannot be read (of another version, damaged) is one line of the log: the server sends all of
    it again, and until then the host stays as it is.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        if file.format != FORMAT:
            raise ValueError("it was saved by an agent of another version")
        if hashlib.sha256(file.view).hexdigest() != file.digest:
            raise ValueError("its bytes are not those that were written")
        view = msgspec.json.decode(file.view, type=HostView)
        if view.facts.host != facts.host:
            raise ValueError(f"it is that of host {view.facts.host}")
    except FileNotFoundError:
        return None  # a first start
    except (OSError, ValueError, RecursionError) as error:
        log.warning(
            "the saved view %s cannot be used, the server is asked for all of it: %s",
            path,
            bounds.one_line(str(error), 200),
        )
        return None
    return Cached(file.epoch, msgspec.structs.replace(view, facts=facts), file.digest)


class Saving:
    """The view on disk, kept up. `due`: it is to be saved; `wrong`: why the disk did not take it, else empty.

    What the disk does not take is tried again after a while, and stops nothing but that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.due = False
        self.wrong = ""
        self._not_before = 0.0  # time.monotonic

    def save(self, epoch: str, view: HostView) -> None:
        """Save the view, if that is due."""
        if not self.due or time.monotonic() < self._not_before:
            return
        wrong = ""
        try:
            save(self.path, epoch, view)
            self.due = False
        except OSError as error:
            wrong = f"the view cannot be kept for the next start: {error.strerror}"
            self._not_before = time.monotonic() + AGAIN_SECONDS
        if wrong != self.wrong:
            level = logging.ERROR if wrong else logging.INFO
            log.log(level, "%s", wrong or "the view is kept again")
            self.wrong = wrong
