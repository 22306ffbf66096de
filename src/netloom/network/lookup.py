"""Finding an object that a request names, or the API's NotFound where the caller may not know of it.

What a caller sees: everything as an administrator; else what is its project's own, what a network's owner
shares with it (`access_as_shared`), and external networks (`access_as_external`) with their subnets. The
owner of a network also sees the ports of others on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from neutron_lib import exceptions as lib
from neutron_lib.exceptions import l3

from netloom.contract.security_group_errors import SecurityGroupNotFound
from netloom.model import Context, Network, Port, Router, SecurityGroup, Subnet
from netloom.store import Reader

SHARED = "access_as_shared"
EXTERNAL = "access_as_external"


def owns(ctx: Context, project_id: str) -> bool:
    """True for an administrator and for the project itself."""
    return ctx.caller.is_admin or (bool(project_id) and ctx.caller.project_id == project_id)


def sees_network(r: Reader, ctx: Context, network: Network) -> bool:
    """True where the caller may know of the network."""
    if owns(ctx, network.project_id):
        return True
    return any(
        access.target in ("*", ctx.caller.project_id) and access.action in (SHARED, EXTERNAL)
        for access in r.access(network.id)
    )


def network(r: Reader, ctx: Context, id: str) -> Network:
    """Return the network, or raise NetworkNotFound."""
    found = r.get(Network, id)
    if found is None or not sees_network(r, ctx, found):
        raise lib.NetworkNotFound(net_id=id)
    return found


def subnet(r: Reader, ctx: Context, id: str) -> Subnet:
    """Return the subnet, or raise SubnetNotFound."""
    found = r.get(Subnet, id)
    if found is None:
        raise lib.SubnetNotFound(subnet_id=id)
    if not owns(ctx, found.project_id):
        net = r.get(Network, found.network_id)
        if net is None or not sees_network(r, ctx, net):
            raise lib.SubnetNotFound(subnet_id=id)
    return found


def port(r: Reader, ctx: Context, id: str) -> Port:
    """Return the port, or raise PortNotFound."""
    found = r.get(Port, id)
    if found is None:
        raise lib.PortNotFound(port_id=id)
    if not owns(ctx, found.project_id):
        net = r.get(Network, found.network_id)
        if net is None or not owns(ctx, net.project_id):
            raise lib.PortNotFound(port_id=id)
    return found


def router(r: Reader, ctx: Context, id: str) -> Router:
    """Return the router, or raise RouterNotFound."""
    found = r.get(Router, id)
    if found is None or not owns(ctx, found.project_id):
        raise l3.RouterNotFound(router_id=id)
    return found


def security_groups(r: Reader, ctx: Context, ids: Iterable[str]) -> list[SecurityGroup]:
    """Return the groups in the order of `ids`, or raise SecurityGroupNotFound for the first that is missing."""
    wanted = list(ids)
    found = r.get_many(SecurityGroup, wanted)
    for id in wanted:
        if id not in found or not owns(ctx, found[id].project_id):
            raise SecurityGroupNotFound(id=id)
    return [found[id] for id in wanted]


def may_attach(r: Reader, ctx: Context, net: Network) -> bool:
    """True where the caller may connect its own router to the network: its own, or shared with it."""
    if owns(ctx, net.project_id):
        return True
    targets = ("*", ctx.caller.project_id)
    return any(a.target in targets and a.action == SHARED for a in r.access(net.id))
