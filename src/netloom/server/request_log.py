"""The outermost middleware: an id for each request, its log line, and the answer where nothing else answered."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
import uuid
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from netloom.api.http import error_body, request_id, respond, retry_after
from netloom.api.services import Services
from netloom.model import Caller
from netloom.model.errors import ServiceError, UserError

log = logging.getLogger("netloom.api")


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
        log.log(
            logging.DEBUG if scope.get("netloom.quiet") else logging.INFO,
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
