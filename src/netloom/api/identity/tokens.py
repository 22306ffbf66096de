"""Identity API v3: discovery, tokens, the catalog and what users may ask about themselves."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from netloom.api.bodies import TOKEN_BYTES
from netloom.api.http import (
    caller_of,
    respond,
    run_read,
    run_write,
    services_of,
)
from netloom.api.identity import directory, passwords
from netloom.api.identity.forms import (
    base_url,
    collection,
    domain_form,
    error_form,
    narrowed,
    project_form,
)
from netloom.api.service import decoded, decoded_member, must_be_admin
from netloom.api.service import routes as make_routes
from netloom.identity import assignments, authentication, catalog, tokens, users
from netloom.identity.authentication import AuthRequest
from netloom.identity.tokens import Bearer, timestamp
from netloom.model import Context
from netloom.model.cloud import Domain, Project, User
from netloom.model.errors import BadRequest, Forbidden, NotFound, Unauthorized
from netloom.store import Reader, Writer

PREFIX = "/identity"


def _version(request: Request) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": base_url(request) + "/"}],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}
        ],
    }


async def _versions(request: Request) -> Response:
    return respond(300, {"versions": {"values": [_version(request)]}})


async def _v3(request: Request) -> Response:
    return respond(200, {"version": _version(request)})


def token_form(request: Request, bearer: Bearer, with_catalog: bool = True) -> dict[str, Any]:
    """Return the body that describes a token."""
    claims, user = bearer.claims, bearer.user
    settings = services_of(request).settings
    token: dict[str, Any] = {
        "methods": claims.methods,
        "user": {
            "id": user.id,
            "name": user.name,
            "domain": {"id": bearer.user_domain.id, "name": bearer.user_domain.name},
            "password_expires_at": None,
        },
        "audit_ids": claims.audit_ids,
        "expires_at": timestamp(claims.expires_at),
        "issued_at": timestamp(claims.issued_at),
    }
    if bearer.project and bearer.project_domain:
        domain = {"id": bearer.project_domain.id, "name": bearer.project_domain.name}
        token["project"] = {"id": bearer.project.id, "name": bearer.project.name, "domain": domain}
        token["is_domain"] = False
    elif bearer.domain:
        token["domain"] = {"id": bearer.domain.id, "name": bearer.domain.name}
    elif claims.scope_kind == "system":
        token["system"] = {"all": True}
    if claims.scope_kind:
        token["roles"] = [{"id": role.id, "name": role.name} for role in bearer.roles]
        if with_catalog:
            token["catalog"] = catalog.catalog(settings.server.url, settings.identity.region)
    return {"token": token}


async def _authenticate(request: Request) -> Response:
    wanted = (await decoded(request, AuthRequest, TOKEN_BYTES)).auth
    issuer = services_of(request).tokens
    who = await run_read(request, lambda r, _: authentication.identify(r, issuer, wanted.identity))
    password = who.password
    if password is not None and wanted.identity.password is not None:
        stored = who.user.password_hash if who.user else ""
        tried = authentication.key_of(who.user, wanted.identity.password.user)
        if not await passwords.fits(request, tried, stored, password):
            raise Unauthorized
    token, bearer = await run_read(
        request, lambda r, _: authentication.new_token(r, issuer, who, wanted.scope)
    )
    body = token_form(request, bearer, "nocatalog" not in request.query_params)
    return respond(201, body, {"X-Subject-Token": token, "Vary": "X-Auth-Token"})


async def _subject(request: Request, action: str) -> Bearer:
    """Return the bearer of the token that the request is about; others' tokens are for admins."""
    caller = caller_of(request)
    token = request.headers.get("x-subject-token")
    if not token:
        raise BadRequest("The header X-Subject-Token is missing.")
    issuer = services_of(request).tokens
    # A service asks so about a user's token that ended while the request was under way.
    expired_too = (
        action == "identity:validate_token"
        and request.query_params.get("allow_expired", "").lower() in ("1", "true")
        and bool(caller.roles & {"admin", "service"})
    )

    def read(reader: Reader, _: Context) -> Bearer:
        try:
            return issuer.bearer(reader, token, allow_expired=expired_too)
        except Unauthorized:
            raise NotFound("Could not find token.") from None

    bearer = await run_read(request, read)
    if bearer.user.id != caller.user_id and "service" not in caller.roles:
        must_be_admin(caller, action)
    return bearer


async def _show_token(request: Request) -> Response:
    bearer = await _subject(request, "identity:validate_token")
    body = token_form(request, bearer, "nocatalog" not in request.query_params)
    return respond(
        200, body, {"X-Subject-Token": request.headers["x-subject-token"], "Vary": "X-Auth-Token"}
    )


async def _revoke_token(request: Request) -> Response:
    bearer = await _subject(request, "identity:revoke_token")
    await run_write(request, lambda w, _: tokens.revoke(w, bearer.claims))
    return respond(204)


async def _catalog(request: Request) -> Response:
    caller = caller_of(request)
    if not caller.roles:
        raise Forbidden(
            "You are not authorized to perform the requested action: identity:get_auth_catalog."
        )
    settings = services_of(request).settings
    listed = catalog.catalog(settings.server.url, settings.identity.region)
    return respond(200, {"catalog": listed, "links": {"self": f"{base_url(request)}/auth/catalog"}})


async def _my_projects(request: Request) -> Response:
    return await _projects_of(request, caller_of(request).user_id)


async def _user_projects(request: Request) -> Response:
    caller, user_id = caller_of(request), request.path_params["user_id"]
    if user_id != caller.user_id:
        must_be_admin(caller, "identity:list_user_projects")
    return await _projects_of(request, user_id)


async def _projects_of(request: Request, user_id: str) -> Response:
    def read(reader: Reader, _: Context) -> list[Project]:
        users.get(reader, user_id)
        found = reader.get_many(Project, assignments.scopes_of(reader, user_id, "project"))
        return [project for project in found.values() if project.enabled]

    found = await run_read(request, read)
    return collection(request, "projects", [project_form(request, project) for project in found])


async def _my_domains(request: Request) -> Response:
    caller = caller_of(request)

    def read(reader: Reader, _: Context) -> list[Domain]:
        found = reader.get_many(Domain, assignments.scopes_of(reader, caller.user_id, "domain"))
        return [domain for domain in found.values() if domain.enabled]

    found = await run_read(request, read)
    return collection(request, "domains", [domain_form(request, domain) for domain in found])


async def _my_systems(request: Request) -> Response:
    user_id = caller_of(request).user_id
    found = await run_read(request, lambda r, _: assignments.scopes_of(r, user_id, "system"))
    return respond(
        200,
        {
            "system": [{"all": True}] if found else [],
            "links": {"self": f"{base_url(request)}/auth/system"},
        },
    )


class PasswordChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a user's change of its own password."""

    original_password: str
    password: str


async def _change_password(request: Request) -> Response:
    """Change a password by knowing the old one: that, not a token, is what proves who asks."""
    user_id = request.path_params["user_id"]
    change = await decoded_member(request, "user", PasswordChange, TOKEN_BYTES)
    passwords.check(request, change.password)
    user = await run_read(request, lambda r, _: r.get(User, user_id))
    # Who there is is not for strangers: a user that is not there takes as long and gets the same answer.
    known = user.password_hash if user and user.enabled else ""
    fits = await passwords.fits(request, user_id, known, change.original_password)
    if user is None or not fits:
        raise Unauthorized
    hashed = await passwords.hashed(request, change.password)

    def write(w: Writer, _: Context) -> None:
        if users.get(w, user_id).password_hash != user.password_hash:
            raise Unauthorized
        users.update(w, user_id, {"password_hash": hashed})

    await run_write(request, write)
    return respond(204)


async def _services(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:list_services")
    listed = [_service_form(request, service) for service in catalog.SERVICES]
    return collection(request, "services", narrowed(request, listed, {"type", "name"}))


async def _service(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:get_service")
    wanted = request.path_params["service_id"]
    for service in catalog.SERVICES:
        if service.id == wanted:
            return respond(200, {"service": _service_form(request, service)})
    raise NotFound(f"Could not find service: {wanted}.")


def _service_form(request: Request, service: catalog.Service) -> dict[str, Any]:
    return {
        "id": service.id,
        "type": service.type,
        "name": service.name,
        "description": service.description,
        "enabled": True,
        "links": {"self": f"{base_url(request)}/services/{service.id}"},
    }


def _endpoint_forms(request: Request) -> list[dict[str, Any]]:
    settings = services_of(request).settings
    return [
        {
            **endpoint,
            "service_id": service.id,
            "enabled": True,
            "links": {"self": f"{base_url(request)}/endpoints/{endpoint['id']}"},
        }
        for service in catalog.SERVICES
        for endpoint in catalog.endpoints(service, settings.server.url, settings.identity.region)
    ]


async def _endpoints(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:list_endpoints")
    listed = narrowed(
        request, _endpoint_forms(request), {"interface", "service_id", "region_id", "region"}
    )
    return collection(request, "endpoints", listed)


async def _endpoint(request: Request) -> Response:
    must_be_admin(caller_of(request), "identity:get_endpoint")
    wanted = request.path_params["endpoint_id"]
    for endpoint in _endpoint_forms(request):
        if endpoint["id"] == wanted:
            return respond(200, {"endpoint": endpoint})
    raise NotFound(f"Could not find endpoint: {wanted}.")


def _region_form(request: Request) -> dict[str, Any]:
    region = services_of(request).settings.identity.region
    links = {"self": f"{base_url(request)}/regions/{region}"}
    return {"id": region, "description": "", "parent_region_id": None, "links": links}


async def _regions(request: Request) -> Response:
    caller_of(request)
    return collection(request, "regions", [_region_form(request)])


async def _region(request: Request) -> Response:
    caller_of(request)
    form = _region_form(request)
    if form["id"] != request.path_params["region_id"]:
        raise NotFound(f"Could not find region: {request.path_params['region_id']}.")
    return respond(200, {"region": form})


def routes() -> list[BaseRoute]:
    """Return the routes of the identity service."""
    return [
        *make_routes(
            PREFIX,
            error_form,
            [
                ("GET", "", _versions),
                ("GET", "/", _versions),
                ("GET", "/v3", _v3),
                ("GET", "/v3/", _v3),
                ("POST", "/v3/auth/tokens", _authenticate),
                ("GET", "/v3/auth/tokens", _show_token),
                ("DELETE", "/v3/auth/tokens", _revoke_token),
                ("GET", "/v3/auth/catalog", _catalog),
                ("GET", "/v3/auth/projects", _my_projects),
                ("GET", "/v3/auth/domains", _my_domains),
                ("GET", "/v3/auth/system", _my_systems),
                ("GET", "/v3/users/{user_id}/projects", _user_projects),
                ("POST", "/v3/users/{user_id}/password", _change_password),
                ("GET", "/v3/services", _services),
                ("GET", "/v3/services/{service_id}", _service),
                ("GET", "/v3/endpoints", _endpoints),
                ("GET", "/v3/endpoints/{endpoint_id}", _endpoint),
                ("GET", "/v3/regions", _regions),
                ("GET", "/v3/regions/{region_id}", _region),
            ],
        ),
        *make_routes(PREFIX + "/v3", error_form, directory.TABLE),
    ]
