"""ROUTE and NEIGHBOUR: distributed routers as flows, on the host of the instance that sends.

A frame for the router's MAC address comes here from L2, with the key of the router's port in `dst_port`: whatever these
stages do not know leaves by OUTPUT to that port's device, in the router's namespace (`plan/distributed.py`). Known are the
subnets of the router's networks and the addresses in them whose place the plan says. The source must be of the subnet that
it comes from: what else comes, the filter of the namespace decides on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netloom.model.family import V4, Family
from netloom.model.hoststate import Flow
from netloom.model.names import OWNER_DISTRIBUTED, host_mac
from netloom.model.networking import Network, Port, Router
from netloom.model.openflow import Action, DecTtl, ForgetInPort, Goto, Load, Match, Normal, SetEth
from netloom.plan import distributed
from netloom.plan.index import TUNNELS, Index, addresses_of, of_host, origin
from netloom.plan.l3 import attached
from netloom.plan.ovs.bridges import flow, out_of, physical_patch
from netloom.plan.ovs.l2 import to_host
from netloom.plan.ovs.local import shards_of_hosts
from netloom.plan.ovs.pipeline import Domain, Priority, Stage

_ASIDE = Goto(int(Stage.OUTPUT))
"""To the device of the router's port: its namespace sees to the packet."""
_NO_HOPS = 1000
_TO_WORLD = Priority.FALLBACK
_OF_FLOATING = Priority.FALLBACK + 1


def plan_host(index: Index) -> Iterator[Flow]:
    """What all distributed routers do alike: who has no hops left is told so by the namespace, as is all that is unknown."""
    why = of_host(index.host)
    for stage in (Stage.ROUTE, Stage.NEIGHBOUR):
        yield flow(stage, Priority.DEFAULT, Match(), _ASIDE, origin=why)
    for family in distributed.CARRIED:
        for hops in (0, 1):
            last = Match(eth_type=family.eth_type, ip_ttl=hops)
            yield flow(Stage.ROUTE, _NO_HOPS, last, _ASIDE, origin=why)


def into_router(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """L2: frames for the MAC address of a distributed router's interface."""
    why = origin(port)
    to_mac: dict[str, Any] = {"net": network.key, "eth_dst": port.mac_address}
    if not index.is_here(port):
        # Another router on this network sends it on: to a host that has this one, where there is one.
        first = next((index.tunnel_ip(host) for host in index.places(port)), None)
        if network.network_type in TUNNELS and first is not None and index.is_up(port):
            yield flow(
                Stage.L2,
                Priority.NORMAL,
                Match(**to_mac, remote=0),
                *to_host(network, first),
                origin=why,
            )
        return
    if not index.is_up(port):
        yield flow(Stage.L2, Priority.NORMAL, Match(**to_mac), origin=why)
        return
    # An answer to a question of the router's on whichever host asked: each of them hears it.
    elsewhere = Domain.HOSTS.groups(network, shards_of_hosts(index, network.id))
    for remote, copies in ((0, elsewhere), (1, ())):
        answer = Match(**to_mac, eth_type="arp", remote=remote)
        actions: tuple[Action, ...] = (*copies, *out_of(port.key))
        yield flow(Stage.L2, Priority.SPECIAL, answer, *actions, origin=why)
    # What is routed may leave by the device or tunnel that it came by.
    here = (
        Load("dst_port", port.key),
        Load("remote", 0),
        ForgetInPort(),
        Goto(int(Stage.ROUTE)),
    )
    if network.network_type in TUNNELS:
        yield flow(Stage.L2, Priority.NORMAL, Match(**to_mac), *here, origin=why)
        return
    # On a wire every host that is on it may hear a frame: none takes one for a router that all of them are.
    yield flow(Stage.L2, Priority.NORMAL, Match(**to_mac, remote=0), *here, origin=why)
    yield flow(Stage.L2, Priority.NORMAL, Match(**to_mac, remote=1), origin=why)
    for address in addresses_of(port, V4):
        asked = Match(net=network.key, eth_type="arp", arp_op=1, arp_tpa=address, remote=1)
        yield flow(Stage.L2, Priority.SPECIAL + 1, asked, origin=why)


def to_wire(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """On a physical network's bridge: what the router says here leaves with a MAC address of this host's own.

    The switches outside would see the router's own now here, now there; and this way nothing for it is sent to one host alone.
    """
    bridge = index.facts.bridge_mappings.get(network.physical_network or "")
    if network.network_type in TUNNELS or bridge is None or not index.is_here(port):
        return
    said = Match(
        in_port=physical_patch(bridge), vlan=network.segmentation_id or 0, eth_src=port.mac_address
    )
    yield Flow(
        bridge=bridge,
        table=0,
        priority=Priority.FALLBACK,
        match=said,
        actions=(SetEth(src=host_mac(index.host)), Normal()),
        origin=origin(port),
        aspect="l2",
    )


def ways(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """ROUTE: where packets go that come in by an interface of a distributed router on this host."""
    router: Router | None = index.row("routers", port.device_id)
    works = router is not None and router.distributed and router.admin_state_up
    if router is None or not works or not index.is_up(port):
        return
    legs = distributed.interfaces(index, router.id)
    for family in distributed.CARRIED:
        yield from _to_networks(index, network, port, legs, family)
        yield from _by_routes(index, port, router, family)
        yield from _to_world(index, network, port, router, family)


def _to_networks(
    index: Index, network: Network, port: Port, legs: list[Port], family: Family
) -> Iterator[Flow]:
    sources = {subnet.cidr for _, subnet in attached(index, [port], family)}
    targets = {
        subnet.cidr: (leg, subnet) for leg, subnet in reversed(attached(index, legs, family))
    }
    for leg, subnet in targets.values():
        target = index.network(leg.network_id)
        if target is None:
            continue
        to_subnet: dict[str, Any] = {
            "dst_port": port.key,
            "eth_type": family.eth_type,
            "ip_dst": subnet.cidr,
        }
        priority, why = _longest(subnet.cidr), origin(port, leg, subnet)
        yield flow(Stage.ROUTE, priority, Match(**to_subnet), _ASIDE, origin=why)
        if leg is port or target.mtu < network.mtu or not index.is_up(leg):
            # What may be too big for the next network, the kernel says so of.
            continue
        for source in sorted(sources):
            yield flow(
                Stage.ROUTE,
                priority + 1,
                Match(**to_subnet, ip_src=source),
                Load("net", target.key),
                SetEth(src=leg.mac_address),
                Goto(int(Stage.NEIGHBOUR)),
                origin=why,
            )


def _by_routes(index: Index, port: Port, router: Router, family: Family) -> Iterator[Flow]:
    """Extra routes: the namespace has them."""
    wanted = {route.destination for route in distributed.routes(index, router, family)}
    for cidr in sorted(wanted):
        match = Match(dst_port=port.key, eth_type=family.eth_type, ip_dst=cidr)
        yield flow(Stage.ROUTE, _longest(cidr) + 2, match, _ASIDE, origin=origin(port, router))


def _to_world(
    index: Index, network: Network, port: Port, router: Router, family: Family
) -> Iterator[Flow]:
    """By a floating IP that enters here, else by the router's SNAT, which takes the hop."""
    here: dict[str, Any] = {"dst_port": port.key, "eth_type": family.eth_type}
    entering = {
        fip.fixed_ip_address or "": (fip, e) for fip, e in distributed.entries(index, router)
    }
    for address, (fip, entry) in entering.items():
        if address and family.has(address):
            match = Match(**here, ip_src=address)
            why = origin(fip, entry, router)
            yield flow(Stage.ROUTE, _OF_FLOATING, match, _ASIDE, origin=why)
    for leg, snat in distributed.central_ports(index, router.id):
        if leg.id == port.id and index.is_up(snat) and index.places(snat):
            yield flow(
                Stage.ROUTE,
                _TO_WORLD,
                Match(**here),
                SetEth(src=port.mac_address, dst=snat.mac_address),
                Goto(int(Stage.L2)),
                origin=origin(router, snat),
            )
            return


def neighbour(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """NEIGHBOUR: a port, wherever it is, as distributed routers on this host send to it.

    An address that ports share is left to the namespace, which asks who has it.
    """
    known = port.device_owner != OWNER_DISTRIBUTED and index.places(port) and index.is_up(port)
    if not known or not index.spread_here(network.id):
        return
    for family in distributed.CARRIED:
        for address in addresses_of(port, family):
            if index.is_shared(network.id, address):
                continue
            match = Match(net=network.key, eth_type=family.eth_type, ip_dst=address)
            actions = (SetEth(dst=port.mac_address), DecTtl(), Goto(int(Stage.L2)))
            yield flow(Stage.NEIGHBOUR, Priority.NORMAL, match, *actions, origin=origin(port))


def _longest(cidr: str) -> int:
    """The priority of a destination: the longest prefix first."""
    return Priority.NORMAL + 3 * int(cidr.partition("/")[2])
