"""The stream of a host: a snapshot or the steps that it missed, then each step as it comes, and a sign of life between."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator

import msgspec
from msgspec import Struct
from starlette.types import Message, Receive, Scope, Send

from netloom.api.http import in_host_thread
from netloom.api.services import Services
from netloom.model import ViewDelta
from netloom.model.errors import UserError
from netloom.model.hosts import EPOCH_HEADER, FAILOVER_HEADER, HEARTBEAT_HEADER
from netloom.network.liveness import failover_seconds, heartbeat_seconds

PIECE = 256 * 1024
"""Bytes of a snapshot that are handed on at once: what a slow reader has not taken yet is not copied for it."""

log = logging.getLogger("netloom.api.hosts.stream")


class Keepalive(Struct, frozen=True):
    """The line without rows: the server is there, and no change up to `seq` leaves the host anything to do."""

    seq: int
    keepalive: bool = True


class HostStream:
    """The answer that goes on for as long as the host listens.

    `secret`: the hash of the credential that it was asked for with. `after`: the change that the host stands at, None
    for a host that knows nothing of this feed. Raises Conflict where the agent may not have a stream (`Presence`).
    """

    def __init__(
        self, services: Services, host: str, secret: str, agent: str, after: int | None
    ) -> None:
        self._services, self._host, self._agent = services, host, agent
        services.presence.begun(host, agent)
        self._lines = _lines(services, host, secret, after)
        heartbeat = heartbeat_seconds(services.settings.network)
        failover = failover_seconds(services.settings.network)
        self._headers = [
            (b"content-type", b"application/x-ndjson"),
            (EPOCH_HEADER.encode(), services.feed.epoch.encode()),
            (HEARTBEAT_HEADER.encode(), f"{heartbeat:g}".encode()),
            (FAILOVER_HEADER.encode(), f"{failover:g}".encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        saying = asyncio.create_task(self._say(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((saying, leaving), return_when=asyncio.FIRST_COMPLETED)
            if saying.done():
                saying.result()
        finally:
            saying.cancel()
            leaving.cancel()
            # Here, not in the generator: one whose client is gone at once is never begun.
            self._services.presence.ended(self._host, self._agent)

    async def _say(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        async for line in self._lines:
            for start in range(0, len(line), PIECE):
                await send(_piece(line[start : start + PIECE]))
            # A stream that waits must not hold its snapshot: megabytes a host.
            del line
        await send({"type": "http.response.body", "body": b""})


def _piece(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _gone(receive: Receive) -> None:
    """Wait until the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lines(
    services: Services, host: str, secret: str, after: int | None
) -> AsyncIterator[bytes]:
    """Yield the missed steps or a snapshot, then each step as it comes, and a keepalive between.

    What is sent is read from the scope when the reader is ready for it: nothing piles up for a slow one.
    A change that does not concern the host does not wake its stream: the next keepalive carries its seq, for which no
    thread and no database is asked. The stream ends with the credential that opened it: at the next line.
    """
    seq: int | None = after
    fresh: int | None = None
    try:
        while not services.feed.stopped:
            if services.store.credentials.of(host) != secret:
                return
            if fresh is not None:
                seq = fresh
                yield _line(ViewDelta(seq=seq))
            else:
                steps = functools.partial(_steps, services, host, seq)
                deltas = await in_host_thread(services, steps)
                seq = deltas[-1].seq if deltas else seq or 0
                told = [delta.seq for delta in deltas if not delta.bare]
                services.feed.told(host, told[-1] if told else 0)
                for delta in deltas or [ViewDelta(seq=seq)]:
                    yield _line(delta)
                deltas.clear()
            fresh = await services.feed.wait(host, seq)
    except UserError as error:
        # What the operator must mend (a damaged database): the agent asks again, as for an answer of 503.
        log.error("the stream of host %s ends: %s", host, error)


def _line(delta: ViewDelta) -> bytes:
    return msgspec.json.encode(Keepalive(delta.seq) if delta.bare else delta) + b"\n"


def _steps(services: Services, host: str, after: int | None) -> list[ViewDelta]:
    """Return what the host has not seen yet."""
    deltas = None if after is None else services.scope.since(host, after)
    if deltas is None:
        snapshot = services.scope.snapshot(host)
        services.store.liveness.wanted({host: services.scope.wanted(host)}, 0)
        return [snapshot]
    return deltas
