"""How many connections Open vSwitch remembers for each port, so that no instance fills the host's table.

A port's zone that is full takes no new connection of that port: its first packet still passes, its answers do
not. Other ports go on. The switch forgets the bounds when it starts again; they are set anew with every look at the host.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable

from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.process import ApplyError

log = logging.getLogger(__name__)


class Connections:
    """The bounds that were set. Used by the reconcile thread alone."""

    def __init__(self, switch: Switch, limit: int) -> None:
        self._switch = switch
        self._limit = limit
        self._bounded: set[int] = set()
        self._said = ""

    def look_again(self) -> None:
        """Forget what was set: the switch may have been started anew."""
        self._bounded.clear()

    def bound(self, zones: Iterable[int]) -> None:
        """Bound zones that are not yet. Where the switch cannot, one line of the log says so."""
        fresh = sorted(set(zones) - self._bounded)
        if not fresh:
            return
        try:
            self._switch.limit_connections(fresh, self._limit)
        except (ApplyError, OSError) as error:
            if str(error) != self._said:
                log.warning("connections of a port are not bounded: %s", error)
                self._said = str(error)
        else:
            self._bounded.update(fresh)

    def release(self, zone: int) -> None:
        """Empty a zone whose port is gone, and take its bound away, so that its next owner inherits nothing."""
        self._switch.forget_connections(zone)
        # An agent before this one may have set it, so it is not asked whether this one did.
        with contextlib.suppress(ApplyError):
            self._switch.unlimit_connections(zone)
        self._bounded.discard(zone)
