"""Domains and projects."""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import structs

from netloom.identity import assignments, names
from netloom.model.cloud import Domain, Project, RoleAssignment, User
from netloom.model.errors import Forbidden, NotFound
from netloom.store import Reader, Writer

DEFAULT_DOMAIN = "default"


def get(reader: Reader, project_id: str) -> Project:
    """Return the project or raise NotFound."""
    project = reader.get(Project, project_id)
    if project is None:
        raise NotFound(f"Could not find project: {project_id}.")
    return project


def get_domain(reader: Reader, domain_id: str) -> Domain:
    """Return the domain or raise NotFound."""
    domain = reader.get(Domain, domain_id)
    if domain is None:
        raise NotFound(f"Could not find domain: {domain_id}.")
    return domain


def create(w: Writer, attrs: dict[str, Any]) -> Project:
    """Make a project in a domain."""
    project = Project(id=uuid.uuid4().hex, **attrs)
    get_domain(w, project.domain_id)
    names.take(w, f"name:project:{project.domain_id}", project.name, project.id, "project")
    return w.insert(project)


def update(w: Writer, project_id: str, attrs: dict[str, Any]) -> Project:
    """Change a project; disabling it ends the tokens that are scoped to it."""
    old = get(w, project_id)
    new = structs.replace(old, **attrs)
    names.rename(w, f"name:project:{old.domain_id}", old.name, new.name, old.id, "project")
    new = w.update(new)
    assignments.refresh(w, "project", project_id)
    return new


def delete(w: Writer, project_id: str) -> None:
    """Delete a project and the roles on it. As in Keystone, what other services hold for it stays."""
    project = get(w, project_id)
    assignments.drop(w, w.list(RoleAssignment, scope_id=project.id))
    w.release_all(project.id)
    w.delete(Project, project.id)


def create_domain(w: Writer, attrs: dict[str, Any], domain_id: str | None = None) -> Domain:
    """Make a domain."""
    domain = Domain(id=domain_id or uuid.uuid4().hex, **attrs)
    names.take(w, "name:domain", domain.name, domain.id, "domain")
    return w.insert(domain)


def update_domain(w: Writer, domain_id: str, attrs: dict[str, Any]) -> Domain:
    """Change a domain; disabling it ends the tokens of its users and of its projects."""
    old = get_domain(w, domain_id)
    new = structs.replace(old, **attrs)
    names.rename(w, "name:domain", old.name, new.name, old.id, "domain")
    new = w.update(new)
    assignments.refresh(w, "domain", domain_id)
    for project in w.list(Project, domain_id=domain_id):
        assignments.refresh(w, "project", project.id)
    for user in w.list(User, domain_id=domain_id):
        w.bump(User.KIND, user.id)
    return new


def delete_domain(w: Writer, domain_id: str) -> None:
    """Delete a disabled domain with its users and projects."""
    domain = get_domain(w, domain_id)
    if domain.id == DEFAULT_DOMAIN:
        raise Forbidden("The default domain cannot be deleted.")
    if domain.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    for project in w.list(Project, domain_id=domain_id):
        delete(w, project.id)
    for user in w.list(User, domain_id=domain_id):
        w.release_all(user.id)
        w.delete(User, user.id)
    assignments.drop(w, w.list(RoleAssignment, scope_id=domain_id))
    w.release_all(domain_id)
    w.delete(Domain, domain_id)
