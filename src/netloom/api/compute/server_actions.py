"""Compute API: what is done to a server. What is not in the table here is not offered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.compute.microversions import version_of
from netloom.api.compute.policy import may_change
from netloom.api.compute.servers import server_of
from netloom.api.http import (
    caller_of,
    respond,
    run_in_thread,
    run_read,
    run_write,
    services_of,
)
from netloom.api.service import Handler, convert, decoded, must_be_member
from netloom.compute import console, nics, servers
from netloom.compute.errors import as_compute_errors
from netloom.model import Context, FloatingIP
from netloom.model.errors import BadRequest, Conflict, NotFound
from netloom.network import floatingips, ports, server_ports
from netloom.store import Writer

Action = Callable[[Request, Any], Awaitable[Response]]


async def _act(request: Request) -> Response:
    body = await decoded(request, dict[str, Any])
    if len(body) != 1:
        raise BadRequest("An action is an object with one member, the action's name.")
    name, arguments = next(iter(body.items()))
    if name not in _ACTIONS:
        raise NotFound(f"There is no such action: {name}")
    action, until = _ACTIONS[name]
    if version_of(request) > (2, until):
        raise NotFound(f"There is no such action: {name}")
    caller = caller_of(request)
    if name != "os-getConsoleOutput":
        must_be_member(caller, f"os_compute_api:{name}")
    return await action(request, arguments)


class ConsoleOutput(Struct, frozen=True, forbid_unknown_fields=True):
    """How many lines of the console: all (None or -1), or so many of the last."""

    length: int | str | None = None


async def _console(request: Request, arguments: Any) -> Response:
    wanted = convert(arguments, ConsoleOutput).length
    try:
        lines = None if wanted is None else int(wanted)
    except ValueError:
        raise BadRequest(f"Invalid length {wanted!r}: a number of lines.") from None
    if lines is not None and lines < -1:
        raise BadRequest(f"Invalid length {wanted!r}: a number of lines, or -1 for all.")
    server = await run_read(request, lambda r, ctx: server_of(r, ctx, request))
    folder = services_of(request).state_dir
    count = None if lines == -1 else lines
    text = await run_in_thread(request, lambda: console.read(folder, server.id, count))
    return respond(200, {"output": text})


async def _start(request: Request, _: Any) -> Response:
    return await _power(request, "on")


async def _stop(request: Request, _: Any) -> Response:
    return await _power(request, "off")


async def _power(request: Request, power: str) -> Response:
    await run_write(request, lambda w, ctx: servers.set_power(w, server_of(w, ctx, request), power))
    return respond(202)


class Reboot(Struct, frozen=True, forbid_unknown_fields=True):
    """How: SOFT asks the instance to end by itself first, HARD does not. In any case, as in Nova."""

    type: str


async def _reboot(request: Request, arguments: Any) -> Response:
    how = convert(arguments, Reboot).type.upper()
    if how not in ("SOFT", "HARD"):
        raise BadRequest(
            f"Invalid input for field/attribute type. Value: {how}. It is one of SOFT and HARD."
        )
    await run_write(
        request,
        lambda w, ctx: servers.reboot(w, server_of(w, ctx, request), gently=how == "SOFT"),
    )
    return respond(202)


class Address(Struct, frozen=True, forbid_unknown_fields=True):
    """A floating address, and which of the server's it stands for."""

    address: str
    fixed_address: str | None = None


def _floatingip(w: Writer, ctx: Context, address: str) -> FloatingIP:
    found = w.list(FloatingIP, floating_ip_address=address)
    mine = [fip for fip in found if ctx.caller.is_admin or fip.project_id == ctx.caller.project_id]
    if not mine:
        raise NotFound("floating IP not found")
    return mine[0]


async def _add_floatingip(request: Request, arguments: Any) -> Response:
    wanted = convert(arguments, Address)

    def write(w: Writer, ctx: Context) -> None:
        server, fip = server_of(w, ctx, request), _floatingip(w, ctx, wanted.address)
        may_change(request, w, ctx, "floatingips", fip, ("port_id", "fixed_ip_address"))
        for port in server_ports.ports_of(w, [server])[server.id]:
            for fixed in port.fixed_ips:
                if wanted.fixed_address in (None, fixed.ip_address):
                    attrs = {"port_id": port.id, "fixed_ip_address": fixed.ip_address}
                    with as_compute_errors():
                        floatingips.update(w, ctx, fip, attrs)
                    return
        raise BadRequest(
            f"No fixed IP {wanted.fixed_address or ''} is associated with the instance."
        )

    await run_write(request, write)
    return respond(202)


async def _remove_floatingip(request: Request, arguments: Any) -> Response:
    wanted = convert(arguments, Address)

    def write(w: Writer, ctx: Context) -> None:
        server, fip = server_of(w, ctx, request), _floatingip(w, ctx, wanted.address)
        may_change(request, w, ctx, "floatingips", fip, ("port_id",))
        if fip.port_id not in server.port_ids:
            raise Conflict(
                f"Floating IP {wanted.address} is not associated with instance {server.id}."
            )
        with as_compute_errors():
            floatingips.update(w, ctx, fip, {"port_id": None})

    await run_write(request, write)
    return respond(202)


class Group(Struct, frozen=True, forbid_unknown_fields=True):
    """A security group by name or id."""

    name: str


async def _add_group(request: Request, arguments: Any) -> Response:
    name = convert(arguments, Group).name

    def write(w: Writer, ctx: Context) -> None:
        server = server_of(w, ctx, request)
        group = nics.find_groups(w, server.project_id, [name])[0]
        for port in server_ports.ports_of(w, [server])[server.id]:
            if port.port_security_enabled and group not in port.security_groups:
                may_change(request, w, ctx, "ports", port, ("security_groups",))
                with as_compute_errors():
                    ports.update(w, ctx, port, {"security_groups": [*port.security_groups, group]})

    await run_write(request, write)
    return respond(202)


async def _remove_group(request: Request, arguments: Any) -> Response:
    name = convert(arguments, Group).name

    def write(w: Writer, ctx: Context) -> None:
        server = server_of(w, ctx, request)
        group = nics.find_groups(w, server.project_id, [name])[0]
        own = server_ports.ports_of(w, [server])[server.id]
        having = [port for port in own if group in port.security_groups]
        if not having:
            raise NotFound(f"Security group {name} is not associated with the instance {server.id}")
        for port in having:
            may_change(request, w, ctx, "ports", port, ("security_groups",))
            left = [ident for ident in port.security_groups if ident != group]
            with as_compute_errors():
                ports.update(w, ctx, port, {"security_groups": left})

    await run_write(request, write)
    return respond(202)


_ALWAYS = 92
_ACTIONS: dict[str, tuple[Action, int]] = {
    "os-getConsoleOutput": (_console, _ALWAYS),
    "os-start": (_start, _ALWAYS),
    "os-stop": (_stop, _ALWAYS),
    "reboot": (_reboot, _ALWAYS),
    "addFloatingIp": (_add_floatingip, 43),
    "removeFloatingIp": (_remove_floatingip, 43),
    "addSecurityGroup": (_add_group, _ALWAYS),
    "removeSecurityGroup": (_remove_group, _ALWAYS),
}
"""Action → what does it, and the last microversion that has it."""

TABLE: list[tuple[str, str, Handler]] = [("POST", "/servers/{server_id}/action", _act)]
"""(methods, path below /v2.1, handler)."""
