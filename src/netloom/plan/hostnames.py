"""Which name DHCP gives to which port.

A server's hostname is a text of its user, and two users of a shared network may choose the same one, on purpose
or not. The DHCP server takes a name for one client's: of two that are the same it would take the name, or
even the lease, from one of them. So each name is given once on a network of a host.
"""

from __future__ import annotations

import re

from netloom.model.cloud import Server
from netloom.model.networking import Port
from netloom.plan.index import Index, remembered
from netloom.plan.sets import label

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def of_address(address: str) -> str:
    """The name of a port that has no other: Neutron's `host-10-0-0-5`."""
    return "host-" + address.replace(".", "-")


def hostname_of(index: Index, port: Port) -> str | None:
    """The hostname of a port's server, where it is the port's name; `port` is on this host.

    Of servers with one hostname (in whatever case) the oldest has it, on its first card. A hostname that is
    made like that of an address is nobody's. A name is one label: what cannot be one (RFC 1123) is no name, and a dot is a hyphen.
    """
    server = index.server_of(port.id)
    if server is None:
        return None
    name = label(server)
    if not _LABEL.fullmatch(name) or name.startswith("host-"):
        return None
    return (
        server.hostname.replace(".", "-")
        if owner(index, f"{port.network_id} {name}") == port.id
        else None
    )


@remembered(1)
def owner(index: Index, network_and_name: str) -> str | None:
    """The port of a network that has a name there; None where no port here has a server of that name."""
    network_id, _, name = network_and_name.partition(" ")
    servers: list[Server] = index.rows("servers", "named", name)
    for server in sorted(servers, key=lambda server: (server.created_at, server.id)):
        for port_id in server.port_ids:
            port = index.port(port_id)
            if port is None or port.network_id != network_id:
                continue
            if index.is_here(port) and index.server_of(port_id) is server:
                return port_id
    return None
