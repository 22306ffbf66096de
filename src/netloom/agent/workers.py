"""Slow work (fetching an image, starting an instance) beside the loop; results come back as its events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from netloom.dataplane.process import ApplyError

log = logging.getLogger(__name__)

THREADS = 3


class Workers:
    """A few threads. `post` hands an event to the loop."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="worker")

    def submit(self, work: Callable[[], None], done: Callable[[str], None]) -> None:
        """Do `work`; then the loop calls `done` with what went wrong, or with nothing."""

        def job() -> None:
            trouble = ""
            try:
                work()
            except (ApplyError, OSError) as error:
                trouble = str(error)
            except Exception as error:  # a mistake of ours: the instance fails, the host goes on
                log.exception("a worker failed")
                trouble = f"the agent failed: {type(error).__name__}, see its log"
            self._post(lambda: done(trouble))

        self._pool.submit(job)

    def stop(self) -> None:
        """Start nothing more; what is under way ends with the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)
