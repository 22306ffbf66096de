"""What is wanted and what is there, key by key, and one pass that brings the second to the first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from netloom.agent.reconcile.diff import Change, Diff, Mark, News, diff
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady
from netloom.agent.reconcile.order import in_order
from netloom.agent.reconcile.repairs import Repairs
from netloom.agent.reconcile.retry import Trouble, Troubles
from netloom.dataplane.mark import why_broken
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import HostObject, HostState, Key, StateDelta
from netloom.model.origin import Origin

log = logging.getLogger(__name__)


class Finding(Struct, frozen=True):
    """One object that is not as wanted, or is foreign. `action`: what a repair would do with it.

    `why`: in words, where the kind can say it. `origin`: the API objects that want it.
    """

    action: str  # add, alter, remove, wait, leave
    key: Key
    why: str = ""
    origin: tuple[Origin, ...] = ()


SLOW_SECONDS = 0.5
"""What a kind takes in one pass from which on the log says so."""


class _Side(Struct):
    """What the reconciler knows of one kind's objects.

    `marks`: as they are wanted, `there`: as they are; `open`: keys whose two marks differ; `unmarked`: keys whose wanted
    mark is still to be made.
    """

    kind: Kind
    marks: dict[Key, Mark]
    there: dict[Key, Mark]
    open: set[Key]
    unmarked: set[Key]


class Reconciler:
    """Used by one thread alone.

    `now` gives the moment, as time.monotonic does. `told` hears the name of each kind whose turn of adding is over.
    """

    def __init__(
        self,
        kinds: Iterable[Kind],
        now: Callable[[], float] = time.monotonic,
        told: Callable[[str], None] = lambda _kind: None,
    ) -> None:
        self._sides = [_Side(kind, {}, {}, set(), set()) for kind in in_order(kinds)]
        self._of = {sort: side for side in self._sides for sort in side.kind.sorts}
        self._named = {side.kind.name: side for side in self._sides}
        self.state = HostState()
        self.trouble = Troubles(now)
        self.leaving = Troubles(now)  # what could not be removed
        self.repairs = Repairs()
        self.foreign: dict[Key, str] = {}
        self.changes = 0
        self.took: dict[str, float] = {}
        """Kind → seconds that the last pass spent on what was to be made of it."""
        self._told = told

    # --- both sides ----------------------------------------------------------------------------

    def slow(self) -> str:
        """What took the last pass longest, for the log; empty where nothing took long."""
        longest = sorted(self.took.items(), key=lambda each: -each[1])[:4]
        said = [f"{kind} {seconds:.1f} s" for kind, seconds in longest if seconds >= SLOW_SECONDS]
        return f" ({', '.join(said)})" if said else ""

    def want(
        self, state: HostState, before: HostState | None = None, delta: StateDelta | None = None
    ) -> News:
        """Set what shall be there from now on; costs work for the objects that are not the same as before.

        `delta`: the step to it from `before`, where somebody knows: then not even all objects are compared.
        """
        news = News.step(self.state, state, delta if before is self.state else None)
        self.state = state
        for key in news.gone:
            side = self._of.get(key[0])
            if side is not None:
                side.unmarked.discard(key)
                side.marks.pop(key, None)
                side.kind.forget(key)
                self.trouble.pop(key, None)
                self.repairs.forget(key)
                self._judge(side, key)
        for key in news.fresh:
            side = self._of.get(key[0])
            if side is not None:
                side.unmarked.add(key)
        return news

    def mark_there(self, key: Key) -> Mark | None:
        """The mark of an object that is there, None where it is not."""
        return self._of[key[0]].there.get(key)

    def marks(self, kind: str) -> Mapping[Key, Mark]:
        """The marks of all wanted objects of a kind."""
        return self._named[kind].marks

    def is_well(self, key: Key) -> bool:
        """Whether an object is wanted and there as wanted."""
        side = self._of[key[0]]
        return key in side.there and side.there[key] == side.marks.get(key)

    def there(self, *sorts: str) -> Iterator[tuple[Key, Mark]]:
        """Objects of these sorts that are there."""
        for sort in sorts:
            for key, mark in self._of[sort].there.items():
                if key[0] == sort:
                    yield key, mark

    def note(self, key: Key, mark: Mark | None) -> None:
        """Take down that an object is there with this mark now; None: it is not there."""
        side = self._of[key[0]]
        if mark is None:
            side.there.pop(key, None)
        else:
            side.there[key] = mark
        self._judge(side, key)

    def done(self, key: Key, mark: Mark) -> None:
        """Take down that an object was made so, by work that took longer than a pass."""
        self.note(key, mark)
        self.changes += 1

    def _judge(self, side: _Side, key: Key) -> None:
        wanted, there = side.marks.get(key), side.there.get(key)
        if wanted != there:
            side.open.add(key)
            return
        side.open.discard(key)
        if there is None:
            self.leaving.pop(key, None)
            return
        old = self.trouble.get(key)
        if old is not None and not (old.watched and not self.trouble.is_due(key, there)):
            del self.trouble[key]
        self.repairs.is_well(key, there)

    def _mark(self, side: _Side) -> None:
        """Make the marks of wanted objects that are new, and of those whose mark has changed by itself."""
        objects = self.state.objects
        fresh, side.unmarked = side.unmarked.union(side.kind.stale()), set()
        for key in sorted(fresh):
            item = objects.get(key)
            if item is None:
                continue
            try:
                side.marks[key] = side.kind.mark(item)
            except NotReady as reason:
                side.marks.pop(key, None)
                self.trouble.not_ready(key, reason.detail, reason.state, reason.blame)
            else:
                old = self.trouble.get(key)
                if old is not None and old.unready:
                    del self.trouble[key]
            self._judge(side, key)

    # --- looking -------------------------------------------------------------------------------

    def read(self) -> None:
        """Look at the whole host; raises ApplyError where that cannot be done."""
        for side in self._sides:
            self._mark(side)
        look = self._look(None, whole=True)
        for side in self._sides:
            self._take(side, look, list(side.there))
        self.foreign = look.foreign

    def look_into(self, namespaces: Collection[str], sorts: frozenset[str] | None = None) -> bool:
        """Look into these namespaces again; true where something is not as it was known.

        `sorts`: these sorts of objects alone, all others stay as they are known. Raises ApplyError.
        """
        look = self._look(frozenset(namespaces), sorts)
        moved = False
        for side in self._sides:
            if side.kind.inside and (sorts is None or sorts.intersection(side.kind.sorts)):
                place = side.kind.place
                before = [k for k in side.there if place(k) in namespaces and look.asks_for(k)]
                moved = self._take(side, look, before) or moved
        before_foreign = self.foreign
        asked = {"route", "rule", "table"} if sorts is None else {"route", "rule"}
        if sorts is None or "namespace" in sorts:
            kept = {
                key: why
                for key, why in self.foreign.items()
                if key[1] not in namespaces or key[0] not in asked
            }
            self.foreign = kept | look.foreign
        return moved or self.foreign != before_foreign

    def look_at(self, *names: str, **together: Any) -> bool:
        """Look at everything of these kinds again; true where something is not as it was known. Raises ApplyError.

        `together`: what has been read for it already, as of `Look.together`.
        """
        look, moved = self._look(None), False
        look.together |= together
        for side in (self._named[name] for name in names):
            moved = self._take(side, look, list(side.there)) or moved
        return moved

    def _look(
        self,
        only: frozenset[str] | None,
        sorts: frozenset[str] | None = None,
        whole: bool = False,
    ) -> Look:
        marks = {name: side.marks for name, side in self._named.items()}
        return Look(self.state.objects, marks, only, sorts, whole)

    def _take(self, side: _Side, look: Look, before: Iterable[Key]) -> bool:
        fresh = {k: mark for k, mark in side.kind.read(look).items() if look.asks_for(k)}
        moved = False
        for key in before:
            if key not in fresh:
                del side.there[key]
                self._judge(side, key)
                moved = True
        for key, mark in fresh.items():
            if side.there.get(key) != mark:
                side.there[key] = mark
                moved = True
            self._judge(side, key)
        return moved

    def findings(self) -> list[Finding]:
        """Everything that differs as of the last look, in the order in which a pass would go about it."""
        found: list[Finding] = []
        for side in self._sides:
            self._mark(side)
            part = self._diff(side)
            for action, keys in (("add", part.add), ("alter", part.alter)):
                for key in keys:
                    why = why_broken(side.there.get(key, ""))
                    found.append(Finding(action, key, why, self.state.objects[key].origin))
        for key, bad in sorted(self.trouble.items()):
            if bad.unready:
                found.append(Finding("wait", key, bad.detail, self.state.objects[key].origin))
        for side in reversed(self._sides):
            for key in self._diff(side).remove:
                found.append(Finding("remove", key, "nothing wants it"))
        for key, why in sorted(self.foreign.items()):
            around = self.state.objects.get(("namespace", key[1])) or self.state.objects.get(
                ("bridge", key[1])
            )
            found.append(Finding("leave", key, why, around.origin if around else ()))
        return found

    # --- one pass ------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Bring what is there to what is wanted as far as it goes; what did not go is in `trouble` afterwards."""
        self.trouble.begin()
        self.leaving.begin()
        self._outlived()
        self._mend()
        self.took = {}
        for side in self._sides:
            began = time.monotonic()
            self._mark(side)
            part = self._diff(side)
            change = self._due(side, part)
            if side.kind.at_once:
                change = Change(change.add, change.alter, self._leaving(side, part))
            self._apply(side, change)
            self._told(side.kind.name)
            self.took[side.kind.name] = time.monotonic() - began
        for side in reversed(self._sides):
            if not side.kind.at_once:
                self._apply(side, Change(remove=self._leaving(side, self._diff(side))))
        self.repairs.speak()

    def unreached(self) -> dict[Key, Trouble]:
        """Objects that are not as wanted though nothing is known against them: a pass ended before their turn."""
        return {
            key: Trouble("pending", "its turn has not come: the last pass ended before")
            for side in self._sides
            for key in side.open | side.unmarked
            if key in self.state.objects and key not in self.trouble
        }

    def next_retry(self) -> float | None:
        """When (time.monotonic) the first failed object is due, None where none is."""
        due = (self.trouble.next_retry(), self.leaving.next_retry())
        return min((at for at in due if at is not None), default=None)

    def _mend(self) -> None:
        """Put right what others damaged, before anything else: it served until now, and what is new may take long."""
        for side in self._sides:
            hurt = [
                key
                for key in side.open - side.unmarked
                if key in side.marks and self.repairs.was_well(key, side.marks[key])
            ]
            part = diff(side.marks, side.there, hurt)
            if part:
                self._apply(side, self._due(side, part))

    def _outlived(self) -> None:
        """Objects that were watched for a while, and are still as wanted, are well."""
        for key in [key for key, bad in self.trouble.items() if bad.watched]:
            self._judge(self._of[key[0]], key)

    @staticmethod
    def _diff(side: _Side) -> Diff:
        return diff(side.marks, side.there, side.open) if side.open else Diff()

    def _due(self, side: _Side, part: Diff) -> Change:
        """The objects that are to be made now: those that neither wait for their retry nor for the end of a fight."""
        sorted_out: list[list[HostObject]] = []
        for keys in (part.add, part.alter):
            due: list[HostObject] = []
            for key in keys:
                item, mark = self.state.objects[key], side.marks[key]
                if not side.kind.ends_by_itself:
                    there = side.there.get(key)
                    wait, why = self.repairs.pause(item, mark, there, self.trouble.now)
                    if wait:
                        again = self.trouble.now + wait
                        self.trouble[key] = Trouble("pending", why, mark, again=again)
                missing = next((n for n in side.kind.needs(item) if not self._stands(n)), None)
                if missing is not None:
                    self.trouble[key] = Trouble("pending", self._waits_for(missing), mark)
                elif self.trouble.is_due(key, mark):
                    due.append(item)
            sorted_out.append(due)
        return Change(tuple(sorted_out[0]), tuple(sorted_out[1]))

    def _stands(self, key: Key) -> bool:
        """Whether an object is as wanted; true for one that nobody wants, and for one that cannot be made at all."""
        side = self._of[key[0]]
        return key not in side.marks or side.there.get(key) == side.marks[key]

    def _waits_for(self, key: Key) -> str:
        bad = self.trouble.get(key)
        return f"waits for {' '.join(key)}{f': {bad.detail}' if bad else ''}"

    def _leaving(self, side: _Side, part: Diff) -> tuple[Key, ...]:
        due: list[Key] = []
        for key in part.remove:
            around = side.kind.goes_with(key)
            if around is not None and not self._stays(around):
                self.note(key, None)
            elif self.leaving.is_due(key, side.there[key]) and all(
                self._gone_or_stands(other) for other in side.kind.outlives(key)
            ):
                due.append(key)
        return tuple(due)

    def _gone_or_stands(self, key: Key) -> bool:
        side = self._of[key[0]]
        return side.there.get(key) == side.marks.get(key)

    def _stays(self, key: Key) -> bool:
        return key[0] not in self._of or key in self._of[key[0]].marks

    def _apply(self, side: _Side, change: Change) -> None:
        if not change:
            return
        try:
            failed = side.kind.apply(change)
        except (ApplyError, OSError) as error:
            failed = self._all(change, str(error))
        except (ValueError, TypeError, KeyError) as error:
            failed = self._all(change, f"{type(error).__name__}: {error}")
        for item in change.make:
            key, bad = item.key, failed.get(item.key)
            # It may have become something else meanwhile: then its mark tells.
            mark = side.marks.get(key, "")
            if bad is None:
                self.done(key, mark)
            elif bad.detail:
                self.trouble.fail(key, mark, bad.detail, bad.state)
        for key in change.remove:
            bad = failed.get(key)
            if bad is None:
                self.note(key, None)
                self.changes += 1
            elif bad.detail:
                self.leaving.fail(key, side.there.get(key, ""), f"it stays: {bad.detail}")

    @staticmethod
    def _all(change: Change, why: str) -> dict[Key, Failure]:
        return dict.fromkeys([*(item.key for item in change.make), *change.remove], Failure(why))
