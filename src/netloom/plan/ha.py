"""HA routers: what a replica has beside the router itself, and who hears it.

The devices of all replicas are up and have the router's MAC addresses, but only the active one has its IP addresses and
routes: without any, the kernel answers nobody and forwards nothing, so the others never speak in the router's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netloom.model.hoststate import (
    TUNNEL_LINKS,
    Address,
    ConnectionSync,
    Device,
    HeldAddress,
    HeldRoute,
    HostObject,
    Keepalived,
    NsRoute,
)
from netloom.model.networking import Port, Router
from netloom.plan.index import TUNNELS, Index, device_of, origin


def _links(index: Index, router: Router) -> tuple[str, ...]:
    """What a replica gives up without; the only one never does, for nobody would take over."""
    if len(router.replicas) < 2:
        return ()
    found: set[str] = set()
    for port in index.router_ports(router.id):
        network = index.network(port.network_id)
        if network is not None and network.network_type in TUNNELS:
            found.add(TUNNEL_LINKS)
        elif network is not None:
            found.add(index.facts.bridge_mappings.get(network.physical_network or "", ""))
    return tuple(sorted(found - {""}))


def _shared(index: Index, router: Router, devices: Iterable[Device]) -> tuple[HeldAddress, ...]:
    """The first address of each device on a physical network, which all of a router's replicas may reach."""
    if len(router.replicas) < 2:
        return ()
    physical = {
        device_of(port)
        for port in index.router_ports(router.id)
        if (network := index.network(port.network_id)) is not None
        and network.network_type not in TUNNELS
    }
    return tuple(
        HeldAddress(device.name, device.addresses[0].cidr)
        for device in devices
        if device.name in physical and device.addresses
    )


def plan_replica(
    index: Index,
    router: Router,
    beside: Port,
    devices: Sequence[Device],
    routes: Iterable[NsRoute],
) -> Iterator[HostObject]:
    """What decides whether the router is active on this host. `beside`: its port between replicas here."""
    network = index.network(beside.network_id)
    replica = next((each for each in router.replicas if each.host == index.host), None)
    if network is None or replica is None or not router.vrid or not beside.fixed_ips:
        return
    namespace, why = router.namespace, origin(router, beside)
    addresses: list[str] = []
    for fixed in beside.fixed_ips:
        subnet = index.row("subnets", fixed.subnet_id)
        if subnet is not None:
            addresses.append(f"{fixed.ip_address}/{subnet.cidr.partition('/')[2]}")
    decides = Keepalived(
        namespace=namespace,
        router_id=router.id,
        device=device_of(beside),
        vrid=router.vrid,
        priority=replica.priority,
        addresses=tuple(
            HeldAddress(device.name, address.cidr)
            for device in devices
            for address in device.addresses
        ),
        routes=tuple(HeldRoute(r.destination, r.device, r.gateway) for r in routes),
        links=_links(index, router),
        shared=_shared(index, router, devices),
        below=sum(each.priority < replica.priority for each in router.replicas),
        origin=why,
        aspect="l3",
    )
    yield Device(
        namespace=namespace,
        name=device_of(beside),
        mac=beside.mac_address,
        mtu=network.mtu,
        addresses=(*map(Address, addresses), Address(decides.sign, "keepalived")),
        origin=origin(beside, router),
        aspect="l3",
    )
    yield decides
    yield ConnectionSync(
        namespace=namespace,
        device=device_of(beside),
        address=beside.fixed_ips[0].ip_address,
        number=router.vrid,
        origin=why,
        aspect="l3",
    )
