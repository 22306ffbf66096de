"""What every HTTP handler uses: services, run_read and run_write, respond, request ids, the last resort.

Handlers are `async def handler(request) -> Response`. Rules are synchronous: a handler runs them through
`run_read` (a consistent snapshot, in a pool of readers) or `run_write` (the one writer's thread, one
transaction: it is committed, or rolled back on any exception, before the answer is made).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.fair import client_of
from netloom.api.services import Services
from netloom.model import Caller, Context
from netloom.model.errors import ServiceError, TooLarge, Unauthorized
from netloom.store import Reader, Writer

T = TypeVar("T")

log = logging.getLogger("netloom.api")

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")
"""The id of the request that is being served, also inside run_read and run_write: log lines carry it."""


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


def run_at_once(request: Request, fn: Callable[[Reader, Context], T]) -> T:
    """Run `fn` on a snapshot here, on the event loop: for reads of a few rows by their keys, and nothing else.

    They take some 0.1 ms. To hand them to a thread and back costs more than that, most of all under load,
    where each hand-over waits for its turn. Readers wait for no writer.
    """
    with services_of(request).store.reader() as reader:
        return fn(reader, context_of(request))


async def run_write(request: Request, fn: Callable[[Writer, Context], T]) -> T:
    """Run `fn` in the writer's thread; what it wrote is durable when this returns, and undone where `fn` raises.

    Once begun it is carried through even if the client goes away: all of it, or nothing.
    """
    services, context = services_of(request), context_of(request)
    return await services.writer.write(
        lambda writer: fn(writer, context), context.caller.user_id, request_id_of(request)
    )


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


async def in_host_thread(services: Services, fn: Callable[[], T]) -> T:
    """Run what a host asks for: in threads of their own."""
    return await _in(services.hosts, fn)


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
