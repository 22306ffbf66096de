"""Names are unique within their scope; a claim in the store says so."""

from __future__ import annotations

from netloom.model.errors import BadRequest, Conflict
from netloom.store import Claimed, Writer

MAX_NAME = 255


def take(w: Writer, scope: str, name: str, owner: str, what: str) -> None:
    """Reserve the name for `owner` in the claim scope; `what` names the kind in the error."""
    if not name.strip() or len(name) > MAX_NAME:
        raise BadRequest(f"A {what} name has 1 to {MAX_NAME} characters and is not blank.")
    try:
        w.claim(scope, name, owner)
    except Claimed:
        raise Conflict(
            f"Conflict occurred attempting to store {what} - Duplicate entry found with name {name}."
        ) from None


def rename(w: Writer, scope: str, old: str, new: str, owner: str, what: str) -> None:
    """Reserve the new name and free the old one."""
    if old != new:
        take(w, scope, new, owner, what)
        w.release(scope, old)
