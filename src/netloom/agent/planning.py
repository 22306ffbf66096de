"""Planning a view although something in it cannot be planned: that is left out and named, the rest is carried out.

A server of another version, or a mistake of ours, may bring a row that `plan` has no answer for. One such row must not
keep a host from everything else. What is left out is cut off (fail closed), and is in error with the reason.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

import msgspec

from netloom.model.bounds import one_line
from netloom.model.hosts import TABLES, HostView, ViewDelta
from netloom.model.hoststate import HostObject, HostState, Key, StateDelta
from netloom.plan import Parts, plan

TRIED = (
    "port_forwardings",
    "floatingips",
    "security_group_rules",
    "address_groups",
    "chassis",
    "ports",
    "subnets",
    "routers",
    "networks",
)
"""Tables whose rows may be left out. Servers and images are not: an instance that is not planned would be removed."""

MOST_PLANS = 200
"""How often it is tried before the view is given up, and the host stays as it is."""

Left = dict[tuple[str, str], str]
"""(table, id) of what is left out → why."""


def plan_around(view: HostView, before: HostState) -> tuple[HostState, Left]:
    """Plan the view, without the rows that cannot be planned; raises what `plan` raises where that does not help.

    `before`: the state until now. An instance with a card that is left out stays as it was there.
    """
    try:
        return plan(view), {}
    except Exception as error:
        wrong = error
    search = _Search(view)
    candidates: list[tuple[str, str]] = []
    for table in TRIED:
        candidates += [(table, id) for id in sorted(getattr(view, table))]
        if search.plan(candidates) is not None:
            break
    else:
        raise wrong
    left = search.needed(candidates, [])
    state = search.plan(left)
    if state is None:
        raise wrong
    ports = {id for table, id in left if table == "ports"}
    kept: dict[Key, HostObject] = {}
    for server in view.servers.values():
        key = ("instance", server.id)
        if ports.intersection(server.port_ids) and key in state.objects and key in before.objects:
            kept[key] = before.objects[key]
    if kept:
        state = HostState({**state.objects, **kept})
    return state, dict.fromkeys(left, f"it cannot be planned: {told(wrong)}")


class Planning:
    """Plans one view after the other. Of the last plan it keeps the parts that no change since then concerns."""

    def __init__(self) -> None:
        self.delta: StateDelta | None = None
        """What the last plan changed of the one before it; None where that is not known."""
        self._parts: Parts | None = None
        self._changed: dict[str, set[str]] | None = {}  # None: any row may have

    def tell(self, delta: ViewDelta) -> None:
        """Take in which rows a step of the view changed."""
        if delta.snapshot or self._changed is None:
            self._changed = None
            return
        for table, ids in delta.delete.items():
            self._changed.setdefault(table, set()).update(ids)
        for table, rows in delta.upsert.items():
            ids = {row.host if table == "chassis" else row.id for row in rows}
            self._changed.setdefault(table, set()).update(ids)

    def tell_all(self) -> None:
        """Any row may have changed: the next plan compares all of them."""
        self._changed = None

    def plan_around(self, view: HostView, before: HostState) -> tuple[HostState, Left]:
        """As the function of this name does it; the view's rows are those of the last one but for what `tell` told."""
        parts, changed = self._parts, self._changed
        self._parts, self._changed, self.delta = None, None, None  # after a mistake nothing is kept
        try:
            if parts is None:
                with _uncollected():
                    parts = Parts(view)
                delta = None
            else:
                delta = parts.follow(view, changed)
            state = parts.state
        except Exception:
            return plan_around(view, before)
        self.delta = delta
        self._parts, self._changed = parts, {}
        return state, {}


@contextmanager
def _uncollected() -> Generator[None]:
    """Make what lives long without the collector of cycles, which would walk over all of it again and again.

    A plan has none. For 1,000 ports it took a third of a second, and as much again whenever it came back to them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()  # not after a mistake: what that leaves in cycles would stay
    finally:
        if was_on:
            gc.enable()


class _Search:
    """Which rows must be left out; counts its attempts."""

    def __init__(self, view: HostView) -> None:
        self._view = view
        self._plans = 0

    def plan(self, without: list[tuple[str, str]]) -> HostState | None:
        """The plan without these rows, or None where there is none."""
        self._plans += 1
        if self._plans > MOST_PLANS:
            return None
        tables: dict[str, dict[str, object]] = {}
        for table, id in without:
            tables.setdefault(table, dict(getattr(self._view, table))).pop(id)
        try:
            return plan(msgspec.structs.replace(self._view, **tables))
        except Exception:
            return None

    def needed(
        self, candidates: list[tuple[str, str]], also: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Those of the candidates that must go for a plan without `also`; without all of them there is one."""
        if self.plan(also) is not None:
            return []
        if len(candidates) == 1:
            return candidates
        half = len(candidates) // 2
        first, second = candidates[:half], candidates[half:]
        bad = self.needed(first, [*also, *second])
        return bad + self.needed(second, [*also, *bad])


def origin_of(table: str, id: str) -> tuple[str, str]:
    """(kind, id) under which a row of a view is reported on."""
    return getattr(TABLES[table], "KIND", "host"), id


def told(error: BaseException) -> str:
    """A mistake of ours in one line: what, and where in the code."""
    frames = extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return one_line(f"{type(error).__name__}: {error}", 300) + where
