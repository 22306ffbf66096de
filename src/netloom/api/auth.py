"""Who asks: a token, or in tests and benchmarks the trusted headers, becomes a Caller before any handler.

Paths that need no token (version discovery, asking for a token, agents, which have a credential of their own) pass
without a caller; on every other path no valid token is 401.
"""

from __future__ import annotations

import re

from msgspec import structs
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from netloom.api.http import error_body, respond
from netloom.api.services import Services
from netloom.model import Caller
from netloom.model.errors import Unauthorized

OPEN = re.compile(
    r"/|/agent/.*|/identity(/.*)?|/(networking|image|compute)(/|/versions|/v2/|/v2\.1/?)?"
)
"""Paths that are answered without a token. The identity service checks for itself where it needs one."""


SERVICE_ROLE = "service"
"""A service's token that bears this role vouches for the user's token: that may have ended meanwhile."""


def caller_of(services: Services, scope: Scope) -> Caller | None:
    """Return who asks by the request's head; None where nobody is named, or one whose token does not hold."""
    if services.settings.server.auth == "trusted-headers":
        return from_headers(Headers(scope=scope), scope["netloom.request_id"])
    token = service_token = ""
    for name, value in scope["headers"]:
        if name == b"x-auth-token":
            token = value.decode("latin-1")
        elif name == b"x-service-token":
            service_token = value.decode("latin-1")
    if not token:
        return None
    try:
        return _from_tokens(services, token, service_token, scope["netloom.request_id"])
    except Unauthorized:
        return None


def refused(services: Services) -> Response:
    """Return the answer to who asks without a token that holds."""
    body = error_body(401, "Unauthorized", "The request you have made requires authentication.")
    realm = f'Keystone uri="{services.settings.server.url}/identity"'
    return respond(401, body, {"www-authenticate": realm})


def _from_tokens(services: Services, token: str, service_token: str, request_id: str) -> Caller:
    """Return who asks. A service's token beside the user's must hold too. Raises Unauthorized.

    It is asked on the event loop: mostly it reads nothing, else the user's row, and more only the first time
    (`http.run_at_once`).
    """
    tokens, store = services.tokens, services.store
    if not service_token:
        caller = tokens.caller(store, token)
        return structs.replace(caller, request_id=request_id)
    with store.reader() as reader:
        service = tokens.verify(reader, service_token)
        vouches = SERVICE_ROLE in service.roles
        caller = tokens.verify(reader, token, allow_expired=vouches)
    return structs.replace(caller, service_roles=service.roles, request_id=request_id)


def from_headers(headers: Headers, request_id: str) -> Caller:
    """Believe the headers. Without roles the caller is a member, as the reference of the tests has it."""
    project = headers.get("x-project-id", "11111111111141118111111111111111")
    roles = headers.get("x-roles", "member,reader")
    user = headers.get("x-user-id") or f"u-{project}"
    return Caller(
        user_id=user,
        user_name=headers.get("x-user-name", user),
        project_id=project,
        project_name=headers.get("x-project-name", ""),
        domain_id="default",
        roles=_split(roles),
        service_roles=_split(headers.get("x-service-roles", "")),
        request_id=request_id,
    )


def _split(roles: str) -> frozenset[str]:
    return frozenset(role.strip() for role in roles.split(",") if role.strip())
