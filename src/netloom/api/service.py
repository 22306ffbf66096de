"""What the APIs of the embedded services (identity, image, compute) share: bodies in, errors out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from netloom.api.bodies import off_loop
from netloom.api.http import body_of, retry_after
from netloom.model import Caller
from netloom.model.errors import BadRequest, Forbidden, ServiceError

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
ErrorForm = Callable[[Request, ServiceError], Response]


def decode(body: bytes, kind: type[T]) -> T:
    """Decode a JSON body; raises BadRequest that says what is wrong and where."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(plain(str(error))) from None
    except RecursionError:
        raise BadRequest("Invalid input: it is nested too deep.") from None


async def decoded(request: Request, kind: type[T], limit: int | None = None) -> T:
    """Read and decode the body, off the event loop where it is large. Raises BadRequest or BodyTooLarge."""
    body = await body_of(request, limit)
    return await off_loop(request, body, lambda: decode(body, kind))


async def decoded_member(request: Request, key: str, kind: type[T], limit: int | None = None) -> T:
    """As `decoded`, of the one member `key` of the body."""
    body = await body_of(request, limit)
    return await off_loop(request, body, lambda: member(body, key, kind))


def member(body: bytes, key: str, kind: type[T]) -> T:
    """Decode the one member `key` of a body that shall have no other."""
    document = decode(body, dict[str, msgspec.Raw])
    if set(document) != {key}:
        raise BadRequest(f"The body must be an object with the one member '{key}'.")
    return decode(bytes(document[key]), kind)


def convert(value: Any, kind: type[T]) -> T:
    """Check plain values against a type; raises BadRequest as `decode` does."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(plain(str(error))) from None


def plain(complaint: str) -> str:
    """Say a msgspec complaint without its path language."""
    what, _, where = complaint.partition(" - at `")
    place = where.rstrip("`").removeprefix("$").lstrip(".")
    what = what.rstrip(".")
    return f"Invalid input for {place}: {what}." if place else f"Invalid input: {what}."


def given(patch: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that the client sent: those that are not UNSET."""
    pairs = ((name, getattr(patch, name)) for name in patch.__struct_fields__)
    return {name: value for name, value in pairs if value is not msgspec.UNSET}


def must_be_admin(caller: Caller, action: str) -> None:
    """Raise Forbidden for who has not the role admin."""
    if not caller.is_admin:
        raise Forbidden(f"You are not authorized to perform the requested action: {action}.")


def must_be_member(caller: Caller, action: str) -> str:
    """Return the caller's project; raises Forbidden for who may only read, or has no project."""
    if not caller.project_id or not caller.roles & {"admin", "member"}:
        raise Forbidden(f"Policy doesn't allow {action} to be performed.")
    return caller.project_id


def must_be_reader(caller: Caller, action: str) -> None:
    """Raise Forbidden for who has no role that lets it look at its project: unscoped, or of some other role."""
    if not caller.is_admin and not (caller.project_id and caller.roles & {"member", "reader"}):
        raise Forbidden(f"Policy doesn't allow {action} to be performed.")


def boolean(text: str, name: str) -> bool:
    """Read a boolean of a query; raises BadRequest."""
    lowered = text.lower()
    if lowered in ("1", "t", "true", "on", "y", "yes", ""):
        return True
    if lowered in ("0", "f", "false", "off", "n", "no"):
        return False
    raise BadRequest(f"Invalid value for {name}: {text!r} is not a boolean.")


def whole(text: str, name: str) -> int:
    """Read a number ≥ 0 of a query; raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"Invalid value for {name}: {text!r} is not a whole number of at least 0.")
    return int(text)


def routes(prefix: str, form: ErrorForm, table: Sequence[tuple[str, str, Handler]]) -> list[Route]:
    """Return a route for each (methods, path, handler); errors are answered in the service's own form."""

    def guarded(handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            try:
                return await handler(request)
            except ServiceError as error:
                answer = form(request, error)
                answer.headers.update(retry_after(error))
                return answer
            except HTTPException as error:
                failure = ServiceError(error.detail)
                failure.code, failure.title = error.status_code, error.detail
                return form(request, failure)

        return endpoint

    return [
        Route(prefix + path, guarded(handler), methods=methods.split())
        for methods, path, handler in table
    ]
