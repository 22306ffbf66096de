"""Compute API: security groups, floating IPs and networks as clients before microversion 2.36 ask for them.

Nothing is kept here: each request is one to the networking rules, in Nova's words.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.bodies import off_loop
from netloom.api.compute.policy import may_change, may_create
from netloom.api.compute.servers import server_of
from netloom.api.http import body_of, caller_of, respond, run_read, run_write
from netloom.api.service import Handler, decode, decoded_member, must_be_member
from netloom.compute.errors import as_compute_errors
from netloom.contract.decode import decode_create
from netloom.model import Context, FloatingIP, Network, SecurityGroup, SecurityGroupRule
from netloom.model.errors import BadRequest, NotFound
from netloom.network import (
    access,
    floatingips,
    security_group_rules,
    security_groups,
    server_ports,
)
from netloom.store import Reader, Writer


def _decoded(ctx: Context, collection: str, name: str, attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as a request to the Networking API would have them, defaults and all."""
    return decode_create(collection, msgspec.json.encode({name: attrs}), ctx.caller).items[0]


# ---- security groups


class GroupBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends of a security group."""

    name: str
    description: str | None = ""


class RuleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends of a rule, which always lets something in."""

    parent_group_id: str
    ip_protocol: str | None = None
    from_port: int | str | None = None
    to_port: int | str | None = None
    cidr: str | None = None
    group_id: str | None = None


def _group_form(
    group: SecurityGroup, rules: list[SecurityGroupRule], names: dict[str, SecurityGroup]
) -> dict[str, Any]:
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [_rule_form(rule, names) for rule in rules if rule.direction == "ingress"],
    }


def _rule_form(rule: SecurityGroupRule, names: dict[str, SecurityGroup]) -> dict[str, Any]:
    remote = names.get(rule.remote_group_id or "")
    anything = -1 if rule.protocol == "icmp" else None
    prefix = rule.remote_ip_prefix or ("0.0.0.0/0" if rule.ethertype == "IPv4" else "::/0")
    return {
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol,
        "from_port": rule.port_range_min if rule.port_range_min is not None else anything,
        "to_port": rule.port_range_max if rule.port_range_max is not None else anything,
        "group": {"name": remote.name, "tenant_id": remote.project_id} if remote else {},
        "ip_range": {}
        if rule.remote_group_id or rule.remote_address_group_id
        else {"cidr": prefix},
    }


def _group_forms(reader: Reader, groups: list[SecurityGroup]) -> list[dict[str, Any]]:
    rules = reader.list(SecurityGroupRule, security_group_id=[group.id for group in groups])
    names = reader.get_many(
        SecurityGroup, {rule.remote_group_id for rule in rules if rule.remote_group_id}
    )
    return [
        _group_form(group, [rule for rule in rules if rule.security_group_id == group.id], names)
        for group in groups
    ]


def _group(reader: Reader, ctx: Context, ident: str) -> SecurityGroup:
    found = access.find(reader, ctx, SecurityGroup, ident)
    if found is None:
        raise NotFound(f"Security group {ident} not found.")
    return found


async def _groups(request: Request) -> Response:
    def write(w: Writer, ctx: Context) -> list[dict[str, Any]]:
        # Asking for the groups makes the default one, as in the Networking API.
        security_groups.ensure_default(w, ctx, ctx.caller.project_id)
        return _group_forms(w, w.list(SecurityGroup, project_id=ctx.caller.project_id))

    return respond(200, {"security_groups": await run_write(request, write)})


async def _show_group(request: Request) -> Response:
    ident = request.path_params["group_id"]
    found = await run_read(request, lambda r, ctx: _group_forms(r, [_group(r, ctx, ident)]))
    return respond(200, {"security_group": found[0]})


async def _create_group(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-security-groups:create")
    body = await decoded_member(request, "security_group", GroupBody)

    def write(w: Writer, ctx: Context) -> list[dict[str, Any]]:
        with as_compute_errors():
            sent = {"name": body.name, "description": body.description or ""}
            attrs = _decoded(ctx, "security_groups", "security_group", sent)
            may_create(request, w, ctx, "security_groups", attrs)
            return _group_forms(w, [security_groups.create(w, ctx, attrs)])

    return respond(200, {"security_group": (await run_write(request, write))[0]})


async def _update_group(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-security-groups:update")
    body, ident = (
        await decoded_member(request, "security_group", GroupBody),
        request.path_params["group_id"],
    )

    def write(w: Writer, ctx: Context) -> list[dict[str, Any]]:
        with as_compute_errors():
            attrs = {"name": body.name, "description": body.description or ""}
            group = _group(w, ctx, ident)
            may_change(request, w, ctx, "security_groups", group, attrs)
            return _group_forms(w, [security_groups.update(w, ctx, group, attrs)])

    return respond(200, {"security_group": (await run_write(request, write))[0]})


async def _delete_group(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-security-groups:delete")

    def write(w: Writer, ctx: Context) -> None:
        with as_compute_errors():
            group = _group(w, ctx, request.path_params["group_id"])
            may_change(request, w, ctx, "security_groups", group, None)
            security_groups.delete(w, ctx, group)

    await run_write(request, write)
    return respond(202)


def _port_number(value: int | str | None, name: str) -> int | None:
    try:
        number = None if value in (None, "") else int(value)
    except ValueError:
        raise BadRequest(f"Invalid input for {name}: {value!r} is not a number.") from None
    return None if number == -1 else number


async def _create_rule(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-security-groups:rule:create")
    body = await decoded_member(request, "security_group_rule", RuleBody)
    low, high = _port_number(body.from_port, "from_port"), _port_number(body.to_port, "to_port")
    protocol = body.ip_protocol.lower() if body.ip_protocol else None
    if protocol is None and body.group_id is None:
        raise BadRequest("ip_protocol is missing: tcp, udp or icmp.")
    sent: dict[str, Any] = {
        "security_group_id": body.parent_group_id,
        "direction": "ingress",
        "ethertype": "IPv6" if ":" in (body.cidr or "") else "IPv4",
        "protocol": protocol,
        "port_range_min": low,
        "port_range_max": high,
    }
    if body.group_id:
        sent["remote_group_id"] = body.group_id
    else:
        sent["remote_ip_prefix"] = body.cidr or "0.0.0.0/0"

    def write(w: Writer, ctx: Context) -> dict[str, Any]:
        with as_compute_errors(missing=NotFound):
            attrs = _decoded(ctx, "security_group_rules", "security_group_rule", sent)
            may_create(request, w, ctx, "security_group_rules", attrs)
            rule = security_group_rules.create(w, ctx, attrs)
        remote = [rule.remote_group_id] if rule.remote_group_id else []
        return _rule_form(rule, w.get_many(SecurityGroup, remote))

    return respond(200, {"security_group_rule": await run_write(request, write)})


async def _delete_rule(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-security-groups:rule:delete")
    ident = request.path_params["rule_id"]

    def write(w: Writer, ctx: Context) -> None:
        rule = access.find(w, ctx, SecurityGroupRule, ident)
        if rule is None:
            raise NotFound(f"Security group rule {ident} not found.")
        with as_compute_errors():
            may_change(request, w, ctx, "security_group_rules", rule, None)
            security_group_rules.delete(w, ctx, rule)

    await run_write(request, write)
    return respond(202)


async def _server_groups(request: Request) -> Response:
    def read(reader: Reader, ctx: Context) -> list[dict[str, Any]]:
        server = server_of(reader, ctx, request)
        ids = {
            group
            for port in server_ports.ports_of(reader, [server])[server.id]
            for group in port.security_groups
        }
        return _group_forms(reader, list(reader.get_many(SecurityGroup, ids).values()))

    return respond(200, {"security_groups": await run_read(request, read)})


# ---- floating IPs


class PoolBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Which external network an address is wanted of; any where none is named."""

    pool: str | None = None


def _fip_forms(reader: Reader, found: list[FloatingIP]) -> list[dict[str, Any]]:
    servers = server_ports.servers_of(reader, {fip.port_id for fip in found if fip.port_id})
    networks = reader.get_many(Network, {fip.floating_network_id for fip in found})
    return [
        {
            "id": fip.id,
            "ip": fip.floating_ip_address,
            "fixed_ip": fip.fixed_ip_address,
            "instance_id": servers[fip.port_id].id if fip.port_id in servers else None,
            "pool": networks[fip.floating_network_id].name,
        }
        for fip in found
    ]


def _fip(reader: Reader, ctx: Context, ident: str) -> FloatingIP:
    found = access.find(reader, ctx, FloatingIP, ident)
    if found is None:
        raise NotFound(f"Floating IP not found for ID {ident}")
    return found


def _pools(reader: Reader, ctx: Context) -> list[Network]:
    return [network for network in access.find_all(reader, ctx, Network) if network.external]


async def _floating_pools(request: Request) -> Response:
    found = await run_read(request, _pools)
    return respond(200, {"floating_ip_pools": [{"name": network.name} for network in found]})


async def _floating_list(request: Request) -> Response:
    def read(reader: Reader, ctx: Context) -> list[dict[str, Any]]:
        return _fip_forms(reader, reader.list(FloatingIP, project_id=ctx.caller.project_id))

    return respond(200, {"floating_ips": await run_read(request, read)})


async def _floating_show(request: Request) -> Response:
    ident = request.path_params["floating_id"]
    found = await run_read(request, lambda r, ctx: _fip_forms(r, [_fip(r, ctx, ident)]))
    return respond(200, {"floating_ip": found[0]})


async def _floating_create(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-floating-ips:create")
    body = await body_of(request)
    wanted = await off_loop(request, body, lambda: decode(body, PoolBody).pool if body else None)

    def write(w: Writer, ctx: Context) -> list[dict[str, Any]]:
        matching = [
            network for network in _pools(w, ctx) if wanted in (None, network.id, network.name)
        ]
        if not matching:
            raise NotFound(f"Floating IP pool {wanted or ''} not found.")
        if len(matching) > 1 and wanted is not None:
            raise BadRequest(f"Several external networks are called {wanted}: give the id of one.")
        sent = {"floating_network_id": matching[0].id}
        with as_compute_errors():
            attrs = _decoded(ctx, "floatingips", "floatingip", sent)
            may_create(request, w, ctx, "floatingips", attrs)
            return _fip_forms(w, [floatingips.create(w, ctx, attrs)])

    return respond(200, {"floating_ip": (await run_write(request, write))[0]})


async def _floating_delete(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-floating-ips:delete")
    ident = request.path_params["floating_id"]

    def write(w: Writer, ctx: Context) -> None:
        with as_compute_errors():
            fip = _fip(w, ctx, ident)
            may_change(request, w, ctx, "floatingips", fip, None)
            floatingips.delete(w, ctx, fip)

    await run_write(request, write)
    return respond(202)


# ---- networks


async def _networks(request: Request) -> Response:
    found = await run_read(request, lambda r, ctx: access.find_all(r, ctx, Network))
    return respond(200, {"networks": [_network_form(network) for network in found]})


async def _show_network(request: Request) -> Response:
    ident = request.path_params["network_id"]
    found = await run_read(request, lambda r, ctx: access.find(r, ctx, Network, ident))
    if found is None:
        raise NotFound("Network not found")
    return respond(200, {"network": _network_form(found)})


def _network_form(network: Network) -> dict[str, Any]:
    return {"id": network.id, "label": network.name, "cidr": None}


LASTING: list[tuple[str, str, Handler]] = [
    ("GET", "/servers/{server_id}/os-security-groups", _server_groups),
]
"""As TABLE, but for every microversion."""

TABLE: list[tuple[str, str, Handler]] = [
    ("GET", "/os-security-groups", _groups),
    ("POST", "/os-security-groups", _create_group),
    ("GET", "/os-security-groups/{group_id}", _show_group),
    ("PUT", "/os-security-groups/{group_id}", _update_group),
    ("DELETE", "/os-security-groups/{group_id}", _delete_group),
    ("POST", "/os-security-group-rules", _create_rule),
    ("DELETE", "/os-security-group-rules/{rule_id}", _delete_rule),
    ("GET", "/os-floating-ip-pools", _floating_pools),
    ("GET", "/os-floating-ips", _floating_list),
    ("POST", "/os-floating-ips", _floating_create),
    ("GET", "/os-floating-ips/{floating_id}", _floating_show),
    ("DELETE", "/os-floating-ips/{floating_id}", _floating_delete),
    ("GET", "/os-networks", _networks),
    ("GET", "/os-networks/{network_id}", _show_network),
    ("GET", "/os-tenant-networks", _networks),
    ("GET", "/os-tenant-networks/{network_id}", _show_network),
]
"""(methods, path below /v2.1, handler), until microversion 2.35."""
