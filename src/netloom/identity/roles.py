"""Roles."""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import structs

from netloom.identity import assignments, names
from netloom.model.cloud import Role, RoleAssignment, User
from netloom.model.errors import NotFound
from netloom.store import Reader, Writer


def get(reader: Reader, role_id: str) -> Role:
    """Return the role or raise NotFound."""
    role = reader.get(Role, role_id)
    if role is None:
        raise NotFound(f"Could not find role: {role_id}.")
    return role


def create(w: Writer, attrs: dict[str, Any]) -> Role:
    """Make a role; policy decides what its name means."""
    role = Role(id=uuid.uuid4().hex, **attrs)
    names.take(w, "name:role", role.name, role.id, "role")
    return w.insert(role)


def update(w: Writer, role_id: str, attrs: dict[str, Any]) -> Role:
    """Change a role; who has it is looked at again."""
    old = get(w, role_id)
    new = structs.replace(old, **attrs)
    names.rename(w, "name:role", old.name, new.name, old.id, "role")
    new = w.update(new)
    for user_id in {row.user_id for row in w.list(RoleAssignment, role_id=role_id)}:
        w.bump(User.KIND, user_id)
    return new


def delete(w: Writer, role_id: str) -> None:
    """Delete a role, take it away everywhere and end the tokens of those who had it."""
    role = get(w, role_id)
    assignments.drop(w, w.list(RoleAssignment, role_id=role.id))
    w.release_all(role.id)
    w.delete(Role, role.id)
