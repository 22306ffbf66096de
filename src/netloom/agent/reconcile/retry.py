"""Objects that are not as wanted, and when each is tried again: with pauses that double, and none stops another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from netloom.model.hosts import State
from netloom.model.hoststate import Key
from netloom.model.origin import Origin

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds until a failed object is tried again: doubled from the first to the longest."""


class Trouble(Struct):
    """Why an object is not as wanted.

    `state`: `pending` or `error`; `mark`: of the version that failed; `again`: when to retry it
    (time.monotonic), 0 where an event will tell. `blame`: the origins that it is the fault of, where that
    is not all of the object's: a network is well though one of its ports is not plugged. `unready`: it cannot be said yet how
    the object is wanted. `watched`: it is as wanted, and is not trusted before `again`.
    """

    state: State
    detail: str
    mark: str = ""
    attempts: int = 0
    again: float = 0.0
    blame: tuple[Origin, ...] | None = None
    unready: bool = False
    watched: bool = False


class Troubles(dict[Key, Trouble]):
    """The trouble of each object that has any. `now`: the moment of this pass (time.monotonic)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self.now = clock()

    def begin(self) -> None:
        """Take the time of this pass."""
        self.now = self._clock()

    def is_due(self, key: Key, mark: str) -> bool:
        """Whether this version of an object may be tried (again)."""
        old = self.get(key)
        return old is None or old.mark != mark or self.now >= old.again

    def fail(self, key: Key, mark: str, detail: str, state: State = "error") -> None:
        """Note that this version failed, and when it is tried again."""
        old = self.get(key)
        attempts = old.attempts + 1 if old is not None and old.mark == mark else 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1))
        if old is None or old.detail != detail:
            log.warning("%s: %s", " ".join(key), detail)
        self[key] = Trouble(state, detail, mark, attempts, self.now + pause)

    def try_again(self, keys: Iterable[Key]) -> None:
        """What these objects waited for may have come: they are due now, and their pauses begin anew."""
        for key in keys:
            old = self.get(key)
            if old is not None and old.again:
                old.attempts, old.again = 0, self.now

    def fail_now(self, key: Key, mark: str, detail: str) -> None:
        """As `fail`, for what failed between two reconciles."""
        self.begin()
        self.fail(key, mark, detail)

    def not_ready(
        self, key: Key, detail: str, state: State, blame: tuple[Origin, ...] | None
    ) -> None:
        """Note that it cannot be said yet how an object is wanted: an event will tell."""
        old = self.get(key)
        if state == "error" and (old is None or old.detail != detail):
            log.warning("%s: %s", " ".join(key), detail)
        self[key] = Trouble(state, detail, blame=blame, unready=True)

    def wait(self, key: Key, mark: str, detail: str, until: float) -> None:
        """Note that this version is not well, and is left alone until then (time.monotonic)."""
        log.warning("%s: %s", " ".join(key), detail)
        self[key] = Trouble("error", detail, mark, 1, until, watched=True)

    def next_retry(self) -> float | None:
        """When (time.monotonic) the first failed object is due, None where none is."""
        return min((item.again for item in self.values() if item.again), default=None)
