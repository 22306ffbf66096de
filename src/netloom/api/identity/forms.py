"""How identity's objects and errors look on the wire."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from netloom.api.http import error_body, respond, services_of
from netloom.api.service import boolean, whole
from netloom.model.cloud import Domain, Project, Role, User
from netloom.model.errors import BadRequest, ServiceError


def base_url(request: Request) -> str:
    """Return the URL of the v3 API."""
    return f"{services_of(request).settings.server.url}/identity/v3"


def error_form(request: Request, error: ServiceError) -> Response:
    """Write an error as Keystone does."""
    headers = (
        {"WWW-Authenticate": f'Keystone uri="{base_url(request)}"'} if error.code == 401 else None
    )
    return respond(error.code, error_body(error.code, error.title, str(error)), headers)


def _self(request: Request, collection: str, ident: str) -> dict[str, str]:
    return {"self": f"{base_url(request)}/{collection}/{ident}"}


def domain_form(request: Request, domain: Domain) -> dict[str, Any]:
    """Return the domain as the API shows it."""
    return {
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": domain.tags,
        "options": {},
        "links": _self(request, "domains", domain.id),
    }


def project_form(request: Request, project: Project) -> dict[str, Any]:
    """Return the project as the API shows it."""
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_id": project.domain_id,
        "parent_id": project.domain_id,
        "is_domain": False,
        "enabled": project.enabled,
        "tags": project.tags,
        "options": {},
        "links": _self(request, "projects", project.id),
    }


def user_form(request: Request, user: User) -> dict[str, Any]:
    """Return the user as the API shows it: nothing of its password."""
    form: dict[str, Any] = {
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "description": user.description,
        "password_expires_at": None,
        "options": {},
        "links": _self(request, "users", user.id),
    }
    if user.email is not None:
        form["email"] = user.email
    if user.default_project_id is not None:
        form["default_project_id"] = user.default_project_id
    return form


def role_form(request: Request, role: Role) -> dict[str, Any]:
    """Return the role as the API shows it."""
    return {
        "id": role.id,
        "name": role.name,
        "description": role.description,
        "domain_id": None,
        "options": {},
        "links": _self(request, "roles", role.id),
    }


_PAGING = frozenset({"limit", "marker"})


def narrowed(
    request: Request, items: list[dict[str, Any]], filters: set[str]
) -> list[dict[str, Any]]:
    """Return the items that the query asks for; a parameter that is no filter here is a bad request."""
    for name, wanted in request.query_params.multi_items():
        if name in _PAGING:
            continue
        field, _, comparator = name.partition("__")
        if field not in filters:
            raise BadRequest(f"Unknown query parameter: {name}.")
        items = [item for item in items if _fits(item.get(field), comparator, wanted, name)]
    return items


def _fits(value: Any, comparator: str, wanted: str, name: str) -> bool:
    if isinstance(value, bool):
        return value == boolean(wanted, name)
    if isinstance(value, list | tuple):
        return set(wanted.split(",")) <= set(value)
    text = "" if value is None else str(value)
    low, sought = text.lower(), wanted.lower()
    match comparator:
        case "":
            return text == wanted
        case "contains":
            return wanted in text
        case "icontains":
            return sought in low
        case "startswith":
            return text.startswith(wanted)
        case "istartswith":
            return low.startswith(sought)
        case "endswith":
            return text.endswith(wanted)
        case "iendswith":
            return low.endswith(sought)
        case _:
            raise BadRequest(f"Unknown comparator in the query parameter {name}.")


def _here(request: Request, **more: str) -> str:
    """Write the URL that was asked for as clients reach it, with other parameters where some are given."""
    query = request.scope["query_string"].decode("latin-1")
    if more:
        kept = [pair for pair in request.query_params.multi_items() if pair[0] not in more]
        query = urlencode([*kept, *more.items()])
    path = services_of(request).settings.server.url + request.scope["path"]
    return f"{path}?{query}" if query else path


def collection(request: Request, key: str, items: list[dict[str, Any]]) -> Response:
    """Answer with a list, a page of it where `limit` and `marker` ask for one."""
    query = request.query_params
    following = None
    # What has no id (role assignments) has no pages either, as in Keystone.
    paged = all("id" in item for item in items)
    if paged and (marker := query.get("marker")):
        ids = [item["id"] for item in items]
        if marker not in ids:
            raise BadRequest(f"The marker {marker} could not be found.")
        items = items[ids.index(marker) + 1 :]
    if paged and "limit" in query:
        limit = whole(query["limit"], "limit")
        if 0 < limit < len(items):
            items = items[:limit]
            following = _here(request, marker=items[-1]["id"])
    links = {"self": _here(request), "next": following, "previous": None}
    return respond(200, {key: items, "links": links})
