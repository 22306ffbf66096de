"""Lists of objects that are shown as they are stored: from the database's text to the answer's, without documents between.

A list of a thousand ports spent four fifths of its time on making and changing dictionaries. Here rows are decoded
into a struct that has only what the caller may see, and that is encoded. Where policy asks more of an object than
who owns it and what it is on, or lets one caller see different attributes of different objects, `collections`
goes the longer way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from netloom.model import Resource
from netloom.store import Found

OWNER = frozenset({"project_id", "tenant_id"})
"""What policy may ask of an object here, beside what it asks of the object's parent."""


@lru_cache(500)
def shape(
    kind: type[Resource], visible: frozenset[str], of_parent: frozenset[str] = frozenset()
) -> type[Any]:
    """Return a struct of these attributes of a kind, which has `tenant_id`, `status` and what is its parent's besides."""
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(kind):
        if field.encode_name in visible:
            default = (
                msgspec.field(name=field.encode_name, default_factory=field.default_factory)
                if field.default_factory is not msgspec.NODEFAULT
                else msgspec.field(name=field.encode_name, default=field.default)
            )
            fields.append((field.name, field.type, default))
    added: list[tuple[str, Any, Any]] = [
        (name, str, "") for name in ("tenant_id", "status") if name in visible
    ]
    added += [(name, Any, None) for name in sorted(of_parent & visible)]
    return msgspec.defstruct(f"{kind.__name__}Row", [*fields, *added], kw_only=True, gc=False)


def fill(objs: Sequence[Any], values: Mapping[str, Any]) -> None:
    """Put the same values into several structs, where they have such a field."""
    for name, value in values.items():
        if value is not None and objs and hasattr(objs[0], name):
            for obj in objs:
                setattr(obj, name, value)


def complete(rows: Sequence[Found[Any]], with_status: bool) -> list[Any]:
    """Fill in what is not in the stored documents; return the structs."""
    for row in rows:
        row.obj.tenant_id = row.obj.project_id
        if with_status:
            row.obj.status = row.status
    return [row.obj for row in rows]


def groups(rows: Sequence[Found[Any]], parent: str | None) -> Mapping[tuple[str, str], list[Any]]:
    """Return the objects by owner and parent: policy answers alike for all of a group."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        obj = row.obj
        key = (obj.project_id, getattr(obj, parent) if parent else "")
        found.setdefault(key, []).append(obj)
    return found
