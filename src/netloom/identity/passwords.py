"""Password hashes (Argon2id). Slow on purpose: call these in a pool, never in the writer's lock."""

from __future__ import annotations

import functools

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()


def hash_password(password: str) -> str:
    """Return the hash to store, with its salt and parameters in it."""
    return _HASHER.hash(password)


@functools.cache
def _nobody() -> str:
    return _HASHER.hash("nobody has this password")


def matches(stored: str, password: str) -> bool:
    """Say whether `password` is the one of the hash `stored`.

    An empty `stored` (no such user, no password) costs as much time as a wrong password: who asks
    cannot tell by the clock whether the user exists.
    """
    try:
        return _HASHER.verify(stored or _nobody(), password) and bool(stored)
    except (VerificationError, InvalidHashError):
        return False
