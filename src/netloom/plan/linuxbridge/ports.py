"""Ports on a host: their devices in the bridge of their network, and what each may say and hear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netloom.model.family import FAMILIES, V4, V6, Family
from netloom.model.filtering import (
    ANSWER,
    INVALID,
    RELATED,
    FdbEntry,
    PortFilter,
    Rule,
    group_chain,
)
from netloom.model.hoststate import HostObject, Interface, Refusal
from netloom.model.names import OWNER_HA_INTERFACE, ROUTER_OWNERS, linux_bridge, tap
from netloom.model.networking import Network, Port, SecurityGroup
from netloom.model.openflow import Match
from netloom.model.origin import Origin
from netloom.plan.index import Index, addresses_of, device_of, is_trusted, origin
from netloom.plan.ovs.local import TCP, UDP, served
from netloom.plan.ovs.ports import ICMPV6, NEIGHBOUR_ADVERTISEMENT, ROUTER_ADVERTISEMENT
from netloom.plan.ovs.security_groups import NEIGHBOUR_DISCOVERY, is_stateless
from netloom.plan.sets import allowed_sources, is_promiscuous, service_device

SENDS = {"learning": "off", "flood": "off"}
"""Of a port whose MAC addresses are known: no frame makes the bridge believe otherwise, and none for unknown addresses reaches it."""


CARRIED = (V4,)
"""The families of the addresses that a host with Linux bridges carries; `left_out` says so of others."""


def left_out(port: Port) -> Iterator[Refusal]:
    """What of a port here is not carried: its IPv6 addresses."""
    if addresses := addresses_of(port, V6):
        yield Refusal(
            detail=f"{', '.join(addresses)}: a host with Linux bridges carries IPv4 alone",
            state="error",
            origin=origin(port),
        )


def plan_port(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    """Device and rules of an instance's or router's port on this host."""
    if port.trunk_parent:
        detail = (
            "a host with Linux bridges carries no subports of trunks: use one with Open vSwitch"
        )
        yield Refusal(detail=detail, state="error", origin=origin(port))
        return
    yield _interface(index, network, port)
    if not index.is_up(port):
        return  # without rules nothing passes
    if not _may_move(index, port):
        yield FdbEntry(device=tap(port.id), mac=port.mac_address, origin=origin(port))
    yield PortFilter(
        device=tap(port.id),
        mark=port.key,
        sender=tuple(_sender(index, network, port)),
        receiver=tuple(_receiver(index, network, port)),
        egress=None if is_trusted(port) else tuple(_tracked(index, network, port, "egress")),
        ingress=None if is_trusted(port) else tuple(_tracked(index, network, port, "ingress")),
        announces=tuple(_announces(index, port)),
        origin=origin(port),
    )


def _interface(index: Index, network: Network, port: Port) -> Interface:
    """The port's device in its bridge: an end of a pair, whose other end an instance or a namespace has.

    A port whose server we do not run is plugged by somebody else: we only wait for it.
    """
    of_router = port.device_owner in ROUTER_OWNERS
    ours = of_router or index.server_of(port.id) is not None
    learns = is_promiscuous(port) or _may_move(index, port)
    options = {} if learns else dict(SENDS)
    if of_router:
        options["peer"] = device_of(port)
    return Interface(
        bridge=linux_bridge(network.id),
        name=tap(port.id),
        type="veth",
        options=options,
        mtu=network.mtu,
        expected=not ours,
        origin=origin(port),
    )


def _announces(index: Index, port: Port) -> Iterator[tuple[str, str]]:
    """The addresses of an instance that nobody else may have; a router's devices announce their own."""
    if port.device_owner not in ROUTER_OWNERS:
        for address in addresses_of(port, V4):
            if not index.is_shared(port.network_id, address):
                yield port.mac_address, address


def _may_move(index: Index, port: Port) -> bool:
    """Whether a MAC address is on several hosts: which one of them speaks with it at the moment, bridges learn."""
    return len(index.places(port)) > 1


def dhcp_device(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    """The device of a network's DHCP in its bridge: it talks with devices of this host alone."""
    why = origin(port, network)
    yield Interface(
        bridge=linux_bridge(network.id),
        name=tap(port.id),
        type="veth",
        options=SENDS | {"peer": service_device(index.facts, port)},
        mtu=network.mtu,
        origin=why,
        aspect="dhcp",
    )
    yield FdbEntry(device=tap(port.id), mac=port.mac_address, origin=why, aspect="dhcp")
    own = [(family, [*addresses_of(port, family), family.metadata]) for family in CARRIED]
    everybody = [
        Match(
            eth_type=V4.eth_type,
            ip_dst=V4.dhcp_everybody,
            ip_proto=UDP,
            tp_src=V4.dhcp_client,
            tp_dst=V4.dhcp_server,
        )
    ]
    says = [Match(eth_type=f.eth_type, ip_src=a) for f, addresses in own for a in addresses]
    hears = [Match(eth_type=f.eth_type, ip_dst=a) for f, addresses in own for a in addresses]
    yield PortFilter(
        device=tap(port.id),
        mark=port.key,
        sender=(Rule(match=Match(eth_type="arp")), *(Rule(match=match) for match in says)),
        receiver=(
            Rule(verdict="drop", match=Match(remote=1)),
            Rule(match=Match(eth_type="arp")),
            *(Rule(match=match) for match in (*hears, *everybody)),
        ),
        origin=why,
        aspect="dhcp",
    )


# --- what a device sends -----------------------------------------------------------------------


def _sender(index: Index, network: Network, port: Port) -> Iterator[Rule]:
    yield from _services(index, network, port)
    if is_trusted(port):
        yield Rule(origin=origin(port))
        return
    for family in FAMILIES:
        yield from _sources(port, family)


def _services(index: Index, network: Network, port: Port) -> Iterator[Rule]:
    """DHCP and metadata: from the port's own MAC address alone, and metadata from its own addresses; nobody else is asked."""
    dhcp = index.dhcp_port_of(network.id)
    if dhcp is None or port.device_owner in ROUTER_OWNERS:
        return
    why = origin(port, dhcp)
    for family in CARRIED:
        for address in addresses_of(port, family):
            asks = Match(
                eth_src=port.mac_address,
                eth_type=family.eth_type,
                ip_src=address,
                ip_dst=family.metadata,
                ip_proto=TCP,
                tp_dst=80,
            )
            yield Rule(match=asks, eth_dst=dhcp.mac_address, origin=why)
        other = Match(eth_type=family.eth_type, ip_dst=family.metadata)
        yield Rule(verdict="drop", match=other, origin=why)
        if not served(index, network.id, family):
            continue
        for target in (family.dhcp_everybody, *addresses_of(dhcp, family)):
            match = Match(**_asks(family), eth_src=port.mac_address, ip_dst=target)
            yield Rule(match=match, origin=why)
        yield Rule(verdict="drop", match=Match(**_asks(family)), origin=why)


def _asks(family: Family) -> dict[str, Any]:
    """A request for an address."""
    ports = {"tp_src": family.dhcp_client, "tp_dst": family.dhcp_server}
    return {"eth_type": family.eth_type, "ip_proto": UDP, **ports}


def _says(family: Family) -> dict[str, Any]:
    """The answer to a request for an address."""
    ports = {"tp_src": family.dhcp_server, "tp_dst": family.dhcp_client}
    return {"eth_type": family.eth_type, "ip_proto": UDP, **ports}


def _sources(port: Port, family: Family) -> Iterator[Rule]:
    """What a secured port may send of one family: from its own MAC and addresses, and from its allowed address pairs."""
    sources = allowed_sources(port, family)
    if not sources and family not in CARRIED:
        return
    kind, why = family.eth_type, origin(port)
    # A DHCP server's answer from an instance would hijack its neighbours' configuration.
    rogue = Match(eth_type=kind, ip_proto=UDP, tp_src=family.dhcp_server)
    yield Rule(verdict="drop", match=rogue, origin=why)
    if family is not V4:
        yield from _neighbour_discovery(sources, why)
    for mac, address in sources:
        yield Rule(match=Match(eth_src=mac, eth_type=kind, ip_src=address), origin=why)
        if family is V4:
            speaks = Match(eth_src=mac, eth_type="arp", arp_spa=address, arp_sha=mac)
            yield Rule(match=speaks, origin=why)
    if family is V4:
        for mac in sorted({mac for mac, _ in allowed_sources(port)}):
            yield from _before_an_address(mac, why)


def _before_an_address(mac: str, why: tuple[Origin, ...]) -> Iterator[Rule]:
    """What an instance sends before it has an IPv4 address: a request to DHCP, and ARP probes (RFC 5227)."""
    yield Rule(match=Match(**_asks(V4), eth_src=mac, ip_src=V4.any_address), origin=why)
    probe = Match(eth_src=mac, eth_type="arp", arp_op=1, arp_spa=V4.any_address, arp_sha=mac)
    yield Rule(match=probe, origin=why)


def _neighbour_discovery(sources: list[tuple[str, str]], why: tuple[Origin, ...]) -> Iterator[Rule]:
    """No router advertisement, and a neighbour advertisement only about an address of the same pair."""
    discovery: dict[str, Any] = {"eth_type": "ipv6", "ip_proto": ICMPV6}
    forged = Match(**discovery, icmp_type=ROUTER_ADVERTISEMENT)
    yield Rule(verdict="drop", match=forged, origin=why)
    answer: dict[str, Any] = {**discovery, "icmp_type": NEIGHBOUR_ADVERTISEMENT}
    for mac, address in sources:
        about = Match(**answer, eth_src=mac, ip_src=address, nd_target=address)
        yield Rule(match=about, origin=why)
    yield Rule(verdict="drop", match=Match(**answer), origin=why)


# --- what reaches a device ---------------------------------------------------------------------


def _receiver(index: Index, network: Network, port: Port) -> Iterator[Rule]:
    """Frames about to leave by the device. Requests for addresses are for this host's DHCP alone."""
    why = origin(port)
    if port.device_owner == OWNER_HA_INTERFACE:
        # Each replica says several times a second that it is active: that is for its own router's others.
        for peer in index.router_ports(port.device_id):
            if peer.device_owner == OWNER_HA_INTERFACE and peer.id != port.id:
                yield Rule(match=Match(eth_src=peer.mac_address), origin=origin(port, peer))
        return
    yield from _answers(index, network, port)
    if index.dhcp_port_of(network.id) is not None:
        for family in CARRIED:
            if served(index, network.id, family):
                yield Rule(verdict="drop", match=Match(**_asks(family)), origin=why)
    if is_trusted(port):
        yield Rule(origin=why)
        return
    for kind in ("arp", *(family.eth_type for family in FAMILIES)):
        yield Rule(match=Match(eth_type=kind), origin=why)


# --- security groups ---------------------------------------------------------------------------


def _tracked(index: Index, network: Network, port: Port, direction: str) -> Iterator[Rule]:
    """What is asked of IP packets: only answers pass without a rule, so that a removed rule cuts what it let in."""
    why = origin(port)
    if not is_stateless(index, port):
        yield Rule(match=Match(ct_state=ANSWER), origin=why)
        yield Rule(match=Match(ct_state=RELATED), origin=why)
        yield Rule(verdict="drop", match=Match(ct_state=INVALID), origin=why)
    yield from _of_services(index, network, port, direction)
    for icmp_type in NEIGHBOUR_DISCOVERY:
        found = Match(eth_type="ipv6", ip_proto=ICMPV6, icmp_type=icmp_type)
        yield Rule(match=found, origin=why)
    for group in dict.fromkeys(port.security_groups):
        origins = (*why, Origin(SecurityGroup.KIND, group))
        yield Rule(verdict="jump", chain=group_chain(group, direction), origin=origins)
    groups = tuple(Origin(SecurityGroup.KIND, group) for group in sorted(port.security_groups))
    yield Rule(verdict="drop", origin=why + groups)


def _of_services(index: Index, network: Network, port: Port, direction: str) -> Iterator[Rule]:
    """DHCP and metadata are no rule's to let through. Who may ask was looked at before; `_answers` lets in what is answered."""
    dhcp = index.dhcp_port_of(network.id)
    for family in CARRIED:
        mine = dhcp is not None and served(index, network.id, family)
        if direction == "egress":
            yield Rule(match=Match(**_asks(family)), origin=origin(port))
        elif not mine:
            # Somebody else's DHCP serves this network.
            yield Rule(match=Match(**_says(family)), origin=origin(port))
        if direction == "egress" and dhcp is not None:
            asks: dict[str, Any] = {"ip_dst": family.metadata, "ip_proto": TCP, "tp_dst": 80}
            yield Rule(match=Match(eth_type=family.eth_type, **asks), origin=origin(port, dhcp))


def _answers(index: Index, network: Network, port: Port) -> Iterator[Rule]:
    """What the DHCP device answers, which no rule is asked about."""
    dhcp = index.dhcp_port_of(network.id)
    if dhcp is None or port.device_owner in ROUTER_OWNERS:
        return
    why = origin(port, dhcp)
    for family in CARRIED:
        for address in addresses_of(dhcp, family):
            match = Match(**_says(family), src_port=dhcp.key, ip_src=address)
            yield Rule(match=match, unasked=True, origin=why)
        says: dict[str, Any] = {"ip_src": family.metadata, "ip_proto": TCP, "tp_src": 80}
        match = Match(eth_type=family.eth_type, src_port=dhcp.key, **says)
        yield Rule(match=match, unasked=True, origin=why)
