"""Trunks: a parent port that carries subports, each with a VLAN tag of its own on the parent's device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.contract import trunk as contract
from netloom.model import Context, Network, Port, SubPort, Trunk, to_doc
from netloom.model.names import SERVICE_OWNERS
from netloom.network import lookup, quotas, trunked
from netloom.store import Reader, Writer

ERROR = "ERROR"
_PLAIN = ("name", "description", "admin_state_up")


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> Trunk:
    """Make a trunk of a parent that is bound to no host, with its first subports."""
    quotas.check(w, ctx, attrs["project_id"], Trunk.KIND)
    parent = _free(w, ctx, attrs["port_id"])
    # The cloud makes and deletes its own ports: a trunk would hold them, also where an operator changes the router.
    if parent.host or parent.device_owner in SERVICE_OWNERS:
        raise contract.ParentPortInUse(port_id=parent.id)
    id = str(uuid4())
    wanted = _checked(w, ctx, parent, attrs["sub_ports"])
    _check_tags(id, wanted)
    trunk = Trunk(
        id=id,
        project_id=attrs["project_id"],
        name=attrs["name"],
        description=attrs["description"],
        port_id=parent.id,
        admin_state_up=attrs["admin_state_up"],
        sub_ports=tuple(wanted),
    )
    trunk = w.insert(trunk)
    trunked.show_details(w, trunk)
    _take(w, ctx, trunk, parent, wanted)
    return trunk


def update(w: Writer, ctx: Context, old: Trunk, attrs: dict[str, Any]) -> Trunk:
    """Change what a trunk is called, and whether it may be changed: traffic does not depend on that."""
    return w.update(replace(old, **{name: attrs[name] for name in _PLAIN if name in attrs}))


def delete(w: Writer, ctx: Context, old: Trunk) -> None:
    """Delete a trunk whose parent is bound to no host; its ports stay."""
    _check_enabled(old)
    parent = w.get(Port, old.port_id)
    if parent is not None and parent.host:
        raise contract.TrunkInUse(trunk_id=old.id)
    w.delete(Trunk, old.id)
    for port in w.get_many(Port, [old.port_id, *(sub.port_id for sub in old.sub_ports)]).values():
        trunked.let_go(w, ctx, port)


def show(r: Reader, ctx: Context, objs: Sequence[Trunk]) -> list[dict[str, Any]]:
    """Return trunks as the API shows them."""
    states = r.api_status(Trunk, [trunk.id for trunk in objs])
    return [
        to_doc(trunk) | {"tenant_id": trunk.project_id, "status": states[trunk.id]}
        for trunk in objs
    ]


def add_subports(w: Writer, ctx: Context, trunk: Trunk, body: dict[str, Any]) -> dict[str, Any]:
    """Add subports, also while the parent is in use; return the trunk."""
    parent = w.get(Port, trunk.port_id)
    if parent is None:
        raise lib.PortNotFound(port_id=trunk.port_id)
    wanted = _checked(w, ctx, parent, contract.sub_ports_of(body))
    _check_enabled(trunk)
    if w.api_status(Trunk, [trunk.id])[trunk.id] == ERROR:
        raise contract.TrunkInErrorState(trunk_id=trunk.id)
    _check_tags(trunk.id, [*trunk.sub_ports, *wanted])
    changed = w.update(replace(trunk, sub_ports=(*trunk.sub_ports, *wanted)))
    w.set_api_status(Trunk, trunk.id, Trunk.FIRST_STATUS)
    trunked.show_details(w, changed)
    _take(w, ctx, changed, parent, wanted)
    return show(w, ctx, [changed])[0]


def remove_subports(w: Writer, ctx: Context, trunk: Trunk, body: dict[str, Any]) -> dict[str, Any]:
    """Let go of subports; return the trunk."""
    _check_enabled(trunk)
    left = {sub.port_id: sub for sub in trunk.sub_ports}
    gone: list[str] = []
    for entry in contract.sub_ports_of(body):
        if left.pop(entry["port_id"], None) is None:
            raise contract.SubPortNotFound(trunk_id=trunk.id, port_id=entry["port_id"])
        gone.append(entry["port_id"])
    changed = w.update(replace(trunk, sub_ports=tuple(left.values())))
    w.set_api_status(Trunk, trunk.id, Trunk.FIRST_STATUS)
    trunked.show_details(w, changed)
    for port in w.get_many(Port, gone).values():
        trunked.let_go(w, ctx, port)
    return show(w, ctx, [changed])[0]


def get_subports(r: Reader, ctx: Context, trunk: Trunk) -> dict[str, Any]:
    """Return the subports alone."""
    return {"sub_ports": show(r, ctx, [trunk])[0]["sub_ports"]}


def _take(w: Writer, ctx: Context, trunk: Trunk, parent: Port, wanted: Sequence[SubPort]) -> None:
    """Make ports subports; where the parent is bound they are from now on."""
    ports = w.get_many(Port, [sub.port_id for sub in wanted])
    for sub in wanted:
        taken = replace(
            ports[sub.port_id],
            trunk_id=trunk.id,
            trunk_parent=parent.id,
            trunk_vlan=sub.segmentation_id,
        )
        trunked.carry(w, ctx, taken, parent.host)


def _free(r: Reader, ctx: Context, port_id: str) -> Port:
    """Return a port that the caller sees and that is of no trunk."""
    port = lookup.port(r, ctx, port_id)
    if port.trunk_parent:
        raise contract.TrunkPortInUse(port_id=port_id)
    if port.trunk_id:
        raise contract.ParentPortInUse(port_id=port_id)
    return port


def _checked(
    w: Writer, ctx: Context, parent: Port, asked: Sequence[Mapping[str, Any]]
) -> list[SubPort]:
    """Return what is asked for as subports of a parent, in Neutron's order of checks."""
    mtu = _mtu(w, parent)
    wanted: list[SubPort] = []
    for entry in asked:
        id = entry["port_id"]
        if id == parent.id:
            raise contract.ParentPortInUse(port_id=id)
        port = w.get(Port, id)
        network = w.get(Network, port.network_id) if port is not None else None
        if network is not None and network.mtu > mtu:
            raise contract.SubPortMtuGreaterThanTrunkPortMtu(
                port_id=id, port_mtu=network.mtu, trunk_id=parent.id, trunk_mtu=mtu
            )
        details = dict(entry)
        if entry.get("segmentation_type") == contract.INHERIT and network is not None:
            details |= {
                "segmentation_type": network.network_type,
                "segmentation_id": network.segmentation_id,
            }
        kind, tag = contract.segmentation_of(details)
        found = _free(w, ctx, id)
        if found.device_id:
            raise lib.PortInUse(port_id=id, net_id=found.network_id, device_id=found.device_id)
        wanted.append(SubPort(id, kind, tag))
    return wanted


def _mtu(r: Reader, parent: Port) -> int:
    network = r.get(Network, parent.network_id)
    if network is None:
        raise lib.NetworkNotFound(net_id=parent.network_id)
    return network.mtu


def _check_tags(trunk_id: str, sub_ports: Sequence[SubPort]) -> None:
    """Raise DuplicateSubPort where two subports have one tag."""
    seen: set[tuple[str, int]] = set()
    for sub in sub_ports:
        tag = (sub.segmentation_type, sub.segmentation_id)
        if tag in seen:
            raise contract.DuplicateSubPort(
                trunk_id=trunk_id, segmentation_type=tag[0], segmentation_id=tag[1]
            )
        seen.add(tag)


def _check_enabled(trunk: Trunk) -> None:
    if not trunk.admin_state_up:
        raise contract.TrunkDisabled(trunk_id=trunk.id)
