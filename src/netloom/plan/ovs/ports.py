"""Ports: their devices on br-int, which network a frame of theirs is in, and what they may claim to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netloom.model.family import FAMILIES, V4, V6, Family, link_local
from netloom.model.hoststate import Flow, HostObject, Interface, Zone
from netloom.model.names import INTEGRATION_BRIDGE, NAMESPACE_OWNERS
from netloom.model.networking import Network, Port
from netloom.model.openflow import (
    Action,
    ForgetInPort,
    Goto,
    Load,
    Match,
    Output,
    PopVlan,
    PushVlan,
)
from netloom.plan import qos
from netloom.plan.index import Index, device_of, is_trusted, of_host, origin
from netloom.plan.ovs import limits
from netloom.plan.ovs.bridges import flow, output
from netloom.plan.ovs.pipeline import Priority, Stage
from netloom.plan.sets import allowed_sources, wire_of

ICMPV6, UDP = 58, 17
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
LISTENER_REPORTS = (131, 132, 143)
"""Multicast listener discovery: who says that it hears a group, or no longer (RFC 2710, RFC 3810)."""
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
    if not port.trunk_parent:
        yield interface(index, network, port)
    yield from classify(index, network, port)
    if not is_trusted(port):
        yield Zone(name=port.id, origin=origin(port))
    refusal = qos.not_kept(port, qos.of_port(index, network, port))
    if refusal is not None:
        yield refusal
    if index.is_up(port):
        yield from out(index, network, port)
        if not is_trusted(port):
            yield from port_security(port)


def interface(index: Index, network: Network, port: Port) -> Interface:
    """The port's device on br-int.

    An instance of ours gets a veth; a port whose server we do not run is plugged by somebody else
    (os-vif, known by its iface-id), so we only wait for it; routers get internal ports.
    """
    of_router = port.device_owner in NAMESPACE_OWNERS
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


def dhcp_device(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    """The device of a network's DHCP on br-int."""
    yield Interface(
        bridge=INTEGRATION_BRIDGE,
        name=device_of(port),
        type="internal",
        external_ids={
            "attached-mac": port.mac_address,
            "iface-id": port.id,
            "iface-status": "active",
        },
        mtu=network.mtu,
        origin=origin(port, network),
        aspect="dhcp",
    )
    yield from classify(index, network, port, Stage.LOCAL)
    yield output(port.key, device_of(port), origin(port))


def classify(
    index: Index, network: Network, port: Port, stage: Stage | None = None
) -> Iterator[HostObject]:
    """CLASSIFY: frames of a device get their network.

    Tagged ones are a subport's, where there is one with that tag; others match nothing: no hopping of VLANs.
    """
    tagged = Match(in_port=wire_of(port), vlan=port.trunk_vlan)
    if not index.is_up(port):
        because = origin(port) if not port.admin_state_up else origin(network)
        match = tagged if port.trunk_id else Match(in_port=wire_of(port))
        yield flow(Stage.CLASSIFY, Priority.NORMAL, match, origin=because)
        return
    following = stage or (Stage.LOCAL if is_trusted(port) else Stage.PORT_SECURITY)
    onward, objects = limits.sent(index, network, port, (Goto(int(following)),))
    yield flow(
        Stage.CLASSIFY,
        Priority.NORMAL,
        tagged,
        *((PopVlan(),) if port.trunk_vlan else ()),
        Load("net", network.key),
        Load("src_port", port.key),
        *onward,
        origin=origin(port),
    )
    yield from objects


def way_out(port: Port) -> tuple[Action, ...]:
    """How frames leave by a port's device."""
    if not port.trunk_id:
        return (Output(device_of(port)),)
    tag = (PushVlan(port.trunk_vlan),) if port.trunk_vlan else ()
    return (ForgetInPort(), *tag, Output(wire_of(port)))


def out(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    """OUTPUT: which device a port's key stands for, and how frames leave by it.

    The ports of a trunk share a device. What one of them sends to another leaves by the device that it came by; what comes
    back to the very port that sent it (a broadcast) does not.
    """
    way = way_out(port)
    if port.trunk_id:
        itself = Match(src_port=port.key, dst_port=port.key)
        yield flow(Stage.OUTPUT, Priority.SPECIAL, itself, origin=origin(port))
    yield from limits.out_of_limits(port, limits.received(index, network, port, way))
    yield flow(Stage.OUTPUT, Priority.NORMAL, Match(dst_port=port.key), *way, origin=origin(port))


def port_security(port: Port) -> Iterator[Flow]:
    """PORT_SECURITY: only the port's own MAC with its own addresses, and its allowed address pairs."""
    for family in FAMILIES:
        yield from _sources(port, family)
    yield flow(
        Stage.PORT_SECURITY, Priority.PORT_DEFAULT, Match(src_port=port.key), origin=origin(port)
    )


def _sources(port: Port, family: Family) -> Iterator[Flow]:
    """What a port may send of one family."""
    sources = allowed_sources(port, family)
    if family is V6:
        sources += link_locals(port, sources)
    if not sources and family is not V4:
        return
    key, kind, why = port.key, family.eth_type, origin(port)
    # A DHCP server's answer from an instance would hijack its neighbours' configuration.
    rogue = Match(src_port=key, eth_type=kind, ip_proto=UDP, tp_src=family.dhcp_server)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, rogue, origin=why)
    for mac, address in sources:
        speaks = Match(src_port=key, eth_src=mac, eth_type=kind, ip_src=address)
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks, _ONWARD, origin=why)
    if family is V4:
        yield from _arp(port, sources)
        yield from _before_an_address(port)
    else:
        yield from _neighbour_discovery(port, sources)
        yield from _before_a_source(port, sources)


_ONWARD = Goto(int(Stage.LOCAL))


def _arp(port: Port, sources: list[tuple[str, str]]) -> Iterator[Flow]:
    """ARP about own addresses alone."""
    for mac, address in sources:
        speaks = Match(src_port=port.key, eth_src=mac, eth_type="arp", arp_spa=address, arp_sha=mac)
        yield flow(Stage.PORT_SECURITY, Priority.NORMAL, speaks, _ONWARD, origin=origin(port))


def _before_an_address(port: Port) -> Iterator[Flow]:
    """What an instance sends before it has an IPv4 address: a request to DHCP, and ARP probes (RFC 5227)."""
    nothing = V4.any_address
    for mac in sorted({mac for mac, _ in allowed_sources(port)}):
        own: dict[str, Any] = {"src_port": port.key, "eth_src": mac}
        discover = Match(
            **own,
            eth_type=V4.eth_type,
            ip_src=nothing,
            ip_proto=UDP,
            tp_src=V4.dhcp_client,
            tp_dst=V4.dhcp_server,
        )
        probe = Match(**own, eth_type="arp", arp_op=1, arp_spa=nothing, arp_sha=mac)
        for match in (discover, probe):
            yield flow(Stage.PORT_SECURITY, Priority.NORMAL, match, _ONWARD, origin=origin(port))


def _neighbour_discovery(port: Port, sources: list[tuple[str, str]]) -> Iterator[Flow]:
    """No router advertisement, and a neighbour advertisement only about an address of the same pair.

    Else it would take a neighbour's place.
    """
    discovery: dict[str, Any] = {"src_port": port.key, "eth_type": "ipv6", "ip_proto": ICMPV6}
    why = origin(port)
    advertisement = Match(**discovery, icmp_type=ROUTER_ADVERTISEMENT)
    yield flow(Stage.PORT_SECURITY, Priority.REFUSE, advertisement, origin=why)
    answer: dict[str, Any] = {**discovery, "icmp_type": NEIGHBOUR_ADVERTISEMENT}
    for mac, address in sources:
        about = Match(**answer, eth_src=mac, ip_src=address, nd_target=address)
        yield flow(Stage.PORT_SECURITY, Priority.SPECIAL, about, _ONWARD, origin=why)
    yield flow(Stage.PORT_SECURITY, Priority.FRAGMENT, Match(**answer), origin=why)


def _before_a_source(port: Port, sources: list[tuple[str, str]]) -> Iterator[Flow]:
    """What an instance sends before an IPv6 address is its own: whether others have it, who routes, what it listens to.

    It may ask for its own addresses alone: whoever hears somebody ask for an address that it is about to take gives it up.
    """
    # A port without an IPv6 address has none to wait for.
    speaks = any(V6.has(fixed.ip_address) for fixed in port.fixed_ips)
    for mac in sorted({mac for mac, _ in sources if speaks}):
        own: dict[str, Any] = {"src_port": port.key, "eth_src": mac, "eth_type": V6.eth_type}
        own |= {"ip_src": V6.any_address, "ip_proto": ICMPV6}
        asks: list[dict[str, Any]] = [
            {"nd_target": address} for known, address in sources if known == mac
        ]
        kinds: list[dict[str, Any]] = [
            {"icmp_type": NEIGHBOUR_SOLICITATION, **about} for about in asks
        ]
        kinds += [{"icmp_type": kind} for kind in (ROUTER_SOLICITATION, *LISTENER_REPORTS)]
        for kind in kinds:
            match = Match(**own, **kind)
            yield flow(Stage.PORT_SECURITY, Priority.NORMAL, match, _ONWARD, origin=origin(port))


def link_locals(port: Port, sources: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The MAC addresses of a port with an IPv6 address, each with the address that it has on its link."""
    if not any(V6.has(fixed.ip_address) for fixed in port.fixed_ips):
        return []
    found = {(mac, link_local(mac)) for mac, _ in sources}
    return sorted(found - set(sources))
