"""What the store gives out beside the API's objects."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from netloom.model import HostFacts, HostGrant

Value = str | int | bool | None


class Access(Struct, frozen=True):
    """`target` (a project's id, or `*` for everyone) may `action` the object."""

    object_id: str
    target: str
    action: str


class Change(Struct, frozen=True):
    """One step of the feed. `op`: insert, update or delete. `before` and `after` are without secrets.

    `at`: UTC, second resolution. `actor` and `request_id`: whose request caused it.
    """

    seq: int
    at: str
    kind: str
    id: str
    op: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    actor: str
    request_id: str


class StatusRow(Struct, frozen=True):
    """What `host` last said of one aspect of one object; see `netloom.model.Status`."""

    kind: str
    id: str
    host: str
    aspect: str
    seq: int
    state: str
    detail: str
    at: str


class HostRow(Struct, frozen=True):
    """A registered host. `heartbeat_at`: seconds since 1970, None before the first report.

    `facts` are None as well where those in the database are not valid (a row from before, or a damaged one): the host
    counts as one that has not reported, until it does. `granted`: what the operator lets it be.
    `wanted_seq`: the newest change that concerns it, 0 before its first stream.
    """

    name: str
    secret_hash: str
    facts: HostFacts | None
    heartbeat_at: float | None
    admin_state_up: bool
    applied_seq: int
    granted: HostGrant = HostGrant()
    wanted_seq: int = 0

    @property
    def behind(self) -> int:
        """How far the host is from the newest change that concerns it; 0 where it has carried that out."""
        return max(0, self.wanted_seq - self.applied_seq)
