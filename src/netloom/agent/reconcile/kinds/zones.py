"""Conntrack zones of ports: a number for each, and a bound, so that no instance fills the host's table.

A port's zone that is full takes no new connection of that port: its first packet still passes, its answers do
not. Other ports go on. Numbers are kept in the switch's database, which is how a restarted agent knows them (`allocator`); the
switch forgets the bounds when it starts again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, each
from netloom.dataplane.mark import broken
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Key, Zone

log = logging.getLogger(__name__)


class Zones(Kind):
    """`limit`: connections that a zone holds. `in_use`: whether flows are left that may name a zone that goes."""

    name = "zone"
    sorts = ("zone",)
    after = ("bridge",)

    def __init__(
        self, switch: Switch, allocator: Allocator, limit: int, in_use: Callable[[], bool]
    ) -> None:
        self._switch = switch
        self._allocator = allocator
        self._limit = limit
        self._in_use = in_use
        self._bounds = True  # whether this switch can bound zones

    def read(self, look: Look) -> dict[Key, Mark]:
        limits: dict[int, int] = {}
        if self._bounds and look.marks[self.name]:
            with contextlib.suppress(
                ApplyError, OSError
            ):  # a switch without bridges has no table to ask
                limits = self._switch.limits()
        lost = self._allocator.lost("zone")
        found: dict[Key, Mark] = {}
        for name in self._allocator.names("zone"):
            number = self._allocator.number("zone", name)
            key = ("zone", name)
            if key in look.wanted and name in lost:
                found[key] = broken(f"the database had lost its number {number}")
            elif self._bounds and limits.get(number) != self._limit:
                found[key] = broken(f"its bound of connections was {limits.get(number, 'none')}")
            else:
                found[key] = self._mark(number)
        return found

    def _mark(self, number: int) -> Mark:
        return f"{number} limit {self._limit}"

    def mark(self, item: Zone) -> Mark:
        return self._mark(self._allocator.number("zone", item.name))

    def apply(self, change: Change) -> dict[Key, Failure]:
        self._allocator.save()
        numbers = [self._allocator.number("zone", item.key[1]) for item in change.make]
        if numbers and self._bounds:
            with self._where_it_can():
                self._switch.limit_connections(sorted(numbers), self._limit)
        failed = each(change.remove, self._remove)
        self._allocator.save()
        return failed

    @contextlib.contextmanager
    def _where_it_can(self) -> Generator[None]:
        try:
            yield
        except (ApplyError, OSError) as error:
            log.warning("connections of a port are not bounded: %s", error)
            self._bounds = False

    def _remove(self, key: Key) -> None:
        """Empty a zone whose port is gone, and take its bound away, so that its next owner inherits nothing.

        Until its flows are gone, what still comes in would fill it again.
        """
        if self._in_use():
            raise ApplyError("flows that may name it are still in the switch")
        number = self._allocator.number("zone", key[1])
        self._switch.forget_connections(number)
        with contextlib.suppress(ApplyError):  # it may have none
            self._switch.unlimit_connections(number)
        self._allocator.forget("zone", key[1])
