"""The Networking API v2.0 over HTTP: paths, methods, errors; one code path for every collection of `nouns`."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

from msgspec.structs import replace
from neutron_lib import exceptions as lib
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from netloom.api.http import respond, services_of
from netloom.api.networking import (
    agents_zones_quotas,
    collections,
    extensions,
    qos_rule_types,
    tags,
)
from netloom.api.networking.nouns import CHILDREN, NOUNS, Noun
from netloom.api.networking.policy import policy_of
from netloom.contract.errors import (
    HTTPBadRequest,
    HTTPMethodNotAllowed,
    HTTPNotAcceptable,
    HTTPNotFound,
    body_of,
    code_of,
)
from netloom.model.errors import BadRequest
from netloom.store import StoreError

PREFIX = "/networking"

log = logging.getLogger("netloom.api")

Handler = Callable[[Request, Noun, str], Awaitable[Response]]

_ITEM: dict[str, Handler] = {
    "GET": collections.show,
    "PUT": collections.update,
    "DELETE": collections.delete,
}


def routes() -> list[BaseRoute]:
    """Return everything under `/networking`."""
    mount = Mount(PREFIX, app=_mounted)
    # A tag may hold a line break, and then so does its path.
    mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)
    # A mount does not have its own path without a slash, which is what the catalog says.
    return [Route(PREFIX, _answer, methods=["GET", "HEAD", "POST", "PUT", "DELETE"]), mount]


async def _mounted(scope: Scope, receive: Receive, send: Send) -> None:
    response = await _answer(Request(scope, receive))
    await response(scope, receive, send)


async def _answer(request: Request) -> Response:
    """Serve one request; every error of the contract becomes its body here."""
    try:
        return await _dispatch(request)
    except StoreError as error:
        # The rules check first: this is a check that they forgot, and the store's keys at work.
        log.error("refused by the store alone: %s", error)
        return respond(409, body_of(lib.Conflict(), str(error)))
    except BadRequest as error:
        return respond(400, body_of(HTTPBadRequest(str(error))))
    except Exception as error:
        code = code_of(error)
        if code == 500:
            raise
        return respond(code, body_of(error))


async def _dispatch(request: Request) -> Response:
    """Find who answers a path."""
    path = request.scope["path"].removeprefix(PREFIX)
    method = request.method
    if not _accepts_json(request):
        raise HTTPNotAcceptable
    if method == "HEAD":
        return Response(status_code=405, media_type="application/json")
    policy_of(services_of(request).settings.server.policy_file).refresh()
    parts = [part for part in path.strip("/").split("/") if part]
    if parts:
        parts[-1] = parts[-1].removesuffix(".json")
    if not parts or parts == ["v2.0"]:
        if method != "GET":
            raise HTTPMethodNotAllowed
        return respond(200, _layout(request) if parts else _versions(request))
    if parts[0] != "v2.0":
        raise HTTPNotFound
    return await _resource(request, method, parts[1], parts[2:])


async def _resource(request: Request, method: str, name: str, rest: list[str]) -> Response:
    """Answer a path below /v2.0."""
    prefix = "qos" if name == "qos" and rest else ""
    if prefix:
        name, rest = rest[0], rest[1:]
    if prefix and name.replace("-", "_") == "rule_types":
        return await qos_rule_types.answer(request, rest)
    if name == "extensions" and not prefix:
        return _extensions(method, rest)
    if name in agents_zones_quotas.ANSWERS and not prefix:
        return await agents_zones_quotas.ANSWERS[name](request, rest)
    if name == "routers" and rest[1:] == ["l3-agents"]:
        return await agents_zones_quotas.agents_of_router(request, rest[0])
    noun = NOUNS.get(name.replace("-", "_"))
    if noun is not None and noun.prefix != prefix:
        noun = None
    if noun is not None and not noun.under and len(rest) > 1:
        child = CHILDREN.get((noun.collection, rest[1].replace("-", "_")))
        if child is not None:
            noun, rest = replace(child, within=rest[0]), rest[2:]
    if noun is None or (noun.under and not noun.within):
        raise HTTPNotFound
    if not rest:
        return await _collection(request, method, noun)
    if len(rest) == 1:
        handler = _ITEM.get(method)
        if handler is None:
            raise HTTPMethodNotAllowed
        return await handler(request, noun, rest[0])
    if rest[1] == "tags" and noun.taggable:
        return await tags.answer(request, noun, rest[0], rest[2:])
    if len(rest) == 2 and rest[1] in noun.actions:
        if method != "PUT":
            raise HTTPMethodNotAllowed
        return await collections.act(request, noun, rest[0], rest[1])
    if len(rest) == 2 and rest[1] in noun.readings:
        if method != "GET":
            raise HTTPMethodNotAllowed
        return await collections.look(request, noun, rest[0], rest[1])
    raise HTTPNotFound


async def _collection(request: Request, method: str, noun: Noun) -> Response:
    if noun.by_id_only:
        raise HTTPMethodNotAllowed
    if method == "GET":
        return await collections.list_(request, noun)
    if method == "POST":
        return await collections.create(request, noun)
    if method in ("PUT", "DELETE"):
        # What Neutron says when a client leaves the id out.
        raise noun.not_found("None")
    raise HTTPMethodNotAllowed


def _extensions(method: str, rest: list[str]) -> Response:
    if method != "GET" or len(rest) > 1:
        return HTMLResponse(extensions.missing("Resource not found."), 404)
    if not rest:
        return respond(200, {"extensions": extensions.listing()})
    extension = extensions.find(rest[0])
    if extension is None:
        return HTMLResponse(
            extensions.missing(f"Extension with alias {rest[0]} does not exist"), 404
        )
    return respond(200, {"extension": extension})


def _accepts_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    # What names no media type at all is no wish, as in Neutron.
    return "/" not in accept or any(
        kind in accept for kind in ("*/*", "application/*", "application/json")
    )


def _versions(request: Request) -> object:
    link = {"rel": "self", "href": f"{collections.url(request)}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


def _layout(request: Request) -> object:
    root = f"{collections.url(request)}/v2.0"
    return {
        "resources": [
            {
                "name": name,
                "collection": f"{name}s",
                "links": [{"rel": "self", "href": f"{root}/{name}s"}],
            }
            for name in ("network", "subnet", "port")
        ]
    }
