"""JSON bodies: what may be in one, looked at before it is decoded, and decoding off the event loop."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from netloom.api.http import run_in_thread
from netloom.model.errors import BadRequest

T = TypeVar("T")

TOKEN_BYTES = 114_688
"""Largest body of a request for a token: oslo.middleware's limit, which Keystone has."""

DEEPEST = 64
"""Levels of lists and objects in a body; clients need five."""

AT_ONCE_BYTES = 8192
"""A body up to here is decoded where it was read: a thread would cost more time than it."""

# A string that does not end goes to the end: then nothing is looked at twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_BRACKETS = b"[]{}"
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))


def check(body: bytes) -> None:
    """Raise BadRequest for a NUL in a text and for lists or objects that are nested too deep.

    Databases, programs and kernels end a text at a NUL; nested values are walked by recursion. The cost is
    proportional to the body's size.
    """
    if b"\\u0000" in body and _NUL.search(body):
        raise BadRequest("A text must not contain the character NUL.")
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    nested = _STRING.sub(b"", body).translate(None, _OTHERS)
    for _ in range(DEEPEST):
        if not nested:
            return
        nested = nested.replace(b"[]", b"").replace(b"{}", b"")
    if nested:
        raise BadRequest(f"Lists and objects may be nested {DEEPEST} deep.")


async def off_loop(request: Request, body: bytes, work: Callable[[], T]) -> T:
    """Check a body, then do `work` (decode it): in a worker's thread where it is large."""

    def checked() -> T:
        check(body)
        return work()

    return checked() if len(body) <= AT_ONCE_BYTES else await run_in_thread(request, checked)
