"""What a router's interfaces, gateway and routes must not do to one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from neutron_lib import exceptions as lib

from netloom.model import Port, Route, Router, Subnet
from netloom.model.names import INTERFACE_OWNERS, OWNER_ROUTER_GATEWAY
from netloom.network import routes
from netloom.store import Reader


def ports_of(r: Reader, router: Router) -> list[Port]:
    """Return the router's ports that lead to networks of its users: its interfaces and its gateway."""
    owners = (*INTERFACE_OWNERS, OWNER_ROUTER_GATEWAY)
    return [port for port in r.list(Port, device_id=router.id) if port.device_owner in owners]


def interfaces_of(r: Reader, router: Router) -> list[Port]:
    """Return the ports that are the router's interfaces."""
    return [port for port in ports_of(r, router) if port.device_owner in INTERFACE_OWNERS]


def check_duplicates(r: Reader, ports: Iterable[Port], new: Sequence[Subnet]) -> None:
    """Raise BadRequest where the router has a port on a new subnet, or on one that overlaps it.

    All subnets of the gateway's network count: any of them is reached directly through it.
    """
    attached = list(ports)
    new_ids = {subnet.id for subnet in new}
    for port in attached:
        for fixed in port.fixed_ips:
            if fixed.subnet_id in new_ids:
                raise lib.BadRequest(
                    resource="router", msg=f"Router already has a port on subnet {fixed.subnet_id}"
                )
    ids = {fixed.subnet_id for port in attached for fixed in port.fixed_ips}
    gateways = {p.network_id for p in attached if p.device_owner == OWNER_ROUTER_GATEWAY}
    has = [*r.get_many(Subnet, ids).values()]
    has += [s for s in r.list(Subnet, network_id=gateways) if s.id not in ids]
    for subnet in new:
        for other in has:
            if _overlap(subnet.cidr, other.cidr):
                raise lib.BadRequest(
                    resource="router",
                    msg=(
                        f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} "
                        f"of subnet {other.id}"
                    ),
                )


def _overlap(first: str, second: str) -> bool:
    one, two = ip_network(first), ip_network(second)
    return one.version == two.version and one.overlaps(two)


def check_routes(
    r: Reader, router: Router, wanted: Sequence[Route], without: str | None = None
) -> None:
    """Raise InvalidRoutes for routes that the router cannot follow, connected as it is.

    `without`: a port that does not count because it is about to go.
    """
    ports = [port for port in ports_of(r, router) if port.id != without]
    addresses = [fixed for port in ports for fixed in port.fixed_ips]
    subnets = r.get_many(Subnet, {fixed.subnet_id for fixed in addresses})
    routes.check(
        wanted, [s.cidr for s in subnets.values()], [fixed.ip_address for fixed in addresses]
    )
