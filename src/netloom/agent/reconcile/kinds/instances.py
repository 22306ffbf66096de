"""Starting, ending and removing instances beside the loop: workers do it, and the kind says later what became of it.

A start that is not wanted any more is cancelled, also while its image is fetched or unpacked; a removal waits for no other
instance's start. An instance that ends at once is started again with growing pauses, one that cannot be removed
is tried again with growing pauses, and both are said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from netloom.agent.lives import Lives
from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import UNDER_WAY, Failure, Kind, Look
from netloom.agent.reconcile.reconciler import Reconciler
from netloom.agent.reconcile.retry import Trouble
from netloom.agent.workers import Job, Workers
from netloom.dataplane.linux.netlink import link_names
from netloom.dataplane.mark import broken
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.bridges import peer_name
from netloom.dataplane.process import ApplyError
from netloom.instances.cancel import Cancel, Cancelled
from netloom.instances.instances import Instances, instance_mark
from netloom.model.hoststate import Instance, Key
from netloom.model.networking import Port

log = logging.getLogger(__name__)

UNPLUGGED = broken("a card of it is not plugged")
"""Mark of an instance that runs."""
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


class Runs(Kind):
    """Used by the reconcile thread alone. `around`: the reconciler that this is a kind of."""

    name = "instance"
    sorts = ("instance",)
    after = ("flow",)
    ends_by_itself = True

    def __init__(
        self,
        instances: Instances,
        workers: Workers,
        allocator: Allocator,
        around: Callable[[], Reconciler],
    ) -> None:
        self._instances = instances
        self._workers = workers
        self._allocator = allocator
        self._around = around
        self._starts: dict[Key, _Start] = {}
        self._left: dict[Key, _Left] = {}
        self._lives = Lives()
        self._wanted: dict[Key, Instance] = {}
        self._with_card: dict[str, Key] = {}  # device on the host → its instance
        self._made: set[str] = set()
        self._images_looked_at = False
        self.busy: dict[Key, Mark] = {}
        self.finished = False

    def next_retry(self) -> float | None:
        """When (time.monotonic) something that stayed is tried to be removed again."""
        return min((left.again for left in self._left.values()), default=None)

    def stays(self) -> str:
        """What could not be removed from this host, as one line; empty where there is nothing."""
        return "; ".join(
            f"{' '.join(key)} cannot be removed: {left.detail}"
            for key, left in sorted(self._left.items())
        )

    # --- both sides ----------------------------------------------------------------------------

    def read(self, look: Look) -> dict[Key, Mark]:
        self._images_looked_at = False
        found = self._instances.read()
        there = link_names() if self._with_card else {}
        for device, key in self._with_card.items():
            if peer_name(device) in there and found.get(key) == self._mark_of(key):
                found[key] = UNPLUGGED
        for key in self.busy:  # its worker says what there is in the end
            before = self._around().mark_there(key)
            found.pop(key, None)
            if before is not None:
                found[key] = before
        return found

    def _mark_of(self, key: Key) -> Mark | None:
        return instance_mark(self._wanted[key]) if key in self._wanted else None

    def mark(self, item: Instance) -> Mark:
        self.forget(item.key)
        self._wanted[item.key] = item
        self._with_card |= {nic.device: item.key for nic in item.nics if item.power == "on"}
        return instance_mark(item)

    def forget(self, key: Key) -> None:
        old = self._wanted.pop(key, None)
        for nic in old.nics if old is not None else ():
            self._with_card.pop(nic.device, None)
        self._images_looked_at = False

    def running(self) -> set[str]:
        """Devices of the instances that run as they are wanted, but for a card perhaps."""
        there = self._around().mark_there
        return {
            device
            for device, key in self._with_card.items()
            if there(key) in (UNPLUGGED, self._mark_of(key))
        }

    def made(self, device: str) -> None:
        """A device on the host was made anew: its instance may have lost the card, and is given that as at its start."""
        self._made.add(device)

    def stale(self) -> Iterable[Key]:
        made, self._made = self._made & self._with_card.keys(), set()
        there = link_names() if made else {}
        for device in made:
            key = self._with_card[device]
            # The cards of an instance that has just ended are on the host as well: `ended` finds that.
            runs = key not in self.busy and self._instances.mark(key[1]) == self._mark_of(key)
            if runs and peer_name(device) in there:
                self._around().note(key, UNPLUGGED)
        self._cancel_unwanted()
        return ()

    def look(self) -> bool:
        """Look whether instances still live; true where one does not, or one is back."""
        around = self._around()
        alive = self._instances.alive()
        moved = False
        for key, before in list(around.there(self.name)):
            now = alive.get(key)
            if key in self.busy or now == before or (before == UNPLUGGED and now):
                continue
            ran = key in self._wanted and before in (UNPLUGGED, self._mark_of(key))
            around.note(key, now)
            moved = True
            if ran and not now:
                self._ended(self._wanted[key])
        for key, now in alive.items():
            if key not in self.busy and around.mark_there(key) is None:
                around.note(key, now)
                moved = True
        return moved

    def _ended(self, item: Instance) -> None:
        """An instance that ran has ended: it is started again at once the first time, later after a pause."""
        now = time.monotonic()
        pause, words = self._lives.ended(item.server_id, now)
        if pause:
            self._around().trouble.wait(item.key, instance_mark(item), words, now + pause)

    # --- starting ------------------------------------------------------------------------------

    def apply(self, change: Change) -> dict[Key, Failure]:
        ready: list[Instance] = []
        failed: dict[Key, Failure] = {}
        bad = self._ports_in_trouble() if change.make else {}
        for item in change.make:
            assert isinstance(item, Instance)
            failed[item.key] = UNDER_WAY
            if item.key in self.busy:
                continue
            # Fail closed: nothing runs before the rules of all its ports are in place.
            waits = next((bad[n.port_id] for n in item.nics if n.port_id in bad), None)
            if waits is None:
                ready.append(item)
            else:
                said = f"waits for its port: {waits}"
                self._around().trouble[item.key] = Trouble("pending", said)
        self._start_all(ready)
        failed |= dict.fromkeys(change.remove, UNDER_WAY)
        self._remove_all(change.remove)
        return failed

    def _ports_in_trouble(self) -> dict[str, str]:
        """Id of a port → what is wrong with it."""
        around, bad = self._around(), dict[str, str]()
        for key, trouble in around.trouble.items():
            for origin in trouble.blame or around.state.objects[key].origin:
                if key[0] != "instance" and origin.kind == Port.KIND:
                    bad.setdefault(origin.id, trouble.detail)
        return bad

    def _start_all(self, ready: list[Instance]) -> None:
        numbers = {item.server_id: self._allocator.number("uids", item.server_id) for item in ready}
        try:
            self._allocator.save()
        except ApplyError as error:
            for item in ready:
                self._around().trouble.fail(item.key, instance_mark(item), str(error))
            return
        for item in ready:
            self._start(item, numbers[item.server_id])

    def _start(self, item: Instance, number: int) -> None:
        """Have the instance run (or stop, as its `power` says); `number`: of its range of user ids."""
        mark, cancel = instance_mark(item), Cancel()
        around = self._around()
        old = around.trouble.get(item.key)
        # What went wrong is worth more than that it is tried again, unless something else is wanted now; an
        # instance that only lacks a card runs.
        fresh = old is None or old.mark != mark or not old.attempts
        if fresh and around.mark_there(item.key) != UNPLUGGED:
            around.trouble[item.key] = Trouble("pending", "the instance is being started", mark)
        self.busy[item.key] = mark
        job = self._workers.start(
            item.project_id,
            lambda: self._instances.ensure(item, number, cancel),
            lambda bad: self._started(item, mark, bad),
        )
        self._starts[item.key] = _Start(job, cancel)

    def _started(self, item: Instance, mark: Mark, bad: str) -> None:
        around = self._around()
        cancelled = self._starts.pop(item.key).cancel.cancelled
        self.busy.pop(item.key, None)
        self.finished = True
        now = time.monotonic()
        if item.key not in around.state.objects:
            # Whatever there is of it goes: also what a start leaves that was cancelled in the middle.
            around.note(item.key, "")
        elif bad and cancelled:
            around.note(item.key, self._instances.mark(item.server_id))
            around.trouble.pop(item.key, None)
        elif bad:
            around.note(item.key, self._instances.mark(item.server_id))
            around.trouble.fail_now(item.key, mark, bad)
        else:
            around.trouble.pop(item.key, None)
            around.done(item.key, mark)
            if item.power == "on":
                self._lives.started(item.server_id, now)
                proving = self._lives.proving(item.server_id, now)
                if proving:
                    words = "the instance kept ending: it was started again, and is watched"
                    around.trouble.wait(item.key, mark, words, now + proving)

    def _cancel_unwanted(self) -> None:
        """Cancel starts of what is not wanted any more, or otherwise than when it was started."""
        if not self._starts:
            return
        self._lives.keep({key[1] for key in self._wanted})
        for key, start in self._starts.items():
            if self.busy[key] != self._mark_of(key) and not start.cancel.cancelled:
                start.cancel.cancel()
                self._workers.withdraw(start.job, str(Cancelled()))

    # --- removing ------------------------------------------------------------------------------

    def _remove_all(self, keys: Iterable[Key]) -> None:
        now = time.monotonic()
        for key in keys:
            if key not in self.busy and self._due(key, now):
                self.busy[key] = ""
                self._remove(key)

    def tidy(self) -> None:
        """Remove images that no instance here needs, and free the user ids of those that are gone."""
        now = time.monotonic()
        again = _IMAGES in self._left and self._due(_IMAGES, now)
        if (
            _IMAGES in self.busy
            or (self._images_looked_at and not again)
            or not self._due(_IMAGES, now)
        ):
            return
        self._images_looked_at = True
        kept = {
            key[1] for key in (*dict(self._around().there(self.name)), *self.busy, *self._wanted)
        }
        try:
            self._allocator.keep("uids", kept)
            self._allocator.save()
        except ApplyError as error:
            log.warning("user ids stay in use: %s", error)  # until images are looked at next
            self._images_looked_at = False
        images = {item.image_id for item in self._wanted.values()}
        if self._instances.images.unwanted(images):
            self.busy[_IMAGES] = ""
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
        self.busy.pop(key, None)
        self.finished = True
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
        self._images_looked_at = False
        if key != _IMAGES:
            self._around().note(key, None)
            self._around().changes += 1
