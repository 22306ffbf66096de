"""Heartbeats, which are most of what hosts say, answered before any of the machinery of a request.

Only a report without rows of a host that is let in, and of which nothing follows, ends here. Everything else, each mistake
included, goes the way of all requests (`words.post_status`), as if nobody had looked at it.
"""

from __future__ import annotations

import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from netloom.api.hosts import reports
from netloom.api.hosts.endpoints import admit
from netloom.api.hosts.words import SHORT_BYTES
from netloom.api.services import Services
from netloom.model.errors import ServiceError, UserError
from netloom.model.hosts import AGENT_HEADER

_STATUS = re.compile("/agent/v1/hosts/([^/]+)/status")

_LENGTH, _SECRET, _AGENT = b"content-length", b"authorization", AGENT_HEADER.encode()
_READ = frozenset({_LENGTH, _SECRET, _AGENT})


class Heartbeats:
    """ASGI middleware, outermost: a heartbeat has no log line and no request id."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]:
            found = _STATUS.fullmatch(scope["path"])
            headers = _read(scope) if found else None
            if found and headers:
                body, receive = await _taken(receive)
                if self._noted(scope, found[1], headers, body):
                    await send({"type": "http.response.start", "status": 204, "headers": []})
                    await send({"type": "http.response.body", "body": b""})
                    return
        await self._app(scope, receive, send)

    def _noted(self, scope: Scope, host: str, headers: dict[bytes, str], body: bytes) -> bool:
        """Note that a host lives; false where the request is more than that, or is to be refused."""
        services = self._services
        try:
            admit(services, scope, host, headers.get(_SECRET, ""), headers.get(_AGENT, ""))
            report = reports.report(body, services.scope.seq)
        except (ServiceError, UserError):
            return False
        if report.rows or report.whole:
            return False
        liveness, applied = services.store.liveness, report.applied_seq
        before = liveness.applied(host)
        if before is None or (before != applied and services.feed.concerns(host, before)):
            return False
        liveness.heard(host, time.time(), applied)
        return True


def _read(scope: Scope) -> dict[bytes, str] | None:
    """The headers that are needed; None where one stands twice, or the body is long or of unknown length."""
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in found or name == b"transfer-encoding":
            return None
        if name in _READ:
            found[name] = value.decode("latin-1")
    length = found.get(_LENGTH, "")
    return found if length.isdecimal() and len(length) < 6 and int(length) <= SHORT_BYTES else None


async def _taken(receive: Receive) -> tuple[bytes, Receive]:
    """The whole body, and what gives the same messages once more to whoever reads it next."""
    messages: list[Message] = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    body = b"".join(message.get("body", b"") for message in messages)
    messages.reverse()

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return body, again
