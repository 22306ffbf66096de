"""The change feed inside the API's process: who waits for a change is woken, statuses follow (`keeper/statuses.py`).

One thread waits on the store, however many hosts stream. After each change the thread asks the scope which
hosts the change concerns, and wakes the streams of these hosts alone. Nothing is queued per host: a slow reader
finds, when it comes back, the newest state in the scope, so it costs no memory.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterable

from netloom.keeper import statuses
from netloom.model.errors import UserError
from netloom.scope import Scope
from netloom.store import Store

KEEPALIVE_SECONDS = 10.0
"""A stream says at least this often that it lives; an agent takes one that is silent for 20 s for dead."""

TURNS = 10
"""In so many turns streams say so: one timer for all of them, and the loop wakes once for many."""

PAUSE_SECONDS = 0.01
"""Between two looks at what changed: a change after a pause is looked at at once, of many in a row several together."""

log = logging.getLogger("netloom.api.hosts.wake")


class Feed:
    """Wakes a host's stream when a change concerns the host; keeps statuses in step with changed objects."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stepped: dict[str, int] = {}
        self._looked = 0
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._turns: deque[list[asyncio.Future[None]]] = deque([] for _ in range(TURNS))
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.epoch = ""
        """Names the feed (the database): numbers of another one mean nothing here."""

    @property
    def stopped(self) -> bool:
        """True once the server is going down: streams end then."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the threads; called in the event loop that the waiters run in."""
        self._loop = asyncio.get_running_loop()
        self.epoch = self._store.epoch
        for name, work in (("feed", self._watch), ("statuses", self._follow)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self._turn()

    def stop(self) -> None:
        """End the streams (from any thread, or a signal handler)."""
        self._stopping.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_all)

    def sleep(self, seconds: float) -> None:
        """Sleep, in a thread; wakes at once when the server goes down."""
        self._stopping.wait(seconds)

    def join(self) -> None:
        """Wait for the threads; they notice `stop` within a second."""
        for thread in self._threads:
            thread.join()

    def told(self, host: str, seq: int) -> None:
        """Note, in the loop, that a host's stream says more than a number up to `seq`: before anybody woke it, maybe."""
        self._stepped[host] = max(seq, self._stepped.get(host, 0))

    def concerns(self, host: str, after: int) -> bool:
        """Whether a change past `after` concerns the host; true as well where this process cannot tell yet."""
        return self._stepped.get(host, after + 1) > after

    async def wait(self, host: str, after: int) -> int | None:
        """Return as soon as a change past `after` concerns the host, the feed stops, or a sign of life is due.

        What is returned is the newest change up to which none after `after` concerns the host; None where one does.
        """
        if self._stepped.get(host, 0) <= after and not self.stopped:
            await self._sleep(host)
        return None if self._stepped.get(host, 0) > after else max(after, self._looked)

    async def _sleep(self, host: str) -> None:
        woken = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(host, set())
        waiting.add(woken)
        self._turns[-1].append(woken)
        try:
            await woken
        finally:
            waiting.discard(woken)
            if not waiting and self._waiting.get(host) is waiting:
                del self._waiting[host]

    def _turn(self) -> None:
        """Wake the streams whose sign of life is due; those that sleep from now on have theirs after all turns."""
        loop = self._loop
        if loop is None or self.stopped:
            return
        due = self._turns.popleft()
        self._turns.append([])
        _wake(due)
        loop.call_later(KEEPALIVE_SECONDS / TURNS, self._turn)

    def _wake(self, seq: int, stepped: dict[str, int]) -> None:
        self._looked = seq
        self._stepped.update(stepped)
        for host in stepped:
            _wake(self._waiting.get(host, ()))

    def _wake_all(self) -> None:
        for waiting in self._waiting.values():
            _wake(waiting)

    def _watch(self) -> None:
        loop = self._loop
        assert loop is not None
        seq = 0
        while not self.stopped:
            try:
                newest = self._store.wait(seq, 1.0)
                if newest <= seq:
                    continue
                looked, stepped = self._scope.news()
                seq, looked = newest, looked or newest
                self._store.liveness.wanted(stepped, looked)
            except UserError as error:
                log.error("nobody hears of changes after %d: %s", seq, error)
                self._stopping.wait(statuses.PAUSE_SECONDS)
                continue
            except Exception:
                # Without this thread no host would hear of anything any more.
                log.exception("waiting for changes after %d failed", seq)
                self._stopping.wait(1.0)
                continue
            if not self.stopped:
                loop.call_soon_threadsafe(self._wake, looked, stepped)
                self._stopping.wait(PAUSE_SECONDS)

    def _follow(self) -> None:
        statuses.follow(self._store, self._stopping)


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    for woken in waiting:
        if not woken.done():
            woken.set_result(None)
