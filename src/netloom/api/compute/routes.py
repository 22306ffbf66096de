"""Compute API v2.1: discovery, and the routes of all its parts."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from netloom.api.compute import (
    flavors,
    hosts,
    keypairs,
    network_proxies,
    server_actions,
    server_metadata,
    servers,
)
from netloom.api.compute.microversions import (
    MAX,
    MIN,
    PROXIES_UNTIL,
    error_form,
    text,
    version_routes,
)
from netloom.api.http import respond, services_of
from netloom.api.service import routes as make_routes

PREFIX = "/compute"


def _version(request: Request) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": text(MAX),
        "min_version": text(MIN),
        "updated": "2013-07-23T11:33:21Z",
        "links": [
            {"rel": "self", "href": f"{services_of(request).settings.server.url}{PREFIX}/v2.1/"}
        ],
    }


async def _versions(request: Request) -> Response:
    return respond(200, {"versions": [_version(request)]})


async def _v21(request: Request) -> Response:
    media = {
        "base": "application/json",
        "type": "application/vnd.openstack.compute+json;version=2.1",
    }
    return respond(200, {"version": _version(request) | {"media-types": [media]}})


def routes() -> list[BaseRoute]:
    """Return the routes of the compute service."""
    return [
        *make_routes(
            PREFIX,
            error_form,
            [
                ("GET", "", _versions),
                ("GET", "/", _versions),
                ("GET", "/v2.1", _v21),
                ("GET", "/v2.1/", _v21),
            ],
        ),
        *version_routes(
            PREFIX + "/v2.1",
            [
                *servers.TABLE,
                *server_metadata.TABLE,
                *server_actions.TABLE,
                *flavors.TABLE,
                *keypairs.TABLE,
                *hosts.TABLE,
                *network_proxies.LASTING,
            ],
        ),
        *version_routes(PREFIX + "/v2.1", network_proxies.TABLE, until=PROXIES_UNTIL),
    ]
