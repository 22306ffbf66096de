"""The plan: what one host shall look like, as a pure function of what it knows.

`plan(view)` is total: the same view gives the same state on every machine and at every time. It does no
I/O, reads no clock and draws no random number. (`VERSION` is read from the sources once, when they are imported.)
"""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.hosts import HostView
from netloom.model.hoststate import HostObject, HostState
from netloom.plan.dhcp import plan_dhcp
from netloom.plan.index import Index
from netloom.plan.instances import plan_instances
from netloom.plan.l3 import plan_l3
from netloom.plan.neighbours import plan_neighbours
from netloom.plan.ovs.bridges import plan_bridges
from netloom.plan.ovs.l2 import plan_l2
from netloom.plan.ovs.local import plan_services
from netloom.plan.ovs.ports import plan_ports
from netloom.plan.ovs.security_groups import plan_security_groups
from netloom.plan.version import computed

VERSION = computed()
"""Differs with every change of what `plan` makes; hosts report it, and `explain` compares."""


def plan(view: HostView) -> HostState:
    """All objects that shall exist on the view's host."""
    return HostState.of(_objects(Index(view)))


def _objects(index: Index) -> Iterator[HostObject]:
    yield from plan_bridges(index)
    yield from plan_ports(index)
    yield from plan_services(index)
    yield from plan_security_groups(index)
    yield from plan_l2(index)
    yield from plan_dhcp(index)
    yield from plan_l3(index)
    yield from plan_neighbours(index)
    yield from plan_instances(index)


__all__ = ["VERSION", "plan"]
