"""Neighbours of our namespaces: MAC addresses that are known need no ARP, and what is not known is bounded."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.family import Family
from netloom.model.hoststate import Neighbour, NeighbourBound
from netloom.model.names import (
    OWNER_DISTRIBUTED,
    dhcp_namespace,
    router_namespace,
)
from netloom.model.networking import Network, Port, Router
from netloom.model.origin import Origin
from netloom.plan.index import Index, addresses_of, device_of, origin


def bound_of_router(router: Router, namespace: str) -> NeighbourBound:
    """How many unknown neighbours a router may ask for, in one of its namespaces."""
    return NeighbourBound(namespace=namespace, origin=origin(router), aspect="l3")


def bound_of_dhcp(
    index: Index, network: Network, dhcp_port: Port, family: Family
) -> NeighbourBound:
    """How many unknown neighbours DHCP and metadata of a network may ask for; the ports here are known."""
    # Not as entries: a DHCP server writes its clients' itself when it answers them.
    return NeighbourBound(
        namespace=dhcp_namespace(network.id),
        known=tuple(index.members("known", network.id, family.version)),
        origin=origin(dhcp_port, network),
        aspect="dhcp",
    )


def beside_routers(
    index: Index, network: Network, port: Port, family: Family
) -> Iterator[Neighbour]:
    """A port as the routers on this host know it that have a port beside it.

    Its addresses of a family that ARP is answered for here (plan/ovs/local.py), with the same answers.
    """
    if not index.places(port) or not index.is_up(port):
        return
    legs = index.rows("ports", "legs", network.id)
    if index.is_here(port):
        # A distributed router's packets to others than those here go by flows (plan/ovs/route.py).
        legs += index.spread_here(network.id)
    for address in addresses_of(port, family) if legs else ():
        if index.is_shared(network.id, address):
            continue
        for leg in legs:
            if leg.device_id != port.device_id:
                yield Neighbour(
                    namespace=_namespace(index, leg),
                    device=device_of(leg),
                    address=address,
                    mac=port.mac_address.lower(),
                    origin=(Origin(Router.KIND, leg.device_id),),
                    aspect="l3",
                )


def _namespace(index: Index, leg: Port) -> str:
    """The namespace of a router's port on this host."""
    router: Router | None = index.row("routers", leg.device_id)
    if router is None or leg.device_owner == OWNER_DISTRIBUTED:
        return router_namespace(leg.device_id)
    return router.namespace
