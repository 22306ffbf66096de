"""Microversions of the compute API: which one a request asks for, and what every answer says of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from netloom.api.http import respond
from netloom.api.service import Handler, routes
from netloom.model.errors import BadRequest, NotFound, ServiceError

MIN, MAX = (2, 1), (2, 92)
Version = tuple[int, int]

PROXIES_UNTIL = (2, 35)
"""The last microversion with security groups, floating IPs and networks under the compute API."""

_HEADER = re.compile(r"([1-9]\d{0,8})\.([1-9]\d{0,8}|0)", re.ASCII)
_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
}


class NotAcceptable(ServiceError):
    """A microversion that is not served."""

    code = 406
    title = "Not Acceptable"


def text(version: Version) -> str:
    """Write a version as the API does."""
    return f"{version[0]}.{version[1]}"


def asked(request: Request) -> Version:
    """Return the microversion that the request asks for; the lowest without a header."""
    value = None
    for part in request.headers.get("openstack-api-version", "").split(","):
        service, _, wanted = part.strip().partition(" ")
        if service.lower() == "compute" and wanted:
            value = wanted.strip()
    value = value or request.headers.get("x-openstack-nova-api-version")
    if value is None:
        return MIN
    if value == "latest":
        return MAX
    match = _HEADER.fullmatch(value)
    if match is None:
        raise BadRequest(
            f"API Version String {value} is of invalid format. It must be of format MajorNum.MinorNum."
        )
    version = int(match[1]), int(match[2])
    if not MIN <= version <= MAX:
        raise NotAcceptable(
            f"Version {value} is not supported by the API. Minimum is {text(MIN)} and maximum is {text(MAX)}."
        )
    return version


def version_of(request: Request) -> Version:
    """Return the microversion of a request that is being served."""
    return request.scope["netloom.compute_version"]


def at_least(request: Request, minor: int) -> bool:
    """Say whether the request's microversion is 2.`minor` or later."""
    return version_of(request) >= (2, minor)


def error_form(request: Request, error: ServiceError) -> Response:
    """Write an error as Nova does."""
    response = respond(
        error.code,
        {_NAMES.get(error.code, "computeFault"): {"code": error.code, "message": str(error)}},
    )
    _stamp(response, request.scope.get("netloom.compute_version", MIN))
    return response


def _stamp(response: Response, version: Version) -> None:
    response.headers["OpenStack-API-Version"] = f"compute {text(version)}"
    response.headers["X-OpenStack-Nova-API-Version"] = text(version)
    response.headers["Vary"] = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"


def versioned(handler: Handler, since: Version = MIN, until: Version = MAX) -> Handler:
    """Serve the handler for these microversions only (404 for others, as Nova), and stamp the answers."""

    async def serve(request: Request) -> Response:
        version = asked(request)
        request.scope["netloom.compute_version"] = version
        if not since <= version <= until:
            raise NotFound("The resource could not be found.")
        response = await handler(request)
        _stamp(response, version)
        return response

    return serve


def version_routes(
    prefix: str, table: Sequence[tuple[str, str, Handler]], until: Version = MAX
) -> list[Route]:
    """Return the routes of handlers, each under microversions."""
    return routes(
        prefix, error_form, [(m, path, versioned(h, until=until)) for m, path, h in table]
    )
