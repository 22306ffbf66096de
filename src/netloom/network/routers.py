"""Routers: made, changed and deleted; their interfaces and extra routes; where they are."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from msgspec.structs import replace
from neutron_lib import exceptions as lib
from neutron_lib.exceptions import l3
from neutron_lib.exceptions.availability_zone import AvailabilityZoneNotFound
from neutron_lib.exceptions.extraroute import RouterInterfaceInUseByRoute

from netloom.model import Context, FloatingIP, Network, Port, Route, Router, Subnet, to_doc
from netloom.model.names import INTERFACE_OWNERS
from netloom.model.placement import places
from netloom.network import (
    addresses,
    distributed,
    forwarded,
    gateways,
    ha,
    ipam,
    lookup,
    neutron_agents,
    placement,
    ports,
    quotas,
    router_checks,
    routes,
)
from netloom.network.ports import given
from netloom.store import Reader, Writer


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> Router:
    """Make a router, with its gateway if one is asked for."""
    hints = (
        tuple(attrs["availability_zone_hints"]) if given(attrs, "availability_zone_hints") else ()
    )
    missing = [zone for zone in hints if zone not in neutron_agents.zones(w)]
    if missing:
        raise AvailabilityZoneNotFound(availability_zone=", ".join(missing))
    quotas.check(w, ctx, attrs["project_id"], Router.KIND)
    router = w.insert(
        Router(
            id=str(uuid.uuid4()),
            project_id=attrs["project_id"],
            name=attrs.get("name", ""),
            description=attrs.get("description", ""),
            revision_number=1,
            admin_state_up=attrs.get("admin_state_up", True),
            availability_zone_hints=hints,
            ha=_asked_ha(attrs, ctx.settings.l3_ha),
            distributed=distributed.asked(attrs, ctx.settings.router_distributed),
        )
    )
    if router.ha:
        router = ha.join(w, ctx, router)
    if given(attrs, "external_gateway_info") and attrs["external_gateway_info"]:
        router = gateways.change(w, ctx, router, attrs["external_gateway_info"])
    return placement.place(w, ctx, router)


def _asked_ha(attrs: dict[str, Any], otherwise: bool) -> bool:
    asked = attrs["ha"] if given(attrs, "ha") else None
    return otherwise if asked is None else bool(asked)


def update(w: Writer, ctx: Context, old: Router, attrs: dict[str, Any]) -> Router:
    """Change a router, its gateway or its routes."""
    plain = {
        name: attrs[name]
        for name in ("name", "description", "admin_state_up")
        if given(attrs, name)
    }
    router = w.update(replace(old, **plain))
    if (wants_ha := _asked_ha(attrs, router.ha)) != router.ha:
        router = placement.place(w, ctx, ha.change(w, ctx, router, wants_ha))
    if (spread := distributed.asked(attrs, router.distributed)) != router.distributed:
        owner = ha.owner_of_interfaces(replace(router, distributed=False))
        router = distributed.change(w, ctx, router, spread, owner, old.admin_state_up)
        router = placement.place(w, ctx, router)
    if given(attrs, "external_gateway_info"):
        router = gateways.change(w, ctx, router, attrs["external_gateway_info"])
        if router.distributed:
            distributed.follow(w, ctx, router)
        router = placement.place(w, ctx, router)
    if given(attrs, "routes"):
        wanted = [
            Route(entry["destination"], str(ip_address(entry["nexthop"])))
            for entry in attrs["routes"] or ()
        ]
        router = _set_routes(w, ctx, router, wanted)
    return router


def delete(w: Writer, ctx: Context, old: Router) -> None:
    """Delete a router without interfaces; its gateway goes with it."""
    attached = router_checks.interfaces_of(w, old)
    if attached:
        reason = "has ports still attached: " + ", ".join(port.id for port in attached)
        raise l3.RouterInUse(router_id=old.id, reason=reason)
    # Routes through the gateway must not hinder its deletion.
    bare = gateways.change(w, ctx, w.update(replace(old, routes=())), None)
    if bare.distributed:
        distributed.follow(w, ctx, bare)
    if bare.ha:
        bare = ha.leave(w, bare)
    w.delete(Router, bare.id)


def _set_routes(w: Writer, ctx: Context, router: Router, wanted: Sequence[Route]) -> Router:
    router_checks.check_routes(w, router, wanted)
    limit = quotas.limits(w, ctx, router.project_id)["router_route"]
    if limit != quotas.UNLIMITED and len(wanted) > limit:
        raise quotas.over("router_route")
    return w.update(replace(router, routes=routes.ordered(wanted)))


def add_extraroutes(w: Writer, ctx: Context, router: Router, attrs: dict[str, Any]) -> Router:
    """Add routes to those that the router has; one that it has already changes nothing."""
    return _set_routes(w, ctx, router, [*router.routes, *_asked(attrs)])


def remove_extraroutes(w: Writer, ctx: Context, router: Router, attrs: dict[str, Any]) -> Router:
    """Take routes away; one that the router does not have changes nothing."""
    gone = set(_asked(attrs))
    return _set_routes(w, ctx, router, [route for route in router.routes if route not in gone])


def _asked(attrs: Any) -> list[Route]:
    if not isinstance(attrs, dict) or "routes" not in attrs:
        raise lib.BadRequest(resource="router", msg="routes must be specified")
    return routes.parse(attrs["routes"])


def add_interface(
    w: Writer, ctx: Context, router: Router, attrs: dict[str, Any] | None
) -> dict[str, Any]:
    """Connect the router to a subnet, at its gateway address, or through a port. Returns the API's answer."""
    asked = _interface_asked(attrs)
    if asked.keys() >= {"subnet_id", "port_id"}:
        raise lib.BadRequest(resource="router", msg="Cannot specify both subnet-id and port-id")
    if "port_id" in asked:
        port = _attach_port(w, ctx, router, asked["port_id"])
        subnet_ids = list({fixed.subnet_id: None for fixed in port.fixed_ips})
    else:
        port = _attach_subnet(w, ctx, router, asked["subnet_id"])
        subnet_ids = [asked["subnet_id"]]
    if router.distributed:
        distributed.check_hosts(w, port.network_id)
        distributed.follow(w, ctx, router)
    w.bump(Router, router.id)
    placement.place(w, ctx, w.get(Router, router.id) or router)
    return _answer(router, port, subnet_ids[-1], subnet_ids)


def _interface_asked(attrs: Any) -> dict[str, str]:
    asked = {
        name: attrs[name]
        for name in ("port_id", "subnet_id")
        if isinstance(attrs, dict) and name in attrs
    }
    if not asked:
        raise lib.BadRequest(resource="router", msg="Either subnet_id or port_id must be specified")
    for value in asked.values():
        if not _is_uuid(value):
            raise lib.BadRequest(resource="router", msg=f"'{value}' is not a valid UUID")
    return asked


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and uuid.UUID(value).hex == value.replace("-", "").lower()
    except ValueError:
        return False


def _attach_port(w: Writer, ctx: Context, router: Router, port_id: str) -> Port:
    port = lookup.port(w, ctx, port_id)
    if port.device_id:
        raise lib.PortInUse(net_id=port.network_id, port_id=port.id, device_id=port.device_id)
    ports.check_device(w, ctx, port.project_id, ha.owner_of_interfaces(router), router.id)
    if not port.fixed_ips:
        raise lib.BadRequest(resource="router", msg="Router port must have at least one fixed IP")
    subnets = [
        lookup.subnet(w, ctx, id) for id in {fixed.subnet_id: None for fixed in port.fixed_ips}
    ]
    for subnet in subnets:
        router_checks.check_advertised(subnet)
    attached = router_checks.ports_of(w, router)
    if not router.distributed:
        router_checks.check_one_for_prefixes(attached, port)
    router_checks.check_duplicates(w, attached, subnets)
    if len([fixed for fixed in port.fixed_ips if ":" not in fixed.ip_address]) > 1:
        raise lib.BadRequest(
            resource="router", msg="Cannot have multiple IPv4 subnets on router port"
        )
    return w.update(replace(port, device_id=router.id, device_owner=ha.owner_of_interfaces(router)))


def _attach_subnet(w: Writer, ctx: Context, router: Router, subnet_id: str) -> Port:
    subnet = lookup.subnet(w, ctx, subnet_id)
    if not subnet.gateway_ip:
        raise lib.BadRequest(
            resource="router", msg="Subnet for router interface must have a gateway IP"
        )
    if not lookup.may_route(w, ctx, subnet):
        raise lib.BadRequest(
            resource="router",
            msg=(
                f"Cannot add interface to router because subnet {subnet.id} is not owned by project "
                "making the request"
            ),
        )
    router_checks.check_advertised(subnet)
    attached = router_checks.ports_of(w, router)
    router_checks.check_duplicates(w, attached, [subnet])
    network = lookup.network(w, ctx, subnet.network_id)
    if subnet.ip_version == 6:
        # One port announces all prefixes of its network.
        for port in attached:
            if port.device_owner in INTERFACE_OWNERS and router_checks.announces(port, network.id):
                fixed = ipam.claim(w, network.id, subnet, subnet.gateway_ip, port.id)
                return addresses.put(w, port, [*port.fixed_ips, fixed])
    return ports.create_service(
        w,
        ctx,
        network,
        project_id=router.project_id,
        device_id=router.id,
        device_owner=ha.owner_of_interfaces(router),
        fixed_ips=[{"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}],
    )


def remove_interface(
    w: Writer, ctx: Context, router: Router, attrs: dict[str, Any] | None
) -> dict[str, Any]:
    """Disconnect the router from a subnet; the port goes, also one that a user made. Returns the API's answer."""
    asked = _interface_asked(attrs)
    if "port_id" in asked:
        port = w.get(Port, asked["port_id"])
        if port is None or port.device_id != router.id or port.device_owner not in INTERFACE_OWNERS:
            raise l3.RouterInterfaceNotFound(router_id=router.id, port_id=asked["port_id"])
        subnet_ids = list({fixed.subnet_id: None for fixed in port.fixed_ips})
        if asked.get("subnet_id", "") not in ("", *subnet_ids):
            raise lib.SubnetMismatchForPort(port_id=port.id, subnet_id=asked["subnet_id"])
    else:
        subnet_id = lookup.subnet(w, ctx, asked["subnet_id"]).id
        subnet_ids = [subnet_id]
        port = next(
            (
                port
                for port in router_checks.interfaces_of(w, router)
                if any(fixed.subnet_id == subnet_id for fixed in port.fixed_ips)
            ),
            None,
        )
        if port is None:
            raise l3.RouterInterfaceNotFoundForSubnet(router_id=router.id, subnet_id=subnet_id)
    subnets = w.get_many(Subnet, subnet_ids)
    for subnet in subnets.values():
        _check_not_needed(w, router, subnet)
    if "port_id" in asked or {fixed.subnet_id for fixed in port.fixed_ips} == set(subnet_ids):
        ports.remove(w, port)
    else:
        addresses.withdraw(w, subnets[subnet_ids[0]], [port])
    if router.distributed:
        distributed.follow(w, ctx, router)
    w.bump(Router, router.id)
    placement.place(w, ctx, w.get(Router, router.id) or router)
    return _answer(router, port, subnet_ids[0] if subnet_ids else "", subnet_ids)


def _check_not_needed(r: Reader, router: Router, subnet: Subnet) -> None:
    cidr = ip_network(subnet.cidr)
    led = [(fip.port_id, fip.fixed_ip_address) for fip in r.list(FloatingIP, router_id=router.id)]
    led += [
        (forwarding.internal_port_id, forwarding.internal_ip_address)
        for forwarding in forwarded.of_router(r, router.id)
    ]
    for port_id, address in led:
        port = r.get(Port, port_id or "")
        if port and any(
            fixed.subnet_id == subnet.id and fixed.ip_address == address for fixed in port.fixed_ips
        ):
            raise l3.RouterInterfaceInUseByFloatingIP(router_id=router.id, subnet_id=subnet.id)
    if any(ip_address(route.nexthop) in cidr for route in router.routes):
        raise RouterInterfaceInUseByRoute(router_id=router.id, subnet_id=subnet.id)


def _answer(
    router: Router, port: Port, subnet_id: str, subnet_ids: Sequence[str]
) -> dict[str, Any]:
    return {
        "id": router.id,
        "project_id": port.project_id,
        "port_id": port.id,
        "network_id": port.network_id,
        "subnet_id": subnet_id,
        "subnet_ids": list(subnet_ids),
    }


def show(r: Reader, ctx: Context, objs: Sequence[Router]) -> list[dict[str, Any]]:
    """Return routers as the API shows them."""
    placed = {host for router in objs for host in places(router)}
    rows = r.hosts(placed) if placed else {}
    states = r.api_status(Router, [router.id for router in objs])
    outside = {each.external_gateway_info.network_id for each in objs if each.external_gateway_info}
    networks = r.get_many(Network, outside)
    limited = {network.id for network in networks.values() if network.qos_policy_id}
    shown: list[dict[str, Any]] = []
    for router in objs:
        doc = to_doc(router)
        del doc["replicas"], doc["gw_port_id"], doc["vrid"], doc["held"]
        gateway = router.external_gateway_info
        if gateway and gateway.network_id in limited:
            doc["external_gateway_info"].setdefault("qos_policy_id", None)
        carriers = [rows[host] for host in places(router) if host in rows]
        doc["tenant_id"] = router.project_id
        # As in Neutron a router is ACTIVE before any host has made it.
        doc["status"] = states[router.id]
        doc["availability_zones"] = sorted(
            {row.facts.availability_zone for row in carriers if row.facts}
        )
        shown.append(doc)
    return shown
