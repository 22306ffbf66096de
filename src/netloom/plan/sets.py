"""The sets that the plan looks at: which row is in which of them.

========================== ==========================================================================
set                        members
========================== ==========================================================================
present, network           True, where a port of the network is on this host
here, network              ids of the network's ports on this host
here, network, slice       the same, in SLICES parts
known, network, version    addresses of its ports on this host that are up
places, network            hosts that carry its ports
anchors, network           hosts on which distributed routers on it are
spread, network            ids of its ports of distributed routers
open_here, network         ids of its promiscuous ports on this host
open_places, network       hosts that carry its promiscuous ports
dhcp, network              ids of its DHCP ports
legs, network              ids of its ports of routers on this host
forwarders, network        ids of its ports for which nothing is checked
shared, network, address   ids of ports whose address pairs name another's address
numbers, network, version  fixed addresses of its known ports, as numbers
subnets, network, version  ids of its subnets
router_ports, router       ids of its ports
floating, router           ids of its associated floating IPs
forwarding, router         ids of its floating IPs that forward single ports
forwarded, floating IP     ids of its port forwardings
servers_of_port, port      ids of servers that have it
named, label               ids of servers with this hostname
users, group               networks of this host's ports that the group's rules are for
single, group, version     networks of members that have a single address to send from
ranged, group, version     ids of members that may send from a range of addresses
rules, group               ids of its rules
naming, group              groups whose rules name it
list, group                True, where there is such an address group
listed, group, version     True, where the address group has addresses of a family
naming_list, address group groups whose rules name it
========================== ==========================================================================
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

from netloom.model.cloud import Server
from netloom.model.family import ADDRESSED, FAMILIES, V4, Family, of
from netloom.model.hosts import HostFacts, HostView
from netloom.model.names import (
    NAMESPACE_OWNERS,
    OWNER_DHCP,
    OWNER_DISTRIBUTED,
    OWNER_HA_INTERFACE,
    ROUTER_OWNERS,
    router_device,
    tap,
)
from netloom.model.networking import (
    AddressGroup,
    FloatingIP,
    Port,
    PortForwarding,
    SecurityGroupRule,
    Subnet,
)
from netloom.model.placement import anchors, places

TUNNELS = frozenset({"vxlan", "gre", "geneve"})
"""Network types that travel in tunnels between hosts; all others use a physical network."""

BY_DHCP = ("dhcpv6-stateful", "dhcpv6-stateless")
"""Modes of IPv6 subnets in which DHCP says something: addresses and all else, or all else alone."""

SINGLE_BITS = 2
"""Allowed address pairs that leave at most so many bits open name addresses; others are ranges."""

SLICES = 16
"""What needs all ports of a network here is put together from so many slices, each remembered by itself."""

Entry = tuple[tuple[Any, ...], Any]
"""(set, member)."""


def entries(view: HostView, table: str, row: Any) -> Iterator[Entry]:
    """The sets that a row of a view is in, and as which member."""
    make = _ENTRIES.get(table)
    return make(view, row) if make else iter(())


def _of_port(view: HostView, port: Port) -> Iterator[Entry]:
    network, host = port.network_id, view.facts.host
    of_router = port.device_owner in ROUTER_OWNERS
    router = view.routers.get(port.device_id) if of_router else None
    hosts = places(port, router)
    here = host in hosts
    if of_router:
        yield ("router_ports", port.device_id), port.id
        if port.device_owner == OWNER_DISTRIBUTED:
            yield ("spread", network), port.id
        # Whom replicas hear, flows say (plan/ovs/l2.py): they know no other routers of their project.
        if here and port.device_owner != OWNER_HA_INTERFACE:
            yield ("legs", network), port.id
    elif is_dhcp_of(port, network):
        yield ("dhcp", network), port.id
    for place in anchors(port, router):
        yield ("anchors", network), place
    for place in hosts:
        yield ("places", network), place
        if is_promiscuous(port):
            yield ("open_places", network), place
    if here:
        yield ("present", network), True
        yield ("here", network), port.id
        yield ("here", network, crc32(port.id.encode()) % SLICES), port.id
        for fixed in port.fixed_ips if port.admin_state_up else ():
            yield ("known", network, of(fixed.ip_address).version), fixed.ip_address
        if is_promiscuous(port):
            yield ("open_here", network), port.id
    if is_trusted(port) and (of_router or hosts or port.host):
        yield ("forwarders", network), port.id
    for pair in port.allowed_address_pairs:
        family = of(pair.ip_address)
        if family in ADDRESSED and not own_pair(port, pair.ip_address, family):
            cidr = ipaddress.ip_network(pair.ip_address, strict=False)
            if family.bits - cidr.prefixlen <= SINGLE_BITS:
                for address in cidr:
                    yield ("shared", network, str(address)), port.id
    for fixed in port.fixed_ips:
        number = ipaddress.ip_address(fixed.ip_address)
        yield ("numbers", network, number.version), int(number)
    if of_router or not port.security_groups:
        return
    user = here and port.admin_state_up and not is_trusted(port)
    sources = [source for _, source in allowed_sources(port)]
    for group in dict.fromkeys(port.security_groups):
        if user:
            yield ("users", group), network
        for address in sources:
            version = of(address).version
            if "/" in address:
                yield ("ranged", group, version), port.id
            else:
                yield ("single", group, version), network


def _of_subnet(view: HostView, subnet: Subnet) -> Iterator[Entry]:
    yield ("subnets", subnet.network_id, subnet.ip_version), subnet.id


def _of_floatingip(view: HostView, fip: FloatingIP) -> Iterator[Entry]:
    if fip.router_id and fip.port_id and fip.fixed_ip_address:
        yield ("floating", fip.router_id), fip.id


def _of_port_forwarding(view: HostView, forwarding: PortForwarding) -> Iterator[Entry]:
    yield ("forwarding", forwarding.router_id), forwarding.floatingip_id
    yield ("forwarded", forwarding.floatingip_id), forwarding.id


def _of_rule(view: HostView, rule: SecurityGroupRule) -> Iterator[Entry]:
    yield ("rules", rule.security_group_id), rule.id
    if rule.remote_group_id:
        yield ("naming", rule.remote_group_id), rule.security_group_id
    if rule.remote_address_group_id:
        yield ("naming_list", rule.remote_address_group_id), rule.security_group_id


def _of_address_group(view: HostView, group: AddressGroup) -> Iterator[Entry]:
    yield ("list", group.id), True
    for family in FAMILIES:
        if any(family.has(address) for address in group.addresses):
            yield ("listed", group.id, family.version), True


def _of_server(view: HostView, server: Server) -> Iterator[Entry]:
    yield ("named", label(server)), server.id
    for port_id in dict.fromkeys(server.port_ids):
        yield ("servers_of_port", port_id), server.id


_ENTRIES: dict[str, Callable[[HostView, Any], Iterator[Entry]]] = {
    "ports": _of_port,
    "subnets": _of_subnet,
    "floatingips": _of_floatingip,
    "port_forwardings": _of_port_forwarding,
    "security_group_rules": _of_rule,
    "address_groups": _of_address_group,
    "servers": _of_server,
}


def is_dhcp_of(port: Port, network_id: str) -> bool:
    """Whether a port is the network's own for DHCP; those that users give this owner are not."""
    of_dhcp = port.device_owner == OWNER_DHCP
    return of_dhcp and port.device_id.startswith("dhcp") and port.device_id.endswith(network_id)


def is_served(subnet: Subnet) -> bool:
    """Whether DHCP serves a subnet: those of IPv6 may have their addresses of a router, or of nobody."""
    if not subnet.enable_dhcp or subnet.ip_version == V4.version:
        return subnet.enable_dhcp
    return subnet.ipv6_address_mode in BY_DHCP or not (
        subnet.ipv6_address_mode or subnet.ipv6_ra_mode
    )


def label(server: Server) -> str:
    """A server's hostname as one label, in small letters: a dot is a hyphen."""
    return server.hostname.replace(".", "-").lower()


def own_pair(port: Port, address: str, family: Family) -> bool:
    """Whether an allowed address pair only repeats a fixed address of its own port."""
    return address.removesuffix(f"/{family.bits}") in {fixed.ip_address for fixed in port.fixed_ips}


def device_of(port: Port) -> str:
    """Name of a port's device on its host; a subport's is called as a VLAN device of its parent's would be."""
    if port.trunk_parent:
        return f"{wire_of(port)}.{port.trunk_vlan}"
    if port.device_owner in NAMESPACE_OWNERS:
        return router_device(port.id, port.device_owner)
    return tap(port.id)


def service_device(facts: HostFacts, port: Port) -> str:
    """Name of the device in a network's `qdhcp-` namespace; where it is one end of a pair, `tap…` is the other end, in the bridge."""
    return names_inside(port)[facts.backend == "linuxbridge"]


def names_inside(port: Port) -> tuple[str, str]:
    """What a service's device may be called in its namespace: the end of a pair has a name of its own."""
    own = device_of(port)
    return own, "ns-" + port.id[:11] if port.device_owner == OWNER_DHCP else own


def wire_of(port: Port) -> str:
    """Name of the device on br-int that a port's frames come by: a subport's are those of its trunk's parent."""
    return tap(port.trunk_parent) if port.trunk_parent else device_of(port)


def is_trusted(port: Port) -> bool:
    """Ports that nothing is checked for: routers' own, and those with port security switched off."""
    return port.device_owner in NAMESPACE_OWNERS or not port.port_security_enabled


def is_promiscuous(port: Port) -> bool:
    """Ports that may have MAC addresses that nobody told us of, so that they get unknown unicast."""
    of_router = port.device_owner in NAMESPACE_OWNERS
    return (not port.port_security_enabled and not of_router) or bool(foreign_macs(port))


def allowed_sources(port: Port, *families: Family) -> list[tuple[str, str]]:
    """MAC and address (or CIDR) of these families (all, where none is given) that a port may send from, sorted, without repetition."""
    fixed = (each.ip_address for each in port.fixed_ips)
    own = {(port.mac_address, address) for address in fixed if of(address) in ADDRESSED}
    pairs = {
        (canonical_mac(pair.mac_address or port.mac_address), canonical(pair.ip_address))
        for pair in port.allowed_address_pairs
    }
    found = sorted(own | pairs)
    return [each for each in found if of(each[1]) in families] if families else found


def canonical(address: str) -> str:
    """An address or CIDR with host bits cleared, and without the length where it is one address."""
    network = ipaddress.ip_network(address, strict=False)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def listed(group: AddressGroup, family: Family) -> list[str]:
    """The addresses and CIDRs of a family that an address group names, in order; those within others are left out."""
    found: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    mine = (ipaddress.ip_network(each) for each in group.addresses if family.has(each))
    for each in sorted(mine, key=lambda cidr: (int(cidr.network_address), cidr.prefixlen)):
        if not found or int(each.broadcast_address) > int(found[-1].broadcast_address):
            found.append(each)
    return [canonical(str(each)) for each in found]


def canonical_mac(mac: str) -> str:
    """A MAC address with colons and small letters, however it was written."""
    digits = "".join(character for character in mac.lower() if character in "0123456789abcdef")
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def foreign_macs(port: Port) -> set[str]:
    """MAC addresses that a port may use beside its own."""
    pairs = {pair.mac_address for pair in port.allowed_address_pairs if pair.mac_address}
    return {canonical_mac(mac) for mac in pairs} - {port.mac_address}
