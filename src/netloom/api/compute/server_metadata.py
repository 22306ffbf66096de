"""Compute API: metadata and tags of servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from netloom.api.compute.microversions import at_least
from netloom.api.compute.servers import server_of
from netloom.api.http import caller_of, respond, run_read, run_write, services_of
from netloom.api.service import Handler, decoded_member, must_be_member
from netloom.compute import servers
from netloom.model import Context
from netloom.model.cloud import Server
from netloom.model.errors import BadRequest, NotFound
from netloom.store import Writer


async def _change(request: Request, change: Callable[[Server], dict[str, Any]]) -> Server:
    must_be_member(caller_of(request), "os_compute_api:servers:update")
    settings = services_of(request).settings.compute

    def write(w: Writer, ctx: Context) -> Server:
        server = server_of(w, ctx, request)
        attrs = change(server)
        servers.check_metadata(w, settings, server.project_id, attrs.get("metadata", {}))
        return servers.update(w, server, attrs)

    return await run_write(request, write)


async def _metadata(request: Request) -> Response:
    server = await run_read(request, lambda r, ctx: server_of(r, ctx, request))
    return respond(200, {"metadata": server.metadata})


async def _set_metadata(request: Request) -> Response:
    """PUT replaces all of it, POST adds."""
    sent = await decoded_member(request, "metadata", dict[str, str])
    keep = request.method == "POST"
    server = await _change(request, lambda old: {"metadata": old.metadata | sent if keep else sent})
    return respond(200, {"metadata": server.metadata})


async def _metadata_item(request: Request) -> Response:
    server = await run_read(request, lambda r, ctx: server_of(r, ctx, request))
    return respond(200, {"meta": {request.path_params["key"]: _item(server, request)}})


def _item(server: Server, request: Request) -> str:
    key = request.path_params["key"]
    if key not in server.metadata:
        raise NotFound("Metadata item was not found")
    return server.metadata[key]


async def _set_metadata_item(request: Request) -> Response:
    sent, key = await decoded_member(request, "meta", dict[str, str]), request.path_params["key"]
    if set(sent) != {key}:
        raise BadRequest("Request body and URI mismatch")
    await _change(request, lambda old: {"metadata": old.metadata | sent})
    return respond(200, {"meta": sent})


async def _delete_metadata_item(request: Request) -> Response:
    def without(old: Server) -> dict[str, Any]:
        _item(old, request)
        return {
            "metadata": {k: v for k, v in old.metadata.items() if k != request.path_params["key"]}
        }

    await _change(request, without)
    return respond(204)


def _since_26(request: Request) -> None:
    if not at_least(request, 26):
        raise NotFound("The resource could not be found.")


async def _tags(request: Request) -> Response:
    _since_26(request)
    server = await run_read(request, lambda r, ctx: server_of(r, ctx, request))
    return respond(200, {"tags": server.tags})


async def _set_tags(request: Request) -> Response:
    _since_26(request)
    tags = tuple(dict.fromkeys(await decoded_member(request, "tags", tuple[str, ...])))
    servers.check_tags(tags)
    server = await _change(request, lambda _: {"tags": tags})
    return respond(200, {"tags": server.tags})


async def _put_tag(request: Request) -> Response:
    _since_26(request)
    tag = request.path_params["tag"]
    servers.check_tags((tag,))
    await _change(request, lambda old: {"tags": tuple(dict.fromkeys((*old.tags, tag)))})
    return respond(201)


async def _delete_tag(request: Request) -> Response:
    """Remove one tag, or all where the path names none."""
    _since_26(request)
    tag = request.path_params.get("tag")

    def without(old: Server) -> dict[str, Any]:
        if tag is not None and tag not in old.tags:
            raise NotFound(f"Server {old.id} has no tag '{tag}'")
        return {"tags": tuple(t for t in old.tags if tag is not None and t != tag)}

    await _change(request, without)
    return respond(204)


_SERVER = "/servers/{server_id}"

TABLE: list[tuple[str, str, Handler]] = [
    ("GET", _SERVER + "/metadata", _metadata),
    ("PUT POST", _SERVER + "/metadata", _set_metadata),
    ("GET", _SERVER + "/metadata/{key}", _metadata_item),
    ("PUT", _SERVER + "/metadata/{key}", _set_metadata_item),
    ("DELETE", _SERVER + "/metadata/{key}", _delete_metadata_item),
    ("GET", _SERVER + "/tags", _tags),
    ("PUT", _SERVER + "/tags", _set_tags),
    ("DELETE", _SERVER + "/tags", _delete_tag),
    ("PUT", _SERVER + "/tags/{tag}", _put_tag),
    ("DELETE", _SERVER + "/tags/{tag}", _delete_tag),
]
"""(methods, path below /v2.1, handler)."""
