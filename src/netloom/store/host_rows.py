"""Statements that read the table of hosts, and what its rows say."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import bindparam, case, func, select, true

from netloom.model import HostFacts, HostGrant
from netloom.store import damage, schema
from netloom.store.rows import HostRow
from netloom.store.search import among
from netloom.store.session import Statement

_rows = select(*(schema.host.c[name] for name in HostRow.__struct_fields__))
HOSTS = Statement(_rows.order_by(schema.host.c.name))
HOST = Statement(_rows.where(schema.host.c.name == bindparam("name")))
SOME_HOSTS = Statement(_rows.where(schema.host.c.name.in_(among("ids"))))
HEARTBEATS = Statement(
    select(schema.host.c.name, schema.host.c.heartbeat_at).where(
        schema.host.c.heartbeat_at.is_not(None), schema.host.c.facts.is_not(None)
    )
)
WITH_TUNNEL_IP = Statement(
    select(schema.host.c.name)
    .where(schema.host.c.tunnel_ip == bindparam("tunnel_ip"))
    .order_by(schema.host.c.name)
)
ANY_TUNNEL = Statement(
    select(schema.host.c.name).where(schema.host.c.tunnel_ip.is_not(None)).limit(1)
)
_tunnel_types = func.json_each(
    # A damaged row counts as one that has not reported.
    case((func.json_valid(schema.host.c.facts) == 1, schema.host.c.facts), else_="{}"),
    "$.tunnel_types",
).table_valued("value")
CARRIES_TUNNEL = Statement(
    select(schema.host.c.name)
    .select_from(schema.host.join(_tunnel_types, true()))
    .where(schema.host.c.tunnel_ip.is_not(None), _tunnel_types.c.value == bindparam("type"))
    .limit(1)
)
ZONES = Statement(
    select(schema.host.c.availability_zone)
    .where(schema.host.c.availability_zone.is_not(None))
    .distinct()
    .order_by(schema.host.c.availability_zone)
)
SECRETS = Statement(select(schema.host.c.name, schema.host.c.secret_hash))


@lru_cache(maxsize=16384)
def _facts(text: str) -> HostFacts:
    """Decode facts. They are read far more often than they change, and never altered."""
    return msgspec.json.decode(text, type=HostFacts)


@lru_cache(maxsize=256)
def _granted(text: str) -> HostGrant:
    return msgspec.json.decode(text, type=HostGrant)


def of(
    name: str,
    secret_hash: str,
    facts: str | None,
    heartbeat_at: float | None,
    admin_state_up: int,
    applied_seq: Any,
    granted: str,
    wanted_seq: Any,
) -> HostRow:
    """Return what a row of the table says; what cannot be read of it counts as not said."""
    reported, grant = None, HostGrant(roles=())
    try:
        grant = _granted(granted)
    except damage.UNREADABLE as error:
        damage.left_out("what is granted to host", name, error)
    try:
        reported = None if facts is None else _facts(facts)
    except damage.UNREADABLE as error:
        damage.left_out("what was reported by host", name, error)
    return HostRow(
        name,
        secret_hash,
        reported,
        heartbeat_at if isinstance(heartbeat_at, float | int) else None,
        bool(admin_state_up),
        applied_seq if isinstance(applied_seq, int) else 0,
        grant,
        wanted_seq if isinstance(wanted_seq, int) else 0,
    )
