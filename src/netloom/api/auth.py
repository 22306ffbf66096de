"""Who asks: a token, or in tests and benchmarks the trusted headers, becomes a Caller before any handler.

An ASGI middleware. Paths that need no token (version discovery, asking for a token, agents, which have a
credential of their own) pass without a caller; on every other path no valid token is 401.
"""

from __future__ import annotations

import re

from msgspec import structs
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

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


class Authenticate:
    """Put the Caller into the scope, or answer 401."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        services: Services = scope["netloom.services"]
        headers = Headers(scope=scope)
        if services.settings.server.auth == "trusted-headers":
            caller = from_headers(headers, scope["netloom.request_id"])
        else:
            caller = _from_tokens(
                services,
                headers.get("x-auth-token", ""),
                headers.get("x-service-token", ""),
                scope["netloom.request_id"],
            )
        if caller is None and not OPEN.fullmatch(scope["path"]):
            body = error_body(
                401, "Unauthorized", "The request you have made requires authentication."
            )
            realm = f'Keystone uri="{services.settings.server.url}/identity"'
            await respond(401, body, {"www-authenticate": realm})(scope, receive, send)
            return
        scope["netloom.caller"] = caller
        await self.app(scope, receive, send)


def _from_tokens(
    services: Services, token: str, service_token: str, request_id: str
) -> Caller | None:
    """Return who asks. A service's token beside the user's must hold too: None where one of them does not.

    It is asked on the event loop: it reads the user's row, and more only the first time (`http.run_at_once`).
    """
    if not token:
        return None
    with services.store.reader() as reader:
        try:
            if not service_token:
                caller = services.tokens.verify(reader, token)
                return structs.replace(caller, request_id=request_id)
            service = services.tokens.verify(reader, service_token)
            vouches = SERVICE_ROLE in service.roles
            caller = services.tokens.verify(reader, token, allow_expired=vouches)
        except Unauthorized:
            return None
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
