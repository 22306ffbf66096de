"""A bounded pool of threads for costly work that strangers can ask for: passwords, new keys.

Work waits in one queue for each client address, and the queues take turns. So an address that sends a flood
of passwords waits behind itself, and another address waits for one password at most.
"""

from __future__ import annotations

import contextvars
import ipaddress
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from netloom.model.errors import Busy, TooManyRequests

T = TypeVar("T")


class FairPool:
    """`threads` that work; at most `most_of_one` waiting for an address, and `most` in all. Any thread may ask."""

    def __init__(self, threads: int, most_of_one: int, most: int) -> None:
        self._most_of_one, self._most = most_of_one, most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="costly")
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[Future[Any], Callable[[], Any]]]] = {}
        self._count = 0

    def submit(self, address: str, work: Callable[[], T]) -> Future[T]:
        """Queue work for an address. Raises TooManyRequests where the address has enough waiting, else Busy."""
        future: Future[T] = Future()
        context = contextvars.copy_context()
        with self._lock:
            mine = self._waiting.get(address, deque())
            if len(mine) >= self._most_of_one:
                raise TooManyRequests(
                    "Too much costly work (passwords, keys) for this address waits already.",
                    retry_after=2,
                )
            if self._count >= self._most:
                self._make_room(mine)
            mine.append((future, lambda: context.run(work)))
            self._waiting[address] = mine
            self._count += 1
        self._pool.submit(self._next)
        return future

    def _make_room(self, mine: deque[tuple[Future[Any], Callable[[], Any]]]) -> None:
        """Let the longest queue lose its newest work, where it is longer than that of who asks."""
        longest = max(self._waiting.values(), key=len)
        busy = Busy(
            "The server has as much costly work (passwords, keys) as it takes.", retry_after=2
        )
        if len(longest) <= len(mine) + 1:
            raise busy
        future, _ = longest.pop()
        self._count -= 1
        if future.set_running_or_notify_cancel():
            future.set_exception(busy)

    def _next(self) -> None:
        """Do the next work of the address whose turn it is."""
        with self._lock:
            if not self._waiting:
                return
            address = next(iter(self._waiting))
            queue = self._waiting.pop(address)
            future, work = queue.popleft()
            self._count -= 1
            if queue:
                # To the end: now it is the next address's turn.
                self._waiting[address] = queue
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    def stop(self) -> None:
        """Finish what waits, then end the threads."""
        self._pool.shutdown(wait=True)


def client_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 one (anybody has that many)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
