"""What every HTTP handler uses: services, run_read and run_write, respond, request ids, the last resort.

Handlers are `async def handler(request) -> Response`. Rules are synchronous: a handler runs them through
`run_read` (a consistent snapshot, in a pool of readers) or `run_write` (the one writer's thread, one
transaction: it is committed, or rolled back on any exception, before the answer is made).
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from netloom.api.fair import FairPool, client_of
from netloom.api.hosts.presence import Presence
from netloom.api.hosts.wake import Feed
from netloom.identity.brake import Brake
from netloom.identity.tokens import Tokens
from netloom.model import Away, Caller, Context
from netloom.model.errors import ServiceError, TooLarge, Unauthorized, UserError
from netloom.model.server_settings import Settings
from netloom.model.structs import compile_structs
from netloom.scope import Scope as HostScope
from netloom.store import Committer, Reader, Store, Writer

T = TypeVar("T")

log = logging.getLogger("netloom.api")

WORKERS = 4
"""Threads for slow work: data of images, large bodies."""

COSTLY_THREADS = 2
"""Threads for passwords and new keys: a password check in each takes 64 MiB and tens of milliseconds."""

COSTLY_OF_ONE, COSTLY = 32, 256
"""How many of these may wait: of one client address, and of all."""

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")
"""The id of the request that is being served, also inside run_read and run_write: log lines carry it."""


@dataclass
class Services:
    """What handlers may reach; one for the process (`services_of(request)`).

    All of it stays as it was made, but for `away`, which moves with the clock when that is set.
    """

    store: Store
    settings: Settings
    tokens: Tokens
    scope: HostScope
    feed: Feed
    writer: Committer
    readers: ThreadPoolExecutor
    workers: ThreadPoolExecutor
    costly: FairPool
    brake: Brake
    away: Away
    presence: Presence

    @classmethod
    def start(cls, store: Store, settings: Settings, tokens: Tokens, away: Away) -> Services:
        """Start the threads: one that writes, `[server] readers` that read, a few for slow work."""
        compile_structs()
        scope = HostScope(store)
        return cls(
            store=store,
            settings=settings,
            tokens=tokens,
            scope=scope,
            feed=Feed(store, scope),
            writer=Committer(store),
            readers=ThreadPoolExecutor(settings.server.readers, thread_name_prefix="reader"),
            workers=ThreadPoolExecutor(WORKERS, thread_name_prefix="worker"),
            costly=FairPool(COSTLY_THREADS, COSTLY_OF_ONE, COSTLY),
            brake=Brake(),
            away=away,
            presence=Presence(),
        )

    def stop(self) -> None:
        """Finish what was begun, then end the threads."""
        self.writer.stop()
        self.readers.shutdown(wait=True)
        self.workers.shutdown(wait=True)
        self.costly.stop()

    @property
    def state_dir(self) -> Path:
        """Where the server keeps its files."""
        return Path(self.settings.server.state_dir)


class Unauthenticated(Unauthorized):
    """The request needs a valid token and has none."""


class BodyTooLarge(TooLarge):
    """The body is larger than `[server] max_body_bytes`."""


def services_of(request: Request) -> Services:
    """Return the process's services."""
    return request.scope["netloom.services"]


def caller_or_none(request: Request) -> Caller | None:
    """Who asks, or None where no valid token was sent (only paths that need none get here without one)."""
    return request.scope.get("netloom.caller")


def caller_of(request: Request) -> Caller:
    """Who asks; raises Unauthenticated where nobody is."""
    caller = caller_or_none(request)
    if caller is None:
        raise Unauthenticated
    return caller


def request_id_of(request: Request) -> str:
    """Return the request's id as the client sees it (`req-<uuid>`)."""
    return request.scope.get("netloom.request_id", "-")


def context_of(request: Request) -> Context:
    """Return the rules' context; an anonymous caller has no roles."""
    caller = caller_or_none(request) or Caller(request_id=request_id_of(request))
    services = services_of(request)
    return Context(caller=caller, settings=services.settings.network, away=services.away)


async def run_read(request: Request, fn: Callable[[Reader, Context], T]) -> T:
    """Run `fn` on a consistent snapshot, in a reader's thread."""
    services, context = services_of(request), context_of(request)

    def work() -> T:
        with services.store.reader() as reader:
            return fn(reader, context)

    return await in_reader_thread(services, work)


async def run_write(request: Request, fn: Callable[[Writer, Context], T]) -> T:
    """Run `fn` in the writer's thread; what it wrote is durable when this returns, and undone where `fn` raises.

    Once begun it is carried through even if the client goes away: all of it, or nothing.
    """
    services, context = services_of(request), context_of(request)
    future = services.writer.submit(
        lambda writer: fn(writer, context), context.caller.user_id, request_id_of(request)
    )
    return await asyncio.wrap_future(future)


async def run_in_thread(request: Request, fn: Callable[[], T]) -> T:
    """Run slow work that needs no transaction (writing a file, decoding a large body) in a worker's thread."""
    return await _in(services_of(request).workers, fn)


async def run_costly(request: Request, fn: Callable[[], T]) -> T:
    """Check or hash a password, make a key: in a pool that does nothing else, where each address waits its turn.

    Raises TooManyRequests or Busy where too many wait already.
    """
    return await asyncio.wrap_future(services_of(request).costly.submit(address_of(request), fn))


def address_of(request: Request) -> str:
    """Return what the client is known by: its address, as a trusted proxy says where there is one."""
    return client_of(request.client.host) if request.client else ""


async def in_reader_thread(services: Services, fn: Callable[[], T]) -> T:
    """Run a read where there is no request at hand (a stream, a middleware)."""
    return await _in(services.readers, fn)


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, context.run, work)


async def body_of(request: Request, limit: int | None = None) -> bytes:
    """Return the whole body; raises BodyTooLarge past `limit` (None: the settings'), before reading if it can."""
    if limit is None:
        limit = services_of(request).settings.server.max_body_bytes
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > limit):
        raise BodyTooLarge("The body is too large.")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge("The body is too large.")
        chunks.append(chunk)
    return b"".join(chunks)


def respond(status: int, value: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with `value` as JSON (a Struct, or plain values), or without a body where it is None."""
    if value is None:
        return Response(status_code=status, headers=dict(headers) if headers else None)
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers=dict(headers) if headers else None,
    )


def retry_after(error: ServiceError) -> dict[str, str]:
    """Return the header that says when to ask again, where the error knows it."""
    return {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}


def error_body(code: int, title: str, message: str) -> dict[str, Any]:
    """Return the error document that OpenStack's middleware gives where no service has its own."""
    return {"error": {"code": code, "title": title, "message": message}}


class RequestLog:
    """Outermost ASGI middleware: services and an id for each request, one log line, the last resort's answer.

    The answer carries `x-openstack-request-id`. An exception that no service turned into its own error is
    logged in full under that id; the client gets the id and nothing of what happened inside.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        ident = f"req-{uuid.uuid4()}"
        scope["netloom.request_id"] = ident
        scope["netloom.services"] = self.services
        reset = request_id.set(ident)
        header = (b"x-openstack-request-id", ident.encode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or 499
        except asyncio.CancelledError:
            # The server goes down and has waited long enough. What has begun is cut: the client sees a failure.
            if not status:
                await _unavailable("The server is going down.")(scope, receive, send_with_id)
        except Exception as error:
            if status:
                # Too late for an answer of our own: cut the connection, so that the client sees a failure.
                log.exception("failed while answering %s %s", scope["method"], scope["path"])
                raise
            await _last_resort(error, ident)(scope, receive, send_with_id)
        finally:
            self._line(scope, status, begun)
            request_id.reset(reset)

    @staticmethod
    def _line(scope: Scope, status: int, begun: float) -> None:
        caller: Caller | None = scope.get("netloom.caller")
        log.info(
            "%s %s %s %d %.1f ms",
            (caller.user_name or caller.user_id or "-") if caller else "-",
            scope["method"],
            # The path alone: a query may hold what a log must not.
            scope["path"],
            status,
            (time.perf_counter() - begun) * 1000,
        )


def _unavailable(message: str) -> Response:
    return respond(503, error_body(503, "Service Unavailable", message), {"Retry-After": "5"})


_OPERATORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the disk says that is the operator's to mend."""


def _last_resort(error: Exception, ident: str) -> Response:
    if isinstance(error, ServiceError):
        return respond(
            error.code, error_body(error.code, error.title, str(error)), retry_after(error)
        )
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        return respond(
            error.status_code, error_body(error.status_code, title, error.detail), error.headers
        )
    if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in _OPERATORS):
        # A full disk, a locked database: nothing of ours is wrong, and the operator can mend it.
        log.error("%s", error)
        return _unavailable(
            f"The server cannot do that at present; its log has the reason under {ident}."
        )
    log.error("request failed", exc_info=error)
    message = f"The server failed to answer; its log has the reason under {ident}."
    return respond(500, error_body(500, "Internal Server Error", message))
