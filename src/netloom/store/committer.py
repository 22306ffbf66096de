"""One thread that writes for all requests: those that wait for it share one durable commit.

A commit costs a flush of the disk, however much it holds. Each write can be undone alone, so a write that is refused
leaves nothing behind and does not touch the others: the first of a commit with all of the transaction, the others by a
savepoint of their own. Nobody is told of success before the commit is durable.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from msgspec import Struct

from netloom.store.session import Session
from netloom.store.store import Store
from netloom.store.writer import Writer

T = TypeVar("T")

LONGEST_SECONDS = 0.02
"""How long a commit waits for further writes that are there already: those that came first should not wait long."""


class _Write(Struct):
    """`future`: asyncio's where there is a `loop`, else that of threads."""

    work: Callable[[Writer], Any]
    actor: str
    request_id: str
    context: contextvars.Context
    future: Any
    loop: Any = None
    result: Any = None
    error: BaseException | None = None

    def begins(self) -> bool:
        """Tell whether somebody still waits for it; from then on it is carried through."""
        if self.loop is None:
            return self.future.set_running_or_notify_cancel()
        return not self.future.cancelled()

    def tell(self) -> None:
        """Let who waits have the result."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Committer:
    """Writes in the order in which they are given. Any thread may give some."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[Writer], T], actor: str = "", request_id: str = ""
    ) -> Future[T]:
        """Have `work` done in the writer's thread; its result is there once it is durable.

        An exception that `work` raises undoes what it wrote; where the commit itself fails, all that waited for it
        get that exception.
        """
        future: Future[T] = Future()
        context = contextvars.copy_context()
        self._queue.put(_Write(work, actor, request_id, context, future))
        return future

    def write(
        self, work: Callable[[Writer], T], actor: str = "", request_id: str = ""
    ) -> asyncio.Future[T]:
        """As `submit`, for the event loop: it is woken once for all writes of a commit."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        self._queue.put(_Write(work, actor, request_id, context, future, loop))
        return future

    def stop(self) -> None:
        """Finish what was given, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            done: list[_Write] = []
            more = True
            try:
                with self._store.transaction() as session:
                    more = self._together(session, first, done)
            except BaseException as error:
                # What was not begun yet gets a transaction of its own.
                for write in done or [first]:
                    write.error = write.error or error
                done = done or [first]
            _tell(done)
            if not more:
                return

    def _together(self, session: Session, first: _Write, done: list[_Write]) -> bool:
        """Carry out `first` and what else waits, into `done`; false where the thread should end after it."""
        until = time.monotonic() + LONGEST_SECONDS
        write: _Write | None = first
        while write is not None:
            if write.begins():
                self._one(session, write, done)
            if time.monotonic() >= until:
                return True
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return True
        return False

    def _one(self, session: Session, write: _Write, done: list[_Write]) -> None:
        alone = all(other.error is not None for other in done)
        done.append(write)
        try:
            if alone:
                self._carry_out(session, write)
            else:
                with session.savepoint():
                    self._carry_out(session, write)
        except BaseException as error:
            if not session.lives:
                # The disk is full, say: the database has undone all of the transaction by itself.
                raise
            write.error = error
            if alone:
                session.undo()

    @staticmethod
    def _carry_out(session: Session, write: _Write) -> None:
        writer = Writer(session, write.actor, write.request_id)
        write.result = write.context.run(write.work, writer)


def _tell(writes: Sequence[_Write]) -> None:
    """Let all that wait have their results; each event loop is woken once."""
    loops: dict[asyncio.AbstractEventLoop, list[_Write]] = {}
    for write in writes:
        if write.loop is None:
            write.tell()
        else:
            loops.setdefault(write.loop, []).append(write)
    for loop, of_loop in loops.items():
        try:
            loop.call_soon_threadsafe(_tell_here, of_loop)
        except RuntimeError:
            # The loop is closed: nobody waits there any more.
            continue


def _tell_here(writes: Sequence[_Write]) -> None:
    for write in writes:
        write.tell()
