"""A clock that is set while the server runs, or while it did not: no host is dead, or alive, for that."""

from __future__ import annotations

import logging
import time

from msgspec.structs import replace

from netloom.model import Away
from netloom.store import Store

log = logging.getLogger("netloom.keeper")

LEAST_SECONDS = 2.0
"""What counts as set; a clock that is disciplined never moves so far at once."""


class Clock:
    """The machine's clock against the time that really passes."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def moved(self, now: float) -> float:
        """Seconds that the clock, which says `now`, was set forward (negative: back) since the last call; 0 where it was not.

        A machine that slept counts as one whose clock was set forward.
        """
        by = now - time.monotonic() - self._ahead
        if abs(by) < LEAST_SECONDS:
            return 0.0
        self._ahead += by
        return by


def was_set(store: Store, away: Away, by: float, now: float) -> Away:
    """Move what hosts were last heard at along with the clock; return `away` moved along.

    Who was heard within the last seconds, as the clock says now, was heard after it was set.
    """
    log.warning("the clock was set %s by %.0f s", "forward" if by > 0 else "back", abs(by))
    with store.writer(actor="keeper") as w:
        w.move_heartbeats(by, now, LEAST_SECONDS)
    return replace(away, since=away.since + by, back=away.back + by)


def was_set_back_meanwhile(store: Store, now: float) -> None:
    """For a server that starts: a host cannot have been heard in the future."""
    with store.reader() as reader:
        newest = max((row.heartbeat_at or 0.0 for row in reader.hosts().values()), default=0.0)
    if newest > now:
        was_set(store, Away(), now - newest, now)
