"""Networks on a host: a bridge for each, the device by which it is joined with other hosts, and where that leads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netloom.model.family import V4
from netloom.model.filtering import (
    EVERYBODY,
    FORWARDERS,
    FarSet,
    FdbEntry,
    FilterBase,
    PortFilter,
    Rule,
)
from netloom.model.hoststate import Bridge, HostObject, Interface, Refusal, Zone
from netloom.model.names import linux_bridge
from netloom.model.networking import Network
from netloom.model.openflow import FIRST_OF_HOST, Match
from netloom.plan.index import TUNNELS, Index, addresses_of, of_host, origin
from netloom.plan.ovs.local import UDP, served

LONGEST_DEVICE = 15
"""Characters of a device's name (IFNAMSIZ without the end)."""


def plan_host(index: Index) -> Iterator[HostObject]:
    """What a host has before it has a network."""
    host = of_host(index.host)
    yield FilterBase(origin=host)
    yield FarSet(name=FORWARDERS, kind="forwarder", version=0, origin=host)


def plan_bridge(index: Index, network: Network) -> Iterator[HostObject]:
    """The bridge of a network that is present, with its zone of connections."""
    why, bridge = origin(network), linux_bridge(network.id)
    yield Bridge(name=bridge, datapath_type="linux", origin=why)
    yield Zone(name=bridge, origin=why)
    if not network.admin_state_up:
        return
    way = uplink(index, network)
    if isinstance(way, Refusal):
        yield way
    elif way is not None:
        yield way
        yield _uplink_filter(index, network, way)


def plan_ends(index: Index, network: Network) -> Iterator[FdbEntry]:
    """The other hosts that have a network, which get what has no known place."""
    way = uplink(index, network) if network.admin_state_up else None
    if not isinstance(way, Interface) or way.type != "vxlan":
        return
    hosts = [host for host in index.members("places", network.id) if host != index.host]
    for address in dict.fromkeys(index.tunnel_ips(hosts)):
        yield FdbEntry(device=way.name, mac=EVERYBODY, to=address, origin=origin(network))


def uplink(index: Index, network: Network) -> Interface | Refusal | None:
    """The device by which a network is joined with other hosts; None where it is on this host alone."""
    why, bridge, facts = origin(network), linux_bridge(network.id), index.facts
    if network.network_type in TUNNELS:
        if network.network_type != "vxlan":
            detail = f"a host with Linux bridges carries no networks of type {network.network_type}: VXLAN alone"
            return Refusal(detail=detail, state="error", origin=why)
        if not facts.tunnel_ip or network.segmentation_id is None:
            return None
        options = {"id": str(network.segmentation_id), "local": facts.tunnel_ip}
        name = f"vxlan-{network.segmentation_id}"
        return Interface(
            bridge=bridge, name=name, type="vxlan", options=options, mtu=network.mtu, origin=why
        )
    card = facts.physical_interfaces.get(
        facts.bridge_mappings.get(network.physical_network or "", "")
    )
    if card is None:
        return None
    if network.network_type != "vlan":
        return Interface(bridge=bridge, name=card, type="system", origin=why)
    tag = str(network.segmentation_id)
    if facts.capabilities.get("vlan_devices") == "no":
        detail = "this host's kernel has no VLAN devices (module 8021q): the network reaches no other host"
        return Refusal(detail=detail, state="error", origin=why)
    name = f"{card[: LONGEST_DEVICE - 1 - len(tag)]}.{tag}"
    options = {"link": card, "id": tag}
    return Interface(bridge=bridge, name=name, type="vlan", options=options, origin=why)


def _uplink_filter(index: Index, network: Network, way: Interface) -> PortFilter:
    """What of a network's frames may come from elsewhere, and go there.

    DHCP is every host's own, with one MAC address on all of them: nothing of it leaves, and nobody elsewhere has it.
    """
    port = index.dhcp_port_of(network.id)
    sender: list[Rule] = []
    receiver: list[Rule] = [Rule(verdict="drop", match=Match(remote=1))]
    why = origin(network)
    if port is not None:
        why = origin(network, port)
        mac = port.mac_address
        sender += [Rule(verdict="drop", match=Match(eth_src=mac), origin=why)]
        sender += [Rule(verdict="drop", match=Match(eth_dst=mac), origin=why)]
        receiver += [Rule(verdict="drop", match=Match(src_port=port.key), origin=why)]
        for address in (*addresses_of(port, V4), V4.metadata):
            asked = Match(eth_type="arp", arp_op=1, arp_tpa=address)
            receiver.append(Rule(verdict="drop", match=asked, origin=why))
        if served(index, network.id, V4):
            ports: dict[str, Any] = {"tp_src": V4.dhcp_client, "tp_dst": V4.dhcp_server}
            asks = Match(eth_type=V4.eth_type, ip_proto=UDP, **ports)
            receiver.append(Rule(verdict="drop", match=asks, origin=why))
    return PortFilter(
        device=way.name,
        mark=FIRST_OF_HOST + network.key,
        sender=(*sender, Rule()),
        receiver=(*receiver, Rule()),
        origin=why,
    )
