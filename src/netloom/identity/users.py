"""Users. Passwords arrive here hashed already."""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import structs

from netloom.identity import names, projects
from netloom.model.cloud import User
from netloom.model.errors import NotFound
from netloom.store import Reader, Writer


def get(reader: Reader, user_id: str) -> User:
    """Return the user or raise NotFound."""
    user = reader.get(User, user_id)
    if user is None:
        raise NotFound(f"Could not find user: {user_id}.")
    return user


def create(w: Writer, attrs: dict[str, Any]) -> User:
    """Make a user in a domain; `password_hash` may be left out: then no password fits."""
    user = User(id=uuid.uuid4().hex, **attrs)
    projects.get_domain(w, user.domain_id)
    if user.default_project_id:
        projects.get(w, user.default_project_id)
    names.take(w, f"name:user:{user.domain_id}", user.name, user.id, "user")
    return w.insert(user)


def update(w: Writer, user_id: str, attrs: dict[str, Any]) -> User:
    """Change a user; a new password or being disabled ends the tokens of before."""
    old = get(w, user_id)
    new = structs.replace(old, **attrs)
    if new.password_hash != old.password_hash or not new.enabled:
        new = structs.replace(new, epoch=old.epoch + 1)
    if new.default_project_id and new.default_project_id != old.default_project_id:
        projects.get(w, new.default_project_id)
    names.rename(w, f"name:user:{old.domain_id}", old.name, new.name, old.id, "user")
    return w.update(new)


def delete(w: Writer, user_id: str) -> None:
    """Delete a user; its roles and key pairs go with it (the store's links cascade)."""
    user = get(w, user_id)
    w.release_all(user.id)
    w.delete(User, user.id)
