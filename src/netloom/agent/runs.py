"""Starting, ending and removing instances beside the loop: a part of the tracker, in a file of its own.

A start that nobody wants any more is cancelled, also while its image is fetched or unpacked; a removal waits for no other
instance's start. An instance that ends at once is started again with growing pauses, one that cannot be removed
is tried again with growing pauses, and both are said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from netloom.agent.lives import Lives
from netloom.agent.workers import Job, Workers
from netloom.instances.cancel import Cancel, Cancelled
from netloom.instances.instances import Instances, instance_mark
from netloom.model.hoststate import Instance, Key

if TYPE_CHECKING:
    from netloom.agent.tracker import Tracker

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds until what could not be removed is tried again: doubled from the first to the longest."""
_IMAGES: Key = ("images",)


class _Start(Struct):
    job: Job
    cancel: Cancel


class _Left(Struct):
    """Something that could not be removed, why not, and when it is tried again (time.monotonic)."""

    detail: str
    attempts: int
    again: float


class Runs:
    """Used by the reconcile thread alone."""

    def __init__(self, tracker: Tracker, instances: Instances, workers: Workers) -> None:
        self._tracker = tracker
        self._instances = instances
        self._workers = workers
        self._starts: dict[Key, _Start] = {}
        self._left: dict[Key, _Left] = {}
        self._lives = Lives()

    def next_retry(self) -> float | None:
        """When (time.monotonic) something that stayed is tried to be removed again."""
        return min((left.again for left in self._left.values()), default=None)

    def stays(self) -> str:
        """What could not be removed from this host, as one line; empty where there is nothing."""
        return "; ".join(
            f"{' '.join(key)} cannot be removed: {left.detail}"
            for key, left in sorted(self._left.items())
        )

    def ended(self, item: Instance) -> None:
        """An instance that ran has ended: it is started again at once the first time, later after a pause."""
        now = time.monotonic()
        pause, words = self._lives.ended(item.server_id, now)
        if pause:
            self._tracker.trouble.wait(item.key, instance_mark(item), words, now + pause)

    # --- starting ------------------------------------------------------------------------------

    def cancel_unwanted(self) -> None:
        """Cancel starts of what is not wanted any more, or otherwise than when it was started."""
        wanted = self._tracker.state.objects
        self._lives.keep({key[1] for key in wanted if key[0] == "instance"})
        for key, start in self._starts.items():
            item = wanted.get(key)
            if isinstance(item, Instance) and self._tracker.busy[key] == instance_mark(item):
                continue
            if not start.cancel.cancelled:
                start.cancel.cancel()
                self._workers.withdraw(start.job, str(Cancelled()))

    def start(self, item: Instance, number: int) -> None:
        """Have the instance run (or stop, as its `power` says); `number`: of its range of user ids."""
        mark, cancel = instance_mark(item), Cancel()
        self._tracker.busy[item.key] = mark
        job = self._workers.start(
            item.project_id,
            lambda: self._instances.ensure(item, number, cancel),
            lambda bad: self._started(item, mark, bad),
        )
        self._starts[item.key] = _Start(job, cancel)

    def _started(self, item: Instance, mark: str, bad: str) -> None:
        tracker = self._tracker
        cancelled = self._starts.pop(item.key).cancel.cancelled
        tracker.busy.pop(item.key, None)
        tracker.dirty = True
        now = time.monotonic()
        if item.key not in tracker.state.objects:
            # Whatever there is of it goes: also what a start leaves that was cancelled in the middle.
            tracker.found[item.key] = ""
        elif bad and cancelled:
            tracker.found[item.key] = self._instances.mark(item.server_id)
            tracker.trouble.pop(item.key, None)
        elif bad:
            tracker.found[item.key] = self._instances.mark(item.server_id)
            tracker.trouble.fail_now(item.key, mark, bad)
        else:
            tracker.found[item.key] = mark
            tracker.changes += 1
            tracker.trouble.pop(item.key, None)
            if item.power == "on":
                self._lives.started(item.server_id, now)
                proving = self._lives.proving(item.server_id, now)
                if proving:
                    words = "the instance kept ending: it was started again, and is watched"
                    tracker.trouble.wait(item.key, mark, words, now + proving)

    # --- removing ------------------------------------------------------------------------------

    def remove(self, keys: Iterable[Key]) -> None:
        """Remove these instances, and images that none here needs."""
        now = time.monotonic()
        images = {item.image_id for item in self._tracker.state.each(Instance)}
        for key in keys:
            if key not in self._tracker.busy and self._due(key, now):
                self._tracker.busy[key] = ""
                self._remove(key)
        if _IMAGES not in self._tracker.busy and self._due(_IMAGES, now):
            if self._instances.images.unwanted(images):
                self._tracker.busy[_IMAGES] = ""
                self._workers.remove(
                    lambda: self._instances.images.forget(images),
                    lambda bad: self._removed(_IMAGES, bad),
                )
            else:
                self._left.pop(_IMAGES, None)

    def _due(self, key: Key, now: float) -> bool:
        left = self._left.get(key)
        return left is None or now >= left.again

    def _remove(self, key: Key) -> None:
        self._workers.remove(
            lambda: self._instances.remove(key[1]), lambda bad: self._removed(key, bad)
        )

    def _removed(self, key: Key, bad: str) -> None:
        tracker = self._tracker
        tracker.busy.pop(key, None)
        tracker.dirty = True
        if bad:
            old = self._left.get(key)
            attempts = old.attempts + 1 if old else 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1))
            if old is None or old.detail != bad:
                log.warning("%s stays: %s", " ".join(key), bad)
            self._left[key] = _Left(bad, attempts, time.monotonic() + pause)
            return
        if self._left.pop(key, None):
            log.info("%s is removed at last", " ".join(key))
        tracker.found.pop(key, None)
        tracker.changes += key != _IMAGES
