"""The plan: what one host shall look like, as a pure function of what it knows.

`plan(view)` is total: the same view gives the same state on every machine and at every time. It does no
I/O, reads no clock and draws no random number. (`VERSION` is read from the sources once, when they are imported.)
"""

from __future__ import annotations

from netloom.model.hosts import HostView
from netloom.model.hoststate import HostState
from netloom.plan.index import Changed
from netloom.plan.parts import Parts, union
from netloom.plan.version import computed

VERSION = computed()
"""Differs with every change of what `plan` makes; hosts report it, and `explain` compares."""


def plan(view: HostView) -> HostState:
    """All objects that shall exist on the view's host."""
    return union(view)


__all__ = ["VERSION", "Changed", "Parts", "plan"]
