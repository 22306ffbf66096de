"""Finding what a request names: `access.find`, with the API's NotFound where there is nothing to see."""

from __future__ import annotations

from collections.abc import Iterable

from neutron_lib import exceptions as lib
from neutron_lib.exceptions import l3
from neutron_lib.exceptions.address_group import AddressGroupNotFound

from netloom.contract.security_group_errors import SecurityGroupNotFound
from netloom.model import AddressGroup, Context, Network, Port, Router, SecurityGroup, Subnet
from netloom.network import access
from netloom.store import Reader


def network(r: Reader, ctx: Context, id: str) -> Network:
    """Return the network, or raise NetworkNotFound."""
    found = access.find(r, ctx, Network, id)
    if found is None:
        raise lib.NetworkNotFound(net_id=id)
    return found


def subnet(r: Reader, ctx: Context, id: str) -> Subnet:
    """Return the subnet, or raise SubnetNotFound."""
    found = access.find(r, ctx, Subnet, id)
    if found is None:
        raise lib.SubnetNotFound(subnet_id=id)
    return found


def port(r: Reader, ctx: Context, id: str) -> Port:
    """Return the port, or raise PortNotFound."""
    found = access.find(r, ctx, Port, id)
    if found is None:
        raise lib.PortNotFound(port_id=id)
    return found


def router(r: Reader, ctx: Context, id: str) -> Router:
    """Return the router, or raise RouterNotFound."""
    found = access.find(r, ctx, Router, id)
    if found is None:
        raise l3.RouterNotFound(router_id=id)
    return found


def security_group(r: Reader, ctx: Context, id: str) -> SecurityGroup:
    """Return the group, or raise SecurityGroupNotFound."""
    found = access.find(r, ctx, SecurityGroup, id)
    if found is None:
        raise SecurityGroupNotFound(id=id)
    return found


def security_groups(r: Reader, ctx: Context, ids: Iterable[str]) -> list[SecurityGroup]:
    """Return the groups in the order of `ids`, or raise SecurityGroupNotFound for the first that is missing."""
    return [security_group(r, ctx, id) for id in ids]


def address_group(r: Reader, ctx: Context, id: str) -> AddressGroup:
    """Return the group, or raise AddressGroupNotFound."""
    found = access.find(r, ctx, AddressGroup, id)
    if found is None:
        raise AddressGroupNotFound(address_group_id=id)
    return found


def may_attach(r: Reader, ctx: Context, net: Network) -> bool:
    """True where the caller may put its instances on the network: its own, or shared with it."""
    if access.sees_everything(ctx) or net.project_id == ctx.caller.project_id:
        return True
    return access.is_granted(r, ctx, net.id, access.SHARED)


def may_route(r: Reader, ctx: Context, subnet: Subnet) -> bool:
    """True where the caller may connect a router to a subnet: its own, or of a network shared with it by name.

    As in Neutron a network that is shared with everyone is not for everyone's routers: one would take its gateway.
    """
    project = ctx.caller.project_id
    if access.sees_everything(ctx) or subnet.project_id == project:
        return True
    return any(
        a.target == project and a.action == access.SHARED for a in r.access(subnet.network_id)
    )
