"""Wrong passwords cost time: the brake is per user and address, so nobody can lock a user out.

After `FREE` wrong passwords for one user from one address, that address waits before it may try this user
again: one second, then twice as long each time, up to `LONGEST_SECONDS`. Other addresses do not wait.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable

from msgspec import Struct

from netloom.model.errors import TooManyRequests

FREE = 5
"""Wrong passwords that cost nothing."""

LONGEST_SECONDS = 60.0

KEPT_SECONDS = 900.0
"""How long a wrong password counts after the last one."""

MOST = 10_000
"""Pairs of user and address that are remembered; beyond it the one that was wrong least lately is forgotten."""


class _Wrong(Struct):
    times: int
    last: float


class Brake:
    """Remembers wrong passwords in memory. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Ordered by the time of the last wrong password.
        self._wrong: dict[bytes, _Wrong] = {}

    def check(self, user: str, address: str) -> None:
        """Raise TooManyRequests where this address must wait before it tries this user again."""
        with self._lock:
            wrong = self._wrong.get(_key(user, address))
            if wrong is None or wrong.times < FREE:
                return
            pause = min(2.0 ** min(wrong.times - FREE, 16), LONGEST_SECONDS)
            left = wrong.last + pause - self._clock()
        if left > 0:
            raise TooManyRequests(
                "Too many wrong passwords for this user from this address.",
                retry_after=math.ceil(left),
            )

    def heard(self, user: str, address: str, fits: bool) -> None:
        """Note that a password was right, or wrong."""
        key, now = _key(user, address), self._clock()
        with self._lock:
            wrong = self._wrong.pop(key, None)
            if fits:
                return
            if wrong is None or now - wrong.last > KEPT_SECONDS:
                wrong = _Wrong(0, now)
            wrong.times, wrong.last = wrong.times + 1, now
            self._wrong[key] = wrong
            if len(self._wrong) > MOST:
                del self._wrong[next(iter(self._wrong))]


def _key(user: str, address: str) -> bytes:
    """Both in a few bytes: what a client names may be long."""
    return hashlib.sha256(f"{address}\n{user}".encode()).digest()[:16]
