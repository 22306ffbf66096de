"""Ports: addresses, security, binding; what may change and what may not be deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib import constants
from neutron_lib import exceptions as lib

from netloom.contract.attributes import MAX_TAGS
from netloom.contract.errors import too_many_tags
from netloom.contract.port_errors import NeutronDbObjectDuplicateEntry
from netloom.model import (
    Context,
    DhcpOption,
    FloatingIP,
    Network,
    Port,
    QosPolicy,
    Router,
    to_doc,
)
from netloom.model.names import (
    OWNER_FLOATING_IP,
)
from netloom.model.names import ROUTER_OWNERS as ROUTER_PORT_OWNERS
from netloom.network import (
    addresses,
    binding,
    dhcp,
    entries,
    forwarded,
    lookup,
    macs,
    port_keys,
    port_security,
    qos,
    quotas,
    security_groups,
    trunked,
)
from netloom.store import Reader, Writer

SERVICE_OWNERS = ROUTER_PORT_OWNERS | {OWNER_FLOATING_IP}
"""Owners whose ports go only with the router or floating IP that they belong to."""

ROUTER_OWNERS = ROUTER_PORT_OWNERS | {*constants.ROUTER_INTERFACE_OWNERS}
"""Owners whose ports hosts take for part of the router that `device_id` names."""

NOT_APPLICABLE = "N/A"
"""Neutron's status of the ports that hold floating addresses."""

_PLAIN = ("name", "description", "admin_state_up", "device_id", "device_owner")
"""Attributes that are taken as they are."""


def given(attrs: Mapping[str, Any], name: str) -> bool:
    """True where the request has the attribute; the contract marks others as not specified."""
    return attrs.get(name, constants.ATTR_NOT_SPECIFIED) is not constants.ATTR_NOT_SPECIFIED


def _get(attrs: Mapping[str, Any], name: str, default: Any) -> Any:
    return attrs[name] if given(attrs, name) else default


def check_device(
    r: Reader, ctx: Context, project_id: str, device_owner: str, device_id: str
) -> None:
    """Raise DeviceIDNotOwnedByTenant for a port of a project that would join a network to another project's router."""
    if device_owner in ROUTER_OWNERS and not ctx.caller.is_admin:
        router = r.get(Router, device_id)
        if router is not None and router.project_id != project_id:
            raise lib.DeviceIDNotOwnedByTenant(device_id=device_id)


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> Port:
    """Make a port as a request asks for it."""
    network = lookup.network(w, ctx, attrs["network_id"])
    project_id = attrs["project_id"]
    owner = _get(attrs, "device_owner", "")
    check_device(w, ctx, project_id, owner, _get(attrs, "device_id", ""))
    default_group = security_groups.ensure_default(w, ctx, project_id)
    # The network's own ports are never checked, whatever the request says.
    trusted = port_security.is_trusted(owner)
    enabled = not trusted and _get(attrs, "port_security_enabled", network.port_security_enabled)
    if given(attrs, "security_groups"):
        groups = tuple(attrs["security_groups"] or ())
    else:
        groups = (default_group.id,) if enabled and default_group is not None else ()
    asked_pairs = _get(attrs, "allowed_address_pairs", None)
    port_security.check_create(enabled, groups, bool(asked_pairs))
    security_groups.check_together(lookup.security_groups(w, ctx, groups))
    quotas.check(w, ctx, project_id, Port.KIND)
    tags = tuple(_get(attrs, "tags", ()))
    if len(tags) > MAX_TAGS:
        raise too_many_tags("ports")
    id = str(uuid4())
    named = _get(attrs, "mac_address", None)
    mac = macs.claim(w, network.id, named, id) if named else macs.claim_any(w, ctx, network.id, id)
    port = Port(
        id=id,
        project_id=project_id,
        name=_get(attrs, "name", ""),
        description=_get(attrs, "description", ""),
        revision_number=1,
        tags=tags,
        network_id=network.id,
        mac_address=mac,
        key=port_keys.claim_any(w, id),
        admin_state_up=_get(attrs, "admin_state_up", True),
        fixed_ips=addresses.first(w, network, _get(attrs, "fixed_ips", None), owner, mac, id, ctx),
        device_id=_get(attrs, "device_id", ""),
        device_owner=owner,
        security_groups=groups,
        port_security_enabled=enabled,
        allowed_address_pairs=port_security.pairs(asked_pairs, mac),
        extra_dhcp_opts=_dhcp_options((), _get(attrs, "extra_dhcp_opts", None)),
        qos_policy_id=qos.exchange(w, ctx, None, _get(attrs, "qos_policy_id", None)),
        host=_get(attrs, "binding:host_id", None) or "",
        vnic_type=_get(attrs, "binding:vnic_type", "normal"),
        profile=_get(attrs, "binding:profile", None) or {},
    )
    port = binding.bound(w, ctx, port, network)
    if policy_id := port.qos_policy_id or network.qos_policy_id:
        qos.check_port(w.get(QosPolicy, policy_id), port)
    port = w.insert(port, _first_status(port))
    if port.host:
        dhcp.ensure_dhcp_port(w, ctx, network)
    return port


def create_service(
    w: Writer,
    ctx: Context,
    network: Network,
    *,
    project_id: str,
    device_id: str,
    device_owner: str,
    fixed_ips: Sequence[Any] | None,
    name: str = "",
    host: str = "",
) -> Port:
    """Make a port of a router or floating IP: no security groups, no quota, nobody's visibility.

    `host`: for a port that is bound to one host of its own.
    """
    id = str(uuid4())
    mac = macs.claim_any(w, ctx, network.id, id)
    port = Port(
        id=id,
        project_id=project_id,
        name=name,
        revision_number=1,
        network_id=network.id,
        mac_address=mac,
        key=port_keys.claim_any(w, id),
        fixed_ips=addresses.first(w, network, fixed_ips, device_owner, mac, id),
        device_id=device_id,
        device_owner=device_owner,
        port_security_enabled=False,
        host=host,
    )
    if host:
        port = binding.bound(w, ctx, port, network)
    return w.insert(port, _first_status(port))


def _dhcp_options(
    old: tuple[DhcpOption, ...], asked: Sequence[dict[str, Any]] | None
) -> tuple[DhcpOption, ...]:
    """Return extra DHCP options after a request: a value of None takes an option away, others stay."""
    options = {(option.opt_name, option.ip_version): option for option in old}
    seen: set[tuple[str, int]] = set()
    for entry in asked or ():
        key = (entry["opt_name"], int(entry.get("ip_version", 4)))
        if key in seen:
            raise NeutronDbObjectDuplicateEntry(
                object_type="ExtraDhcpOpt",
                attributes=["port_id", "opt_name", "ip_version"],
                values=None,
            )
        seen.add(key)
        if entry["opt_value"] is None:
            options.pop(key, None)
        else:
            options[key] = DhcpOption(key[0], entry["opt_value"], key[1])
    return tuple(options[key] for key in sorted(options))


def update(w: Writer, ctx: Context, old: Port, attrs: dict[str, Any]) -> Port:
    """Change a port as a request asks for it."""
    network = w.get(Network, old.network_id)
    if network is None:
        raise lib.NetworkNotFound(net_id=old.network_id)
    new = replace(old, **{name: attrs[name] for name in _PLAIN if given(attrs, name)})
    new = replace(new, device_id=new.device_id or "", device_owner=new.device_owner or "")
    if given(attrs, "device_owner") or given(attrs, "device_id"):
        check_device(w, ctx, new.project_id, new.device_owner, new.device_id)
    new = _secured(w, ctx, old, new, attrs)
    if given(attrs, "mac_address"):
        new = _readdressed(w, ctx, old, new, attrs["mac_address"])
    if given(attrs, "fixed_ips") or new.mac_address != old.mac_address:
        asked = (attrs["fixed_ips"] or ()) if given(attrs, "fixed_ips") else None
        fixed_ips = addresses.changed(w, ctx, network, old, asked, new.mac_address)
        new = replace(new, fixed_ips=fixed_ips)
    if given(attrs, "extra_dhcp_opts"):
        new = replace(
            new, extra_dhcp_opts=_dhcp_options(old.extra_dhcp_opts, attrs["extra_dhcp_opts"])
        )
    new = _rebound(w, ctx, old, new, network, attrs)
    if given(attrs, "qos_policy_id"):
        policy_id = qos.exchange(w, ctx, old.qos_policy_id, attrs["qos_policy_id"])
        new = replace(new, qos_policy_id=policy_id)
        if policy_id and policy_id != old.qos_policy_id:
            qos.check_port(w.get(QosPolicy, policy_id), new)
    new = w.update(new)
    trunked.follow(w, ctx, old, new)
    if new.host != old.host or new.vif_type != old.vif_type:
        w.set_api_status(Port, new.id, "DOWN")
        entries.follow_port(w, new)
    if _first_status(new) != _first_status(old):
        w.set_api_status(Port, new.id, _first_status(new))
    if new.host:
        dhcp.ensure_dhcp_port(w, ctx, network)
    if new.fixed_ips != old.fixed_ips:
        addresses.tell_router(w, new)
        forwarded.end_for_port(w, new, {fixed.ip_address for fixed in new.fixed_ips})
    return new


def _secured(w: Writer, ctx: Context, old: Port, new: Port, attrs: Mapping[str, Any]) -> Port:
    """Return the port with the groups, pairs and port security asked for."""
    enabled = _get(attrs, "port_security_enabled", old.port_security_enabled)
    groups_given = given(attrs, "security_groups")
    groups = tuple(attrs["security_groups"] or ()) if groups_given else old.security_groups
    pairs = old.allowed_address_pairs
    if given(attrs, "allowed_address_pairs"):
        mac = _get(attrs, "mac_address", None) or old.mac_address
        pairs = port_security.pairs(attrs["allowed_address_pairs"], mac.lower())
    if groups_given:
        # A group that the port has may be of a project that the caller does not see.
        fresh = [id for id in groups if id not in old.security_groups]
        lookup.security_groups(w, ctx, fresh)
    port_security.check_update(enabled, groups, bool(pairs), groups_given=groups_given)
    if groups_given:
        found = w.get_many(security_groups.SecurityGroup, groups)
        security_groups.check_together(list(found.values()))
    return replace(
        new, port_security_enabled=enabled, security_groups=groups, allowed_address_pairs=pairs
    )


def _readdressed(w: Writer, ctx: Context, old: Port, new: Port, named: str | None) -> Port:
    """Return the port with another MAC address, a random one for None.

    Raises PortBound for a bound port, UnsupportedPortDeviceOwner for one of the network's own.
    """
    if named and named.lower() == old.mac_address:
        return new
    owner = new.device_owner or old.device_owner
    if owner.startswith("network:") and not binding.is_bound(old):
        raise lib.UnsupportedPortDeviceOwner(
            op="mac address update", port_id=old.id, device_owner=owner
        )
    mac = (
        macs.claim(w, old.network_id, named, old.id)
        if named
        else macs.claim_any(w, ctx, old.network_id, old.id)
    )
    if binding.is_bound(old):
        raise lib.PortBound(
            port_id=old.id, vif_type=old.vif_type, old_mac=old.mac_address, new_mac=mac
        )
    w.release(macs.scope(old.network_id), old.mac_address)
    return replace(new, mac_address=mac)


def _rebound(
    w: Writer, ctx: Context, old: Port, new: Port, network: Network, attrs: Mapping[str, Any]
) -> Port:
    """Return the port with the binding asked for."""
    vnic_type = _get(attrs, "binding:vnic_type", old.vnic_type)
    if vnic_type != old.vnic_type and old.host:
        raise lib.PortInUse(port_id=old.id, net_id=old.network_id, device_id=old.device_id)
    new = replace(
        new, vnic_type=vnic_type, profile=_get(attrs, "binding:profile", old.profile) or {}
    )
    if given(attrs, "binding:host_id"):
        new = replace(new, host=attrs["binding:host_id"] or "")
        return binding.bound(w, ctx, new, network)
    if old.vif_type == binding.FAILED:
        # Any update is an occasion to try again, as in Neutron.
        return binding.bound(w, ctx, new, network)
    return new


def delete(w: Writer, ctx: Context, old: Port) -> None:
    """Delete a port that belongs to no router, floating IP or trunk; a floating IP on it is left unassociated."""
    trunked.check_deletable(old)
    if serves(w, old):
        raise lib.ServicePortInUse(port_id=old.id, reason=f"has device owner {old.device_owner}")
    remove(w, old)


def serves(r: Reader, port: Port) -> bool:
    """Say whether a router or floating IP needs the port."""
    if r.list(Router, gw_port_id=port.id) or r.list(FloatingIP, floating_port_id=port.id):
        return True
    if port.device_owner not in SERVICE_OWNERS:
        return False
    kind = FloatingIP if port.device_owner == OWNER_FLOATING_IP else Router
    return r.get(kind, port.device_id) is not None


def remove(w: Writer, port: Port) -> None:
    """Delete a port without asking; port forwardings to it end, and the store clears floating IPs that point at it."""
    for fip in w.list(FloatingIP, port_id=port.id):
        w.set_api_status(FloatingIP, fip.id, "DOWN")
    forwarded.end_for_port(w, port)
    fips = w.list(FloatingIP, port_id=port.id)
    w.delete(Port, port.id)
    entries.follow(w, w.get_many(FloatingIP, [fip.id for fip in fips]).values())


def show(r: Reader, ctx: Context, objs: Sequence[Port]) -> list[dict[str, Any]]:
    """Return ports as the API shows them."""
    states = r.api_status(Port, [port.id for port in objs])
    networks = r.get_many(Network, {port.network_id for port in objs})
    shown: list[dict[str, Any]] = []
    for port in objs:
        doc = {name: value for name, value in to_doc(port).items() if name not in Port.INTERNAL}
        doc["tenant_id"] = port.project_id
        doc["status"] = states[port.id]
        doc["qos_network_policy_id"] = networks[port.network_id].qos_policy_id
        shown.append(doc)
    return shown


def _first_status(port: Port) -> str:
    """Return the API's status of a port of which no host has said anything; a floating IP's port has none at all."""
    of_floating_ip = port.device_owner == OWNER_FLOATING_IP and not port.project_id
    return NOT_APPLICABLE if of_floating_ip else Port.FIRST_STATUS
