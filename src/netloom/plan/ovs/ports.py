"""Ports: their devices on br-int, which network a frame of theirs is in, and what they may claim to be."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from netloom.model.hoststate import Flow, HostObject, Interface
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import Network, Port
from netloom.model.openflow import Goto, Load, Match
from netloom.plan.index import Index, addresses_of, device_of, is_trusted, origin
from netloom.plan.ovs.bridges import flow
from netloom.plan.ovs.pipeline import Priority, Stage

ICMPV6, UDP = 58, 17
ROUTER_ADVERTISEMENT = 134
NEIGHBOUR_ADVERTISEMENT = 136
EXTENSION_HEADERS = (0, 43, 44, 60)
"""IPv6 headers before the one that flows look at: hop-by-hop, routing, fragment, destination options."""


def plan_ports(index: Index) -> Iterator[HostObject]:
    """Interfaces and the first two stages for every instance's port on this host."""
    for header in EXTENSION_HEADERS:
        # A first fragment that hides what it is in the second one, past what is refused below (RFC 7112).
        hidden = Match(eth_type="ipv6", ip_frag="first", ip_proto=header)
        origin_ = (f"host/{index.host}",)
        yield flow(Stage.PORT_SECURITY, Priority.REFUSE, hidden, origin=origin_)
    for network in index.networks:
        for port in index.local_ports[network.id]:
            yield interface(index, network, port)
            yield from classify(index, network, port)
            if index.is_up(port) and not is_trusted(port):
                yield from port_security(port)


def interface(index: Index, network: Network, port: Port) -> Interface:
    """The port's device on br-int.

    An instance of ours gets a veth; a port whose server we do not run is plugged by somebody else
    (os-vif, known by its iface-id), so we only wait for it; routers get internal ports.
    """
    trusted_router = device_of(port).startswith("q")
    server = index.server_of.get(port.id)
    ours = server is not None
    return Interface(
        bridge=INTEGRATION_BRIDGE,
        name=device_of(port),
        type="internal" if trusted_router or not ours else "veth",
        external_ids={
            "attached-mac": port.mac_address,
            "iface-id": port.id,
            "iface-status": "active",
            "vm-uuid": server.id if server else port.device_id,
        },
        mtu=network.mtu,
        expected=not trusted_router and not ours,
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
        Load("src_port", device),
        Goto(int(following)),
        origin=origin(port),
    )


def port_security(port: Port) -> Iterator[Flow]:
    """PORT_SECURITY: only the port's own MAC with its own addresses, and its allowed address pairs."""
    device, why = device_of(port), origin(port)
    onward = Goto(int(Stage.LOCAL))
    # A DHCP server's answer from an instance would hijack its neighbours' configuration.
    rogue = Match(src_port=device, eth_type="ip", ip_proto=UDP, tp_src=67)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, rogue, origin=why)
    for mac, address in allowed_sources(port):
        if ":" in address:
            yield from _ipv6_source(port, mac, address)
            continue
        speaks_ip = Match(src_port=device, eth_src=mac, eth_type="ip", ip_src=address)
        speaks_arp = Match(
            src_port=device, eth_src=mac, eth_type="arp", arp_spa=address, arp_sha=mac
        )
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks_ip, onward, origin=why)
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks_arp, onward, origin=why)
    for mac in sorted({mac for mac, _ in allowed_sources(port)}):
        discover = Match(
            src_port=device,
            eth_src=mac,
            eth_type="ip",
            ip_src="0.0.0.0",
            ip_proto=UDP,
            tp_src=68,
            tp_dst=67,
        )
        probe = Match(
            src_port=device, eth_src=mac, eth_type="arp", arp_op=1, arp_spa="0.0.0.0", arp_sha=mac
        )
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, discover, onward, origin=why)
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, probe, onward, origin=why)
    yield flow(Stage.PORT_SECURITY, Priority.PORT_DEFAULT, Match(src_port=device), origin=why)


def _ipv6_source(port: Port, mac: str, address: str) -> Iterator[Flow]:
    """An IPv6 address pair. Router advertisements and DHCPv6 answers stay forbidden.

    A neighbour advertisement must be about an address of the same pair: else it would take a neighbour's place.
    """
    device, why = device_of(port), origin(port)
    advertisement = Match(
        src_port=device, eth_type="ipv6", ip_proto=ICMPV6, icmp_type=ROUTER_ADVERTISEMENT
    )
    answer = Match(src_port=device, eth_type="ipv6", ip_proto=UDP, tp_src=547)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, advertisement, origin=why)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, answer, origin=why)
    onward = Goto(int(Stage.LOCAL))
    about = Match(
        src_port=device,
        eth_src=mac,
        eth_type="ipv6",
        ip_src=address,
        ip_proto=ICMPV6,
        icmp_type=NEIGHBOUR_ADVERTISEMENT,
        nd_target=address,
    )
    lie = Match(
        src_port=device, eth_type="ipv6", ip_proto=ICMPV6, icmp_type=NEIGHBOUR_ADVERTISEMENT
    )
    yield flow(Stage.PORT_SECURITY, Priority.SPECIAL, about, onward, origin=why)
    yield flow(Stage.PORT_SECURITY, Priority.FRAGMENT, lie, origin=why)
    speaks = Match(src_port=device, eth_src=mac, eth_type="ipv6", ip_src=address)
    yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks, onward, origin=why)


def allowed_sources(port: Port) -> list[tuple[str, str]]:
    """MAC and address (or CIDR) that a port may send from, sorted, without repetition."""
    own = {(port.mac_address, address) for address in addresses_of(port)}
    pairs = {
        (canonical_mac(pair.mac_address or port.mac_address), canonical(pair.ip_address))
        for pair in port.allowed_address_pairs
    }
    return sorted(own | pairs)


def canonical(address: str) -> str:
    """An address or CIDR with host bits cleared, and without the length where it is one address."""
    network = ipaddress.ip_network(address, strict=False)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def canonical_mac(mac: str) -> str:
    """A MAC address with colons and small letters, however it was written."""
    digits = "".join(character for character in mac.lower() if character in "0123456789abcdef")
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def foreign_macs(port: Port) -> set[str]:
    """MAC addresses that a port may use beside its own."""
    pairs = {pair.mac_address for pair in port.allowed_address_pairs if pair.mac_address}
    return {canonical_mac(mac) for mac in pairs} - {port.mac_address}
