"""Distributed routers on the hosts of their instances: the namespace for what the flows of `ovs/route.py` leave to it.

```
 instance ─> L2 ─> ROUTE ─> NEIGHBOUR ─> L2 ─> instance         what the plan knows: flows alone
                     └─────────┴─> qrouter-… ─> L2 / wire       hops used up, questions to the router itself, addresses whose
                                                                place changes, extra routes, floating IPs of instances here
                     └─> L2 ─> snat-… on a network host         to the world, without a floating IP
```

The namespace could do all of the work, only slower: so nothing depends on which packets the flows take.
"""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.family import V4, Family, of
from netloom.model.hoststate import Address, Device, HostObject, NsRoute
from netloom.model.names import OWNER_DISTRIBUTED, OWNER_SNAT, router_namespace
from netloom.model.networking import FloatingIP, Network, Port, Route, Router
from netloom.plan import l3
from netloom.plan.index import Index, device_of, origin

CARRIED = (V4,)
"""The families that distributed routers carry: IPv6 is left out, and `l3.left_out` says so."""


def plan_spread(index: Index, router: Router) -> Iterator[HostObject]:
    """A distributed router on a host of its instances."""
    namespace = router_namespace(router.id)
    legs = interfaces(index, router.id)
    entering = entries(index, router)
    outside = [port for _, port in entering]
    yield l3.namespace_of(router, namespace)
    for port in legs:
        if (network := index.network(port.network_id)) is not None:
            # Not announced: it is everywhere, and on a wire each host's word would be against the others'.
            yield _device(namespace, port, network, l3.with_lengths(index, port, CARRIED))
    for fip, port in entering:
        if (network := index.network(port.network_id)) is not None:
            addresses = [f"{f.ip_address}/{of(f.ip_address).bits}" for f in port.fixed_ips]
            yield _device(namespace, port, network, addresses, announce=True)
        yield l3.floating_nat(index, router, fip, namespace, device_of(port))
    gateway = outside[0] if outside else None
    ports = [*legs, *outside]
    yield from l3.networks_of(index, router, namespace, ports, gateway)
    for family in CARRIED:
        own = [*l3.routes_of(index, router, namespace, ports, gateway, family)]
        yield from own
        if all(route.destination != family.anywhere for route in own):
            yield from _to_snat(index, router, namespace, family)


def _to_snat(index: Index, router: Router, namespace: str, family: Family) -> Iterator[NsRoute]:
    """The default route where no floating IP enters: by it the kernel says of packets that they have no more hops."""
    for leg, snat in central_ports(index, router.id):
        for fixed in snat.fixed_ips:
            if family.has(fixed.ip_address):
                yield NsRoute(
                    namespace=namespace,
                    destination=family.anywhere,
                    device=device_of(leg),
                    gateway=fixed.ip_address,
                    origin=origin(router, snat),
                    aspect="l3",
                )
                return


def interfaces(index: Index, router_id: str) -> list[Port]:
    """A distributed router's interfaces, by id."""
    return [p for p in index.router_ports(router_id) if p.device_owner == OWNER_DISTRIBUTED]


def entries(index: Index, router: Router) -> list[tuple[FloatingIP, Port]]:
    """The router's floating IPs that enter on this host, with their ports, by the ports' ids."""
    found: list[tuple[FloatingIP, Port]] = []
    for fip in index.floating_of(router.id):
        port = index.port(fip.floating_port_id)
        if port is not None and port.key and port.entry == index.host:
            found.append((fip, port))
    return sorted(found, key=lambda pair: pair[1].id)


def central_ports(index: Index, router_id: str) -> list[tuple[Port, Port]]:
    """The interfaces of a router with the port of its SNAT on the same subnet, where there is one."""
    snat = {
        fixed.subnet_id: port
        for port in index.router_ports(router_id)
        if port.device_owner == OWNER_SNAT
        for fixed in port.fixed_ips
    }
    return [
        (leg, snat[fixed.subnet_id])
        for leg in interfaces(index, router_id)
        for fixed in leg.fixed_ips
        if fixed.subnet_id in snat
    ]


def routes(index: Index, router: Router, family: Family) -> list[Route]:
    """The extra routes of a distributed router that can be followed on this host."""
    ports = [*interfaces(index, router.id), *(port for _, port in entries(index, router))]
    links = l3.attached(index, ports, family)
    return [
        route
        for route in router.routes
        if family.has(route.destination) and any(l3.inside(route.nexthop, s) for _, s in links)
    ]


def _device(
    namespace: str, port: Port, network: Network, addresses: list[str], announce: bool = False
) -> Device:
    return Device(
        namespace=namespace,
        name=device_of(port),
        mac=port.mac_address,
        mtu=network.mtu,
        addresses=tuple(map(Address, addresses)),
        announce=announce,
        origin=origin(port),
        aspect="l3",
    )
