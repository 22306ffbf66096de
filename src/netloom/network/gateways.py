"""A router's gateway: its port on an external network, set, changed and cleared.

The port has no project, so that members do not see it; its addresses are also in the router.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace
from neutron_lib import exceptions as lib
from neutron_lib.exceptions.l3 import RouterExternalGatewayInUseByFloatingIp

from netloom.model import Context, FloatingIP, Gateway, Network, Port, Router, Subnet
from netloom.model.names import OWNER_ROUTER_GATEWAY
from netloom.network import addresses, lookup, ports, qos, router_checks, slaac
from netloom.store import Reader, Writer


def change(w: Writer, ctx: Context, router: Router, info: dict[str, Any] | None) -> Router:
    """Make the router's gateway what `external_gateway_info` says; empty or None clears it.

    The same network keeps the addresses unless others are named; `enable_snat` not given is true again.
    """
    old = router.external_gateway_info
    if not info:
        return _clear(w, router)
    network = _external(w, ctx, info)
    asked = info.get("external_fixed_ips") or None
    snat = bool(info.get("enable_snat", True))
    if old is not None and old.network_id == network.id:
        return _keep(w, ctx, router, _with_policy(w, ctx, old, info), snat, asked)
    _check_unused(w, router)
    subnets = w.list(Subnet, network_id=network.id)
    router_checks.check_duplicates(
        w, [p for p in router_checks.ports_of(w, router) if p.id != router.gw_port_id], subnets
    )
    port = ports.create_service(
        w,
        ctx,
        network,
        project_id="",
        device_id=router.id,
        device_owner=OWNER_ROUTER_GATEWAY,
        fixed_ips=asked,
    )
    had = old.qos_policy_id if old is not None else UNSET
    gateway = Gateway(network.id, snat, port.fixed_ips, had)
    gateway = _with_policy(w, ctx, gateway, info)
    changed = w.update(replace(router, external_gateway_info=gateway, gw_port_id=port.id))
    _remove_port(w, router.gw_port_id)
    if changed.routes:
        # A route may have had its next hop on the network that was left.
        router_checks.check_routes(w, changed, changed.routes)
    return changed


def _with_policy(r: Reader, ctx: Context, gateway: Gateway, info: dict[str, Any]) -> Gateway:
    """Return the gateway with the QoS policy asked for; where none is named it keeps its own."""
    if "qos_policy_id" not in info:
        return gateway
    # As in Neutron: whoever may change the gateway may take its policy off.
    asked = info["qos_policy_id"]
    if asked and asked != gateway.qos_policy_id:
        qos.find(r, ctx, asked)
    return replace(gateway, qos_policy_id=asked or UNSET)


def _external(r: Reader, ctx: Context, info: dict[str, Any]) -> Network:
    network = lookup.network(r, ctx, info["network_id"])
    if not network.external:
        raise lib.BadRequest(
            resource="router", msg=f"Network {network.id} is not an external network"
        )
    gateways = {s.gateway_ip for s in r.list(Subnet, network_id=network.id) if s.gateway_ip}
    for entry in info.get("external_fixed_ips") or ():
        if entry.get("ip_address") in gateways:
            raise lib.BadRequest(
                resource="router",
                msg=f"External IP {entry['ip_address']} is the same as the gateway IP",
            )
    return network


def _keep(
    w: Writer, ctx: Context, router: Router, old: Gateway, snat: bool, asked: Sequence[Any] | None
) -> Router:
    gateway = replace(old, enable_snat=snat)
    if asked is not None:
        port = w.get(Port, router.gw_port_id or "")
        if port is not None:
            port = ports.update(w, ctx, port, {"fixed_ips": asked})
            gateway = replace(gateway, external_fixed_ips=port.fixed_ips)
    return w.update(replace(router, external_gateway_info=gateway))


def join(w: Writer, network: Network, subnet: Subnet) -> None:
    """Give routers that have their gateway on a network an address of its new IPv6 subnet, where they have none yet.

    As in Neutron a new IPv4 subnet gives them none, unless its service types name routers' gateways. Where the subnet has none to give they stay as they are: that must not
    refuse the subnet.
    """
    if subnet.ip_version == 4 and OWNER_ROUTER_GATEWAY not in subnet.service_types:
        return
    there = {each.id: each for each in w.list(Subnet, network_id=network.id)}
    for router in w.list(Router, network_id=network.id):
        port = w.get(Port, router.gw_port_id or "")
        if port is None:
            continue
        pooled = [f for f in port.fixed_ips if not slaac.is_automatic(there[f.subnet_id])]
        if len(pooled) > 1 or any(
            there[fixed.subnet_id].ip_version == subnet.ip_version for fixed in pooled
        ):
            continue
        has = [{"subnet_id": f.subnet_id, "ip_address": f.ip_address} for f in port.fixed_ips]
        wanted = [*has, {"subnet_id": subnet.id}]
        if not addresses.serves(subnet, port.device_owner):
            continue
        with suppress(lib.IpAddressGenerationFailure):
            got = addresses.changed(w, None, network, port, wanted, port.mac_address)
            addresses.put(w, port, got)


def _clear(w: Writer, router: Router) -> Router:
    if router.external_gateway_info is None:
        return router
    if router.routes:
        router_checks.check_routes(w, router, router.routes, without=router.gw_port_id)
    _check_unused(w, router)
    changed = w.update(replace(router, external_gateway_info=None, gw_port_id=None))
    _remove_port(w, router.gw_port_id)
    return changed


def _remove_port(w: Writer, id: str | None) -> None:
    port = w.get(Port, id) if id else None
    if port is not None:
        ports.remove(w, port)


def _check_unused(r: Reader, router: Router) -> None:
    """Raise where floating IPs need the router's present gateway."""
    gateway = router.external_gateway_info
    if gateway is not None and r.count(FloatingIP, router_id=router.id):
        raise RouterExternalGatewayInUseByFloatingIp(router_id=router.id, net_id=gateway.network_id)
