"""Rows that cannot be read: one plain line each on the log, once; what can go on goes on without them.

SQLite's own pages are checked by SQLite. What it cannot know is whether a document is still one: bytes that changed
on the disk, a row that somebody wrote by hand, a document of an unknown version.
"""

from __future__ import annotations

import logging
import threading

log = logging.getLogger("netloom.store")

MOST_REMEMBERED = 1000

_said: set[tuple[str, str, str]] = set()
_lock = threading.Lock()

UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)
"""What decoding a damaged document raises: msgspec's errors and wrong UTF-8 are ValueErrors."""


def complaint(kind: str, id: str, error: Exception) -> str:
    """Say what cannot be read, and what to do."""
    why = " ".join(str(error).split()) or type(error).__name__
    return (
        f"{kind} {ascii(id)[1:-1]} in the database cannot be read ({ascii(why[:200])[1:-1]}):"
        " restore the database from a backup"
    )


def left_out(kind: str, id: str, error: Exception) -> None:
    """Log that a row is left out, unless the same was said already."""
    words = complaint(kind, id, error)
    with _lock:
        if (kind, id, words) in _said or len(_said) >= MOST_REMEMBERED:
            return
        _said.add((kind, id, words))
    log.error("%s; until then it counts as missing", words)
