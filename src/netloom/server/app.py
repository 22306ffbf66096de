"""The API as one ASGI application: every service under its prefix, version discovery at the root."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from netloom.api.hosts.heartbeats import Heartbeats
from netloom.api.http import respond, services_of
from netloom.api.services import Services
from netloom.server.front import Front


def compose(services: Services, routes: Sequence[BaseRoute]) -> ASGIApp:
    """Put before the routes what answers heartbeats, then the front."""
    return Heartbeats(Front(ByService([Route("/", _root), *routes]), services), services)


class ByService:
    """A router for each first part of a path (`/networking`, `/agent`), as one alone tries each of its 160 routes in turn.

    What is mounted under a first part has all paths below it, and looks at them itself.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        by_service: dict[str, list[BaseRoute]] = {}
        self._mounted: dict[str, ASGIApp] = {}
        for route in routes:
            assert isinstance(route, Route | Mount), "each has a path"
            name = _service(route.path)
            by_service.setdefault(name, []).append(route)
            if isinstance(route, Mount) and route.path == f"/{name}":
                self._mounted[name] = route.app
        self._routers = {
            name: Router(found, redirect_slashes=False) for name, found in by_service.items()
        }
        self._nobody = Router(redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        name = _service(path)
        app = self._mounted.get(name) if path.startswith(f"/{name}/") else None
        await (app or self._routers.get(name, self._nobody))(scope, receive, send)


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
