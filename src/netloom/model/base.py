"""What every stored object shares."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One API object as it is stored and as it travels to hosts: the same shape everywhere.

    Field names are the Networking API's own (`msgspec` renames those with a colon).
    `created_at` and `updated_at` are ISO 8601 in UTC with a final Z, second resolution.
    `revision_number` counts the changes of this object and of its children.
    """

    KIND: ClassVar[str]
    """Name of the kind in the store, the change feed and the host stream (`network`, `port`, …)."""

    SECRET: ClassVar[frozenset[str]] = frozenset()
    """Fields (as encoded) that never enter the change log, a support dump or a log line."""

    INTERNAL: ClassVar[frozenset[str]] = frozenset()
    """Fields (as encoded) that the API does not show."""

    FIRST_STATUS: ClassVar[str] = ""
    """What the API says of a new object until a host has reported; empty where the kind has no status."""

    GRANTED_BY: ClassVar[str] = ""
    """Field that names the object whose grants let other projects see this one (`id`: its own); empty for none."""

    EVERYBODYS: ClassVar[bool] = False
    """Whether objects of the kind belong to no project: everybody sees them whom policy lets."""

    id: str
    project_id: str = ""
    name: str = ""
    description: str = ""
    revision_number: int = 0
    created_at: str = ""
    updated_at: str = ""
    tags: tuple[str, ...] = ()


def to_doc(resource: msgspec.Struct) -> dict[str, Any]:
    """Return the object as plain JSON values under its API names."""
    return msgspec.to_builtins(resource)
