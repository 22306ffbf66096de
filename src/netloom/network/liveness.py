"""Liveness of hosts: which are alive, by the time of their last report."""

from __future__ import annotations

import time
from collections.abc import Collection

from netloom.model import Away, Context, HostFacts, NetworkSettings
from netloom.model.origin import HOST
from netloom.store import HostRow, Reader

LONGEST_HEARTBEAT = 25.0
"""Seconds between two reports of an idle host at most."""


def heartbeat_seconds(settings: NetworkSettings) -> float:
    """How often an idle host reports: a host is dead when three reports did not come."""
    return min(LONGEST_HEARTBEAT, settings.agent_down_seconds / 3)


def failover_seconds(settings: NetworkSettings) -> float:
    """After how long without a word of a host its ordinary routers move to another one; 0: they stay."""
    return settings.agent_down_seconds if settings.allow_automatic_l3agent_failover else 0.0


def alive(row: HostRow, ctx: Context, now: float | None = None) -> bool:
    """True for a host that reported within `agent_down_seconds`. `now`: seconds since 1970.

    Time in which the server was not there to hear it does not count: after a restart no host is dead for that.
    """
    if row.heartbeat_at is None or row.facts is None:
        return False
    return _is_recent(row.heartbeat_at, ctx, time.time() if now is None else now)


def all_alive(r: Reader, ctx: Context, now: float) -> frozenset[str]:
    """Return the names of the hosts that are alive at `now`: what a host can do is not read for it."""
    return frozenset(name for name, at in r.heartbeats().items() if _is_recent(at, ctx, now))


def _is_recent(heard_at: float, ctx: Context, now: float) -> bool:
    silent = now - heard_at
    if heard_at <= ctx.away.since:
        silent -= ctx.away.back - ctx.away.since
    return silent <= ctx.settings.agent_down_seconds


def answering(r: Reader, hosts: Collection[str], living: Collection[str]) -> frozenset[str]:
    """Return those of the hosts whose end of a tunnel still answers a living host: they forward, whoever does not hear of them."""
    rows = r.status_rows(hosts) if hosts else []
    return frozenset(
        row.id
        for row in rows
        if (row.kind, row.aspect, row.state) == (HOST, "tunnel", "ok") and row.host in living
    )


def not_heard(r: Reader, now: float) -> Away:
    """Return how long a server that starts `now` was away: since it last heard of any host."""
    return Away(max(r.heartbeats().values(), default=now), now)


def usable(r: Reader, ctx: Context, host: str) -> HostFacts | None:
    """Return the facts of a host that is known and alive, else None."""
    row = r.host(host) if host else None
    return row.facts if row is not None and alive(row, ctx) else None
