"""Identity API v3: domains, projects, users, roles and who has which role where. For admins, nearly all."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.http import (
    caller_of,
    respond,
    run_read,
    run_write,
)
from netloom.api.identity import passwords
from netloom.api.identity.forms import (
    base_url,
    collection,
    domain_form,
    narrowed,
    project_form,
    role_form,
    user_form,
)
from netloom.api.service import Handler, boolean, decoded_member, given, must_be_admin
from netloom.identity import assignments, projects, roles, users
from netloom.model import Caller, Resource
from netloom.model.cloud import Domain, Project, Role, RoleAssignment, User
from netloom.model.errors import BadRequest, Forbidden, NotFound
from netloom.store import Reader

T = TypeVar("T", bound=Resource)


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """Resource options: none is supported, so only the empty object is accepted."""


class DomainBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may send of a domain."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    options: Options | UnsetType = UNSET


class ProjectBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may send of a project. Projects below projects and projects as domains are not offered."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    domain_id: str | UnsetType | None = UNSET
    parent_id: str | UnsetType | None = UNSET
    is_domain: Literal[False] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    options: Options | UnsetType = UNSET


class UserBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may send of a user."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    domain_id: str | UnsetType | None = UNSET
    default_project_id: str | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    password: str | UnsetType | None = UNSET
    options: Options | UnsetType = UNSET


class RoleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may send of a role. Roles of a domain are not offered."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    domain_id: UnsetType | None = UNSET
    options: Options | UnsetType = UNSET


def _attrs(body: Struct, creating: bool) -> dict[str, Any]:
    """Return what the client sent, as our structs have it."""
    attrs = given(body)
    attrs.pop("options", None)
    attrs.pop("is_domain", None)
    if creating and "name" not in attrs:
        raise BadRequest("'name' is a required property.")
    if attrs.get("description", "") is None:
        attrs["description"] = ""
    if "domain_id" in attrs and attrs["domain_id"] is None:
        del attrs["domain_id"]
    return attrs


async def _list(
    request: Request, action: str, key: str, kind: type[T], form: Any, filters: set[str]
) -> Response:
    must_be_admin(caller_of(request), action)
    found = await run_read(request, lambda r, _: r.list(kind))
    return collection(
        request, key, narrowed(request, [form(request, item) for item in found], filters)
    )


# ---- domains


async def _list_domains(request: Request) -> Response:
    return await _list(
        request, "identity:list_domains", "domains", Domain, domain_form, {"name", "enabled", "id"}
    )


async def _create_domain(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:create_domain")
    attrs = _attrs(await decoded_member(request, "domain", DomainBody), creating=True)
    made = await run_write(request, lambda w, _: projects.create_domain(w, attrs))
    return respond(201, {"domain": domain_form(request, made)})


async def _show_domain(request: Request) -> Response:
    caller, ident = caller_of(request), request.path_params["domain_id"]
    if ident != caller.domain_id:
        must_be_admin(caller, "identity:get_domain")
    found = await run_read(request, lambda r, _: projects.get_domain(r, ident))
    return respond(200, {"domain": domain_form(request, found)})


async def _update_domain(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:update_domain")
    attrs = _attrs(await decoded_member(request, "domain", DomainBody), creating=False)
    ident = request.path_params["domain_id"]
    changed = await run_write(request, lambda w, _: projects.update_domain(w, ident, attrs))
    return respond(200, {"domain": domain_form(request, changed)})


async def _delete_domain(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:delete_domain")
    await run_write(
        request, lambda w, _: projects.delete_domain(w, request.path_params["domain_id"])
    )
    return respond(204)


# ---- projects


async def _list_projects(request: Request) -> Response:
    filters = {"name", "enabled", "domain_id", "parent_id", "is_domain", "tags", "id"}
    return await _list(
        request, "identity:list_projects", "projects", Project, project_form, filters
    )


def _check_parent(attrs: dict[str, Any], domain_id: str) -> None:
    parent = attrs.pop("parent_id", None)
    if parent is not None and parent != domain_id:
        raise BadRequest(
            "Projects below projects are not supported: parent_id can only be the domain."
        )


async def _create_project(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:create_project")
    attrs = _attrs(await decoded_member(request, "project", ProjectBody), creating=True)
    parent = attrs.get("parent_id")
    attrs.setdefault("domain_id", parent if parent else projects.DEFAULT_DOMAIN)
    _check_parent(attrs, attrs["domain_id"])
    made = await run_write(request, lambda w, _: projects.create(w, attrs))
    return respond(201, {"project": project_form(request, made)})


async def _show_project(request: Request) -> Response:
    caller, ident = caller_of(request), request.path_params["project_id"]
    if ident != caller.project_id:
        must_be_admin(caller, "identity:get_project")
    found = await run_read(request, lambda r, _: projects.get(r, ident))
    return respond(200, {"project": project_form(request, found)})


async def _update_project(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:update_project")
    attrs = _attrs(await decoded_member(request, "project", ProjectBody), creating=False)
    ident = request.path_params["project_id"]
    old = await run_read(request, lambda r, _: projects.get(r, ident))
    _check_parent(attrs, old.domain_id)
    _same_domain(attrs, old.domain_id)
    changed = await run_write(request, lambda w, _: projects.update(w, ident, attrs))
    return respond(200, {"project": project_form(request, changed)})


def _same_domain(attrs: dict[str, Any], domain_id: str) -> None:
    if attrs.pop("domain_id", domain_id) != domain_id:
        raise BadRequest("domain_id cannot be changed.")


async def _delete_project(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:delete_project")
    await run_write(request, lambda w, _: projects.delete(w, request.path_params["project_id"]))
    return respond(204)


# ---- users


async def _list_users(request: Request) -> Response:
    filters = {"name", "enabled", "domain_id", "default_project_id", "email", "id"}
    return await _list(request, "identity:list_users", "users", User, user_form, filters)


async def _create_user(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:create_user")
    body = _attrs(await decoded_member(request, "user", UserBody), creating=True)
    attrs = await passwords.with_hash(request, body)
    attrs.setdefault("domain_id", projects.DEFAULT_DOMAIN)
    made = await run_write(request, lambda w, _: users.create(w, attrs))
    return respond(201, {"user": user_form(request, made)})


async def _show_user(request: Request) -> Response:
    caller, ident = caller_of(request), request.path_params["user_id"]
    if ident != caller.user_id:
        must_be_admin(caller, "identity:get_user")
    found = await run_read(request, lambda r, _: users.get(r, ident))
    return respond(200, {"user": user_form(request, found)})


async def _update_user(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:update_user")
    ident = request.path_params["user_id"]
    attrs = _attrs(await decoded_member(request, "user", UserBody), creating=False)
    old = await run_read(request, lambda r, _: users.get(r, ident))
    _same_domain(attrs, old.domain_id)
    attrs = await passwords.with_hash(request, attrs)
    changed = await run_write(request, lambda w, _: users.update(w, ident, attrs))
    return respond(200, {"user": user_form(request, changed)})


async def _delete_user(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:delete_user")
    await run_write(request, lambda w, _: users.delete(w, request.path_params["user_id"]))
    return respond(204)


# ---- roles


async def _list_roles(request: Request) -> Response:
    filters = {"name", "domain_id", "id"}
    return await _list(request, "identity:list_roles", "roles", Role, role_form, filters)


async def _create_role(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:create_role")
    attrs = _attrs(await decoded_member(request, "role", RoleBody), creating=True)
    made = await run_write(request, lambda w, _: roles.create(w, attrs))
    return respond(201, {"role": role_form(request, made)})


async def _show_role(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:get_role")
    found = await run_read(request, lambda r, _: roles.get(r, request.path_params["role_id"]))
    return respond(200, {"role": role_form(request, found)})


async def _update_role(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:update_role")
    attrs = _attrs(await decoded_member(request, "role", RoleBody), creating=False)
    ident = request.path_params["role_id"]
    changed = await run_write(request, lambda w, _: roles.update(w, ident, attrs))
    return respond(200, {"role": role_form(request, changed)})


async def _delete_role(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:delete_role")
    await run_write(request, lambda w, _: roles.delete(w, request.path_params["role_id"]))
    return respond(204)


# ---- who has which role where


def _place(request: Request) -> tuple[str, str, str]:
    """Return the user, the kind and the id of the scope that the path names."""
    params = request.path_params
    if "project_id" in params:
        return params["user_id"], "project", params["project_id"]
    if "domain_id" in params:
        return params["user_id"], "domain", params["domain_id"]
    return params["user_id"], "system", assignments.SYSTEM


async def _grant(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:create_grant")
    (user, kind, scope), role = _place(request), request.path_params["role_id"]
    await run_write(request, lambda w, _: assignments.grant(w, user, role, kind, scope))
    return respond(204)


async def _has_grant(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:check_grant")
    (user, kind, scope), role = _place(request), request.path_params["role_id"]
    if not await run_read(request, lambda r, _: assignments.has(r, user, role, kind, scope)):
        raise NotFound(
            f"Could not find role assignment with role: {role}, user: {user}, scope: {scope}."
        )
    return respond(204)


async def _revoke(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:revoke_grant")
    (user, kind, scope), role = _place(request), request.path_params["role_id"]
    await run_write(request, lambda w, _: assignments.revoke(w, user, role, kind, scope))
    return respond(204)


async def _grants(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:list_grants")
    user, kind, scope = _place(request)

    def read(reader: Reader) -> list[Role]:
        users.get(reader, user)
        rows = assignments.assigned(reader, user, kind, scope)
        return list(reader.get_many(Role, [row.role_id for row in rows]).values())

    found = await run_read(request, lambda r, _: read(r))
    return collection(request, "roles", [role_form(request, role) for role in found])


_ASSIGNMENT_FILTERS = {"user.id", "role.id", "scope.project.id", "scope.domain.id", "scope.system"}
_ASSIGNMENT_SWITCHES = {"effective", "include_names", "include_subtree"}


async def _list_assignments(request: Request) -> Response:
    caller, query = caller_of(request), request.query_params
    if unknown := set(query) - _ASSIGNMENT_FILTERS - _ASSIGNMENT_SWITCHES - {"limit", "marker"}:
        raise BadRequest(f"Unknown query parameter: {min(unknown)}. (Groups are not offered.)")
    if query.get("user.id") != caller.user_id or not caller.roles:
        must_be_admin(caller, "identity:list_role_assignments")
    switches = {name: name in query and boolean(query[name], name) for name in _ASSIGNMENT_SWITCHES}

    def read(reader: Reader) -> list[dict[str, Any]]:
        where = {"user_id": query["user.id"]} if "user.id" in query else {}
        rows = reader.list(RoleAssignment, **where)
        if switches["effective"]:
            rows = _with_implied(reader, rows)
        rows = [row for row in rows if _wanted(row, request)]
        return _assignment_forms(reader, request, rows, switches["include_names"])

    return collection(request, "role_assignments", await run_read(request, lambda r, _: read(r)))


def _with_implied(reader: Reader, rows: list[RoleAssignment]) -> list[RoleAssignment]:
    found: dict[str, RoleAssignment] = {}
    for row in rows:
        for role in assignments.with_implied(reader, [row.role_id]):
            key = assignments.assignment_id(row.user_id, role.id, row.scope_kind, row.scope_id)
            found[key] = RoleAssignment(
                id=key,
                user_id=row.user_id,
                role_id=role.id,
                scope_kind=row.scope_kind,
                scope_id=row.scope_id,
            )
    return list(found.values())


def _wanted(row: RoleAssignment, request: Request) -> bool:
    query = request.query_params
    if query.get("role.id", row.role_id) != row.role_id:
        return False
    for kind in ("project", "domain"):
        if (scope := query.get(f"scope.{kind}.id")) is not None:
            return row.scope_kind == kind and row.scope_id == scope
    return "scope.system" not in query or row.scope_kind == "system"


def _assignment_forms(
    reader: Reader, request: Request, rows: list[RoleAssignment], with_names: bool
) -> list[dict[str, Any]]:
    known_roles = reader.get_many(Role, {row.role_id for row in rows}) if with_names else {}
    known_users = reader.get_many(User, {row.user_id for row in rows}) if with_names else {}
    in_project = {row.scope_id for row in rows if row.scope_kind == "project"}
    known_projects = reader.get_many(Project, in_project) if with_names else {}
    domains = (
        {d.id: {"id": d.id, "name": d.name} for d in reader.list(Domain)} if with_names else {}
    )
    forms: list[dict[str, Any]] = []
    for row in rows:
        role: dict[str, Any] = {"id": row.role_id}
        user: dict[str, Any] = {"id": row.user_id}
        scope: dict[str, Any] = {"id": row.scope_id}
        if with_names:
            role["name"] = known_roles[row.role_id].name
            user |= {
                "name": known_users[row.user_id].name,
                "domain": domains[known_users[row.user_id].domain_id],
            }
            if row.scope_kind == "project":
                project = known_projects[row.scope_id]
                scope |= {"name": project.name, "domain": domains[project.domain_id]}
            elif row.scope_kind == "domain":
                scope = domains[row.scope_id]
        where = "system" if row.scope_kind == "system" else f"{row.scope_kind}s/{row.scope_id}"
        forms.append(
            {
                "role": role,
                "user": user,
                "scope": {"system": {"all": True}}
                if row.scope_kind == "system"
                else {row.scope_kind: scope},
                "links": {
                    "assignment": f"{base_url(request)}/{where}/users/{row.user_id}/roles/{row.role_id}"
                },
            }
        )
    return forms


async def _no_groups(request: Request) -> Response:
    """Groups are not offered, which is what an empty list says to clients that look a name up."""
    caller: Caller = caller_of(request)
    must_be_admin(caller, "identity:list_groups")
    return collection(request, "groups", [])


async def _refuse_group(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:create_group")
    raise Forbidden("Groups are not offered: give roles to users.")


def _grant_routes() -> list[tuple[str, str, Handler]]:
    table: list[tuple[str, str, Handler]] = []
    for place in ("/projects/{project_id}", "/domains/{domain_id}", "/system"):
        path = f"{place}/users/{{user_id}}/roles"
        table += [
            ("GET", path, _grants),
            ("PUT", path + "/{role_id}", _grant),
            ("GET", path + "/{role_id}", _has_grant),
            ("DELETE", path + "/{role_id}", _revoke),
        ]
    return table


TABLE: list[tuple[str, str, Handler]] = [
    ("GET", "/domains", _list_domains),
    ("POST", "/domains", _create_domain),
    ("GET", "/domains/{domain_id}", _show_domain),
    ("PATCH", "/domains/{domain_id}", _update_domain),
    ("DELETE", "/domains/{domain_id}", _delete_domain),
    ("GET", "/projects", _list_projects),
    ("POST", "/projects", _create_project),
    ("GET", "/projects/{project_id}", _show_project),
    ("PATCH", "/projects/{project_id}", _update_project),
    ("DELETE", "/projects/{project_id}", _delete_project),
    ("GET", "/users", _list_users),
    ("POST", "/users", _create_user),
    ("GET", "/users/{user_id}", _show_user),
    ("PATCH", "/users/{user_id}", _update_user),
    ("DELETE", "/users/{user_id}", _delete_user),
    ("GET", "/roles", _list_roles),
    ("POST", "/roles", _create_role),
    ("GET", "/roles/{role_id}", _show_role),
    ("PATCH", "/roles/{role_id}", _update_role),
    ("DELETE", "/roles/{role_id}", _delete_role),
    ("GET", "/role_assignments", _list_assignments),
    ("GET", "/groups", _no_groups),
    ("POST", "/groups", _refuse_group),
    *_grant_routes(),
]
"""(methods, path below /v3, handler)."""
