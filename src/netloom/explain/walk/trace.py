"""What a walk leaves behind: steps, and how each copy of a frame ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from netloom.explain.cause import Cause
from netloom.explain.walk.frames import Frame
from netloom.model.origin import Origin
from netloom.plan.ovs.pipeline import Stage

Kind = Literal["instance", "flow", "tunnel", "wire", "device", "route", "nat", "arp", "outside"]


@dataclass(frozen=True)
class Way:
    """A route that somebody wrote, or that a subnet's gateway gives: `destination` by the address `via`.

    `owner`: the object that has it. `chosen`: it is a host route or an extra route, which a user wrote.
    """

    owner: Origin
    destination: str
    via: str
    chosen: bool
    place: tuple[str, str] = ("", "")
    """Host and namespace of a router's route; empty for an instance's."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that happened to a frame: where, in words, how to see it, and which objects caused it.

    `target`: the address that was asked for, where the step is about one (ARP, routes). `stage`: of a flow's step.
    `cause`: why the way ends here, where the place alone does not say it. `way`: the route that was taken.
    """

    kind: Kind
    host: str
    place: str
    text: str
    command: str = ""
    origin: tuple[Origin, ...] = ()
    target: str = ""
    stage: Stage | None = None
    cause: Cause | None = None
    way: Way | None = None


Steps = tuple[Step, ...]
End = Literal["device", "wire", "answered", "dropped"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one copy of a frame ended.

    `device`: it left the switch by a local device. `wire`: it left by a physical network (`place` is its name and
    `vlan` its tag in `frame`). `answered`: a flow turned it into an ARP reply, back to its sender. `dropped`: the last
    step says why.
    """

    end: End
    host: str
    place: str
    frame: Frame
    steps: Steps

    @property
    def dropped(self) -> bool:
        """True where nobody gets this copy."""
        return self.end == "dropped"
