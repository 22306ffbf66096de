"""Who has which role where."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.model.cloud import Domain, Project, Role, RoleAssignment, User
from netloom.model.errors import NotFound
from netloom.store import Reader, Writer

SYSTEM = "all"
"""`scope_id` of assignments on the system."""

IMPLIED: dict[str, tuple[str, ...]] = {"admin": ("member",), "member": ("reader",)}
"""Role name → the roles that come with it, as Keystone's bootstrap makes them."""


def assignment_id(user_id: str, role_id: str, scope_kind: str, scope_id: str) -> str:
    """Return the id of an assignment: it is its own key, so it exists at most once."""
    return f"{user_id}:{role_id}:{scope_kind}:{scope_id}"


def assigned(reader: Reader, user_id: str, scope_kind: str, scope_id: str) -> list[RoleAssignment]:
    """Return the assignments that the user has directly on that scope."""
    rows = reader.list(RoleAssignment, user_id=user_id)
    return [row for row in rows if row.scope_kind == scope_kind and row.scope_id == scope_id]


def with_implied(reader: Reader, role_ids: Iterable[str]) -> list[Role]:
    """Return the roles and those that come with them, by name."""
    roles = {role.name: role for role in reader.get_many(Role, set(role_ids)).values()}
    wanted = list(roles)
    missing: set[str] = set()
    while wanted:
        for name in IMPLIED.get(wanted.pop(), ()):
            if name not in roles and name not in missing:
                missing.add(name)
                wanted.append(name)
    if missing:
        roles |= {role.name: role for role in reader.list(Role, name=missing)}
    return [roles[name] for name in sorted(roles)]


def roles_on(reader: Reader, user_id: str, scope_kind: str, scope_id: str) -> list[Role]:
    """Return the roles that hold for the user on that scope, implied ones included."""
    return with_implied(
        reader, [row.role_id for row in assigned(reader, user_id, scope_kind, scope_id)]
    )


def scopes_of(reader: Reader, user_id: str, scope_kind: str) -> list[str]:
    """Return the ids of the projects (or domains) where the user has a role."""
    rows = reader.list(RoleAssignment, user_id=user_id)
    return sorted({row.scope_id for row in rows if row.scope_kind == scope_kind})


def _check(reader: Reader, user_id: str, role_id: str, scope_kind: str, scope_id: str) -> User:
    user = reader.get(User, user_id)
    if user is None:
        raise NotFound(f"Could not find user: {user_id}.")
    if reader.get(Role, role_id) is None:
        raise NotFound(f"Could not find role: {role_id}.")
    if scope_kind == "project" and reader.get(Project, scope_id) is None:
        raise NotFound(f"Could not find project: {scope_id}.")
    if scope_kind == "domain" and reader.get(Domain, scope_id) is None:
        raise NotFound(f"Could not find domain: {scope_id}.")
    return user


def grant(w: Writer, user_id: str, role_id: str, scope_kind: str, scope_id: str) -> None:
    """Give the role; giving it again changes nothing."""
    user = _check(w, user_id, role_id, scope_kind, scope_id)
    key = assignment_id(user_id, role_id, scope_kind, scope_id)
    if w.get(RoleAssignment, key) is None:
        w.insert(
            RoleAssignment(
                id=key, user_id=user_id, role_id=role_id, scope_kind=scope_kind, scope_id=scope_id
            )
        )
        # The user's revision is what cached callers are checked against: tokens in use show the new role.
        w.bump(User.KIND, user.id)


def has(reader: Reader, user_id: str, role_id: str, scope_kind: str, scope_id: str) -> bool:
    """Say whether the user has that role there, directly."""
    _check(reader, user_id, role_id, scope_kind, scope_id)
    return (
        reader.get(RoleAssignment, assignment_id(user_id, role_id, scope_kind, scope_id))
        is not None
    )


def revoke(w: Writer, user_id: str, role_id: str, scope_kind: str, scope_id: str) -> None:
    """Take the role away and end all tokens of the user."""
    _check(w, user_id, role_id, scope_kind, scope_id)
    key = assignment_id(user_id, role_id, scope_kind, scope_id)
    if w.get(RoleAssignment, key) is None:
        raise NotFound(
            f"Could not find role assignment with role: {role_id}, user or group: {user_id}, "
            f"project, domain, or system: {scope_id}."
        )
    w.delete(RoleAssignment, key)
    end_tokens(w, [user_id])


def drop(w: Writer, rows: Iterable[RoleAssignment]) -> None:
    """Remove these assignments (their role, project or domain goes) and end their users' tokens."""
    users: set[str] = set()
    for row in rows:
        w.delete(RoleAssignment, row.id)
        users.add(row.user_id)
    end_tokens(w, users)


def end_tokens(w: Writer, user_ids: Iterable[str]) -> None:
    """End every token of these users."""
    for user in w.get_many(User, set(user_ids)).values():
        w.update(msgspec.structs.replace(user, epoch=user.epoch + 1))


def refresh(w: Writer, scope_kind: str, scope_id: str) -> None:
    """Make the users with a role on that scope be looked at again (it was renamed or disabled)."""
    rows = w.list(RoleAssignment, scope_id=scope_id)
    for user_id in sorted({row.user_id for row in rows if row.scope_kind == scope_kind}):
        w.bump(User.KIND, user_id)
