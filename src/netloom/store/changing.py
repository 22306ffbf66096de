"""The statements that change and remove rows; the parameters are single letters: kind, id, role, target, host."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from netloom.store import schema
from netloom.store.search import among
from netloom.store.session import Statement

_resource, _link, _term, _claim = schema.resource, schema.link, schema.term, schema.claim
_key = (_resource.c.kind == bindparam("k"), _resource.c.id == bindparam("i"))

UPDATE = Statement(
    update(_resource)
    .where(*_key)
    .values({name: bindparam(name) for name in ("project_id", "name", "revision", "doc")})
)
DELETE = Statement(delete(_resource).where(*_key))
DELETE_SIDE = tuple(
    Statement(delete(table).where(table.c.kind == bindparam("k"), table.c.id == bindparam("i")))
    for table in (_term, schema.status)
)
DELETE_LINKS = Statement(
    delete(_link).where(_link.c.source_kind == bindparam("k"), _link.c.source == bindparam("i"))
)
DELETE_ACCESS = Statement(delete(schema.access).where(schema.access.c.object_id == bindparam("i")))
DELETE_CLAIMS = Statement(delete(_claim).where(_claim.c.owner == bindparam("i")))
REMOVE_LINK = Statement(
    delete(_link).where(
        _link.c.source_kind == bindparam("k"),
        _link.c.source == bindparam("i"),
        _link.c.role == bindparam("r"),
        _link.c.target == bindparam("t"),
    )
)
REMOVE_TERM = Statement(
    delete(_term).where(
        _term.c.kind == bindparam("k"),
        _term.c.id == bindparam("i"),
        _term.c.field == bindparam("f"),
        _term.c.value == bindparam("v"),
    )
)
REMOVE_TERMS = Statement(
    delete(_term).where(
        _term.c.kind == bindparam("k"),
        _term.c.id == bindparam("i"),
        _term.c.field == bindparam("f"),
    )
)
ONTO = Statement(
    select(_link.c.role, _link.c.source_kind, _link.c.source)
    .where(_link.c.target_kind == bindparam("k"), _link.c.target == bindparam("i"))
    .order_by(_link.c.role, _link.c.source)
)
ALL_THERE = Statement(
    select(_resource.c.kind, _resource.c.id).where(_resource.c.id.in_(among("ids")))
)
RELEASE = Statement(
    delete(_claim).where(_claim.c.scope == bindparam("s"), _claim.c.key == bindparam("c"))
)
GRANT = Statement(upsert(schema.access).on_conflict_do_nothing(), schema.access.c.keys())
REVOKE = Statement(
    delete(schema.access).where(
        schema.access.c.object_id == bindparam("o"),
        schema.access.c.target == bindparam("t"),
        schema.access.c.action == bindparam("a"),
    )
)
PRUNE = Statement(delete(schema.change).where(schema.change.c.seq <= bindparam("limit")))
SET_STATUS = Statement(update(_resource).where(*_key).values(status=bindparam("s")))
_status = upsert(schema.status)
PUT_STATUS = Statement(
    _status.on_conflict_do_update(
        index_elements=["id", "kind", "host", "aspect"],
        set_={name: _status.excluded[name] for name in ("seq", "state", "detail", "at")},
    ),
    schema.status.c.keys(),
)
_of_host = schema.status.c.host == bindparam("h")
DROP_STATUS = Statement(
    delete(schema.status).where(
        schema.status.c.id == bindparam("i"),
        schema.status.c.kind == bindparam("k"),
        _of_host,
        schema.status.c.aspect == bindparam("a"),
    )
)
DROP_STATUS_OF = Statement(
    delete(schema.status).where(_of_host, schema.status.c.id == bindparam("i"))
)
DROP_STATUSES = Statement(delete(schema.status).where(_of_host))
_host = upsert(schema.host)
_host_columns = (
    "secret_hash",
    "facts",
    "admin_state_up",
    "granted",
    "tunnel_ip",
    "availability_zone",
)
PUT_HOST = Statement(
    _host.on_conflict_do_update(
        index_elements=["name"], set_={name: _host.excluded[name] for name in _host_columns}
    ),
    ("name", *_host_columns),
)
DELETE_HOST = Statement(delete(schema.host).where(schema.host.c.name == bindparam("n")))
HEARTBEAT = Statement(
    update(schema.host)
    .where(schema.host.c.name == bindparam("n"))
    .values(heartbeat_at=bindparam("at"), applied_seq=bindparam("seq"))
)
HEARTBEAT_OF_MEMORY = Statement(
    update(schema.host)
    .where(
        schema.host.c.name == bindparam("n"),
        # A transaction may have written a later word of the host by itself.
        or_(schema.host.c.heartbeat_at.is_(None), schema.host.c.heartbeat_at <= bindparam("at")),
    )
    .values(
        heartbeat_at=bindparam("at"),
        applied_seq=func.coalesce(bindparam("seq"), schema.host.c.applied_seq),
    )
)
WANTED = Statement(
    update(schema.host)
    .where(schema.host.c.name == bindparam("n"))
    .values(wanted_seq=bindparam("seq"))
)
MOVE_HEARTBEATS = Statement(
    update(schema.host)
    .where(func.abs(schema.host.c.heartbeat_at - bindparam("now")) > bindparam("near"))
    .values(heartbeat_at=schema.host.c.heartbeat_at + bindparam("moved_by"))
)
_setting = upsert(schema.setting)
SET_SETTING = Statement(
    _setting.on_conflict_do_update(
        index_elements=["key"], set_={"value": _setting.excluded["value"]}
    ),
    schema.setting.c.keys(),
)
