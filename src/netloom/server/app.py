"""The API as one ASGI application: every service under its prefix, version discovery at the root."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from netloom.api.auth import Authenticate
from netloom.api.heads import Heads
from netloom.api.http import respond, services_of
from netloom.api.services import Services
from netloom.server.request_log import RequestLog


def compose(services: Services, routes: Sequence[BaseRoute]) -> ASGIApp:
    """Put the middlewares round the routes: request id and log outermost, then the head, then who asks."""
    router = Router([Route("/", _root), *routes], redirect_slashes=False)
    trusted = services.settings.server.trusted_proxies
    return RequestLog(Heads(Authenticate(router), trusted), services)


async def _root(request: Request) -> Response:
    """Say what is served here."""
    url = services_of(request).settings.server.url
    return respond(
        200,
        {
            "services": [
                {"type": kind, "links": [{"rel": "self", "href": f"{url}/{kind}"}]}
                for kind in ("identity", "networking", "image", "compute")
            ]
        },
    )
