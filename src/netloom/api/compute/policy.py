"""Policy of the Networking API, asked by the compute service for what it does there in its caller's name.

What `policy.yaml` forbids at /networking must not be had by another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request

from netloom.api.networking import collections
from netloom.api.networking.nouns import NOUNS
from netloom.compute.errors import as_compute_errors
from netloom.model import Context, Resource
from netloom.store import Reader


def may_create(
    request: Request, r: Reader, ctx: Context, collection: str, attrs: dict[str, Any]
) -> None:
    """Raise Forbidden where the caller may not make an object with these attributes."""
    noun = NOUNS[collection]
    with as_compute_errors():
        target = collections.targets(r, ctx, noun, [attrs])[0]
        policy = collections.policy_for(request)
        policy.require(ctx.caller, f"create_{noun.singular}", collection, target)


def may_change(
    request: Request,
    r: Reader,
    ctx: Context,
    collection: str,
    obj: Resource,
    sent: Iterable[str] | None,
) -> None:
    """Raise Forbidden where the caller may not change these attributes of the object, or with None delete it."""
    noun = NOUNS[collection]
    verb, names = ("delete", ()) if sent is None else ("update", sent)
    with as_compute_errors():
        target = collections.targets(r, ctx, noun, noun.show(r, ctx, [obj]))[0]
        policy = collections.policy_for(request)
        policy.require(ctx.caller, f"{verb}_{noun.singular}", collection, target, names)
