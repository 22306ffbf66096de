"""Floating IPs: an address of an external network, and the fixed address that it stands for.

The address belongs to a port of its own on the external network, without a project. The router is found:
the one that connects the fixed address's subnet with the external network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace
from neutron_lib import exceptions as lib
from neutron_lib.exceptions import l3

from netloom.contract.port_forwarding import FipInUseByPortForwarding
from netloom.model import Context, FixedIP, FloatingIP, Port, Router, Subnet, to_doc
from netloom.model.names import INTERFACE_OWNERS, OWNER_FLOATING_IP
from netloom.network import entries, forwarded, lookup, ports, qos, quotas
from netloom.network.ports import given
from netloom.store import Reader, Writer


class Association(Struct, frozen=True):
    """What a floating IP stands for; all None for nothing."""

    port_id: str | None = None
    fixed_ip_address: str | None = None
    router_id: str | None = None


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> FloatingIP:
    """Take an address of an external network, and let it stand for a port's if one is named."""
    network = lookup.network(w, ctx, attrs["floating_network_id"])
    if not network.external:
        raise lib.BadRequest(
            resource="floatingip", msg=f"Network {network.id} is not a valid external network"
        )
    if not any(subnet.ip_version == 4 for subnet in w.list(Subnet, network_id=network.id)):
        raise lib.BadRequest(
            resource="floatingip", msg=f"Network {network.id} does not contain any IPv4 subnet"
        )
    quotas.check(w, ctx, attrs["project_id"], FloatingIP.KIND)
    id = str(uuid4())
    port = ports.create_service(
        w,
        ctx,
        network,
        project_id="",
        device_id=id,
        device_owner=OWNER_FLOATING_IP,
        fixed_ips=_wanted_address(attrs),
    )
    address = next((f.ip_address for f in port.fixed_ips if ":" not in f.ip_address), None)
    if address is None:
        raise lib.ExternalIpAddressExhausted(net_id=network.id)
    fip = FloatingIP(
        id=id,
        project_id=attrs["project_id"],
        description=attrs.get("description", ""),
        floating_network_id=network.id,
        floating_ip_address=address,
        floating_port_id=port.id,
        qos_policy_id=qos.exchange(w, ctx, None, attrs.get("qos_policy_id")),
    )
    found = _association(w, ctx, fip, attrs)
    fip = w.insert(_associated(fip, found))
    entries.follow(w, [fip])
    return fip


def _wanted_address(attrs: dict[str, Any]) -> list[dict[str, str]] | None:
    asked = {
        name: attrs[source]
        for name, source in (("subnet_id", "subnet_id"), ("ip_address", "floating_ip_address"))
        if given(attrs, source) and attrs[source]
    }
    return [asked] if asked else None


def _associated(fip: FloatingIP, found: Association) -> FloatingIP:
    return replace(
        fip,
        port_id=found.port_id,
        fixed_ip_address=found.fixed_ip_address,
        router_id=found.router_id,
    )


def update(w: Writer, ctx: Context, old: FloatingIP, attrs: dict[str, Any]) -> FloatingIP:
    """Associate, re-associate or dissociate: `port_id` null, and also nothing at all, means dissociate.

    A description alone leaves the association as it is.
    """
    new = replace(old, description=attrs.get("description", old.description))
    if given(attrs, "qos_policy_id"):
        policy_id = qos.exchange(w, ctx, old.qos_policy_id, attrs["qos_policy_id"])
        new = replace(new, qos_policy_id=policy_id)
    if not attrs or given(attrs, "port_id") or given(attrs, "fixed_ip_address"):
        found = _association(w, ctx, old, attrs)
        forwards = forwarded.of_floating_ips(w, [old.id])
        if forwards and found.port_id:
            raise FipInUseByPortForwarding(id=old.id)
        if not forwards:
            new = _associated(new, found)
    new = w.update(new)
    if (new.port_id, new.fixed_ip_address, new.router_id) != (
        old.port_id,
        old.fixed_ip_address,
        old.router_id,
    ):
        w.set_api_status(FloatingIP, new.id, "DOWN")
        entries.follow(w, [new])
    return new


def delete(w: Writer, ctx: Context, old: FloatingIP) -> None:
    """Give the address back. Raises FipInUseByPortForwarding."""
    if forwarded.of_floating_ips(w, [old.id]):
        raise FipInUseByPortForwarding(id=old.id)
    w.delete(FloatingIP, old.id)
    port = w.get(Port, old.floating_port_id)
    if port is not None:
        ports.remove(w, port)


def _association(r: Reader, ctx: Context, fip: FloatingIP, attrs: dict[str, Any]) -> Association:
    """Return what a request associates the floating IP with. Raises the API's errors."""
    port_id = attrs["port_id"] if given(attrs, "port_id") else None
    address = attrs["fixed_ip_address"] if given(attrs, "fixed_ip_address") else None
    if not port_id:
        if address:
            raise lib.BadRequest(
                resource="floatingip", msg="fixed_ip_address cannot be specified without a port_id"
            )
        return Association()
    port = lookup.port(r, ctx, port_id)
    if port.project_id != fip.project_id and not ctx.caller.is_admin:
        raise lib.BadRequest(
            resource="floatingip",
            msg=(
                f"Cannot process floating IP association with Port {port.id}, since that port is owned "
                "by a different project"
            ),
        )
    fixed = _fixed_address(port, address)
    router = router_between(r, fixed.subnet_id, fip.floating_network_id)
    if router is None:
        raise l3.ExternalGatewayForFloatingIPNotFound(
            subnet_id=fixed.subnet_id, external_network_id=fip.floating_network_id, port_id=port.id
        )
    for other in r.list(FloatingIP, port_id=port.id):
        if (
            other.id != fip.id
            and other.floating_network_id == fip.floating_network_id
            and other.fixed_ip_address == fixed.ip_address
        ):
            raise l3.FloatingIPPortAlreadyAssociated(
                port_id=port.id,
                fip_id=fip.id,
                floating_ip_address=fip.floating_ip_address,
                fixed_ip=fixed.ip_address,
                net_id=fip.floating_network_id,
            )
    return Association(port.id, fixed.ip_address, router.id)


def _fixed_address(port: Port, address: str | None) -> FixedIP:
    """Return the address of the port that is meant; raises where that is none, or more than one."""
    if address is not None:
        if ":" in address:
            raise lib.BadRequest(
                resource="floatingip",
                msg=(
                    f"Cannot process floating IP association with {address}, since that is not an "
                    "IPv4 address"
                ),
            )
        for fixed in port.fixed_ips:
            if fixed.ip_address == address:
                return fixed
        raise lib.BadRequest(
            resource="floatingip", msg=f"Port {port.id} does not have fixed ip {address}"
        )
    candidates = [fixed for fixed in port.fixed_ips if ":" not in fixed.ip_address]
    if not candidates:
        raise lib.BadRequest(
            resource="floatingip",
            msg=f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses",
        )
    if len(candidates) > 1:
        raise lib.BadRequest(
            resource="floatingip",
            msg=(
                f"Port {port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 "
                "address when assigning a floating IP"
            ),
        )
    return candidates[0]


def router_between(r: Reader, subnet_id: str, network_id: str) -> Router | None:
    """Return the router from a subnet to an external network; of several, that at the subnet's gateway."""
    interfaces = {
        port.device_id: fixed.ip_address
        for port in r.list(Port, subnet_id=subnet_id, device_owner=INTERFACE_OWNERS)
        for fixed in port.fixed_ips
        if fixed.subnet_id == subnet_id
    }
    routers = [
        router
        for router in r.get_many(Router, interfaces).values()
        if router.external_gateway_info is not None
        and router.external_gateway_info.network_id == network_id
    ]
    if len(routers) > 1:
        subnet = r.get(Subnet, subnet_id)
        for router in routers:
            if subnet is not None and interfaces[router.id] == subnet.gateway_ip:
                return router
    return routers[0] if routers else None


def show(r: Reader, ctx: Context, objs: Sequence[FloatingIP]) -> list[dict[str, Any]]:
    """Return floating IPs as the API shows them, with details of their ports."""
    found = r.get_many(Port, {fip.port_id for fip in objs if fip.port_id})
    port_states = r.api_status(Port, found)
    states = r.api_status(FloatingIP, [fip.id for fip in objs])
    forwards = forwarded.shown(r, {fip.id for fip in objs if fip.router_id and not fip.port_id})
    shown: list[dict[str, Any]] = []
    for fip in objs:
        doc = to_doc(fip)
        # A floating IP has no name.
        del doc["floating_port_id"], doc["name"]
        port = found.get(fip.port_id or "")
        doc["tenant_id"] = fip.project_id
        doc["status"] = states[fip.id]
        doc["port_forwardings"] = forwards.get(fip.id, [])
        doc["port_details"] = port and {
            "name": port.name,
            "network_id": port.network_id,
            "mac_address": port.mac_address,
            "admin_state_up": port.admin_state_up,
            "status": port_states[port.id],
            "device_id": port.device_id,
            "device_owner": port.device_owner,
        }
        shown.append(doc)
    return shown
