"""What agents talk to: facts in, the stream of their host's scope out, status, images and consoles.

A host has a credential of its own and reaches nothing but its own paths: `Authorization: Bearer SECRET`,
whose hash lies with the host. Over a unix socket that is dedicated to a host (`[server] agent_sockets`) the
path must name that host as well, so a stolen secret is of no use through another host's socket.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from netloom.api.bodies import off_loop
from netloom.api.http import (
    Services,
    body_of,
    error_body,
    in_reader_thread,
    respond,
    run_read,
    run_write,
    services_of,
)
from netloom.compute import console
from netloom.image import files
from netloom.model import Context, HostFacts, Image, Server, Status, ViewDelta
from netloom.model.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from netloom.model.hosts import AGENT_HEADER, EPOCH_HEADER
from netloom.network import status
from netloom.store import Change, Reader, Writer

KEEPALIVE_SECONDS = 5.0
"""The stream says at least this often that it lives."""

MOST_CHANGES = 200
"""How many changes are looked through for the requests behind a step."""

LARGEST_REPORT = 16 * 1024**2
"""Bytes of a host's facts, status or console: a status has a row for each object of the host."""

T = TypeVar("T")
Handler = Callable[[Request, str], Awaitable[Response]]


class StatusReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`applied_seq`: the change that the host has carried out; `rows`: what became of its objects.

    `whole`: nothing else is wrong there, whatever was reported earlier.
    """

    applied_seq: int
    rows: tuple[Status, ...] = ()
    whole: bool = False


class Keepalive(Struct, frozen=True):
    """The line without rows: the server is there, and no change up to `seq` leaves the host anything to do."""

    seq: int
    keepalive: bool = True


def routes() -> list[Route]:
    """Return the agent endpoints."""
    prefix = "/agent/v1/hosts/{host}"
    return [
        Route(f"{prefix}/facts", _of_host(_put_facts), methods=["PUT"]),
        Route(f"{prefix}/stream", _of_host(_stream), methods=["GET"]),
        Route(f"{prefix}/status", _of_host(_post_status), methods=["POST"]),
        Route(f"{prefix}/images/{{image_id}}", _of_host(_get_image), methods=["GET"]),
        Route(f"{prefix}/console/{{server_id}}", _of_host(_put_console), methods=["PUT"]),
    ]


def secret_hash(secret: str) -> str:
    """Return what is stored of a host's secret. It is 256 random bits: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _of_host(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Let only the host itself in; give errors their form."""

    @functools.wraps(handler)
    async def endpoint(request: Request) -> Response:
        try:
            host = request.path_params["host"]
            _check_socket(services_of(request), request, host)
            await run_read(request, lambda reader, _: _check_secret(reader, request, host))
            services_of(request).presence.heard(host, _agent(request))
            return await handler(request, host)
        except (BadRequest, Unauthorized, Forbidden, NotFound, Conflict) as error:
            return respond(error.code, error_body(error.code, error.title, str(error)))

    return endpoint


def _check_socket(services: Services, request: Request, host: str) -> None:
    """Refuse a host on another host's socket. `server` in the scope is the socket the request came through."""
    address, port = request.scope.get("server") or ("", 0)
    if port is None and services.settings.server.agent_sockets.get(host) != address:
        raise Forbidden(f"This socket is not that of host {host}.")


def _check_secret(reader: Reader, request: Request, host: str) -> None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    known = reader.hosts().get(host)
    # An unknown host and a wrong secret take the same way and get the same answer.
    expected = known.secret_hash if known else secret_hash("")
    given = secret_hash(secret.strip())
    if scheme.lower() != "bearer" or not secret or not hmac.compare_digest(given, expected):
        raise Unauthorized("The host's credential is not valid: see `netloom host add`.")


def _agent(request: Request) -> str:
    return request.headers.get(AGENT_HEADER, "")


async def _decode(request: Request, kind: type[T]) -> T:
    body = await body_of(request, LARGEST_REPORT)
    return await off_loop(request, body, lambda: _read(body, kind))


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(str(error)) from None


async def _put_facts(request: Request, host: str) -> Response:
    facts = await _decode(request, HostFacts)
    if facts.host != host:
        raise BadRequest(f"These are the facts of host {facts.host}.")

    def write(writer: Writer, _: Context) -> None:
        writer.put_host(host, facts=facts)
        writer.heartbeat(host, time.time(), writer.hosts()[host].applied_seq)

    await run_write(request, write)
    return respond(204)


async def _post_status(request: Request, host: str) -> Response:
    report = await _decode(request, StatusReport)

    def write(writer: Writer, _: Context) -> None:
        before = writer.hosts()[host].applied_seq
        writer.heartbeat(host, time.time(), report.applied_seq)
        rows = [*report.rows, *(_no_more(writer, host, report) if report.whole else ())]
        touched = {(row.kind, row.id) for row in rows}
        writer.put_status(host, rows)
        if report.applied_seq > before:
            # Started and stopped again, or the reverse, before the host heard of it: there is nothing to report.
            touched |= {
                (Server.KIND, server.id)
                for server in writer.list(Server, host=host)
                if before < server.power_seq <= report.applied_seq
            }
        if touched:
            status.refresh(writer, touched)

    await run_write(request, write)
    return respond(204)


def _no_more(reader: Reader, host: str, report: StatusReport) -> list[Status]:
    """What was wrong when the host last reported and is not in its whole report: no trouble of today."""
    said = {(row.kind, row.id, row.aspect) for row in report.rows}
    return [
        Status(kind=old.kind, id=old.id, aspect=old.aspect, seq=report.applied_seq, state="gone")
        for old in reader.status_rows(host=host)
        if old.state != "ok" and (old.kind, old.id, old.aspect) not in said
    ]


async def _stream(request: Request, host: str) -> Response:
    services = services_of(request)
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise BadRequest("`after` must be the number of a change.")
    services.presence.check_room(host, _agent(request))
    same_feed = request.query_params.get("epoch", "") == services.feed.epoch
    return StreamingResponse(
        _lines(services, host, _agent(request), int(after) if same_feed else None),
        media_type="application/x-ndjson",
        headers={EPOCH_HEADER: services.feed.epoch},
    )


async def _lines(
    services: Services, host: str, agent: str, after: int | None
) -> AsyncIterator[bytes]:
    """Yield the missed steps or a snapshot, then each step as it comes, and a keepalive between.

    What is sent is read from the scope when the reader is ready for it: nothing piles up for a slow one.
    A change that does not concern the host does not wake its stream: the next keepalive carries its seq.
    """
    seq = after
    services.presence.begun(host, agent)
    try:
        while not services.feed.stopped:
            deltas = await in_reader_thread(
                services, functools.partial(_steps, services, host, seq)
            )
            seq = deltas[-1].seq if deltas else seq or 0
            for delta in deltas or [ViewDelta(seq=seq)]:
                line = Keepalive(delta.seq) if delta.bare else delta
                yield msgspec.json.encode(line) + b"\n"
            await services.feed.wait(host, seq, KEEPALIVE_SECONDS)
    finally:
        services.presence.ended(host, agent)


def _steps(services: Services, host: str, after: int | None) -> list[ViewDelta]:
    """Return what the host has not seen yet, each step with the requests that caused it."""
    deltas = None if after is None else services.scope.since(host, after)
    if deltas is None:
        return [services.scope.snapshot(host)]
    if not all(delta.bare for delta in deltas):
        with services.store.reader() as reader:
            changes = reader.changes(after or 0, MOST_CHANGES)
        return [_with_requests(delta, changes) for delta in deltas]
    return deltas


def _with_requests(delta: ViewDelta, changes: Sequence[Change]) -> ViewDelta:
    """Name the requests that changed these objects: the agent's log lines carry them."""
    ids = {getattr(row, "id", "") for rows in delta.upsert.values() for row in rows}
    ids |= {ident for idents in delta.delete.values() for ident in idents}
    found = dict.fromkeys(
        c.request_id for c in changes if c.id in ids and c.seq <= delta.seq and c.request_id
    )
    return msgspec.structs.replace(delta, request_ids=tuple(found)) if found else delta


def _scoped_image(services: Services, host: str, image_id: str) -> Image:
    image = services.scope.view(host).images.get(image_id)
    if image is None:
        raise NotFound("This host has no instance of that image.")
    return image


async def _get_image(request: Request, host: str) -> Response:
    services = services_of(request)
    work = functools.partial(_scoped_image, services, host, request.path_params["image_id"])
    image = await in_reader_thread(services, work)
    return FileResponse(
        files.data(services.state_dir, image.id),
        media_type="application/octet-stream",
        headers={"x-image-sha512": image.os_hash_value or ""},
    )


async def _put_console(request: Request, host: str) -> Response:
    services, server_id = services_of(request), request.path_params["server_id"]
    text = await body_of(request, LARGEST_REPORT)

    def write() -> None:
        with services.store.reader() as reader:
            server = reader.get(Server, server_id)
        if server is None or server.host != host:
            raise NotFound("That server is not on this host.")
        console.write(services.state_dir, server.id, text)

    await in_reader_thread(services, write)
    return respond(204)
