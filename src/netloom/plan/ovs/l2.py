"""Layer 2: which network a frame from outside belongs to, and where a MAC address is.

Known addresses go straight to a device or to their host's tunnel. Broadcasts go to groups: each local device
and each host that has the network (the wire, on a physical network) is a bucket of its own. What came from outside
(`remote`) never goes out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from msgspec.structs import replace

from netloom.model.family import ADDRESSED
from netloom.model.hoststate import Bucket, Flow, Group
from netloom.model.names import (
    INTEGRATION_BRIDGE,
    NAMESPACE_OWNERS,
    OWNER_DHCP,
    OWNER_FLOATING_IP,
    OWNER_HA_INTERFACE,
)
from netloom.model.networking import Network, Port
from netloom.model.openflow import Action, Goto, Load, Match, Output, PopVlan, PushVlan, SetTunnel
from netloom.model.origin import Origin
from netloom.plan.index import (
    ROUTER_OWNERS,
    TUNNELS,
    Index,
    hosts_with,
    of_host,
    origin,
    own_addresses,
    remembered,
)
from netloom.plan.ovs.bridges import (
    bucket,
    flow,
    integration_patch,
    out_by_tunnel,
    out_by_wire,
    out_of,
    physical_patch,
    tunnel_port,
)
from netloom.plan.ovs.local import shards_of_devices, shards_of_hosts
from netloom.plan.ovs.pipeline import GROUP_ADDRESS, Domain, Priority, Stage
from netloom.plan.sets import is_promiscuous


def way_in(index: Index, network: Network) -> tuple[Match, tuple[Action, ...]] | None:
    """How frames of a network arrive from elsewhere: what they look like, and what to take off first."""
    if network.network_type in TUNNELS:
        if network.segmentation_id is None or not index.facts.tunnel_ip:
            return None
        port = tunnel_port(network.network_type)
        return Match(in_port=port, tun_id=network.segmentation_id, vlan=0), ()
    bridge = index.facts.bridge_mappings.get(network.physical_network or "")
    if bridge is None:
        return None
    vlan = network.segmentation_id if network.network_type == "vlan" else 0
    if vlan is None:
        return None
    return Match(in_port=integration_patch(bridge), vlan=vlan), (PopVlan(),) if vlan else ()


def to_wire(index: Index, network: Network) -> tuple[Action, ...]:
    """The way out to a network's physical network; empty for tunnelled ones and where it is not mapped."""
    bridge = index.facts.bridge_mappings.get(network.physical_network or "")
    if network.network_type in TUNNELS or bridge is None:
        return ()
    tag = (PushVlan(network.segmentation_id),) if network.segmentation_id else ()
    return (*tag, *out_by_wire(index, bridge))


def to_host(network: Network, tunnel_ip: str) -> tuple[Action, ...]:
    """One copy through the tunnel to a host."""
    tunnel = SetTunnel(network.segmentation_id or 0, tunnel_ip)
    return (tunnel, *out_by_tunnel(network.network_type))


def to_places(index: Index, network: Network, hosts: list[str]) -> tuple[Action, ...]:
    """A copy to each of these hosts: through its tunnel, or one on the wire that all of them are on."""
    if network.network_type not in TUNNELS:
        return to_wire(index, network)
    ends = [ip for host in hosts if (ip := index.tunnel_ip(host))]
    return tuple(action for ip in ends for action in to_host(network, ip))


def _with_hosts(port: Port, hosts: list[str]) -> tuple[Origin, ...]:
    return (*origin(port), *of_host(*hosts))


def to_device(port: Port) -> tuple[Action, ...]:
    """One copy to a device, through its own rules."""
    return (Load("dst_port", port.key), Goto(int(Stage.INGRESS)))


def arrivals(index: Index, network: Network) -> Iterator[Flow]:
    """CLASSIFY: frames from tunnels and physical networks."""
    arrival = way_in(index, network)
    if arrival is None:
        return
    match, unwrap = arrival
    actions: tuple[Action, ...] = ()
    if network.admin_state_up:
        actions = (*unwrap, Load("net", network.key), Load("remote", 1), Goto(int(Stage.L2)))
    yield flow(Stage.CLASSIFY, Priority.NORMAL, match, *actions, origin=origin(network))


def known_address(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """L2: the MAC address of a port that has a place."""
    places = index.places(port)
    others = [place for place in places if place != index.host]
    here = Match(net=network.key, eth_dst=port.mac_address)
    outward = Match(net=network.key, eth_dst=port.mac_address, remote=0)
    if port.device_owner == OWNER_DHCP and index.dhcp_port_of(network.id) is port:
        # Its own host's instances reach it; every other host has one of its own.
        for what in _for_services(port) if index.is_up(port) and index.is_used(network.id) else ():
            match = Match(net=network.key, eth_dst=port.mac_address, remote=0, **what)
            yield flow(Stage.L2, Priority.NORMAL, match, *out_of(port.key), origin=origin(port))
        yield flow(Stage.L2, Priority.RULES, here, origin=origin(port))
    elif places and not index.is_up(port):
        yield flow(Stage.L2, Priority.NORMAL, here, origin=origin(port))
    elif places == (index.host,) and port.device_owner == OWNER_FLOATING_IP:
        # It is a way in for its own address alone: whatever else comes here is for no router to forward.
        for what in _for_services(port):
            match = Match(net=network.key, eth_dst=port.mac_address, **what)
            yield flow(Stage.L2, Priority.NORMAL, match, *out_of(port.key), origin=origin(port))
        yield flow(Stage.L2, Priority.RULES, here, origin=origin(port))
    elif places == (index.host,):
        yield flow(Stage.L2, Priority.NORMAL, here, *to_device(port), origin=origin(port))
    elif index.host in places:
        # Which of a router's replicas is active, no plan can know: each gets a copy, and a standby forwards none.
        inward = replace(outward, remote=1)
        far, why = to_places(index, network, others), _with_hosts(port, others)
        yield flow(Stage.L2, Priority.NORMAL, inward, *to_device(port), origin=origin(port))
        yield flow(Stage.L2, Priority.NORMAL, outward, *far, *to_device(port), origin=why)
    elif others and (network.network_type in TUNNELS or open_here(index, network.id)):
        # On a wire the address is known to be out there: not for those here that get unknown addresses.
        way, why = to_places(index, network, others), _with_hosts(port, others)
        yield flow(Stage.L2, Priority.NORMAL, outward, *way, origin=why)


def from_wire(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """On a physical network's bridge: frames from the wire for a router with several replicas go to br-int, also of a standby.

    Left to itself the bridge remembers that the router was out on the wire, and for up to a second after it became active here
    throws away what comes from there. A bond is left to itself: which of its cards is to be heard, it alone knows.
    """
    if port.device_owner not in ROUTER_OWNERS or len(index.places(port)) < 2:
        return
    bridge = index.facts.bridge_mappings.get(network.physical_network or "")
    card = index.facts.physical_interfaces.get(bridge or "")
    if bridge is None or card is None or card in index.facts.bonds or not index.is_here(port):
        return
    yield Flow(
        bridge=bridge,
        table=0,
        priority=Priority.FALLBACK,
        match=Match(in_port=card, eth_dst=port.mac_address),
        actions=(Output(physical_patch(bridge)),),
        origin=origin(port),
    )


def between_replicas(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """L2: what a replica of an HA router says to everybody reaches the router's other replicas alone.

    Each says several times a second that it is active: were all routers of a project to hear that, each would cost work
    for every other one.
    """
    if port.device_owner != OWNER_HA_INTERFACE or not index.is_up(port):
        return
    said = Match(net=network.key, eth_src=port.mac_address, eth_dst=GROUP_ADDRESS)
    peers = [p for p in index.router_ports(port.device_id) if p.network_id == network.id]
    peers = [p for p in peers if p.device_owner == OWNER_HA_INTERFACE and p is not port]
    way: tuple[Action, ...] = ()
    why = origin(port)
    if index.is_here(port):
        hosts = sorted({host for peer in peers for host in index.places(peer)})
        way, why = to_places(index, network, hosts), _with_hosts(port, hosts)
    elif own := [peer for peer in peers if index.is_here(peer) and index.is_up(peer)]:
        way, why = out_of(own[0].key), origin(port, own[0])
    yield flow(Stage.L2, Priority.SPECIAL + 1, said, *way, origin=why)


def _for_services(port: Port) -> Iterator[dict[str, Any]]:
    """What may reach a device that nobody shall take for a router, whatever its namespace is set to."""
    yield {"eth_type": "arp"}
    for family in ADDRESSED:
        for address in own_addresses(port, family):
            yield {"eth_type": family.eth_type, "ip_dst": address}


@remembered(1)
def open_here(index: Index, network_id: str) -> bool:
    """Whether a port on this host gets the network's unknown unicast."""
    ports = index.rows("ports", "open_here", network_id)
    return any(index.is_up(port) for port in ports)


_OF_HOSTS = (Domain.HOSTS, Domain.OPEN_HOSTS)
WIRE = 1
"""Number of a physical network's bucket; no host has it, as theirs are their tunnel addresses."""


def floods(index: Index, network: Network) -> Iterator[Flow | Group | Bucket]:
    """L2: broadcast, multicast, and unicast to addresses that no port has; to devices, hosts or the wire."""
    why = origin(network)
    devices, hosts = shards_of_devices(index, network.id), shards_of_hosts(index, network.id)
    for domain in Domain:
        for group in domain.groups(network, hosts if domain in _OF_HOSTS else devices):
            yield Group(bridge=INTEGRATION_BRIDGE, group=group.group, origin=why)
    everybody = Match(net=network.key, eth_dst=GROUP_ADDRESS)
    asking = Match(net=network.key, eth_type="arp", eth_dst=GROUP_ADDRESS)
    for match, near, far, priority in (
        (asking, Domain.ARP, Domain.HOSTS, Priority.SPECIAL),
        (everybody, Domain.DEVICES, Domain.HOSTS, Priority.NORMAL),
        (Match(net=network.key), Domain.OPEN_DEVICES, Domain.OPEN_HOSTS, Priority.PORT_DEFAULT),
    ):
        here, elsewhere = near.groups(network, devices), far.groups(network, hosts)
        yield flow(Stage.L2, priority, replace(match, remote=1), *here, origin=why)
        yield flow(Stage.L2, priority, replace(match, remote=0), *here, *elsewhere, origin=why)
    if network.network_type in TUNNELS:
        for domain, places in (
            (Domain.HOSTS, hosts_with(index, network.id)),
            (Domain.OPEN_HOSTS, index.members("open_places", network.id)),
        ):
            ends = dict.fromkeys(index.tunnel_ips(p for p in places if p != index.host))
            for ip, number in _numbered(ends):
                yield bucket(domain, network, hosts, number, *to_host(network, ip), origin=why)
    elif network.admin_state_up and (wire := to_wire(index, network)):
        for domain in _OF_HOSTS:
            yield bucket(domain, network, hosts, WIRE, *wire, origin=why)


_FOLDED = 2**31 - 1
"""Largest number of a bucket that is made of an IPv6 address; OpenFlow's largest is a little below 2**32."""


def _numbered(ends: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Tunnel ends with the numbers of their buckets: an IPv4 address is its own, an IPv6 address folded to 31 bits.

    The number of one hardly ever depends on the others: only where two IPv6 addresses fold to the same.
    """
    taken: set[int] = set()
    for address in sorted(map(ip_address, ends), key=lambda end: (end.version, int(end))):
        number = int(address)
        while address.version == 6 and number > _FOLDED:
            number = (number >> _FOLDED.bit_length()) ^ (number & _FOLDED)
        while number in taken:
            number = (number + 1) & _FOLDED
        taken.add(number)
        yield str(address), number


def receiver(index: Index, network: Network, port: Port) -> Iterator[Bucket]:
    """A port on this host that is up as a receiver in its network's broadcast domains."""
    ruled, unasked = to_device(port), out_of(port.key)
    ways = {Domain.DEVICES: ruled, Domain.ARP: unasked}
    if is_promiscuous(port):
        ways[Domain.OPEN_DEVICES] = ruled
    if port.device_owner not in NAMESPACE_OWNERS:
        ways[Domain.DHCP] = unasked
    shards = shards_of_devices(index, network.id)
    for domain, way in ways.items():
        yield bucket(domain, network, shards, port.key, *way, origin=origin(port))
