"""Networks: what carries them, who may use them, and when they may change or go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib import exceptions as lib
from neutron_lib.exceptions.availability_zone import AvailabilityZoneNotFound
from neutron_lib.exceptions.external_net import ExternalNetworkInUse

from netloom.contract.errors import DefaultExternalNetworkExists, invalid
from netloom.model import Context, FloatingIP, Network, Port, QosPolicy, Subnet, to_doc
from netloom.model.names import OWNER_DHCP, OWNER_FLOATING_IP, OWNER_ROUTER_GATEWAY
from netloom.network import floatingips, grants, qos, quotas, security_groups, segments
from netloom.network.access import EVERYONE, EXTERNAL, SHARED
from netloom.store import Reader, Writer

AUTO_DELETED_OWNERS = frozenset(
    {OWNER_DHCP, "network:distributed", "network:floatingip_agent_gateway"}
)
"""Owners of ports that go with their network."""

SMALLEST_MTU = {4: 68, 6: 1280}
"""IP version → bytes; what it asks of every link that carries it."""

_FIELDS = {
    "name": "name",
    "description": "description",
    "admin_state_up": "admin_state_up",
    "port_security_enabled": "port_security_enabled",
    "router:external": "external",
    "is_default": "is_default",
}


def get(r: Reader, network_id: str) -> Network:
    """Return a network, whoever asks; raises NetworkNotFound."""
    network = r.get(Network, network_id)
    if network is None:
        raise lib.NetworkNotFound(net_id=network_id)
    return network


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> Network:
    """Make a network and claim what carries it."""
    # A project's default security group appears with the first thing that it makes.
    security_groups.ensure_default(w, ctx, attrs["project_id"])
    quotas.check(w, ctx, attrs["project_id"], Network.KIND)
    hints = tuple(attrs["availability_zone_hints"])
    _check_zones(w, hints)
    if attrs["is_default"]:
        _check_default(w, "")
    id = str(uuid4())
    segment = segments.choose(w, ctx.settings, id, attrs)
    network = Network(
        id=id,
        project_id=attrs["project_id"],
        name=attrs["name"],
        description=attrs["description"],
        revision_number=1,
        key=segments.take_key(w, id),
        admin_state_up=attrs["admin_state_up"],
        mtu=_mtu(ctx, segment.type, attrs["mtu"]),
        network_type=segment.type,
        physical_network=segment.physical_network,
        segmentation_id=segment.id,
        external=attrs["router:external"],
        # As in Neutron what is no external network cannot be the default one, whoever asks for it.
        is_default=attrs["is_default"] and attrs["router:external"],
        port_security_enabled=attrs["port_security_enabled"],
        availability_zone_hints=hints,
        qos_policy_id=qos.exchange(w, ctx, None, attrs["qos_policy_id"])
        or qos.default_of(w, attrs["project_id"]),
    )
    network = w.insert(network)
    if attrs["shared"]:
        grants.grant(w, network, EVERYONE, SHARED)
    if network.external:
        grants.grant(w, network, EVERYONE, EXTERNAL)
    return network


def update(w: Writer, ctx: Context, old: Network, attrs: dict[str, Any]) -> Network:
    """Change a network; of its carrier only a VLAN's id can change."""
    new = replace(old, **{field: attrs[name] for name, field in _FIELDS.items() if name in attrs})
    new = _move(w, ctx, new, attrs)
    if "mtu" in attrs:
        mtu = _mtu(ctx, old.network_type, attrs["mtu"])
        # As asked: 0, which means the largest possible, is too small for a network with subnets.
        versions = {s.ip_version for s in w.list(Subnet, network_id=old.id)}
        check_mtu(old.id, attrs["mtu"], versions)
        new = replace(new, mtu=mtu)
    if attrs.get("is_default") and (new.external or "router:external" in attrs):
        _check_default(w, old.id)
    new = replace(new, is_default=new.is_default and new.external)
    if new.external != old.external:
        set_external(w, new)
    if "qos_policy_id" in attrs:
        new = _with_policy(w, ctx, new, attrs["qos_policy_id"])
    shared = "shared" in attrs and grants.set_shared(
        w, new, attrs["shared"], lambda others: _check_unshared(w, new, others)
    )
    updated = w.update(new)
    if shared and updated.revision_number == old.revision_number:
        w.bump(Network, old.id)
    return get(w, old.id) if shared else updated


def check_mtu(id: str, mtu: int, ip_versions: Iterable[int]) -> None:
    """Raise NetworkMTUSubnetConflict for a network whose subnets' packets need not fit on it."""
    for version in sorted(ip_versions):
        if mtu < SMALLEST_MTU[version]:
            # As in Neutron: below what IPv4 asks that is said, also of IPv6.
            least = SMALLEST_MTU[4] if mtu < SMALLEST_MTU[4] else SMALLEST_MTU[version]
            raise lib.NetworkMTUSubnetConflict(net_id=id, mtu=least)


def _with_policy(w: Writer, ctx: Context, network: Network, asked: str | None) -> Network:
    """Return the network with another QoS policy, which the ports of it that have none can carry out."""
    new = replace(network, qos_policy_id=qos.exchange(w, ctx, network.qos_policy_id, asked))
    policy = w.get(QosPolicy, new.qos_policy_id) if new.qos_policy_id else None
    if policy is not None and policy.rules and new.qos_policy_id != network.qos_policy_id:
        for port in w.list(Port, network_id=network.id):
            if port.qos_policy_id is None:
                qos.check_port(policy, port)
    return new


def delete(w: Writer, ctx: Context, old: Network) -> None:
    """Delete a network with its subnets, its DHCP ports and the floating IPs of it that stand for nothing.

    Raises NetworkInUse where anything else is on it.
    """
    free = [
        fip
        for fip in w.list(FloatingIP, floating_network_id=old.id)
        if fip.port_id is None and fip.router_id is None
    ]
    theirs = {fip.floating_port_id for fip in free}
    ports = [port for port in w.list(Port, network_id=old.id) if port.id not in theirs]
    others = [port.id for port in ports if port.device_owner not in AUTO_DELETED_OWNERS]
    if others:
        raise _in_use(old.id, others)
    for fip in free:
        floatingips.delete(w, ctx, fip)
    for port in ports:
        w.delete(Port, port.id)
    for subnet in w.list(Subnet, network_id=old.id):
        w.delete(Subnet, subnet.id)
    w.delete(Network, old.id)


def show(r: Reader, ctx: Context, objs: Sequence[Network]) -> list[dict[str, Any]]:
    """Return networks as the API shows them to this caller."""
    ids = {network.id for network in objs}
    subnets: dict[str, list[str]] = {id: [] for id in ids}
    for subnet in r.list(Subnet, network_id=ids):
        subnets[subnet.network_id].append(subnet.id)
    shared = r.accessible(ctx.caller.project_id, SHARED)
    # Those of all hosts, for any of them may carry any network.
    zones = r.availability_zones()
    docs: list[dict[str, Any]] = []
    for network in objs:
        doc = to_doc(network)
        del doc["key"]
        doc["tenant_id"] = network.project_id
        doc["status"] = "ACTIVE"
        doc["shared"] = network.id in shared
        doc["subnets"] = subnets[network.id]
        doc["availability_zones"] = zones
        docs.append(doc)
    return docs


def _check_zones(r: Reader, hints: Sequence[str]) -> None:
    """Refuse a zone that no host is in."""
    if hints:
        known = r.availability_zones()
        for hint in hints:
            if hint not in known:
                raise AvailabilityZoneNotFound(availability_zone=hint)


def _mtu(ctx: Context, network_type: str, asked: int) -> int:
    """Return the MTU for a network; 0 asks for the largest."""
    largest = segments.largest_mtu(ctx.settings, network_type)
    if asked > largest:
        raise invalid(f"Requested MTU is too big, maximum is {largest}")
    return asked or largest


def _move(w: Writer, ctx: Context, new: Network, attrs: dict[str, Any]) -> Network:
    """Give a VLAN network another id; everything else about a network's carrier stays."""
    physical = attrs.get(segments.PHYSICAL, new.physical_network)
    if (
        attrs.get(segments.TYPE, new.network_type) != new.network_type
        or physical != new.physical_network
    ):
        raise invalid(
            "Plugin does not support updating the following provider network attributes: "
            f"{segments.TYPE}, {segments.PHYSICAL}"
        )
    asked = attrs.get(segments.ID, new.segmentation_id)
    if asked == new.segmentation_id:
        return new
    if new.network_type != "vlan":
        raise invalid("Only VLAN type networks can be updated.")
    if not asked:
        raise invalid("Only segmentation_id field can be updated in VLAN type networks")
    now = segments.Segment("vlan", new.physical_network, new.segmentation_id)
    then = replace(now, id=asked)
    segments.check(ctx.settings, then)
    segments.take(w, ctx.settings, new.id, then)
    segments.release(w, now)
    return replace(new, segmentation_id=asked)


def _check_default(r: Reader, network_id: str) -> None:
    """Refuse a second default external network."""
    for other in r.list(Network, is_default=True):
        if other.id != network_id:
            raise DefaultExternalNetworkExists(net_id=other.id)


def set_external(w: Writer, network: Network) -> None:
    """Open a network to every project's routers, or close it where none uses it."""
    if network.external:
        grants.grant(w, network, EVERYONE, EXTERNAL)
        return
    if w.count(Port, network_id=network.id, device_owner=[OWNER_ROUTER_GATEWAY, OWNER_FLOATING_IP]):
        raise ExternalNetworkInUse(net_id=network.id)
    for policy in grants.of(w, network.id, EXTERNAL).values():
        grants.revoke(w, policy)


def _check_unshared(r: Reader, network: Network, others: set[str]) -> None:
    """Raise InvalidSharedSetting where a project uses the network that has no grant of its own."""
    # What serves the network itself (gateways, DHCP …) is not there because it is shared.
    ports = [
        port
        for port in r.list(Port, network_id=network.id)
        if not port.device_owner.startswith("network:")
    ]
    users = {obj.project_id for obj in (*ports, *r.list(Subnet, network_id=network.id))}
    if users - others - {network.project_id}:
        raise lib.InvalidSharedSetting(network=network.name)


def _in_use(network_id: str, port_ids: list[str]) -> lib.NetworkInUse:
    """Return the error that lists the ports in the way."""
    return lib.NetworkInUse(
        net_id=network_id,
        reason="There are one or more ports still in use on the network, id for these ports is: "
        + ",".join(port_ids),
    )
