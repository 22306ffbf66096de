"""LOCAL and DELIVER: ARP, DHCP and metadata are answered on the instance's own host.

No such packet ever reaches a tunnel or another host. Who asks for metadata is known from the device that
the packet came from and the port's own MAC and addresses; allowed address pairs do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from netloom.model.family import V4, V6, Family
from netloom.model.hosts import Aspect
from netloom.model.hoststate import Flow
from netloom.model.names import NAMESPACE_OWNERS, OWNER_DHCP
from netloom.model.networking import Network, Port
from netloom.model.openflow import ArpReply, Goto, Load, Match, SetEth
from netloom.plan.index import (
    Index,
    addresses_of,
    hosts_with,
    origin,
    own_addresses,
    remembered,
)
from netloom.plan.ovs.bridges import flow, out_of
from netloom.plan.ovs.pipeline import (
    BROADCAST,
    GROUP_ADDRESS,
    Domain,
    Priority,
    Stage,
    shards_for,
)
from netloom.plan.sets import is_served

TCP, UDP, ICMPV6 = 6, 17, 58
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136


def network_services(index: Index, network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """What both stages do for a network that is present and up, whatever ports are here."""
    for family in index.families_of(network.id):
        for asks in (
            _requests(network, dhcp_port, family) if served(index, network.id, family) else ()
        ):
            why = origin(dhcp_port, network)
            yield flow(Stage.LOCAL, Priority.NORMAL, asks, origin=why, aspect="dhcp")
        other = Match(net=network.key, eth_type=family.eth_type, ip_dst=family.metadata)
        why = origin(network)
        yield flow(Stage.LOCAL, Priority.NORMAL + 1, other, origin=why, aspect="metadata")
        if family is V6:
            yield from _who_serves(network, dhcp_port)
    yield flow(
        Stage.EGRESS,
        Priority.NORMAL,
        Match(src_port=dhcp_port.key, eth_src=dhcp_port.mac_address),
        Goto(int(Stage.DELIVER)),
        origin=origin(dhcp_port),
    )


def port_services(index: Index, network: Network, port: Port, dhcp_port: Port) -> Iterator[Flow]:
    """What both stages do for a port on this host that is up."""
    for family in index.families_of(network.id):
        if port.device_owner not in NAMESPACE_OWNERS:
            if served(index, network.id, family):
                yield from dhcp_requests(network, port, dhcp_port, family)
            yield from metadata(network, port, dhcp_port, family)
        yield from deliver(network, port, dhcp_port, family)


def served(index: Index, network_id: str, family: Family) -> bool:
    """Whether DHCP serves a subnet of a family of the network."""
    return any(is_served(subnet) for subnet in index.subnets_of(network_id, family))


def arp(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """Known IPv4 addresses are answered here, so that a question seldom crosses a tunnel.

    Addresses that ports share by allowed address pairs are left to whoever has them at the moment.
    """
    dhcp = port.device_owner == OWNER_DHCP and index.dhcp_port_of(network.id) is port
    if not dhcp and not (index.places(port) and index.is_up(port)):
        return
    for address in addresses_of(port, V4):
        if index.is_shared(network.id, address):
            continue
        asked = Match(net=network.key, eth_type="arp", arp_op=1, arp_tpa=address)
        answer = ArpReply(port.mac_address, address, int(Stage.OUTPUT))
        yield flow(Stage.LOCAL, Priority.NORMAL, asked, answer, origin=origin(port))
        if index.is_here(port):
            # What announces its own address must be heard by all, not answered by itself.
            own = Match(src_port=port.key, eth_type="arp", arp_op=1, arp_tpa=address)
            onward = Goto(int(Stage.EGRESS))
            yield flow(Stage.LOCAL, Priority.SPECIAL, own, onward, origin=origin(port))
    if dhcp:
        asked = Match(net=network.key, eth_type="arp", arp_op=1, arp_tpa=V4.metadata)
        answer = ArpReply(port.mac_address, V4.metadata, int(Stage.OUTPUT))
        yield flow(Stage.LOCAL, Priority.NORMAL, asked, answer, origin=origin(port))


def _who_serves(network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """Questions for the DHCP device's IPv6 addresses go to it: it answers on every host for itself."""
    why = origin(dhcp_port, network)
    asked = Match()
    for address in (*own_addresses(dhcp_port, V6), V6.metadata):
        asked = Match(
            net=network.key,
            eth_type=V6.eth_type,
            ip_proto=ICMPV6,
            icmp_type=NEIGHBOUR_SOLICITATION,
            nd_target=address,
        )
        yield flow(Stage.LOCAL, Priority.SPECIAL, asked, *out_of(dhcp_port.key), origin=why)
    # It asks for its clients in that name, too.
    answer = replace(asked, icmp_type=NEIGHBOUR_ADVERTISEMENT, nd_target=None, ip_dst=V6.metadata)
    yield flow(Stage.LOCAL, Priority.SPECIAL, answer, *out_of(dhcp_port.key), origin=why)


def _names(dhcp_port: Port, family: Family) -> list[str]:
    """The addresses in whose name the DHCP device speaks: in IPv6 the kernel may choose that of metadata."""
    own = own_addresses(dhcp_port, family)
    return [*own, family.metadata] if family is V6 else own


@remembered(3)
def shards_of_devices(index: Index, network_id: str) -> int:
    """Over how many groups the devices here of a network are spread."""
    return shards_for(index.count("here", network_id) + len(index.spread_here(network_id)))


@remembered(3)
def shards_of_hosts(index: Index, network_id: str) -> int:
    """Over how many groups the other hosts with a network are spread."""
    return shards_for(len(hosts_with(index, network_id)))


def _requests(network: Network, dhcp_port: Port, family: Family) -> Iterator[Match]:
    """Requests for addresses, to everybody or to the server's own address."""
    for address in (family.dhcp_everybody, *own_addresses(dhcp_port, family)):
        yield Match(
            net=network.key,
            eth_type=family.eth_type,
            ip_dst=address,
            ip_proto=UDP,
            tp_src=family.dhcp_client,
            tp_dst=family.dhcp_server,
        )


def dhcp_requests(network: Network, port: Port, dhcp_port: Port, family: Family) -> Iterator[Flow]:
    """Requests of a port's own MAC address, to everybody or to the server's own address, go to the DHCP device.

    Those of any other MAC address nobody hears. The DHCP server's namespace compares that address with the one in the message.
    What is for other addresses only looks like a question to the server.
    """
    for asks in _requests(network, dhcp_port, family):
        yield flow(
            Stage.LOCAL,
            Priority.SPECIAL,
            replace(asks, net=None, src_port=port.key, eth_src=port.mac_address),
            *out_of(dhcp_port.key),
            origin=origin(port, dhcp_port),
            aspect="dhcp",
        )


def metadata(network: Network, port: Port, dhcp_port: Port, family: Family) -> Iterator[Flow]:
    """Requests go to the DHCP device, to whichever MAC the instance sent them (the router's, mostly)."""
    for address in own_addresses(port, family):
        match = Match(
            src_port=port.key,
            eth_src=port.mac_address,
            eth_type=family.eth_type,
            ip_src=address,
            ip_dst=family.metadata,
            ip_proto=TCP,
            tp_dst=80,
        )
        yield flow(
            Stage.LOCAL,
            Priority.SPECIAL,
            match,
            SetEth(dst=dhcp_port.mac_address),
            *out_of(dhcp_port.key),
            origin=origin(port, network),
            aspect="metadata",
        )


def deliver(network: Network, port: Port, dhcp_port: Port, family: Family) -> Iterator[Flow]:
    """What the DHCP device sends reaches devices of this host only, and only answers pass the security groups.

    All else that it sends from its own addresses, as an operator's ping, meets the rules of the instance like
    anybody's. What it forwards for others, were it ever made to, comes from no address of its own: it is dropped.
    """
    own = _names(dhcp_port, family)
    to_port: dict[str, Any] = {"net": network.key, "eth_dst": port.mac_address}
    output = out_of(port.key)
    ruled = (Load("dst_port", port.key), Goto(int(Stage.INGRESS)))
    both = origin(port, dhcp_port)
    if port.device_owner not in NAMESPACE_OWNERS:
        for answer, aspect in _answers(own, family):
            match = Match(**to_port, **answer)
            yield flow(Stage.DELIVER, Priority.SPECIAL, match, *output, origin=both, aspect=aspect)
    for claim in _claims(own, family):
        match = Match(**to_port, **claim)
        yield flow(Stage.DELIVER, Priority.NORMAL, match, *ruled, origin=both)


def deliver_to_all(index: Index, network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """What the DHCP device sends to everybody: answers, and questions for addresses that nobody answers for here."""
    shards = shards_of_devices(index, network.id)
    to_clients = Domain.DHCP.groups(network, shards)
    to_all = Domain.ARP.groups(network, shards)
    # To everybody: IPv4 alone has broadcasts.
    for address in addresses_of(dhcp_port, V4):
        answer = Match(
            net=network.key,
            eth_dst=BROADCAST,
            eth_type=V4.eth_type,
            ip_src=address,
            ip_proto=UDP,
            tp_src=V4.dhcp_server,
            tp_dst=V4.dhcp_client,
        )
        why = origin(dhcp_port)
        yield flow(Stage.DELIVER, Priority.NORMAL, answer, *to_clients, origin=why, aspect="dhcp")
        # Who has an address that nobody answers for here, as one that ports share.
        question = Match(
            net=network.key,
            eth_dst=BROADCAST,
            eth_type="arp",
            arp_spa=address,
            arp_sha=dhcp_port.mac_address,
        )
        yield flow(Stage.DELIVER, Priority.NORMAL, question, *to_all, origin=why)
    for address in _names(dhcp_port, V6) if V6 in index.families_of(network.id) else ():
        question = Match(
            net=network.key,
            eth_dst=GROUP_ADDRESS,
            eth_type=V6.eth_type,
            ip_src=address,
            ip_proto=ICMPV6,
            icmp_type=NEIGHBOUR_SOLICITATION,
        )
        yield flow(Stage.DELIVER, Priority.NORMAL, question, *to_all, origin=origin(dhcp_port))


def _answers(own: list[str], family: Family) -> Iterator[tuple[dict[str, Any], Aspect]]:
    """What an answer of DHCP or of metadata looks like, with its aspect."""
    kind, ports = family.eth_type, {"tp_src": family.dhcp_server, "tp_dst": family.dhcp_client}
    for address in own:
        yield {"eth_type": kind, "ip_src": address, "ip_proto": UDP, **ports}, "dhcp"
    metadata = {"eth_type": kind, "ip_src": family.metadata, "ip_proto": TCP, "tp_src": 80}
    yield metadata, "metadata"


def _claims(own: list[str], family: Family) -> Iterator[dict[str, Any]]:
    """What else comes from the DHCP device's own addresses."""
    for address in own:
        yield {"eth_type": family.eth_type, "ip_src": address}
        if family is V4:
            yield {"eth_type": "arp", "arp_spa": address}
