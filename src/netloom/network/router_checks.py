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
            if overlap(subnet.cidr, other.cidr):
                raise lib.BadRequest(
                    resource="router",
                    msg=(
                        f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} "
                        f"of subnet {other.id}"
                    ),
                )


def announces(port: Port, network_id: str) -> bool:
    """Tell whether a port is on the network with prefixes of IPv6."""
    return port.network_id == network_id and any(":" in f.ip_address for f in port.fixed_ips)


def check_one_for_prefixes(attached: Iterable[Port], new: Port) -> None:
    """Raise BadRequest where the router has another port with prefixes on the new one's network."""
    for port in attached:
        if announces(new, new.network_id) and announces(port, new.network_id):
            raise lib.BadRequest(
                resource="router",
                msg=(
                    f"Router already contains IPv6 port {port.id} belonging to network id "
                    f"{port.network_id}. Only one IPv6 port from the same network subnet can be "
                    "connected to a router."
                ),
            )


def check_advertised(subnet: Subnet) -> None:
    """Raise BadRequest for a subnet that some other router announces."""
    if subnet.ipv6_address_mode is not None and subnet.ipv6_ra_mode is None:
        raise lib.BadRequest(
            resource="router",
            msg=(
                f"IPv6 subnet {subnet.id} configured to receive RAs from an external router cannot be "
                "added to Neutron Router."
            ),
        )


def overlap(first: str, second: str) -> bool:
    """Tell whether two ranges share addresses."""
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
