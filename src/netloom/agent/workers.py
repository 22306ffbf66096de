"""Slow work (fetching an image, starting an instance) beside the loop; results come back as its events.

There are two lanes with threads of their own, so that removals never wait behind starts. In a lane nobody has all
threads: one owner (a project) with many jobs leaves room for the next.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from netloom.dataplane.process import ApplyError

log = logging.getLogger(__name__)

START_THREADS = 4
STARTS_OF_ONE = 2
"""Starts at a time, and how many of them for one project: images of strangers may take long to read."""
REMOVE_THREADS = 4

Done = Callable[[str], None]


class Job(Struct, eq=False):
    """Work that waits or is under way."""

    owner: str
    work: Callable[[], None]
    done: Done


class Workers:
    """`post` hands an event to the loop."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._starts = _Lane("start", START_THREADS, STARTS_OF_ONE, post)
        self._removals = _Lane("remove", REMOVE_THREADS, REMOVE_THREADS, post)

    def start(self, owner: str, work: Callable[[], None], done: Done) -> Job:
        """Do `work` when it is this owner's turn; then the loop calls `done` with what went wrong, or nothing."""
        return self._starts.submit(Job(owner, work, done))

    def withdraw(self, job: Job, reason: str) -> None:
        """Have a start that still waits end at once, with this reason; one that is under way is not touched."""
        self._starts.withdraw(job, reason)

    def remove(self, work: Callable[[], None], done: Done) -> Job:
        """Do `work` beside all starts; `done` as for them."""
        return self._removals.submit(Job("", work, done))

    def stop(self) -> None:
        """Start nothing more; what is under way ends with the process."""
        self._starts.stop()
        self._removals.stop()


class _Lane:
    def __init__(
        self, name: str, threads: int, of_one: int, post: Callable[[Callable[[], None]], None]
    ) -> None:
        self._name = name
        self._most = threads
        self._of_one = of_one
        self._post = post
        self._waiting: list[Job] = []
        self._running: Counter[str] = Counter()
        self._threads = self._idle = 0
        self._stopped = False
        self._changed = threading.Condition()

    def submit(self, job: Job) -> Job:
        with self._changed:
            self._waiting.append(job)
            if not self._idle and self._threads < self._most:
                self._threads += 1
                name = f"{self._name}-{self._threads}"
                # A daemon: a start that hangs keeps no agent from ending.
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._changed.notify()
        return job

    def withdraw(self, job: Job, reason: str) -> None:
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
        self._post(lambda: job.done(reason))

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def _next(self) -> Job | None:
        """The first job of whoever has the fewest under way; None where all that wait have their share."""
        jobs = [job for job in self._waiting if self._running[job.owner] < self._of_one]
        return min(jobs, key=lambda job: self._running[job.owner], default=None)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while (job := self._next()) is None and not self._stopped:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if job is None or self._stopped:
                    return
                self._waiting.remove(job)
                self._running[job.owner] += 1
            trouble = _do(job)
            with self._changed:
                self._running[job.owner] -= 1
                if not self._running[job.owner]:
                    del self._running[job.owner]
                self._changed.notify()
            self._post(lambda job=job, trouble=trouble: job.done(trouble))


def _do(job: Job) -> str:
    try:
        job.work()
    except (ApplyError, OSError) as error:
        return str(error)
    except Exception as error:  # a mistake of ours: the instance fails, the host goes on
        log.exception("a worker failed")
        return f"the agent failed: {type(error).__name__}, see its log"
    return ""
