"""Ports: their devices on br-int, which network a frame of theirs is in, and what they may claim to be."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.hoststate import Flow, HostObject, Interface, Zone
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import Network, Port
from netloom.model.openflow import Goto, Load, Match
from netloom.plan.index import ROUTER_OWNERS, Index, device_of, is_trusted, of_host, origin
from netloom.plan.ovs.bridges import flow, output
from netloom.plan.ovs.pipeline import Priority, Stage
from netloom.plan.sets import allowed_sources

ICMPV6, UDP = 58, 17
ROUTER_ADVERTISEMENT = 134
NEIGHBOUR_ADVERTISEMENT = 136
EXTENSION_HEADERS = (0, 43, 44, 60)
"""IPv6 headers before the one that flows look at: hop-by-hop, routing, fragment, destination options."""


def hidden_headers(index: Index) -> Iterator[Flow]:
    """PORT_SECURITY: first fragments that hide what they are in the second one, past what is refused below (RFC 7112)."""
    for header in EXTENSION_HEADERS:
        hidden = Match(eth_type="ipv6", ip_frag="first", ip_proto=header)
        why = of_host(index.host)
        yield flow(Stage.PORT_SECURITY, Priority.REFUSE, hidden, origin=why)


def plan_port(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    """Interface and the first two stages of an instance's or router's port on this host."""
    yield interface(index, network, port)
    yield from classify(index, network, port)
    if not is_trusted(port):
        yield Zone(name=port.id, origin=origin(port))
    if index.is_up(port):
        yield output(port.key, device_of(port), origin(port))
        if not is_trusted(port):
            yield from port_security(port)


def interface(index: Index, network: Network, port: Port) -> Interface:
    """The port's device on br-int.

    An instance of ours gets a veth; a port whose server we do not run is plugged by somebody else
    (os-vif, known by its iface-id), so we only wait for it; routers get internal ports.
    """
    of_router = port.device_owner in ROUTER_OWNERS
    server = index.server_of(port.id)
    ours = server is not None
    return Interface(
        bridge=INTEGRATION_BRIDGE,
        name=device_of(port),
        type="internal" if of_router or not ours else "veth",
        external_ids={
            "attached-mac": port.mac_address,
            "iface-id": port.id,
            "iface-status": "active",
            "vm-uuid": server.id if server else port.device_id,
        },
        mtu=network.mtu,
        expected=not of_router and not ours,
        origin=origin(port),
    )


def classify(
    index: Index, network: Network, port: Port, stage: Stage | None = None
) -> Iterator[Flow]:
    """CLASSIFY: frames of a device get their network. Tagged frames match nothing: no hopping of VLANs."""
    device = device_of(port)
    if not index.is_up(port):
        because = origin(port) if not port.admin_state_up else origin(network)
        yield flow(Stage.CLASSIFY, Priority.NORMAL, Match(in_port=device), origin=because)
        return
    following = stage or (Stage.LOCAL if is_trusted(port) else Stage.PORT_SECURITY)
    yield flow(
        Stage.CLASSIFY,
        Priority.NORMAL,
        Match(in_port=device, vlan=0),
        Load("net", network.key),
        Load("src_port", port.key),
        Goto(int(following)),
        origin=origin(port),
    )


def port_security(port: Port) -> Iterator[Flow]:
    """PORT_SECURITY: only the port's own MAC with its own addresses, and its allowed address pairs."""
    key, why = port.key, origin(port)
    onward = Goto(int(Stage.LOCAL))
    # A DHCP server's answer from an instance would hijack its neighbours' configuration.
    rogue = Match(src_port=key, eth_type="ip", ip_proto=UDP, tp_src=67)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, rogue, origin=why)
    for mac, address in allowed_sources(port):
        if ":" in address:
            yield from _ipv6_source(port, mac, address)
            continue
        speaks_ip = Match(src_port=key, eth_src=mac, eth_type="ip", ip_src=address)
        speaks_arp = Match(src_port=key, eth_src=mac, eth_type="arp", arp_spa=address, arp_sha=mac)
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks_ip, onward, origin=why)
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks_arp, onward, origin=why)
    for mac in sorted({mac for mac, _ in allowed_sources(port)}):
        discover = Match(
            src_port=key,
            eth_src=mac,
            eth_type="ip",
            ip_src="0.0.0.0",
            ip_proto=UDP,
            tp_src=68,
            tp_dst=67,
        )
        probe = Match(
            src_port=key, eth_src=mac, eth_type="arp", arp_op=1, arp_spa="0.0.0.0", arp_sha=mac
        )
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, discover, onward, origin=why)
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, probe, onward, origin=why)
    yield flow(Stage.PORT_SECURITY, Priority.PORT_DEFAULT, Match(src_port=key), origin=why)


def _ipv6_source(port: Port, mac: str, address: str) -> Iterator[Flow]:
    """An IPv6 address pair. Router advertisements and DHCPv6 answers stay forbidden.

    A neighbour advertisement must be about an address of the same pair: else it would take a neighbour's place.
    """
    key, why = port.key, origin(port)
    advertisement = Match(
        src_port=key, eth_type="ipv6", ip_proto=ICMPV6, icmp_type=ROUTER_ADVERTISEMENT
    )
    answer = Match(src_port=key, eth_type="ipv6", ip_proto=UDP, tp_src=547)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, advertisement, origin=why)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, answer, origin=why)
    onward = Goto(int(Stage.LOCAL))
    about = Match(
        src_port=key,
        eth_src=mac,
        eth_type="ipv6",
        ip_src=address,
        ip_proto=ICMPV6,
        icmp_type=NEIGHBOUR_ADVERTISEMENT,
        nd_target=address,
    )
    lie = Match(src_port=key, eth_type="ipv6", ip_proto=ICMPV6, icmp_type=NEIGHBOUR_ADVERTISEMENT)
    yield flow(Stage.PORT_SECURITY, Priority.SPECIAL, about, onward, origin=why)
    yield flow(Stage.PORT_SECURITY, Priority.FRAGMENT, lie, origin=why)
    speaks = Match(src_port=key, eth_src=mac, eth_type="ipv6", ip_src=address)
    yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks, onward, origin=why)
