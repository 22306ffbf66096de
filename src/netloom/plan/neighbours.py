"""Neighbours of our namespaces: MAC addresses that are known need no ARP, and what is not known is bounded."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.hoststate import HostObject, Neighbour, NeighbourBound
from netloom.model.names import dhcp_namespace, router_namespace
from netloom.model.networking import Port
from netloom.plan.index import Index, addresses_of, device_of, origin


def plan_neighbours(index: Index) -> Iterator[HostObject]:
    """Every port that a router here has beside it, and every port here for its network's DHCP and metadata."""
    for router in index.local_routers:
        namespace, why = router_namespace(router.id), origin(router)
        yield NeighbourBound(namespace=namespace, origin=why, aspect="l3")
        own = index.router_ports[router.id]
        for leg in own:
            beside = [p for p in index.ports_of.get(leg.network_id, []) if p.device_id != router.id]
            yield from _known(index, namespace, leg, beside, why)
    for network in index.networks:
        port = index.dhcp_port_of.get(network.id)
        if port is None or not network.admin_state_up:
            continue
        # Not as entries: a DHCP server writes its clients' itself when it answers them.
        here = {a for p in index.local_ports[network.id] if index.is_up(p) for a in addresses_of(p)}
        yield NeighbourBound(
            namespace=dhcp_namespace(network.id),
            known=tuple(sorted(here)),
            origin=origin(port, network),
            aspect="dhcp",
        )


def _known(
    index: Index, namespace: str, leg: Port, beside: list[Port], why: tuple[str, ...]
) -> Iterator[Neighbour]:
    """The addresses that ARP is answered for here (plan/ovs/local.py), with the same answers."""
    for port in beside:
        if index.location(port) is None or not index.is_up(port):
            continue
        for address in addresses_of(port):
            if not index.is_shared(port.network_id, address):
                yield Neighbour(
                    namespace=namespace,
                    device=device_of(leg),
                    address=address,
                    mac=port.mac_address.lower(),
                    origin=why,
                    aspect="l3",
                )
