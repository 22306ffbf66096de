"""What a trunk means for its ports: a subport is where its parent is, and neither goes before the trunk lets go of it."""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from netloom.contract.trunk import PortInUseAsSubPort, PortInUseAsTrunkParent
from netloom.model import Context, Network, Port, Trunk, TrunkDetail, TrunkDetails
from netloom.model.names import OWNER_SUBPORT
from netloom.network import binding, dhcp, entries
from netloom.store import Writer


def check_deletable(port: Port) -> None:
    """Raise PortInUseAsSubPort or PortInUseAsTrunkParent for a port of a trunk."""
    if port.trunk_parent:
        raise PortInUseAsSubPort(port_id=port.id, trunk_id=port.trunk_id)
    if port.trunk_id:
        raise PortInUseAsTrunkParent(port_id=port.id, trunk_id=port.trunk_id)


def follow(w: Writer, ctx: Context, old: Port, new: Port) -> None:
    """Bring the other ports of a trunk up to date with a change of one: the binding of a parent, the MAC of a subport."""
    if not new.trunk_id:
        return
    if new.trunk_parent:
        if new.mac_address != old.mac_address:
            show_details(w, w.get(Trunk, new.trunk_id))
        return
    if (new.host, new.vif_type) == (old.host, old.vif_type):
        return
    trunk = w.get(Trunk, new.trunk_id)
    for port in w.get_many(
        Port, [sub.port_id for sub in trunk.sub_ports] if trunk else []
    ).values():
        carry(w, ctx, port, new.host)


def carry(w: Writer, ctx: Context, port: Port, host: str) -> None:
    """Bind a subport to its parent's host; to none where that is bound to none, or the port is no subport any more."""
    network = w.get(Network, port.network_id)
    if network is None:
        return
    owner = port.device_owner
    if host:
        owner = OWNER_SUBPORT
    elif owner == OWNER_SUBPORT:
        owner = ""
    w.update(binding.bound(w, ctx, replace(port, host=host, device_owner=owner), network))
    w.set_api_status(Port, port.id, Port.FIRST_STATUS)
    entries.follow_port(w, port)
    if host:
        dhcp.ensure_dhcp_port(w, ctx, network)


def show_details(w: Writer, trunk: Trunk | None) -> None:
    """Write into a trunk's parent what it shows of the trunk."""
    parent = w.get(Port, trunk.port_id) if trunk is not None else None
    if trunk is None or parent is None:
        return
    ports = w.get_many(Port, [sub.port_id for sub in trunk.sub_ports])
    details = TrunkDetails(
        trunk.id,
        tuple(
            TrunkDetail(
                sub.segmentation_id,
                sub.segmentation_type,
                sub.port_id,
                ports[sub.port_id].mac_address,
            )
            for sub in trunk.sub_ports
            if sub.port_id in ports
        ),
    )
    w.update(replace(parent, trunk_id=trunk.id, trunk_details=details))


def let_go(w: Writer, ctx: Context, port: Port) -> None:
    """Make a port one of no trunk. A subport is bound to no host then."""
    was_subport = bool(port.trunk_parent)
    free = replace(port, trunk_id="", trunk_parent="", trunk_vlan=0, trunk_details=UNSET)
    if was_subport:
        carry(w, ctx, free, "")
    else:
        w.update(free)
