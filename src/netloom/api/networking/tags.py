"""Tags: the sub-resource that every taggable noun has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from neutron_lib.api import validators
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.bodies import off_loop
from netloom.api.http import body_of, caller_of, respond, run_read, run_write
from netloom.api.networking import collections
from netloom.api.networking.nouns import Noun
from netloom.contract import decode
from netloom.contract.attributes import MAX_TAGS
from netloom.contract.errors import (
    HTTPMethodNotAllowed,
    HTTPNotFound,
    TagNotFound,
    invalid,
    too_many_tags,
)
from netloom.model import Context
from netloom.store import Reader, Writer

MAX_LENGTH = 255

Change = Callable[[tuple[str, ...]], tuple[str, ...]]


async def answer(request: Request, noun: Noun, id: str, rest: list[str]) -> Response:
    """Answer `/<collection>/{id}/tags` and `/<collection>/{id}/tags/{tag}`."""
    if len(rest) > 1:
        raise HTTPNotFound
    if rest:
        return await _one(request, noun, id, rest[0])
    return await _all(request, noun, id)


async def _all(request: Request, noun: Noun, id: str) -> Response:
    if request.method == "GET":
        return respond(200, {"tags": await _read(request, noun, id)})
    if request.method == "DELETE":
        await _change(request, noun, id, "delete", lambda tags: ())
        return respond(204)
    if request.method not in ("PUT", "POST"):
        raise HTTPMethodNotAllowed
    body = await body_of(request)
    sent = await off_loop(request, body, lambda: _sent(body))
    if request.method == "PUT":
        await _change(request, noun, id, "update", lambda tags: tuple(sent))
    else:
        await _change(request, noun, id, "create", lambda tags: _added(tags, sent))
    return respond(200, {"tags": sent})


async def _one(request: Request, noun: Noun, id: str, tag: str) -> Response:
    _check(validators.validate_string(tag, MAX_LENGTH))
    if request.method == "GET":
        if tag not in await _read(request, noun, id):
            raise TagNotFound(tag=tag)
        return respond(204)
    if request.method == "PUT":
        await _change(request, noun, id, "update", lambda tags: _added(tags, [tag]))
        return Response(b"null", status_code=201, media_type="application/json")
    if request.method == "DELETE":
        await _change(request, noun, id, "delete", lambda tags: _removed(tags, tag))
        return respond(204)
    raise HTTPMethodNotAllowed


async def _read(request: Request, noun: Noun, id: str) -> list[str]:
    policy = collections.policy_for(request)

    def work(r: Reader, ctx: Context) -> list[str]:
        obj = collections.found(r, ctx, noun, id)
        target = collections.targets(r, ctx, noun, noun.show(r, ctx, [obj]))[0]
        policy.require(ctx.caller, f"{noun.action('get')}:tags", noun.collection, target)
        return list(obj.tags)

    return await run_read(request, work)


async def _change(request: Request, noun: Noun, id: str, verb: str, change: Change) -> None:
    """Replace an object's tags by what `change` makes of them."""
    policy, caller = collections.policy_for(request), caller_of(request)
    revision = collections.constraint(request)

    def work(w: Writer, ctx: Context) -> None:
        obj = collections.found(w, ctx, noun, id)
        target = collections.targets(w, ctx, noun, noun.show(w, ctx, [obj]))[0]
        policy.require(caller, f"{noun.action(verb)}:tags", noun.collection, target, ())
        collections.check_revision(obj, revision)
        tags = change(obj.tags)
        if len(tags) > MAX_TAGS:
            raise too_many_tags(noun.collection)
        w.update(replace(obj, tags=tags))

    await run_write(request, work)


def _sent(body: bytes) -> list[str]:
    """Return the tags of a body; raises InvalidInput."""
    document: Any = decode.json(body) if body else None
    if not isinstance(document, dict) or "tags" not in document:
        raise invalid("Invalid tags body")
    _check(validators.validate_list_of_unique_strings(document["tags"], MAX_LENGTH))
    return document["tags"]


def _check(reason: str | None) -> None:
    if reason:
        raise invalid(reason)


def _added(tags: tuple[str, ...], more: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*tags, *more]))


def _removed(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    if tag not in tags:
        raise TagNotFound(tag=tag)
    return tuple(kept for kept in tags if kept != tag)
