"""The front of the application: what every request passes, in one ASGI wrapper.

An id for the request, its head (`heads`), who asks (`auth`), the line of the log, and the answer where nothing else
answered.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import time
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from netloom.api import auth
from netloom.api.heads import Proxies, complaint
from netloom.api.http import error_body, request_id, respond, retry_after
from netloom.api.services import Services
from netloom.model import Caller
from netloom.model.errors import ServiceError, UserError
from netloom.server import logs

log = logging.getLogger("netloom.api")


class Front:
    """The outermost ASGI application.

    The answer carries `x-openstack-request-id`. An exception that no service turned into its own error is
    logged in full under that id; the client gets the id and nothing of what happened inside.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services
        self.proxies = Proxies(services.settings.server.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        ident = new_id()
        scope["netloom.request_id"] = ident
        scope["netloom.services"] = self.services
        reset = request_id.set(ident)
        header = (b"x-openstack-request-id", ident.encode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            app: ASGIApp = self._refusal(scope) or self.app
            await app(scope, receive, send_with_id)
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
            caller: Caller | None = scope.get("netloom.caller")
            logs.answered(
                logging.DEBUG if scope.get("netloom.quiet") else logging.INFO,
                ident,
                (caller.user_name or caller.user_id or "-") if caller else "-",
                scope["method"],
                # The path alone: a query may hold what a log must not.
                scope["path"],
                status,
                (time.perf_counter() - begun) * 1000,
            )
            request_id.reset(reset)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that no handler sees; note who asks and who the client is."""
        wrong = complaint(scope)
        if wrong is not None:
            code, title, message = wrong
            return respond(code, error_body(code, title, message))
        self.proxies.believe(scope)
        caller = auth.caller_of(self.services, scope)
        if caller is None and not auth.OPEN.fullmatch(scope["path"]):
            return auth.refused(self.services)
        scope["netloom.caller"] = caller
        return None


def new_id() -> str:
    """Return a new request's id: `req-` and a random UUID. Nothing is protected by it, so it need not be unguessable."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return (
        f"req-{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
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
