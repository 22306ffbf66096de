"""What agents talk to: facts in, the stream of their host's scope out, status, images and consoles.

A host has a credential of its own and reaches nothing but its own paths: `Authorization: Bearer SECRET`,
whose hash lies with the host. Over a unix socket that is dedicated to a host (`[server] agent_sockets`) the
path must name that host as well, so a stolen secret is of no use through another host's socket.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from netloom.api.hosts import reports, words
from netloom.api.hosts.stream import HostStream
from netloom.api.http import (
    body_of,
    error_body,
    in_host_thread,
    respond,
    services_of,
)
from netloom.api.services import Services
from netloom.compute import console
from netloom.image import files
from netloom.model import Image, Server
from netloom.model.credentials import secret_hash
from netloom.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    TooLarge,
    Unauthorized,
)
from netloom.model.hosts import AGENT_HEADER

LONGEST_AGENT = 64
"""Characters of the word that an agent calls itself by."""

Answer = Response | HostStream
Handler = Callable[[Request, str], Awaitable[Answer]]


def routes() -> list[Route]:
    """Return the agent endpoints."""
    prefix = "/agent/v1/hosts/{host}"
    return [
        Route(f"{prefix}/facts", _of_host(words.put_facts), methods=["PUT"]),
        Route(f"{prefix}/stream", _of_host(_stream), methods=["GET"]),
        Route(f"{prefix}/status", _of_host(words.post_status), methods=["POST"]),
        Route(f"{prefix}/images/{{image_id}}", _of_host(_get_image), methods=["GET"]),
        Route(f"{prefix}/console/{{server_id}}", _of_host(_put_console), methods=["PUT"]),
    ]


def _of_host(handler: Handler) -> Callable[[Request], Awaitable[Answer]]:
    """Let only the host itself in; give errors their form."""

    @functools.wraps(handler)
    async def endpoint(request: Request) -> Answer:
        try:
            host = request.path_params["host"]
            headers = request.headers
            agent = headers.get(AGENT_HEADER, "")
            admit(
                services_of(request), request.scope, host, headers.get("authorization", ""), agent
            )
            return await handler(request, host)
        except (BadRequest, Unauthorized, Forbidden, NotFound, Conflict, TooLarge) as error:
            return respond(error.code, error_body(error.code, error.title, str(error)))

    return endpoint


def admit(services: Services, scope: Scope, host: str, authorization: str, agent: str) -> None:
    """Let a request of `host` in, and note it; raises a ServiceError. No thread, no statement: the hashes are in memory.

    `server` in the scope is the socket that the request came through. `agent`: the word of its process.
    """
    address, port = scope.get("server") or ("", 0)
    if port is None and services.settings.server.agent_sockets.get(host) != address:
        raise Forbidden(f"This socket is not that of host {host}.")
    scheme, _, secret = authorization.partition(" ")
    # An unknown host and a wrong secret take the same way and get the same answer.
    expected = services.store.credentials.of(host) or secret_hash("")
    given = secret_hash(secret.strip())
    if scheme.lower() != "bearer" or not secret or not hmac.compare_digest(given, expected):
        raise _not_valid()
    if len(agent) > LONGEST_AGENT or not agent.isprintable():
        raise BadRequest(f"{AGENT_HEADER} takes at most {LONGEST_AGENT} characters.")
    services.presence.heard(host, agent)


def _not_valid() -> Unauthorized:
    return Unauthorized("The host's credential is not valid: see `netloom host add`.")


async def _stream(request: Request, host: str) -> HostStream:
    services = services_of(request)
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise BadRequest("`after` must be the number of a change.")
    secret = services.store.credentials.of(host)
    if secret is None:
        raise _not_valid()  # removed in this moment
    known = int(after) if request.query_params.get("epoch", "") == services.feed.epoch else None
    agent = request.headers.get(AGENT_HEADER, "")
    return HostStream(services, host, secret, agent, known)


def _scoped_image(services: Services, host: str, image_id: str) -> Image:
    image = services.scope.view(host).images.get(image_id)
    if image is None:
        raise NotFound("This host has no instance of that image.")
    return image


async def _get_image(request: Request, host: str) -> Response:
    services = services_of(request)
    work = functools.partial(_scoped_image, services, host, request.path_params["image_id"])
    image = await in_host_thread(services, work)
    path = files.data(services.state_dir, image.id)
    if not path.is_file():
        raise NotFound("The server has no data of that image any more.")
    return FileResponse(
        path,
        media_type="application/octet-stream",
        headers={"x-image-sha512": image.os_hash_value or ""},
    )


async def _put_console(request: Request, host: str) -> Response:
    services, server_id = services_of(request), request.path_params["server_id"]
    text = await body_of(request, reports.CONSOLE_BYTES)

    def write() -> None:
        with services.store.reader() as reader:
            server = reader.get(Server, server_id)
        if server is None or server.host != host:
            raise NotFound("That server is not on this host.")
        console.write(services.state_dir, server.id, text)

    await in_host_thread(services, write)
    return respond(204)
