"""Meters of the switch, as objects of a host: beside `hoststate`, which is long enough."""

from __future__ import annotations

from typing import Literal

from netloom.model.hoststate import HostObject, Key


class Meter(HostObject, frozen=True, kw_only=True):
    """A bound of what flows that name it let through: `rate` a second and `burst` at once, of 1000 bits (`kbps`) or packets (`pktps`).

    What is beyond is dropped.
    """

    bridge: str
    name: str
    unit: Literal["kbps", "pktps"]
    rate: int
    burst: int

    @property
    def key(self) -> Key:
        return ("meter", self.bridge, self.name)
