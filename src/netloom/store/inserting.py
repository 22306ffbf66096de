"""New rows: the statements that write them, and many new objects in a few statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from netloom.model import Resource
from netloom.store import fields, links, schema
from netloom.store.codec import encode, public
from netloom.store.session import Session, Statement

OWNER = Statement(
    select(schema.resource.c.project_id).where(
        schema.resource.c.kind == bindparam("k"), schema.resource.c.id == bindparam("i")
    )
)
INSERT = Statement(upsert(schema.resource).on_conflict_do_nothing(), schema.resource.c.keys())
_tally = upsert(schema.tally)
COUNT_IN = Statement(
    _tally.on_conflict_do_update(
        index_elements=["kind", "project_id"],
        set_={"number": schema.tally.c.number + _tally.excluded.number},
    ),
    schema.tally.c.keys(),
)
INSERT_LINK = Statement(insert(schema.link), schema.link.c.keys())
INSERT_TERM = Statement(insert(schema.term), schema.term.c.keys())
INSERT_CLAIM = Statement(upsert(schema.claim).on_conflict_do_nothing(), schema.claim.c.keys())
INSERT_CHANGE = Statement(insert(schema.change), schema.change.c.keys())


def seen_by(obj: Resource, owners: dict[str, str]) -> list[tuple[str, str]]:
    """Return the terms that name other projects which see the object, for it is on something of theirs."""
    return [
        (fields.SEEN_BY, owner)
        for role, owner in owners.items()
        if links.ROLES[role].owner_sees and owner and owner != obj.project_id
    ]


def insert_all(
    session: Session,
    objs: Sequence[Resource],
    claims: Iterable[tuple[str, str, str]],
    first_seq: int,
) -> None:
    """Insert new objects, with the times that they have, and claims (scope, key, owner): for loading a whole cloud.

    An object stands behind those that it names. What `Writer.insert` checks for each is left to the database's keys,
    whose errors the driver raises. `first_seq`: of the first object's change.
    """
    rows: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    terms: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    counts: Counter[tuple[str, str]] = Counter()
    owners: dict[tuple[str, str], str] = {}
    for seq, obj in enumerate(objs, first_seq):
        doc = encode(obj)
        here = {"kind": obj.KIND, "id": obj.id}
        more = {"project_id": obj.project_id, "name": obj.name, "revision": obj.revision_number}
        rows.append({**here, **more, "status": obj.FIRST_STATUS, "doc": doc})
        changes.append(
            {**here, "seq": seq, "at": obj.created_at, "op": "insert", "before": None}
            | {"after": public(obj, doc), "actor": "", "request_id": ""}
        )
        counts[obj.KIND, obj.project_id] += 1
        owners[obj.KIND, obj.id] = obj.project_id
        source = {"source_kind": obj.KIND, "source": obj.id}
        own = list(links.derive(obj))
        named += [{**source, "role": r, "target_kind": k, "target": t} for r, k, t in own]
        for _, kind, target in own:
            if (kind, target) not in owners:
                owner = session.value(OWNER, {"k": kind, "i": target})
                owners[kind, target] = owner or ""
        seen = seen_by(obj, {role: owners[kind, target] for role, kind, target in own})
        by = [*fields.terms(obj), *seen]
        terms += [{**here, "field": field, "value": value} for field, value in by]
    session.run_all(INSERT, rows)
    session.run_all(INSERT_LINK, named)
    session.run_all(INSERT_TERM, terms)
    session.run_all(INSERT_CHANGE, changes)
    session.seq = first_seq + len(rows) - 1
    for (kind, project_id), number in counts.items():
        session.run(COUNT_IN, {"kind": kind, "project_id": project_id, "number": number})
    session.run_all(
        INSERT_CLAIM, [{"scope": s, "key": key, "owner": owner} for s, key, owner in claims]
    )
