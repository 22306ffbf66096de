"""Where a floating IP enters: at its instance's host where its router is distributed and that host can, else at its router's.

The floating IP's own port says so (`Port.entry`).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from netloom.model import FloatingIP, Network, Port, Router
from netloom.model.placement import is_bound_itself
from netloom.network import backends
from netloom.store import Reader, Writer


def follow(w: Writer, fips: Iterable[FloatingIP]) -> None:
    """Write into the ports of floating IPs at which hosts they enter; to be called when one, its port or its router changed."""
    for fip in fips:
        own = w.get(Port, fip.floating_port_id)
        if own is not None and own.entry != (host := _host(w, fip)):
            w.update(replace(own, entry=host))
            w.set_api_status(FloatingIP, fip.id, FloatingIP.FIRST_STATUS)


def follow_port(w: Writer, port: Port) -> None:
    """The same for all floating IPs of a port."""
    follow(w, w.list(FloatingIP, port_id=port.id))


def _host(r: Reader, fip: FloatingIP) -> str:
    """As in Neutron: a port that is bound to no host (an address that instances share) has its floating IP in the middle."""
    if not fip.router_id or not fip.port_id:
        return ""
    router = r.get(Router, fip.router_id)
    port = r.get(Port, fip.port_id) if router is not None and router.distributed else None
    if port is None or not port.host or not is_bound_itself(port):
        return ""
    network = r.get(Network, fip.floating_network_id)
    row = r.hosts({port.host}).get(port.host)
    facts = row.facts if row is not None else None
    if facts is None or network is None or not backends.of(facts).distributed:
        return ""
    return port.host if backends.carries(facts, network) else ""
