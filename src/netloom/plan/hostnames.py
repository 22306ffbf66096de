"""Which name DHCP gives to which port.

A server's hostname is a text of its user, and two users of a shared network may choose the same one, on purpose
or not. The DHCP server takes a name for one client's: of two that are the same it would take the name, or
even the lease, from one of them. So each name is given once on a network of a host.
"""

from __future__ import annotations

import re

from netloom.model.networking import Network, Port
from netloom.plan.index import Index

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def of_address(address: str) -> str:
    """The name of a port that has no other: Neutron's `host-10-0-0-5`."""
    return "host-" + address.replace(".", "-")


def hostnames(index: Index, network: Network) -> dict[str, str]:
    """Port id → its server's hostname, for the ports here of which it is the name.

    Of servers with one hostname (in whatever case) the oldest has it, on its first card. A hostname that is
    made like that of an address is nobody's. A name is one label: what cannot be one (RFC 1123) is no name, and a dot is a hyphen.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    local = {port.id: port for port in index.local_ports[network.id]}
    servers = {
        index.server_of[ident].id: index.server_of[ident]
        for ident in local
        if ident in index.server_of
    }
    for server in sorted(servers.values(), key=lambda server: (server.created_at, server.id)):
        hostname = server.hostname.replace(".", "-")
        name = hostname.lower()
        if not _LABEL.fullmatch(name) or name in taken or name.startswith("host-"):
            continue
        card = next(ident for ident in server.port_ids if ident in local)
        found[card] = hostname
        taken.add(name)
    return found


def name_of(names: dict[str, str], port: Port, address: str) -> str:
    """The name that DHCP gives with an address."""
    return names.get(port.id) or of_address(address)
