"""The one error that every program shows as a plain line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; its text is one plain line that says what to do."""


class ServiceError(Exception):
    """An error of the embedded identity, image or compute service; each API writes it in its own form.

    `code` is the HTTP status, `title` its reason phrase; the text is for the user.
    """

    code = 500
    title = "Internal Server Error"
    retry_after: int | None = None
    """Seconds after which it makes sense to ask again; the header Retry-After says it."""


class BadRequest(ServiceError):
    """The request cannot be understood, or asks for what is not offered."""

    code = 400
    title = "Bad Request"


class Unauthorized(ServiceError):
    """No identity, or one that does not hold any more. The text never says which part was wrong."""

    code = 401
    title = "Unauthorized"

    def __init__(self, message: str = "The request you have made requires authentication.") -> None:
        super().__init__(message)


class Forbidden(ServiceError):
    """The caller may not do this."""

    code = 403
    title = "Forbidden"


class NotFound(ServiceError):
    """There is no such thing, or the caller may not know of it."""

    code = 404
    title = "Not Found"


class Conflict(ServiceError):
    """The state of things does not allow it."""

    code = 409
    title = "Conflict"


class TooLarge(ServiceError):
    """More bytes than allowed, or a quota."""

    code = 413
    title = "Request Entity Too Large"


class UnsupportedMedia(ServiceError):
    """The body has a type or a content that is refused."""

    code = 415
    title = "Unsupported Media Type"


class TooManyRequests(ServiceError):
    """This client asks too often; after `retry_after` seconds it may ask again."""

    code = 429
    title = "Too Many Requests"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Busy(ServiceError):
    """The server has as much of this work as it takes; `retry_after` seconds later it may have room."""

    code = 503
    title = "Service Unavailable"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
