"""Which ports a server has: those that the compute service recorded when it gave them to the server.

`device_id` and `device_owner` of a port are texts that the port's owner may set to anything, also to the id of
another project's server. They are therefore never asked: `Server.port_ids` is written by `compute` alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.model import Port, Server
from netloom.model.names import ROUTER_OWNERS
from netloom.store import Reader


def ports_of(reader: Reader, servers: Iterable[Server]) -> dict[str, list[Port]]:
    """Return each server's ports by server id, in the order of its cards; one statement for all servers.

    A port that was deleted is left out, and so is one that has become part of a router.
    """
    wanted = list(servers)
    found = reader.get_many(Port, {ident for server in wanted for ident in server.port_ids})
    return {
        server.id: [
            found[ident]
            for ident in server.port_ids
            if ident in found and found[ident].device_owner not in ROUTER_OWNERS
        ]
        for server in wanted
    }


def servers_of(reader: Reader, port_ids: Iterable[str]) -> dict[str, Server]:
    """Return the server of each of these ports, by port id; ports without a server are left out."""
    wanted = set(port_ids)
    found = reader.list(Server, port_id=wanted)
    return {ident: server for server in found for ident in server.port_ids if ident in wanted}
