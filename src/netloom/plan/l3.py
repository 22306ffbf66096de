"""Routers: a namespace with addresses, routes and NAT on the router's host."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from netloom.model.family import ADDRESSED, BY_VERSION, V4, V6, Family, of
from netloom.model.hoststate import (
    Address,
    AttachedNetwork,
    Device,
    FloatingNat,
    Holder,
    HostObject,
    Namespace,
    NsRoute,
    PortNat,
    Refusal,
    SourceNat,
)
from netloom.model.names import OWNER_DISTRIBUTED, OWNER_HA_INTERFACE, OWNER_ROUTER_GATEWAY
from netloom.model.networking import FloatingIP, Network, Port, PortForwarding, Router, Subnet
from netloom.model.port_ranges import Span
from netloom.plan import ha
from netloom.plan.advertise import advertiser
from netloom.plan.index import Index, addresses_of, device_of, origin


def plan_router(index: Index, router: Router) -> Iterator[HostObject]:
    """A router with a replica on this host; of a distributed one what is central, its SNAT."""
    every = index.router_ports(router.id)
    others = OWNER_HA_INTERFACE, OWNER_DISTRIBUTED
    ports = [port for port in every if port.device_owner not in others]
    gateway = gateway_of(index, router)
    families = carried(index, router)
    ipv6 = V6 in families and any(V6.has(f.ip_address) for port in ports for f in port.fixed_ips)
    yield namespace_of(router, router.namespace, ipv6)
    devices: list[Device] = []
    for port in ports:
        network = index.network(port.network_id)
        if network is not None:
            devices.append(_device(index, router, port, network))
    routes = [
        route
        for family in families
        for route in routes_of(
            index, router, router.namespace, ports, gateway, family, holder(router)
        )
    ]
    yield from devices
    yield from networks_of(index, router, router.namespace, ports, gateway)
    yield from routes
    for family in families:
        if gateway is not None and family.translated:
            yield from _nat(index, router, gateway, family)
    if ipv6:
        yield from advertiser(index, router, [port for port in ports if not is_gateway(port)])
    between = [p for p in every if p.device_owner == OWNER_HA_INTERFACE]
    beside = next((p for p in between if index.is_here(p)), None)
    if router.ha and beside is not None:
        yield from ha.plan_replica(index, router, beside, devices, routes)


def carried(index: Index, router: Router) -> tuple[Family, ...]:
    """The families that a router carries on this host."""
    bridged = index.facts.backend == "linuxbridge"
    return (V4,) if router.distributed or router.ha or bridged else ADDRESSED


def left_out(index: Index, router: Router) -> Iterator[Refusal]:
    """What of a router is not carried out: IPv6, of those that are on several hosts, or on one with Linux bridges."""
    if V6 in carried(index, router):
        return
    ports = [
        port
        for port in index.router_ports(router.id)
        if any(V6.has(fixed.ip_address) for fixed in port.fixed_ips)
    ]
    if ports:
        kind = "distributed routers" if router.distributed else "HA routers"
        if not router.distributed and not router.ha:
            kind = "routers on hosts with Linux bridges"
        yield Refusal(
            detail=f"IPv6 is not routed: {kind} carry IPv4 alone",
            state="error",
            origin=origin(router, *ports),
            aspect="l3",
        )


def holder(router: Router) -> Holder:
    """Who holds a router's addresses and routes: of an HA router only the active replica has them."""
    return "keepalived" if router.ha else "agent"


def gateway_of(index: Index, router: Router) -> Port | None:
    """A router's gateway, where it has one."""
    return next((port for port in index.router_ports(router.id) if is_gateway(port)), None)


def is_gateway(port: Port) -> bool:
    """Whether a router's port is its gateway."""
    return port.device_owner == OWNER_ROUTER_GATEWAY


def namespace_of(router: Router, name: str, ipv6: bool = False) -> Namespace:
    """A namespace of a router; of one that is down it keeps its devices but forwards nothing."""
    return Namespace(
        name=name,
        forward=router.admin_state_up,
        ipv6=ipv6,
        origin=origin(router),
        aspect="l3",
    )


def _device(index: Index, router: Router, port: Port, network: Network) -> Device:
    held_by = holder(router)
    addresses = with_lengths(index, port, carried(index, router))
    why = origin(port, router)
    if is_gateway(port):
        floating = [*central(index, router), *index.forwarding_of(router.id)]
        addresses += [f"{ip}/{of(ip).bits}" for ip in (fip.floating_ip_address for fip in floating)]
        why += origin(*floating)
    return Device(
        namespace=router.namespace,
        name=device_of(port),
        mac=port.mac_address,
        mtu=network.mtu,
        addresses=tuple(Address(cidr, held_by) for cidr in addresses),
        announce=True,
        origin=why,
        aspect="l3",
    )


def with_lengths(index: Index, port: Port, families: tuple[Family, ...]) -> list[str]:
    """A port's addresses of these families with the lengths of their subnets' prefixes."""
    addresses: list[str] = []
    for fixed in port.fixed_ips:
        subnet: Subnet | None = index.row("subnets", fixed.subnet_id)
        if subnet is not None and BY_VERSION[subnet.ip_version] in families:
            addresses.append(f"{fixed.ip_address}/{subnet.cidr.partition('/')[2]}")
    return addresses


def central(index: Index, router: Router) -> list[FloatingIP]:
    """A router's associated floating IPs but those that enter at their instances' hosts."""
    if not router.distributed:
        return index.floating_of(router.id)
    return [fip for fip in index.floating_of(router.id) if not entry_of(index, fip)]


def entry_of(index: Index, fip: FloatingIP) -> str:
    """The host of its instance where a floating IP enters; empty where it enters by its router's gateway."""
    port = index.port(fip.floating_port_id)
    return port.entry if port is not None else ""


def attached(index: Index, ports: list[Port], family: Family) -> list[tuple[Port, Subnet]]:
    """The router's ports with the subnets of a family that they have addresses on."""
    found: list[tuple[Port, Subnet]] = []
    for port in ports:
        for fixed in port.fixed_ips:
            subnet: Subnet | None = index.row("subnets", fixed.subnet_id)
            if subnet is not None and subnet.ip_version == family.version:
                found.append((port, subnet))
    return found


def routes_of(
    index: Index,
    router: Router,
    namespace: str,
    ports: list[Port],
    gateway: Port | None,
    family: Family,
    held_by: Holder = "agent",
) -> Iterator[NsRoute]:
    """Of one family: the default route, other subnets of the external network, and the router's extra routes.

    `gateway`: the port of `ports` that leads there; a floating IP's has no address that the subnet could be told from.
    """
    links = attached(index, ports, family)
    wanted: dict[str, NsRoute] = {}
    if gateway is not None:
        own = {subnet.id for port, subnet in links if port is gateway and is_gateway(port)}
        for subnet in index.subnets_of(gateway.network_id, family):
            if subnet.id not in own:
                wanted[subnet.cidr] = NsRoute(
                    namespace=namespace,
                    destination=subnet.cidr,
                    device=device_of(gateway),
                    held_by=held_by,
                    origin=origin(router, subnet),
                    aspect="l3",
                )
        hop = next((s for port, s in links if port is gateway and s.gateway_ip), None)
        if hop is not None:
            wanted[family.anywhere] = NsRoute(
                namespace=namespace,
                destination=family.anywhere,
                device=device_of(gateway),
                gateway=hop.gateway_ip,
                held_by=held_by,
                origin=origin(router, hop),
                aspect="l3",
            )
    for route in sorted(router.routes, key=lambda route: (route.destination, route.nexthop)):
        link = next((port for port, subnet in links if inside(route.nexthop, subnet)), None)
        if link is not None:
            cidr = str(ipaddress.ip_network(route.destination, strict=False))
            wanted[cidr] = NsRoute(
                namespace=namespace,
                destination=cidr,
                device=device_of(link),
                gateway=route.nexthop,
                held_by=held_by,
                origin=origin(router),
                aspect="l3",
            )
    yield from wanted.values()


def inside(address: str, subnet: Subnet) -> bool:
    """Whether an address is in a subnet's range."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)


def networks_of(
    index: Index, router: Router, namespace: str, ports: list[Port], gateway: Port | None
) -> Iterator[AttachedNetwork]:
    """The networks that the router is on; none where it is on one only, as there is no other side."""
    devices: dict[str, tuple[str, ...]] = {}
    for port in ports:
        devices[port.network_id] = (*devices.get(port.network_id, ()), device_of(port))
    if len(devices) < 2:
        return
    outside = gateway.network_id if gateway is not None else ""
    connected = {s.id for family in ADDRESSED for s in _connected(index, ports, outside, family)}
    for network_id, names in sorted(devices.items()):
        network = index.network(network_id)
        subnets = [s for family in ADDRESSED for s in index.subnets_of(network_id, family)]
        if network is not None and subnets:
            yield AttachedNetwork(
                namespace=namespace,
                network_id=network_id,
                devices=names,
                connected=tuple(s.cidr for s in subnets if s.id in connected),
                others=tuple(s.cidr for s in subnets if s.id not in connected),
                external=network_id == outside,
                origin=origin(network, router),
                aspect="l3",
            )


def _connected(index: Index, ports: list[Port], outside: str, family: Family) -> list[Subnet]:
    """The subnets of a family that a router reaches directly: its own, and all of its gateway's network."""
    own = {subnet.id: subnet for _, subnet in attached(index, ports, family)}
    near = [s for s in index.subnets_of(outside, family) if s.id not in own]
    return _apart(own.values(), near)


def _apart(first: Iterable[Subnet], then: Iterable[Subnet]) -> list[Subnet]:
    """Subnets that do not overlap. Those in `then` give way: one made on the gateway's network may overlap the others."""
    ranges = sorted(
        ((ipaddress.ip_network(subnet.cidr), subnet) for subnet in first),
        key=lambda pair: (int(pair[0].network_address), pair[0].prefixlen, pair[1].id),
    )
    kept: list[tuple[IPv4Network | IPv6Network, Subnet]] = []
    for cidr, subnet in ranges:  # a network comes before those that lie in it
        if not kept or not cidr.overlaps(kept[-1][0]):
            kept.append((cidr, subnet))
    for subnet in then:
        cidr = ipaddress.ip_network(subnet.cidr)
        if not any(cidr.overlaps(other) for other, _ in kept):
            kept.append((cidr, subnet))
    return [subnet for _, subnet in kept]


def _nat(index: Index, router: Router, gateway: Port, family: Family) -> Iterator[HostObject]:
    namespace, device = router.namespace, device_of(gateway)
    for fip in central(index, router):
        yield floating_nat(index, router, fip, namespace, device)
    for fip in index.forwarding_of(router.id):
        yield FloatingNat(
            namespace=namespace,
            device=device,
            external=fip.floating_ip_address,
            internal="",
            ports=tuple(sorted(map(_port_nat, index.forwardings_of(fip.id)), key=_first)),
            origin=origin(fip, router),
            aspect="l3",
        )
    addresses = addresses_of(gateway, family)
    if router.external_gateway_info and router.external_gateway_info.enable_snat and addresses:
        yield SourceNat(
            namespace=namespace,
            device=device,
            address=addresses[0],
            origin=origin(router, gateway),
            aspect="l3",
        )


def floating_nat(
    index: Index, router: Router, fip: FloatingIP, namespace: str, device: str
) -> FloatingNat:
    """A floating IP and the address that it stands for, in a namespace that it enters by a device."""
    port = index.port(fip.port_id)
    return FloatingNat(
        namespace=namespace,
        device=device,
        external=fip.floating_ip_address,
        internal=fip.fixed_ip_address or "",
        origin=origin(fip, router) + (origin(port) if port else ()),
        aspect="l3",
    )


def _port_nat(forwarding: PortForwarding) -> PortNat:
    return PortNat(
        protocol=forwarding.protocol,
        external=forwarding.external,
        internal=forwarding.internal_ip_address,
        to=forwarding.internal,
    )


def _first(nat: PortNat) -> tuple[str, Span]:
    return nat.protocol, nat.external
