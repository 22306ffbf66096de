"""Statuses after changes: a thread of the server brings those of changed objects up to date.

The transaction of a host's report decides the statuses of what the host reports on. What a client changes needs
nothing of the kind from a host, as a floating IP that is taken off its port: this thread looks after it.
"""

from __future__ import annotations

import logging
import threading
import time

from netloom.model import KINDS
from netloom.model.errors import UserError
from netloom.network import status
from netloom.store import Store

log = logging.getLogger("netloom.keeper")

PAUSE_SECONDS = 5.0
"""How long what the operator must mend is left alone before it is tried, and said, again."""

BATCH = 500
"""Changes looked at in one go."""


def follow(store: Store, stopping: threading.Event) -> None:
    """Refresh the statuses of changed objects until `stopping`: a port bound elsewhere is not ACTIVE any more.

    It begins with every object once, so nothing is missed that changed while no server ran.
    """
    seq, touched = -1, list[tuple[str, str]]()
    heard, looked = 0, 0.0
    while not stopping.is_set():
        try:
            if seq < 0:
                with store.reader() as reader:
                    touched = [
                        (kind, each.id)
                        for kind in status.KINDS
                        for each in reader.list(KINDS[kind])
                    ]
                    seq = reader.seq()
            for start in range(0, len(touched), BATCH):
                _refresh(store, touched[start : start + BATCH])
            touched = []
            heard = store.wait(max(heard, seq), 1.0)
            # Of what is new no host has said anything yet: it stands as it was made.
            updated = any(store.newest(kind, "update") > seq for kind in status.KINDS)
            if not updated and time.monotonic() - looked < 1.0:
                continue
            looked = time.monotonic()
            with store.reader() as reader:
                changes = reader.touched(seq, BATCH)
            touched = [
                (kind, id) for _, kind, id, op in changes if kind in status.KINDS and op == "update"
            ]
            seq = changes[-1][0] if changes else seq
            if len(changes) == BATCH:
                heard = seq  # there may be more
        except UserError as error:
            # A full disk, say: requests that fail for it say so as well.
            log.error("statuses cannot follow the changes after %d: %s", seq, error)
            stopping.wait(PAUSE_SECONDS)
        except Exception:
            # The thread must outlive what it did not expect: statuses would stand still otherwise.
            log.exception("statuses could not follow the changes after %d", seq)
            stopping.wait(1.0)


def _refresh(store: Store, touched: list[tuple[str, str]]) -> None:
    """Write what differs. Most changes alter no status: looking first spares the writer a durable commit."""
    with store.reader() as reader:
        found = status.differences(reader, touched)
    if found:
        with store.writer() as writer:
            status.refresh(writer, touched)
