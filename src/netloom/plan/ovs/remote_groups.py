"""Who may be at the other end where a rule names a remote group: the members of that group, and nobody else.

Addresses alone do not name members: an allowed address pair of a member may be a whole range that others are
in (0.0.0.0/0 for a VPN gateway), and a stranger may have a pair that covers a member's address. So:

* On a member's own network its MAC address must fit as well; frames keep it from host to host.
* Through a router the MAC address is the router's. There a member's single addresses count, and a range only
  where no port is known to have an address in it. Forwarders are the network's router ports, and ports
  whose port security is off (routers that run in instances).
* A physical network may have gateways that we do not know. There the addresses of members of other networks count.

Neutron's Open vSwitch firewall matches the MAC address for pairs of length 0 only.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from msgspec import Struct

from netloom.model.networking import Port
from netloom.plan.index import ROUTER_OWNERS, TUNNELS, Index, is_trusted
from netloom.plan.ovs.ports import allowed_sources


class Remote(Struct, frozen=True):
    """One alternative of who is at the other end: what is None is not looked at. `why`: its origin."""

    why: str
    net: int | None = None
    mac: str | None = None
    address: str | None = None


def members(index: Index, group: str) -> list[Port]:
    """Ports in a group, by id; routers' own ports are in none."""
    return [
        port
        for _, port in sorted(index.view.ports.items())
        if group in port.security_groups and port.device_owner not in ROUTER_OWNERS
    ]


def near(index: Index, ports: Sequence[Port], users: Sequence[Port], version: int) -> list[Remote]:
    """Members (`ports`) as they are seen on the networks of `users`, and behind unknown gateways of physical ones."""
    networks = {port.network_id for port in users}
    wires = [
        network
        for name in sorted(networks)
        if (network := index.view.networks[name]).network_type not in TUNNELS
    ]
    found: dict[Remote, None] = {}
    for port in ports:
        why = f"port/{port.id}"
        for mac, address in _sources(port, version):
            if port.network_id in networks:
                key = index.view.networks[port.network_id].key
                found[Remote(why, key, mac, _unless_all(address))] = None
            if _crosses_routers(index, address, {port.network_id, *networks}):
                for wire in wires:
                    if wire.id != port.network_id:
                        found[Remote(why, net=wire.key, address=address)] = None
    return list(found)


def routed(
    index: Index, ports: Sequence[Port], users: Sequence[Port], version: int
) -> tuple[list[Remote], list[Remote]]:
    """Members' addresses that count through a router, and who forwards to the networks of `users`."""
    networks = {port.network_id for port in users}
    addresses = [
        Remote(f"port/{port.id}", address=address)
        for port in ports
        for address in dict.fromkeys(address for _, address in _sources(port, version))
        if _crosses_routers(index, address, {port.network_id, *networks})
    ]
    forwarders = [
        Remote(f"port/{port.id}", index.view.networks[name].key, port.mac_address)
        for name in sorted(networks)
        for port in index.ports_of[name]
        if is_trusted(port) and (port.device_owner in ROUTER_OWNERS or port.host)
    ]
    return addresses, forwarders


def _sources(port: Port, version: int) -> Iterator[tuple[str, str]]:
    """MAC and address (or CIDR) of one IP version that a port may send from."""
    for mac, address in allowed_sources(port):
        if (":" in address) == (version == 6):
            yield mac, address


def _unless_all(address: str) -> str | None:
    return None if address.endswith("/0") else address


def _crosses_routers(index: Index, address: str, networks: set[str]) -> bool:
    """Whether an address may stand for its port beyond a router.

    A range with any known port of these networks in it (its own port counts) would stand for that port too.
    """
    if "/" not in address:
        return True
    range_ = ipaddress.ip_network(address)
    if range_.prefixlen == 0:
        return False
    first, last = int(range_.network_address), int(range_.broadcast_address)
    for name in networks:
        known = index.fixed_numbers.get((name, range_.version), [])
        place = bisect_left(known, first)
        if place < len(known) and known[place] <= last:
            return False
    return True
