"""The API as one ASGI application: every service under its prefix, version discovery at the root."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from netloom.api.auth import Authenticate
from netloom.api.heads import Heads
from netloom.api.hosts.heartbeats import Heartbeats
from netloom.api.http import respond, services_of
from netloom.api.services import Services
from netloom.server.request_log import RequestLog


def compose(services: Services, routes: Sequence[BaseRoute]) -> ASGIApp:
    """Put the middlewares round the routes: heartbeats outermost, then request id and log, then the head, then who asks."""
    router = ByService([Route("/", _root), *routes])
    trusted = services.settings.server.trusted_proxies
    return Heartbeats(RequestLog(Heads(Authenticate(router), trusted), services), services)


class ByService:
    """A router for each first part of a path (`/networking`, `/agent`), as one alone tries each of its 160 routes in turn."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        by_service: dict[str, list[BaseRoute]] = {}
        for route in routes:
            assert isinstance(route, Route | Mount), "each has a path"
            by_service.setdefault(_service(route.path), []).append(route)
        self._routers = {
            name: Router(found, redirect_slashes=False) for name, found in by_service.items()
        }
        self._nobody = Router(redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        router = self._routers.get(_service(scope["path"]), self._nobody)
        await router(scope, receive, send)


def _service(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else path


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
