"""LOCAL and DELIVER: ARP, DHCP and metadata are answered on the instance's own host.

No such packet ever reaches a tunnel or another host. Who asks for metadata is known from the device that
the packet came from and the port's own MAC and addresses; allowed address pairs do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from netloom.model.hosts import Aspect
from netloom.model.hoststate import Flow
from netloom.model.names import METADATA_ADDRESS, OWNER_DHCP
from netloom.model.networking import Network, Port
from netloom.model.openflow import ArpReply, Goto, Load, Match, SetEth
from netloom.plan.index import ROUTER_OWNERS, Index, addresses_of, origin, remembered
from netloom.plan.ovs.bridges import flow, out_of
from netloom.plan.ovs.pipeline import BROADCAST, Domain, Priority, Stage, shards_for

TCP, UDP = 6, 17
EVERYBODY = "255.255.255.255"
"""RFC 919: the broadcast address of the own network."""


def network_services(index: Index, network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """What both stages do for a network that is present and up, whatever ports are here."""
    if dhcp_subnets(index, network.id):
        for asks in _requests(network, dhcp_port):
            why = origin(dhcp_port, network)
            yield flow(Stage.LOCAL, Priority.NORMAL, asks, origin=why, aspect="dhcp")
    other = Match(net=network.key, eth_type="ip", ip_dst=METADATA_ADDRESS)
    yield flow(Stage.LOCAL, Priority.NORMAL + 1, other, origin=origin(network), aspect="metadata")
    yield flow(
        Stage.EGRESS,
        Priority.NORMAL,
        Match(src_port=dhcp_port.key, eth_src=dhcp_port.mac_address),
        Goto(int(Stage.DELIVER)),
        origin=origin(dhcp_port),
    )


def port_services(index: Index, network: Network, port: Port, dhcp_port: Port) -> Iterator[Flow]:
    """What both stages do for a port on this host that is up."""
    if port.device_owner not in ROUTER_OWNERS:
        if dhcp_subnets(index, network.id):
            yield from dhcp_requests(network, port, dhcp_port)
        yield from metadata(network, port, dhcp_port)
    yield from deliver(network, port, dhcp_port)


def dhcp_subnets(index: Index, network_id: str) -> list[str]:
    """Ids of the network's subnets that DHCP serves."""
    return [s.id for s in index.subnets_of(network_id) if s.enable_dhcp]


def arp(index: Index, network: Network, port: Port) -> Iterator[Flow]:
    """Known addresses are answered here, so that a question seldom crosses a tunnel.

    Addresses that ports share by allowed address pairs are left to whoever has them at the moment.
    """
    dhcp = port.device_owner == OWNER_DHCP and index.dhcp_port_of(network.id) is port
    if not dhcp and not (index.places(port) and index.is_up(port)):
        return
    for address in addresses_of(port):
        if index.is_shared(network.id, address):
            continue
        asked = Match(net=network.key, eth_type="arp", arp_op=1, arp_tpa=address)
        answer = ArpReply(port.mac_address, address)
        yield flow(Stage.LOCAL, Priority.NORMAL, asked, answer, origin=origin(port))
        if index.is_here(port):
            # What announces its own address must be heard by all, not answered by itself.
            own = Match(src_port=port.key, eth_type="arp", arp_op=1, arp_tpa=address)
            onward = Goto(int(Stage.EGRESS))
            yield flow(Stage.LOCAL, Priority.SPECIAL, own, onward, origin=origin(port))
    if dhcp:
        asked = Match(net=network.key, eth_type="arp", arp_op=1, arp_tpa=METADATA_ADDRESS)
        answer = ArpReply(port.mac_address, METADATA_ADDRESS)
        yield flow(Stage.LOCAL, Priority.NORMAL, asked, answer, origin=origin(port))


@remembered(1)
def shards_of_devices(index: Index, network_id: str) -> int:
    """Over how many groups the devices here of a network are spread."""
    return shards_for(index.count("here", network_id))


@remembered(1)
def shards_of_hosts(index: Index, network_id: str) -> int:
    """Over how many groups the other hosts with a network are spread."""
    return shards_for(index.count("places", network_id))


def _requests(network: Network, dhcp_port: Port) -> Iterator[Match]:
    """Requests for addresses, to everybody or to the server's own address."""
    for address in (EVERYBODY, *addresses_of(dhcp_port)):
        yield Match(
            net=network.key, eth_type="ip", ip_dst=address, ip_proto=UDP, tp_src=68, tp_dst=67
        )


def dhcp_requests(network: Network, port: Port, dhcp_port: Port) -> Iterator[Flow]:
    """Requests of a port's own MAC address, to everybody or to the server's own address, go to the DHCP device.

    Those of any other MAC address nobody hears. The DHCP server's namespace compares that address with the one in the message.
    What is for other addresses only looks like a question to the server.
    """
    for asks in _requests(network, dhcp_port):
        yield flow(
            Stage.LOCAL,
            Priority.SPECIAL,
            replace(asks, net=None, src_port=port.key, eth_src=port.mac_address),
            *out_of(dhcp_port.key),
            origin=origin(port, dhcp_port),
            aspect="dhcp",
        )


def metadata(network: Network, port: Port, dhcp_port: Port) -> Iterator[Flow]:
    """Requests go to the DHCP device, to whichever MAC the instance sent them (the router's, mostly)."""
    for address in addresses_of(port):
        match = Match(
            src_port=port.key,
            eth_src=port.mac_address,
            eth_type="ip",
            ip_src=address,
            ip_dst=METADATA_ADDRESS,
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


def deliver(network: Network, port: Port, dhcp_port: Port) -> Iterator[Flow]:
    """What the DHCP device sends reaches devices of this host only, and only answers pass the security groups.

    All else that it sends from its own addresses, as an operator's ping, meets the rules of the instance like
    anybody's. What it forwards for others, were it ever made to, comes from no address of its own: it is dropped.
    """
    own = addresses_of(dhcp_port)
    to_port: dict[str, Any] = {"net": network.key, "eth_dst": port.mac_address}
    output = out_of(port.key)
    ruled = (Load("dst_port", port.key), Goto(int(Stage.INGRESS)))
    both = origin(port, dhcp_port)
    if port.device_owner not in ROUTER_OWNERS:
        for answer, aspect in _answers(own):
            match = Match(**to_port, **answer)
            yield flow(Stage.DELIVER, Priority.SPECIAL, match, *output, origin=both, aspect=aspect)
    for claim in _claims(own):
        match = Match(**to_port, **claim)
        yield flow(Stage.DELIVER, Priority.NORMAL, match, *ruled, origin=both)


def deliver_to_all(index: Index, network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """What the DHCP device sends to everybody: answers, and questions for addresses that nobody answers for here."""
    shards = shards_of_devices(index, network.id)
    to_clients = Domain.DHCP.groups(network, shards)
    to_all = Domain.ARP.groups(network, shards)
    for address in addresses_of(dhcp_port):
        answer = Match(
            net=network.key,
            eth_dst=BROADCAST,
            eth_type="ip",
            ip_src=address,
            ip_proto=UDP,
            tp_src=67,
            tp_dst=68,
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


def _answers(own: list[str]) -> Iterator[tuple[dict[str, Any], Aspect]]:
    """What an answer of DHCP or of metadata looks like, with its aspect."""
    for address in own:
        dhcp = {"eth_type": "ip", "ip_src": address, "ip_proto": UDP, "tp_src": 67, "tp_dst": 68}
        yield dhcp, "dhcp"
    metadata = {"eth_type": "ip", "ip_src": METADATA_ADDRESS, "ip_proto": TCP, "tp_src": 80}
    yield metadata, "metadata"


def _claims(own: list[str]) -> Iterator[dict[str, Any]]:
    """What else comes from the DHCP device's own addresses."""
    for address in own:
        yield {"eth_type": "ip", "ip_src": address}
        yield {"eth_type": "arp", "arp_spa": address}
