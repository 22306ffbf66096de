"""Layer 2: which network a frame from outside belongs to, and where a MAC address is.

Known addresses go straight to a device or to their host's tunnel. Broadcasts go to each local device
and once to each host that has the network (to the wire, on a physical network). What came from outside
(`remote`) never goes out again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netloom.model.hoststate import Flow
from netloom.model.names import OWNER_DHCP
from netloom.model.networking import Network, Port
from netloom.model.openflow import Action, Goto, Load, Match, Output, PopVlan, PushVlan, SetTunnel
from netloom.plan.index import TUNNELS, Index, addresses_of, device_of, origin, remembered
from netloom.plan.ovs.bridges import flow, integration_patch, tunnel_port
from netloom.plan.ovs.pipeline import GROUP_ADDRESS, Priority, Stage
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
    return (*tag, Output(integration_patch(bridge)))


def to_hosts(network: Network, tunnel_ips: list[str]) -> tuple[Action, ...]:
    """One copy through the tunnel to each of these hosts."""
    key = network.segmentation_id or 0
    port = tunnel_port(network.network_type)
    return tuple(step for ip in tunnel_ips for step in (SetTunnel(key, ip), Output(port)))


def to_devices(ports: list[Port]) -> tuple[Action, ...]:
    """One copy to each of these devices, through their own rules."""
    return tuple(
        step
        for port in ports
        for step in (Load("dst_port", device_of(port)), Goto(int(Stage.INGRESS)))
    )


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
    place = index.location(port)
    here = Match(net=network.key, eth_dst=port.mac_address)
    outward = Match(net=network.key, eth_dst=port.mac_address, remote=0)
    if port.device_owner == OWNER_DHCP and index.dhcp_port_of(network.id) is port:
        # Its own host's instances reach it; every other host has one of its own.
        to_device = (Load("dst_port", device_of(port)), Goto(int(Stage.OUTPUT)))
        for what in _for_services(port) if index.is_up(port) else ():
            match = Match(net=network.key, eth_dst=port.mac_address, remote=0, **what)
            yield flow(Stage.L2, Priority.NORMAL, match, *to_device, origin=origin(port))
        yield flow(Stage.L2, Priority.RULES, here, origin=origin(port))
    elif place and not index.is_up(port):
        yield flow(Stage.L2, Priority.NORMAL, here, origin=origin(port))
    elif place == index.host:
        yield flow(Stage.L2, Priority.NORMAL, here, *to_devices([port]), origin=origin(port))
    elif place and network.network_type in TUNNELS:
        ips = index.tunnel_ips([place])
        why = (*origin(port), f"host/{place}")
        yield flow(Stage.L2, Priority.NORMAL, outward, *to_hosts(network, ips), origin=why)
    elif place and open_here(index, network.id):
        # Known to be out on the wire: not for those here that get unknown addresses.
        why = (*origin(port), f"host/{place}")
        yield flow(Stage.L2, Priority.NORMAL, outward, *to_wire(index, network), origin=why)


def _for_services(dhcp_port: Port) -> Iterator[dict[str, Any]]:
    """What may reach the DHCP device: nobody takes it for a router, whatever its namespace is set to."""
    yield {"eth_type": "arp"}
    for address in addresses_of(dhcp_port):
        yield {"eth_type": "ip", "ip_dst": address}


@remembered(1)
def open_here(index: Index, network_id: str) -> bool:
    """Whether a port on this host gets the network's unknown unicast."""
    ports = index.rows("ports", "open_here", network_id)
    return any(index.is_up(port) for port in ports)


def floods(index: Index, network: Network) -> Iterator[Flow]:
    """L2: broadcast, multicast, and unicast to addresses that no port has."""
    here = [port for port in index.local_ports(network.id) if index.is_up(port)]
    open_ports = [port for port in here if is_promiscuous(port)]
    open_hosts: list[str] = []
    everywhere: list[str] = []
    if network.network_type in TUNNELS:
        everywhere = index.remote_hosts(network.id)
        places = index.members("open_places", network.id)
        open_hosts = index.tunnel_ips(place for place in places if place != index.host)
    wire = to_wire(index, network) if network.admin_state_up else ()
    why = origin(network)
    # Copies to devices come first: pushing a VLAN tag changes the frame for what follows.
    for match, ports, ips, priority in (
        (Match(net=network.key, eth_dst=GROUP_ADDRESS), here, everywhere, Priority.NORMAL),
        (Match(net=network.key), open_ports, open_hosts, Priority.PORT_DEFAULT),
    ):
        inward = Match(net=network.key, eth_dst=match.eth_dst, remote=1)
        outward = Match(net=network.key, eth_dst=match.eth_dst, remote=0)
        local = to_devices(ports)
        yield flow(Stage.L2, priority, inward, *local, origin=why)
        yield flow(Stage.L2, priority, outward, *local, *to_hosts(network, ips), *wire, origin=why)
