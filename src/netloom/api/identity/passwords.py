"""Identity API: checking and hashing passwords, with the brake and in the pool that does nothing else."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from netloom.api.http import address_of, run_costly, services_of
from netloom.identity import passwords
from netloom.model.errors import BadRequest


async def fits(request: Request, who: str, stored: str, password: str) -> bool:
    """Say whether a password is the one of the hash `stored`. `who`: whose, for the brake.

    Raises TooManyRequests where this address must wait before it tries this user again.
    """
    brake, address = services_of(request).brake, address_of(request)
    brake.check(who, address)

    def work() -> bool:
        # Once more: of many tries at once, the first ones may have been wrong.
        brake.check(who, address)
        right = passwords.matches(stored, password)
        brake.heard(who, address, right)
        return right

    return await run_costly(request, work)


async def hashed(request: Request, password: str) -> str:
    """Return the hash to store of a new password; raises BadRequest for one that the settings refuse."""
    check(request, password)
    return await run_costly(request, lambda: passwords.hash_password(password))


def check(request: Request, password: str) -> None:
    """Raise BadRequest for a password that the settings find too short."""
    least = services_of(request).settings.identity.min_password_length
    if not least <= len(password) <= 4096:
        raise BadRequest(f"A password has {least} to 4096 characters.")


async def with_hash(request: Request, attrs: dict[str, Any]) -> dict[str, Any]:
    """Replace the password among a user's attributes by its hash."""
    password = attrs.pop("password", None)
    if password is not None:
        attrs["password_hash"] = await hashed(request, password)
    return attrs
