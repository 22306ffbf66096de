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
from netloom.model.names import METADATA_ADDRESS
from netloom.model.networking import Network, Port
from netloom.model.openflow import ArpReply, Goto, Load, Match, SetEth
from netloom.plan.index import ROUTER_OWNERS, Index, addresses_of, device_of, origin
from netloom.plan.ovs.bridges import flow
from netloom.plan.ovs.pipeline import BROADCAST, Priority, Stage

TCP, UDP = 6, 17
EVERYBODY = "255.255.255.255"
"""RFC 919: the broadcast address of the own network."""


def plan_services(index: Index) -> Iterator[Flow]:
    """The flows of both stages for every network that is present and up."""
    for network in index.networks:
        if not network.admin_state_up:
            continue
        yield from arp(index, network)
        dhcp_port = index.dhcp_port_of.get(network.id)
        if dhcp_port is None:
            continue
        if dhcp_subnets(index, network):
            yield from dhcp_requests(index, network, dhcp_port)
        yield from metadata(index, network, dhcp_port)
        yield from deliver(index, network, dhcp_port)


def dhcp_subnets(index: Index, network: Network) -> list[str]:
    """Ids of the network's subnets that DHCP serves."""
    return [s.id for s in index.subnets_of[network.id] if s.enable_dhcp]


def arp(index: Index, network: Network) -> Iterator[Flow]:
    """Known addresses are answered here, so that a question seldom crosses a tunnel.

    Addresses that ports share by allowed address pairs are left to whoever has them at the moment.
    """
    for port in index.ports_of[network.id]:
        dhcp = index.dhcp_port_of.get(network.id) is port
        if not dhcp and (index.location(port) is None or not index.is_up(port)):
            continue
        local = index.location(port) == index.host
        for address in addresses_of(port):
            if index.is_shared(network.id, address):
                continue
            asked = Match(net=network.key, eth_type="arp", arp_op=1, arp_tpa=address)
            answer = ArpReply(port.mac_address, address)
            yield flow(Stage.LOCAL, Priority.NORMAL, asked, answer, origin=origin(port))
            if local:
                # Who announces its own address shall be heard by all, not answered by itself.
                own = Match(src_port=device_of(port), eth_type="arp", arp_op=1, arp_tpa=address)
                onward = Goto(int(Stage.EGRESS))
                yield flow(Stage.LOCAL, Priority.SPECIAL, own, onward, origin=origin(port))
        if dhcp:
            asked = Match(net=network.key, eth_type="arp", arp_op=1, arp_tpa=METADATA_ADDRESS)
            answer = ArpReply(port.mac_address, METADATA_ADDRESS)
            yield flow(Stage.LOCAL, Priority.NORMAL, asked, answer, origin=origin(port))


def dhcp_requests(index: Index, network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """Requests of each port's own MAC address, to everybody or to the server's own address, go to the DHCP device.

    Those of any other MAC address nobody hears. The DHCP server's namespace compares that address with the one in the message.
    What is for other addresses only looks like a question to the server.
    """
    clients = [
        port
        for port in index.local_ports[network.id]
        if port.device_owner not in ROUTER_OWNERS and index.is_up(port)
    ]
    for address in (EVERYBODY, *addresses_of(dhcp_port)):
        asks = Match(
            net=network.key, eth_type="ip", ip_dst=address, ip_proto=UDP, tp_src=68, tp_dst=67
        )
        for port in clients:
            yield flow(
                Stage.LOCAL,
                Priority.SPECIAL,
                replace(asks, net=None, src_port=device_of(port), eth_src=port.mac_address),
                Load("dst_port", device_of(dhcp_port)),
                Goto(int(Stage.OUTPUT)),
                origin=origin(port, dhcp_port),
                aspect="dhcp",
            )
        why = origin(dhcp_port, network)
        yield flow(Stage.LOCAL, Priority.NORMAL, asks, origin=why, aspect="dhcp")


def metadata(index: Index, network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """Requests go to the DHCP device, to whichever MAC the instance sent them (the router's, mostly)."""
    for port in index.local_ports[network.id]:
        if port.device_owner in ROUTER_OWNERS or not index.is_up(port):
            continue
        for address in addresses_of(port):
            match = Match(
                src_port=device_of(port),
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
                Load("dst_port", device_of(dhcp_port)),
                Goto(int(Stage.OUTPUT)),
                origin=origin(port, network),
                aspect="metadata",
            )
    other = Match(net=network.key, eth_type="ip", ip_dst=METADATA_ADDRESS)
    yield flow(Stage.LOCAL, Priority.NORMAL + 1, other, origin=origin(network), aspect="metadata")


def deliver(index: Index, network: Network, dhcp_port: Port) -> Iterator[Flow]:
    """What the DHCP device sends reaches devices of this host only, and only answers pass the security groups.

    All else that it sends from its own addresses, as an operator's ping, meets the rules of the instance like
    anybody's. What it forwards for others, were it ever made to, comes from no address of its own: it is dropped.
    """
    here = [port for port in index.local_ports[network.id] if index.is_up(port)]
    why = origin(dhcp_port)
    yield flow(
        Stage.EGRESS,
        Priority.NORMAL,
        Match(src_port=device_of(dhcp_port), eth_src=dhcp_port.mac_address),
        Goto(int(Stage.DELIVER)),
        origin=why,
    )
    own = addresses_of(dhcp_port)
    for port in here:
        to_port: dict[str, Any] = {"net": network.key, "eth_dst": port.mac_address}
        output = (Load("dst_port", device_of(port)), Goto(int(Stage.OUTPUT)))
        ruled = (Load("dst_port", device_of(port)), Goto(int(Stage.INGRESS)))
        both = origin(port, dhcp_port)
        if port.device_owner not in ROUTER_OWNERS:
            for answer, aspect in _answers(own):
                match = Match(**to_port, **answer)
                yield flow(
                    Stage.DELIVER, Priority.SPECIAL, match, *output, origin=both, aspect=aspect
                )
        for claim in _claims(own):
            match = Match(**to_port, **claim)
            yield flow(Stage.DELIVER, Priority.NORMAL, match, *ruled, origin=both)
    copies = [
        action
        for port in here
        if port.device_owner not in ROUTER_OWNERS
        for action in (Load("dst_port", device_of(port)), Goto(int(Stage.OUTPUT)))
    ]
    asked = [
        action
        for port in here
        for action in (Load("dst_port", device_of(port)), Goto(int(Stage.INGRESS)))
    ]
    everybody = (*why, *origin(*here))
    for address in own:
        answer = Match(
            net=network.key,
            eth_dst=BROADCAST,
            eth_type="ip",
            ip_src=address,
            ip_proto=UDP,
            tp_src=67,
            tp_dst=68,
        )
        yield flow(Stage.DELIVER, Priority.NORMAL, answer, *copies, origin=everybody, aspect="dhcp")
        # Who has an address that nobody answers for here, as one that ports share.
        question = Match(
            net=network.key,
            eth_dst=BROADCAST,
            eth_type="arp",
            arp_spa=address,
            arp_sha=dhcp_port.mac_address,
        )
        yield flow(Stage.DELIVER, Priority.NORMAL, question, *asked, origin=everybody)


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
