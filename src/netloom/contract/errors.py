"""Errors of the Networking API: what a client sees as `type`, `message` and HTTP code.

Most are neutron-lib's exceptions and are raised from there. Here are those that Neutron has outside that
library, and those of HTTP itself. A client sees the name of the class as `type`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from netaddr import AddrFormatError
from neutron_lib import exceptions as lib

from netloom.contract.attributes import MAX_TAGS


class HTTPError(lib.NeutronException):
    """An error of HTTP itself; `code` is its status."""

    code: ClassVar[int] = 500
    message = "%(message)s"

    def __init__(self, message: str) -> None:
        super().__init__(message=message)


class HTTPBadRequest(HTTPError):
    """The body or query does not have the shape that the API asks for."""

    code = 400


class HTTPNotFound(HTTPError):
    """No such path, or an object that the caller may not know of."""

    code = 404

    def __init__(self, message: str = "The resource could not be found.") -> None:
        super().__init__(message)


_MALFORMED = "The server could not comply with the request since it is either malformed or otherwise incorrect."


class HTTPMethodNotAllowed(HTTPError):
    """The path is there, the method is not."""

    code = 405

    def __init__(self, message: str = _MALFORMED) -> None:
        super().__init__(message)


class HTTPNotAcceptable(HTTPError):
    """The client accepts no JSON."""

    code = 406

    def __init__(self, message: str = _MALFORMED) -> None:
        super().__init__(message)


class PolicyNotAuthorized(lib.NotAuthorized):
    """Policy forbids the action; `rule` names the rules that were asked."""

    message = "%(rule)s is disallowed by policy"

    def __init__(self, rule: str) -> None:
        super().__init__(rule=rule)


class RevisionNumberConstraintFailed(HTTPError):
    """`If-Match: revision_number=N` named another revision than the object has."""

    code = 412

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(
            f"Constrained to {expected}, but current revision is {current}",
        )


class DefaultExternalNetworkExists(lib.Conflict):
    """Only one external network may be the default."""

    message = "A default external network already exists: %(net_id)s."


class IpamValueInvalid(lib.Conflict):
    """Addresses that cannot go together; the text says which."""

    message = "%(message)s"


class TagNotFound(lib.NotFound):
    """The object does not carry this tag."""

    message = "Tag %(tag)s could not be found."


# The order is Neutron's: the first base class that fits decides.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (lib.NotFound, 404),
    (lib.Conflict, 409),
    (lib.InUse, 409),
    (lib.BadRequest, 400),
    (lib.ServiceUnavailable, 503),
    (lib.NotAuthorized, 403),
    (AddrFormatError, 400),
)


def code_of(exc: BaseException) -> int:
    """Return the HTTP status of an exception; 500 for one that is not part of the contract."""
    if isinstance(exc, HTTPError):
        return exc.code
    for base, code in _CODES:
        if isinstance(exc, base):
            return code
    return 500


def body_of(exc: BaseException, message: str = "") -> dict[str, Any]:
    """Return the response body of an error of the contract, with another text where one is given."""
    return {
        "NeutronError": {"type": type(exc).__name__, "message": message or str(exc), "detail": ""}
    }


def invalid(message: str) -> lib.InvalidInput:
    """Return the InvalidInput (400) whose text ends in `message`."""
    return lib.InvalidInput(error_message=message)


def too_many_tags(collection: str) -> lib.BadRequest:
    """Return the error for an object that would have more than MAX_TAGS tags."""
    message = f"The number of tags exceed the per-resource limit of {MAX_TAGS}"
    return lib.BadRequest(resource=collection, msg=message)
