"""A server's ports: which networks it gets, making and binding the ports, giving them back."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Literal

from msgspec import Struct

from netloom.compute.errors import as_compute_errors
from netloom.model import Context, Network, Port, SecurityGroup, Subnet
from netloom.model.cloud import Server
from netloom.model.errors import BadRequest, Conflict, Forbidden
from netloom.network import access, lookup, ports, server_ports
from netloom.store import Reader, Writer


class Nic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of a request's `networks`: a port, or a network and perhaps the address wanted there."""

    uuid: str | None = None
    port: str | None = None
    fixed_ip: str | None = None


Requested = Literal["auto", "none"] | Sequence[Nic] | None


class Plan(Struct, frozen=True, kw_only=True):
    """What one card will be: `port` is the user's own, None for one that is to be made."""

    network: Network
    port: Port | None = None
    fixed_ip: str | None = None


def resolve(reader: Reader, ctx: Context, project_id: str, requested: Requested) -> list[Plan]:
    """Say what the request means for this project; raises where a network or port cannot be used.

    `auto`, and without an answer: the project's only network. `auto` insists on one, an older client's
    silence does not.
    """
    if requested == "none":
        return []
    if requested is None or requested == "auto" or not requested:
        found = _only_network(reader, project_id)
        if found is None and requested == "auto":
            raise BadRequest(
                "Unable to automatically allocate a network: the project has none. Create one."
            )
        plans = [Plan(network=found)] if found else []
    else:
        with as_compute_errors():
            plans = [_resolve(reader, ctx, project_id, nic) for nic in requested]
    if len({plan.port.id for plan in plans if plan.port}) != sum(1 for plan in plans if plan.port):
        raise BadRequest("A port is named twice in networks.")
    for plan in plans:
        _check_network(reader, ctx, plan)
    return plans


def _only_network(reader: Reader, project_id: str) -> Network | None:
    shared = reader.accessible(project_id, access.SHARED)
    usable = {network.id: network for network in reader.list(Network, project_id=project_id)}
    usable |= reader.get_many(Network, shared)
    if len(usable) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
    return next(iter(usable.values()), None)


def _resolve(reader: Reader, ctx: Context, project_id: str, nic: Nic) -> Plan:
    if nic.port:
        if nic.fixed_ip:
            raise BadRequest(
                f"Specified Fixed IP '{nic.fixed_ip}' cannot be used with port '{nic.port}'."
            )
        port = lookup.port(reader, ctx, nic.port)
        if port.project_id != project_id:
            # The owner of a network sees the ports that others have on it, and an administrator all.
            raise BadRequest(f"Port {port.id} not usable for instance: it is another project's.")
        # Whatever its `device_id` says by now: a card that an instance holds is no other's.
        if port.device_id or server_ports.servers_of(reader, [port.id]):
            raise Conflict(f"Port {port.id} is still in use.")
        if port.trunk_parent:
            # Its frames are those of the parent's card: a card of its own would never carry any.
            raise Conflict(
                f"Port {port.id} is a subport of trunk {port.trunk_id}: boot the server on the trunk's"
                f" parent port {port.trunk_parent}."
            )
        if port.vnic_type != "normal":
            raise BadRequest(
                f"Port {port.id} has vnic_type {port.vnic_type}; only normal is offered."
            )
        if not port.fixed_ips:
            raise BadRequest(f"Port {port.id} requires a FixedIP in order to be used.")
        network = reader.get(Network, port.network_id)
        if network is None:
            raise BadRequest(f"Network {port.network_id} could not be found.")
        return Plan(network=network, port=port)
    if not nic.uuid:
        raise BadRequest("Each of networks names a port or, as uuid, a network.")
    if nic.fixed_ip:
        try:
            ip_address(nic.fixed_ip)
        except ValueError:
            raise BadRequest(f"Invalid fixed IP address {nic.fixed_ip!r}.") from None
    return Plan(network=lookup.network(reader, ctx, nic.uuid), fixed_ip=nic.fixed_ip)


def _check_network(reader: Reader, ctx: Context, plan: Plan) -> None:
    if plan.port is not None:
        return
    network = plan.network
    if not lookup.may_attach(reader, ctx, network):
        raise Forbidden(
            f"It is not allowed to create an interface on external network {network.id}"
        )
    if not reader.count(Subnet, network_id=network.id):
        raise BadRequest(f"Network {network.id} requires a subnet in order to boot instances on.")


def find_groups(reader: Reader, project_id: str, names: Sequence[str]) -> list[str]:
    """Return the ids of the project's security groups given by name or id."""
    groups = reader.list(SecurityGroup, project_id=project_id)
    found: list[str] = []
    for name in dict.fromkeys(names):
        matching = [group.id for group in groups if name in (group.id, group.name)]
        if not matching:
            raise BadRequest(f"Security group {name} not found for project {project_id}.")
        if len(matching) > 1:
            raise Conflict(
                f"Multiple security_group found matching '{name}'. Use an ID to be more specific."
            )
        found.append(matching[0])
    return found


def wanted(plan: Plan, project_id: str) -> dict[str, Any]:
    """Return the attributes of the port that will be made for a card."""
    attrs: dict[str, Any] = {"network_id": plan.network.id, "project_id": project_id}
    if plan.fixed_ip:
        attrs["fixed_ips"] = [{"ip_address": plan.fixed_ip}]
    return attrs


def attach(
    w: Writer, ctx: Context, server: Server, plans: Sequence[Plan], groups: Sequence[str]
) -> tuple[str, ...]:
    """Make or take the ports for a server on its host; returns their ids in the order of the cards.

    Security groups are for ports made here; a port of the user's keeps its own.
    """
    where = {
        "device_id": server.id,
        "device_owner": f"compute:{server.availability_zone}",
        "binding:host_id": server.host,
    }
    made: list[str] = []
    with as_compute_errors():
        for plan in plans:
            if plan.port is not None:
                made.append(ports.update(w, ctx, plan.port, where).id)
                continue
            attrs = where | wanted(plan, server.project_id)
            if plan.network.port_security_enabled:
                attrs["security_groups"] = list(groups)
            made.append(ports.create(w, ctx, attrs).id)
    return tuple(made)


def detach(w: Writer, ctx: Context, server: Server) -> None:
    """Give a server's ports back: those made for it are deleted, the user's own are free again.

    A port that only says so (`device_id`) is none of the server's and stays as it is.
    """
    ours = set(server.port_ids) - set(server.own_port_ids)
    for port in server_ports.ports_of(w, [server])[server.id]:
        if ports.serves(w, port):
            continue  # its owner has made it part of a router meanwhile
        if port.id in ours:
            ports.delete(w, ctx, port)
        else:
            ports.update(w, ctx, port, {"device_id": "", "device_owner": "", "binding:host_id": ""})
