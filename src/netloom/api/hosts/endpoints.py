"""What agents talk to: facts in, the stream of their host's scope out, status, images and consoles.

A host has a credential of its own and reaches nothing but its own paths: `Authorization: Bearer SECRET`,
whose hash lies with the host. Over a unix socket that is dedicated to a host (`[server] agent_sockets`) the
path must name that host as well, so a stolen secret is of no use through another host's socket.
"""

from __future__ import annotations

import functools
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from netloom.api.hosts import reports
from netloom.api.http import (
    body_of,
    error_body,
    in_reader_thread,
    respond,
    run_read,
    run_write,
    services_of,
)
from netloom.api.services import Services
from netloom.compute import console
from netloom.image import files
from netloom.model import Context, Image, Server, ViewDelta
from netloom.model.credentials import secret_hash
from netloom.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    TooLarge,
    Unauthorized,
    UserError,
)
from netloom.model.hosts import AGENT_HEADER, EPOCH_HEADER
from netloom.network import admission, status
from netloom.store import Change, HostRow, Reader, Writer

KEEPALIVE_SECONDS = 5.0
"""The stream says at least this often that it lives."""

MOST_CHANGES = 200
"""How many changes are looked through for the requests behind a step."""

LONGEST_AGENT = 64
"""Characters of the word that an agent calls itself by."""

log = logging.getLogger("netloom.api.hosts.endpoints")

Handler = Callable[[Request, str], Awaitable[Response]]


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
        except (BadRequest, Unauthorized, Forbidden, NotFound, Conflict, TooLarge) as error:
            return respond(error.code, error_body(error.code, error.title, str(error)))

    return endpoint


def _check_socket(services: Services, request: Request, host: str) -> None:
    """Refuse a host on another host's socket. `server` in the scope is the socket the request came through."""
    address, port = request.scope.get("server") or ("", 0)
    if port is None and services.settings.server.agent_sockets.get(host) != address:
        raise Forbidden(f"This socket is not that of host {host}.")


def _check_secret(reader: Reader, request: Request, host: str) -> None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    known = reader.host(host)
    # An unknown host and a wrong secret take the same way and get the same answer.
    expected = known.secret_hash if known else secret_hash("")
    given = secret_hash(secret.strip())
    if scheme.lower() != "bearer" or not secret or not hmac.compare_digest(given, expected):
        raise Unauthorized("The host's credential is not valid: see `netloom host add`.")


def _agent(request: Request) -> str:
    agent = request.headers.get(AGENT_HEADER, "")
    if len(agent) > LONGEST_AGENT or not agent.isprintable():
        raise BadRequest(f"{AGENT_HEADER} takes at most {LONGEST_AGENT} characters.")
    return agent


def _registered(reader: Reader, host: str) -> HostRow:
    """The host, which may have been removed since its secret was checked."""
    row = reader.host(host)
    if row is None:
        raise Unauthorized("The host's credential is not valid: see `netloom host add`.")
    return row


async def _put_facts(request: Request, host: str) -> Response:
    body = await body_of(request, reports.FACTS_BYTES)
    decode = functools.partial(reports.facts, body, host)
    facts = await in_reader_thread(services_of(request), decode)

    def write(writer: Writer, _: Context) -> None:
        row = _registered(writer, host)
        admission.admit(writer, row, facts)
        writer.heartbeat(host, time.time(), row.applied_seq)

    await run_write(request, write)
    return respond(204)


async def _post_status(request: Request, host: str) -> Response:
    services = services_of(request)
    body = await body_of(request, reports.STATUS_BYTES)
    report = await in_reader_thread(services, functools.partial(_report, services, host, body))

    def write(writer: Writer, _: Context) -> None:
        before = _registered(writer, host).applied_seq
        writer.heartbeat(host, time.time(), report.applied_seq)
        over = _no_more(writer, host, report) if report.whole else []
        touched = {(row.kind, row.id) for row in report.rows} | {(k, i) for k, i, _ in over}
        writer.drop_rows(host, over)
        writer.put_status(host, report.rows)
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


def _report(services: Services, host: str, body: bytes) -> reports.StatusReport:
    """Decode a report, with those of its rows that are of objects of the host's scope.

    The others are left out without a word: an object may have been deleted, or have left the host, meanwhile. That it
    has nothing to do with an object any more (`gone`) a host may always say: only its own words on it go.
    """
    with services.store.reader() as reader:
        newest = reader.seq()
    report = reports.report(body, newest)
    known = services.scope.knows(host, {(row.kind, row.id) for row in report.rows})
    rows = tuple(row for row in report.rows if row.state == "gone" or (row.kind, row.id) in known)
    return msgspec.structs.replace(report, rows=rows)


def _no_more(reader: Reader, host: str, report: reports.StatusReport) -> list[tuple[str, str, str]]:
    """What was wrong when the host last reported and is not in its whole report: no trouble of today."""
    said = {(row.kind, row.id, row.aspect) for row in report.rows}
    return [
        (old.kind, old.id, old.aspect)
        for old in reader.status_rows(host=host)
        if old.state != "ok" and (old.kind, old.id, old.aspect) not in said
    ]


async def _stream(request: Request, host: str) -> Response:
    services = services_of(request)
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise BadRequest("`after` must be the number of a change.")
    services.presence.check_room(host, _agent(request))
    secret = await run_read(request, lambda reader, _: _registered(reader, host).secret_hash)
    same_feed = request.query_params.get("epoch", "") == services.feed.epoch
    return StreamingResponse(
        _lines(services, host, secret, _agent(request), int(after) if same_feed else None),
        media_type="application/x-ndjson",
        headers={EPOCH_HEADER: services.feed.epoch},
    )


async def _lines(
    services: Services, host: str, secret: str, agent: str, after: int | None
) -> AsyncIterator[bytes]:
    """Yield the missed steps or a snapshot, then each step as it comes, and a keepalive between.

    What is sent is read from the scope when the reader is ready for it: nothing piles up for a slow one.
    A change that does not concern the host does not wake its stream: the next keepalive carries its seq. The stream
    ends with the credential that opened it (`secret`, its hash): at the next step, or after KEEPALIVE_SECONDS.
    """
    seq = after
    if not services.presence.begun(host, agent):
        return  # two came at once: the next request says which one stays
    try:
        while not services.feed.stopped:
            deltas = await in_reader_thread(
                services, functools.partial(_steps, services, host, secret, seq)
            )
            if deltas is None:
                return
            seq = deltas[-1].seq if deltas else seq or 0
            for delta in deltas or [ViewDelta(seq=seq)]:
                line = Keepalive(delta.seq) if delta.bare else delta
                yield msgspec.json.encode(line) + b"\n"
            await services.feed.wait(host, seq, KEEPALIVE_SECONDS)
    except UserError as error:
        # What the operator must mend (a damaged database): the agent asks again, as for an answer of 503.
        log.error("the stream of host %s ends: %s", host, error)
    finally:
        services.presence.ended(host, agent)


def _steps(services: Services, host: str, secret: str, after: int | None) -> list[ViewDelta] | None:
    """Return what the host has not seen yet, each step with the requests that caused it.

    None where its credential is not the one with this hash any more.
    """
    with services.store.reader() as reader:
        row = reader.host(host)
    if row is None or row.secret_hash != secret:
        return None
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

    await in_reader_thread(services, write)
    return respond(204)
