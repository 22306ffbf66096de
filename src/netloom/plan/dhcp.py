"""DHCP and the namespace that it shares with metadata: `qdhcp-<network>` on every host with the network.

Each host answers for its own ports only, so the leases here are those of local ports, all static. DHCPv6 is another protocol,
with options of its own; the same server speaks both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from msgspec import Struct

from netloom.model.dhcp_options import (
    MOST_BYTES,
    Dhcp6Lease,
    DhcpValue,
    Refused,
    addresses_option,
    route,
    user_option,
)
from netloom.model.family import V4, V6, Family
from netloom.model.hoststate import (
    Address,
    Device,
    DhcpLease,
    DhcpRange,
    Dnsmasq,
    HostObject,
    MetadataListener,
    Namespace,
    NsRoute,
    Refusal,
)
from netloom.model.names import NAMESPACE_OWNERS, dhcp_namespace
from netloom.model.networking import Network, Port, Subnet
from netloom.model.origin import Origin
from netloom.plan.hostnames import hostname_of, of_address
from netloom.plan.index import (
    Index,
    addresses_of,
    origin,
    own_addresses,
    remembered,
)
from netloom.plan.sets import SLICES, is_served, service_device

OPTION_ROUTER, OPTION_DNS, OPTION_DOMAIN, OPTION_ROUTES, OPTION_ROUTES_WINDOWS = 3, 6, 15, 121, 249
OPTION6_DNS, OPTION6_DOMAIN = 23, 24
"""Of DHCPv6 (RFC 3646)."""
DOMAIN = "openstacklocal"


def plan_network(index: Index, network: Network, port: Port | None) -> Iterator[HostObject]:
    """Namespace and device of a network that is present and up, and what is missing of its DHCP."""
    yield from missing(index, network, port)
    if port is None:
        return
    yield from _namespace(index, network, port)
    yield from refusals(index, network, port, served_subnets(index, network.id, V4))


def plan_clients(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    """What a network that is present and up needs to know of all its ports here: DHCP server and metadata listener."""
    slices = (clients_of(index, f"{network.id} {number}") for number in range(SLICES))
    clients = sorted((each for some in slices for each in some), key=lambda each: each.port_id)
    served = [
        s
        for family in index.families_of(network.id)
        for s in served_subnets(index, network.id, family)
    ]
    if served:
        yield dnsmasq(index, network, port, served, clients)
    yield metadata_listener(network, port, clients)


def served_subnets(index: Index, network_id: str, family: Family) -> list[Subnet]:
    """The network's subnets of a family that DHCP serves."""
    return [s for s in index.subnets_of(network_id, family) if is_served(s)]


def missing(index: Index, network: Network, port: Port | None) -> Iterator[Refusal]:
    """What the network's instances do without: all of DHCP, or that of a subnet."""
    wanted = [
        s
        for family in index.families_of(network.id)
        for s in served_subnets(index, network.id, family)
    ]
    if port is None:
        if wanted:
            yield Refusal(
                detail="no DHCP and no metadata: the network has no DHCP port that is up",
                state="error",
                origin=origin(network),
                aspect="dhcp",
            )
        return
    has = {fixed.subnet_id for fixed in port.fixed_ips}
    for subnet in wanted:
        if subnet.id not in has:
            yield Refusal(
                detail=f"no DHCP in subnet {subnet.id} ({subnet.cidr}): none of its addresses was free for the DHCP port",
                state="error",
                origin=origin(network, subnet),
                aspect="dhcp",
            )


class Client(Struct, frozen=True):
    """A port here that may ask for DHCP and metadata. `lease`, `lease6`: None where DHCP gives it no address."""

    port_id: str
    origin: Origin
    addresses: tuple[str, ...]
    lease: DhcpLease | None
    lease6: Dhcp6Lease | None = None


@remembered(2)
def client(index: Index, port_id: str) -> Client | None:
    """A port here as DHCP and metadata see it; None for routers' ports and those that are down."""
    port = index.port(port_id)
    if port is None or port.device_owner in NAMESPACE_OWNERS or not port.admin_state_up:
        return None
    address = served_address(index, port, V4)
    addresses = tuple(
        address
        for family in index.families_of(port.network_id)
        for address in own_addresses(port, family)
    )
    given = tuple(given_addresses(index, port))
    lease6 = None
    if given:
        lease6 = Dhcp6Lease(mac=port.mac_address, addresses=given, port_id=port.id)
    lease = None
    if address is not None:
        lease = DhcpLease(
            mac=port.mac_address,
            ip=address,
            hostname=hostname_of(index, port) or of_address(address),
            port_id=port.id,
            addresses=tuple(addresses_of(port, V4)),
            options=own_options(port, V4)[0],
        )
    return Client(port.id, origin(port)[0], addresses, lease, lease6)


@remembered(3)
def clients_of(index: Index, network_and_slice: str) -> tuple[Client, ...]:
    """The clients in one slice of a network's ports here."""
    network_id, _, number = network_and_slice.rpartition(" ")
    ports = index.members("here", network_id, int(number))
    return tuple(found for ident in ports if (found := client(index, ident)) is not None)


def served_address(index: Index, port: Port, family: Family) -> str | None:
    """The first of the port's addresses of a family that DHCP serves: a client takes one address a device."""
    wanted = {subnet.id for subnet in served_subnets(index, port.network_id, family)}
    return next((f.ip_address for f in port.fixed_ips if f.subnet_id in wanted), None)


def given_addresses(index: Index, port: Port) -> Iterator[str]:
    """The addresses of a port that DHCPv6 gives: in other subnets instances make their own."""
    wanted = {
        subnet.id
        for subnet in served_subnets(index, port.network_id, V6)
        if subnet.ipv6_address_mode != "dhcpv6-stateless"
    }
    yield from (fixed.ip_address for fixed in port.fixed_ips if fixed.subnet_id in wanted)


def _namespace(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    namespace, device = dhcp_namespace(network.id), service_device(index.facts, port)
    why = origin(port, network)
    families = index.families_of(network.id)
    subnets = {subnet.id: subnet for f in families for subnet in index.subnets_of(network.id, f)}
    addresses = [
        f"{fixed.ip_address}/{subnets[fixed.subnet_id].cidr.partition('/')[2]}"
        for fixed in port.fixed_ips
        if fixed.subnet_id in subnets
    ]
    yield Namespace(name=namespace, ipv6=V6 in families, origin=why, aspect="dhcp")
    yield Device(
        namespace=namespace,
        name=device,
        mac=port.mac_address,
        mtu=network.mtu,
        addresses=tuple(map(Address, (*addresses, *(f"{f.metadata}/{f.bits}" for f in families)))),
        origin=why,
        aspect="dhcp",
    )
    with_address = {fixed.subnet_id for fixed in port.fixed_ips}
    for subnet in subnets.values():
        if subnet.id not in with_address:
            # Metadata answers need a way back to the instances of a subnet without DHCP.
            yield NsRoute(
                namespace=namespace,
                destination=subnet.cidr,
                device=device,
                origin=origin(subnet, network),
                aspect="metadata",
            )


def dnsmasq(
    index: Index,
    network: Network,
    port: Port,
    served: list[Subnet],
    clients: list[Client],
) -> Dnsmasq:
    """The DHCP server of a network for the ports of this host."""
    leases = [each for each in clients if each.lease or each.lease6]
    return Dnsmasq(
        namespace=dhcp_namespace(network.id),
        network_id=network.id,
        device=service_device(index.facts, port),
        ranges=tuple(
            DhcpRange(
                subnet_id=s.id,
                cidr=s.cidr,
                options=_options_of(index, network, s, port),
            )
            for s in served
        ),
        leases=tuple(each.lease for each in leases if each.lease is not None),
        leases6=tuple(each.lease6 for each in leases if each.lease6 is not None),
        mtu=network.mtu,
        domain=DOMAIN,
        origin=(*origin(network, port), *(each.origin for each in leases)),
        aspect="dhcp",
    )


def _options_of(
    index: Index, network: Network, subnet: Subnet, port: Port
) -> tuple[DhcpValue, ...]:
    """The options of a subnet that DHCP serves, of its family's protocol."""
    if V4.has(subnet.cidr):
        return subnet_options(index.subnets_of(network.id, V4), subnet, port)[0]
    servers = tuple(s for s in subnet.dns_nameservers if V6.has(s) and s != V6.any_address)
    named = (DhcpValue(code=OPTION6_DNS, addresses=servers),) if servers else ()
    return (*named, DhcpValue(code=OPTION6_DOMAIN, names=(DOMAIN,)))


def refusals(index: Index, network: Network, port: Port, served: list[Subnet]) -> Iterator[Refusal]:
    """What of the subnets' options the DHCP server cannot be told."""
    for subnet in served:
        for detail in subnet_options(index.subnets_of(network.id, V4), subnet, port)[1]:
            yield Refusal(detail=detail, origin=origin(subnet), aspect="dhcp")


def refusals_of_port(index: Index, network: Network, port: Port) -> Iterator[Refusal]:
    """What of the options of a port here the DHCP server cannot be told."""
    if port.device_owner in NAMESPACE_OWNERS or not index.is_up(port):
        return
    if index.dhcp_port_of(network.id) is not None and served_address(index, port, V4) is not None:
        for detail in own_options(port, V4)[1]:
            yield Refusal(detail=detail, origin=origin(port), aspect="dhcp")
    extra = any(option.ip_version == V6.version for option in port.extra_dhcp_opts)
    if extra and addresses_of(port, V6):
        detail = "extra DHCP options for IPv6 are left out: DHCPv6 tells those of the subnet alone"
        yield Refusal(detail=detail, origin=origin(port), aspect="dhcp")


def own_options(port: Port, family: Family) -> tuple[tuple[DhcpValue, ...], list[str]]:
    """A port's extra DHCP options of a family, and what of them is left out and why.

    They are a tenant's words in a file that the DHCP server of the whole network reads. Those for IPv6 count only for a port
    with an IPv6 address, as in Neutron; Netloom gives none.
    """
    found: list[DhcpValue] = []
    refused: list[str] = []
    for option in port.extra_dhcp_opts:
        if option.ip_version != family.version:
            continue
        try:
            value = user_option(option.opt_name, option.opt_value or "")
        except Refused as error:
            refused.append(f"extra DHCP option {option.opt_name[:64]!r} is left out: {error}")
        else:
            found += [value] if value is not None else []
    return tuple(sorted(found, key=lambda value: (value.code, value.tags))), refused


def subnet_options(
    subnets: list[Subnet], subnet: Subnet, port: Port
) -> tuple[tuple[DhcpValue, ...], list[str]]:
    """DHCP options of a subnet among those of its network, and what is left out of them and why. As Neutron's agent makes them.

    A client that gets option 121 must not look at option 3 (RFC 3442), so the default route is in both. Windows asks for
    249 instead. A host route to everywhere is the gateway of a subnet that has none.
    """
    refused: list[str] = []
    gateway = subnet.gateway_ip or next(
        (r.nexthop for r in subnet.host_routes if r.destination == V4.anywhere), ""
    )
    options = [_addresses(OPTION_ROUTER, [gateway] if gateway else [], subnet, refused)]
    servers = [s for s in subnet.dns_nameservers if V4.has(s) and s != V4.any_address]
    if servers:
        options.append(_addresses(OPTION_DNS, servers, subnet, refused))
    options.append(DhcpValue(code=OPTION_DOMAIN, text=DOMAIN))
    routes = _routes(subnets, subnet, port, gateway, refused)
    if routes:
        options += [DhcpValue(code=c, data=routes) for c in (OPTION_ROUTES, OPTION_ROUTES_WINDOWS)]
    return tuple(options), refused


def _addresses(code: int, addresses: list[str], subnet: Subnet, refused: list[str]) -> DhcpValue:
    """An option of addresses; it is empty, so that clients hear nothing of it, where they cannot be sent."""
    try:
        return addresses_option(code, tuple(addresses))
    except Refused as error:
        refused.append(f"DHCP option {code} of subnet {subnet.id} is left out: {error}")
        return DhcpValue(code=code)


def _routes(
    subnets: list[Subnet], subnet: Subnet, port: Port, gateway: str, refused: list[str]
) -> bytes:
    """Option 121: the network's other subnets on the wire, the subnet's host routes, metadata, the gateway.

    The next hop 0.0.0.0 stands for what is on the client's own wire (RFC 3442). What does not fit in one option is left out: others' subnets first, then host routes from the end.
    """
    others = [(s.cidr, V4.any_address) for s in subnets if s.cidr != subnet.cidr]
    others.sort(key=lambda pair: ipaddress.IPv4Network(pair[0], strict=False))
    told = [
        (r.destination, r.nexthop)
        for r in subnet.host_routes
        if r.destination != V4.anywhere and V4.has(r.nexthop)
    ]
    own = next((f.ip_address for f in port.fixed_ips if f.subnet_id == subnet.id), None)
    last = [(f"{V4.metadata}/{V4.bits}", own)] if own else []
    if gateway and (others or told or last):
        last.append((V4.anywhere, gateway))
    room = MOST_BYTES - sum(len(route(*pair)) for pair in last)
    kept: dict[str, list[tuple[str, str]]] = {"others": [], "told": []}
    for name, pairs in (("told", told), ("others", others)):
        left_out = 0
        for pair in pairs:
            if len(route(*pair)) <= room:
                room -= len(route(*pair))
                kept[name].append(pair)
            else:
                left_out += 1
        if left_out:
            what = "host routes" if name == "told" else "routes to the network's other subnets"
            refused.append(
                f"{left_out} {what} of subnet {subnet.id} are left out: DHCP option 121 has {MOST_BYTES} bytes"
            )
    return b"".join(route(*pair) for pair in (*kept["others"], *kept["told"], *last))


def metadata_listener(network: Network, port: Port, clients: list[Client]) -> MetadataListener:
    """Metadata of a network: which local port each address stands for."""
    asking = [each for each in clients if each.addresses]
    askers = {address: each.port_id for each in asking for address in each.addresses}
    return MetadataListener(
        namespace=dhcp_namespace(network.id),
        network_id=network.id,
        askers=askers,
        origin=(*origin(network, port), *(each.origin for each in asking)),
        aspect="metadata",
    )
