"""Compute API: servers, their addresses and ports."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.bodies import off_loop
from netloom.api.compute import policy, server_body, server_filters
from netloom.api.compute import server_forms as forms
from netloom.api.compute.microversions import at_least
from netloom.api.compute.pages import page
from netloom.api.http import (
    body_of,
    caller_of,
    respond,
    run_in_thread,
    run_read,
    run_write,
    services_of,
)
from netloom.api.service import (
    Handler,
    boolean,
    decoded_member,
    given,
    must_be_admin,
    must_be_member,
    must_be_reader,
)
from netloom.compute import console, servers
from netloom.model import Context, Port
from netloom.model.cloud import Server
from netloom.model.errors import BadRequest, NotFound
from netloom.store import Reader, Writer

_POLICY = "os_compute_api:servers:"


def server_of(reader: Reader, ctx: Context, request: Request) -> Server:
    """Return the server that the path names, or raise NotFound; Forbidden for who may not even look."""
    must_be_reader(ctx.caller, _POLICY + "show")
    return servers.get(reader, ctx.caller, request.path_params["server_id"])


# ---- lists


async def _chosen(request: Request) -> tuple[list[Server], forms.Around, dict[str, Any]]:
    caller, query = caller_of(request), request.query_params
    must_be_reader(caller, _POLICY + "index")
    everywhere = any(
        name in query and boolean(query[name], name) for name in ("all_tenants", "all_projects")
    )
    if everywhere:
        must_be_admin(caller, _POLICY + "index:get_all_tenants")

    def read(reader: Reader, _: Context) -> tuple[list[Server], forms.Around, dict[str, Any]]:
        found = (
            reader.list(Server) if everywhere else reader.list(Server, project_id=caller.project_id)
        )
        states = reader.api_status(Server, [server.id for server in found])
        found = server_filters.filtered(request, reader, found, states)
        shown, links = page(
            request, _ordered(request, found), "servers_links", lambda server: server.id
        )
        return shown, forms.around(reader, shown), links

    return await run_read(request, read)


_SORT = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "uuid": "id",
    "display_name": "name",
    "name": "name",
}


def _ordered(request: Request, found: list[Server]) -> list[Server]:
    keys = request.query_params.getlist("sort_key") or ["created_at"]
    directions = request.query_params.getlist("sort_dir")
    found = sorted(found, key=lambda server: server.id)
    for index in reversed(range(len(keys))):
        direction = directions[index] if index < len(directions) else "desc"
        if keys[index] not in _SORT or direction not in ("asc", "desc"):
            raise BadRequest(f"Cannot sort by {keys[index]} {direction}.")
        found.sort(
            key=lambda s, key=keys[index]: getattr(s, _SORT[key]), reverse=direction == "desc"
        )
    return found


async def _list(request: Request) -> Response:
    found, _, links = await _chosen(request)
    return respond(200, {"servers": [forms.brief(request, server) for server in found], **links})


async def _detail(request: Request) -> Response:
    found, near, links = await _chosen(request)
    return respond(
        200, {"servers": [forms.form(request, server, near) for server in found], **links}
    )


# ---- one server


async def _show(request: Request) -> Response:
    def read(reader: Reader, ctx: Context) -> tuple[Server, forms.Around]:
        server = server_of(reader, ctx, request)
        return server, forms.around(reader, [server])

    server, near = await run_read(request, read)
    return respond(200, {"server": forms.form(request, server, near)})


async def _create(request: Request) -> Response:
    must_be_member(caller_of(request), _POLICY + "create")
    settings = services_of(request).settings.compute
    body = await body_of(request)
    wanted, by_reservation = await off_loop(request, body, lambda: server_body.read(request, body))

    def write(w: Writer, ctx: Context) -> list[Server]:
        def may_make_port(attrs: dict[str, Any]) -> None:
            policy.may_create(request, w, ctx, "ports", attrs)

        return servers.create(w, ctx, settings, wanted, may_make_port)

    made = await run_write(request, write)
    first = made[0]
    if by_reservation:
        return respond(202, {"reservation_id": first.reservation})
    shown: dict[str, Any] = {
        "id": first.id,
        "links": forms.links(request, first.id),
        "OS-DCF:diskConfig": "MANUAL",
        "security_groups": [{"name": name} for name in wanted.groups],
    }
    if wanted.admin_pass is not None:
        shown["adminPass"] = wanted.admin_pass
    return respond(202, {"server": shown}, {"Location": shown["links"][0]["href"]})


class ServerChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a server a client may change."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    hostname: str | UnsetType = UNSET


async def _update(request: Request) -> Response:
    must_be_member(caller_of(request), _POLICY + "update")
    attrs = given(await decoded_member(request, "server", ServerChange))
    for name, minor in (("description", 19), ("hostname", 90)):
        if name in attrs and not at_least(request, minor):
            raise BadRequest(f"Additional properties are not allowed ('{name}' was unexpected)")
    if attrs.get("description", "") is None:
        attrs["description"] = ""

    def write(w: Writer, ctx: Context) -> tuple[Server, forms.Around]:
        server = servers.update(w, server_of(w, ctx, request), attrs)
        return server, forms.around(w, [server])

    server, near = await run_write(request, write)
    return respond(200, {"server": forms.form(request, server, near)})


async def _delete(request: Request) -> Response:
    must_be_member(caller_of(request), _POLICY + "delete")

    def write(w: Writer, ctx: Context) -> str:
        server = server_of(w, ctx, request)
        servers.delete(w, ctx, server)
        return server.id

    gone = await run_write(request, write)
    await run_in_thread(request, lambda: console.forget(services_of(request).state_dir, gone))
    return respond(204)


# ---- addresses and ports


async def _addresses(request: Request) -> Response:
    def read(reader: Reader, ctx: Context) -> dict[str, list[dict[str, Any]]]:
        server = server_of(reader, ctx, request)
        return forms.addresses(server, forms.around(reader, [server]))

    found = await run_read(request, read)
    plain = {
        network: [{"version": a["version"], "addr": a["addr"]} for a in listed]
        for network, listed in found.items()
    }
    name = request.path_params.get("network")
    if name is None:
        return respond(200, {"addresses": plain})
    if name not in plain:
        raise NotFound(f"Instance does not have network {name}")
    return respond(200, {name: plain[name]})


def _interface(port: Port, states: dict[str, str], request: Request) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac_address,
        "port_state": states.get(port.id) or "DOWN",
        "fixed_ips": [structs.asdict(fixed) for fixed in port.fixed_ips],
    }
    return shown | {"tag": None} if at_least(request, 70) else shown


async def _interfaces(request: Request) -> Response:
    wanted = request.path_params.get("port_id")

    def read(reader: Reader, ctx: Context) -> list[dict[str, Any]]:
        server = server_of(reader, ctx, request)
        ports = forms.around(reader, [server]).ports[server.id]
        states = reader.api_status(Port, [port.id for port in ports])
        return [_interface(p, states, request) for p in ports if wanted in (None, p.id)]

    found = await run_read(request, read)
    if wanted is None:
        return respond(200, {"interfaceAttachments": found})
    if not found:
        raise NotFound(f"Port {wanted} not found on the server.")
    return respond(200, {"interfaceAttachment": found[0]})


async def _refuse_interface(request: Request) -> Response:
    await run_read(request, lambda r, ctx: server_of(r, ctx, request))
    raise BadRequest("Interfaces cannot be changed once a server is made: make it with its ports.")


_SERVER = "/servers/{server_id}"

TABLE: list[tuple[str, str, Handler]] = [
    ("GET", "/servers", _list),
    ("POST", "/servers", _create),
    ("GET", "/servers/detail", _detail),
    ("GET", _SERVER, _show),
    ("PUT", _SERVER, _update),
    ("DELETE", _SERVER, _delete),
    ("GET", _SERVER + "/ips", _addresses),
    ("GET", _SERVER + "/ips/{network}", _addresses),
    ("GET", _SERVER + "/os-interface", _interfaces),
    ("GET", _SERVER + "/os-interface/{port_id}", _interfaces),
    ("POST", _SERVER + "/os-interface", _refuse_interface),
    ("DELETE", _SERVER + "/os-interface/{port_id}", _refuse_interface),
]
"""(methods, path below /v2.1, handler)."""
