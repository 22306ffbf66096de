"""Pieces of flows: several parts of the plan may each want an action of one and the same flow.

Where a port is in two groups, the conjunctions of both meet it in the same match; Open vSwitch has one flow for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netloom.model.hoststate import Flow, Key, flow_key
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.openflow import Action, Match
from netloom.model.origin import Origin
from netloom.plan.ovs.pipeline import Stage


class Piece(Struct, frozen=True):
    """One action of the flow of br-int with this stage, priority and match."""

    stage: Stage
    priority: int
    match: Match
    action: Action
    origin: tuple[Origin, ...]

    @property
    def key(self) -> Key:
        """The key of the flow."""
        return flow_key(INTEGRATION_BRIDGE, int(self.stage), self.priority, self.match)


def joined(pieces: Iterable[Piece]) -> Flow:
    """The flow of pieces that have the same stage, priority and match, in whatever order they come."""
    ordered = sorted(pieces, key=lambda piece: (repr(piece.action), piece.origin))
    first = ordered[0]
    return Flow(
        bridge=INTEGRATION_BRIDGE,
        table=int(first.stage),
        priority=first.priority,
        match=first.match,
        actions=tuple(dict.fromkeys(piece.action for piece in ordered)),
        origin=tuple(dict.fromkeys(why for piece in ordered for why in piece.origin)),
        aspect="l2",
    )
