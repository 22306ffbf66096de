"""What a new cloud starts with: a domain, projects, roles and users. Doing it again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from netloom.identity import assignments, passwords, projects, roles, users
from netloom.model.cloud import Domain, Project, Role, User
from netloom.store import Store

DOMAIN = projects.DEFAULT_DOMAIN
PROJECTS = ("admin", "demo", "service")
ROLES = ("admin", "member", "reader", "service")


class FirstUser(Struct, frozen=True, kw_only=True):
    """A user of a new cloud with a role on a project; `system` also gives it the role on the system."""

    name: str
    password: str
    project: str
    role: str
    system: bool = False


def first_users(admin_password: str, demo_password: str) -> tuple[FirstUser, ...]:
    """Return the users that every cloud has: admin in admin (and in demo), demo in demo."""
    return (
        FirstUser(
            name="admin", password=admin_password, project="admin", role="admin", system=True
        ),
        FirstUser(name="admin", password=admin_password, project="demo", role="admin"),
        FirstUser(name="demo", password=demo_password, project="demo", role="member"),
    )


def is_bootstrapped(store: Store) -> bool:
    """Whether a cloud was begun here: what its operator has removed since does not come back."""
    with store.reader() as reader:
        return reader.get(Domain, DOMAIN) is not None


def bootstrap(store: Store, first: Sequence[FirstUser]) -> None:
    """Make what is missing. A user that is there already keeps its password, whatever `first` says."""
    with store.reader() as reader:
        known = {user.name for user in reader.list(User, name={user.name for user in first})}
    # Hashing takes tens of milliseconds each: not under the writer's lock.
    hashes = {u.name: passwords.hash_password(u.password) for u in first if u.name not in known}
    with store.writer(actor="bootstrap") as w:
        if w.get(Domain, DOMAIN) is None:
            projects.create_domain(
                w, {"name": "Default", "description": "The default domain"}, domain_id=DOMAIN
            )
        in_domain = {p.name: p.id for p in w.list(Project, domain_id=DOMAIN)}
        for name in PROJECTS:
            if name not in in_domain:
                in_domain[name] = projects.create(w, {"name": name, "domain_id": DOMAIN}).id
        role_ids = {role.name: role.id for role in w.list(Role)}
        for name in ROLES:
            if name not in role_ids:
                role_ids[name] = roles.create(w, {"name": name}).id
        user_ids = {user.name: user.id for user in w.list(User, domain_id=DOMAIN)}
        for user in first:
            if user.name not in user_ids:
                attrs = {"name": user.name, "domain_id": DOMAIN, "password_hash": hashes[user.name]}
                user_ids[user.name] = users.create(w, attrs).id
            project_id, role_id = in_domain[user.project], role_ids[user.role]
            assignments.grant(w, user_ids[user.name], role_id, "project", project_id)
            if user.system:
                assignments.grant(w, user_ids[user.name], role_id, "system", assignments.SYSTEM)
