"""What port forwardings there are, and their end with what they lead to: for the rules of ports, floating IPs and routers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from msgspec.structs import replace

from netloom.model import FloatingIP, Port, PortForwarding
from netloom.store import Reader, Writer

_SHOWN = (
    "id",
    "protocol",
    "internal_ip_address",
    "internal_port",
    "internal_port_id",
    "external_port",
)


def of_floating_ips(r: Reader, ids: Collection[str]) -> list[PortForwarding]:
    """Return the port forwardings of floating IPs, by id."""
    return r.list(PortForwarding, floatingip_id=ids) if ids else []


def of_router(r: Reader, router_id: str) -> list[PortForwarding]:
    """Return the port forwardings that a router carries out, by id."""
    return r.list(PortForwarding, router_id=router_id)


def shown(r: Reader, ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Return what floating IPs show of their port forwardings, by floating IP."""
    found: dict[str, list[dict[str, Any]]] = {id: [] for id in ids}
    for forwarding in of_floating_ips(r, ids):
        found[forwarding.floatingip_id].append({name: getattr(forwarding, name) for name in _SHOWN})
    return found


def end_for_port(w: Writer, port: Port, kept: Collection[str] = ()) -> None:
    """End the port forwardings to a port, but for those to addresses that it keeps."""
    leading = w.list(PortForwarding, internal_port_id=port.id)
    end(w, [forwarding for forwarding in leading if forwarding.internal_ip_address not in kept])


def end(w: Writer, forwardings: Sequence[PortForwarding]) -> None:
    """Delete port forwardings; a floating IP that has none left lets its router go."""
    for forwarding in forwardings:
        w.delete(PortForwarding, forwarding.id)
    for id in dict.fromkeys(forwarding.floatingip_id for forwarding in forwardings):
        fip = w.get(FloatingIP, id)
        if fip is None:
            continue
        if of_floating_ips(w, [id]):
            w.bump(FloatingIP, id)
        else:
            w.update(replace(fip, router_id=None))
            w.set_api_status(FloatingIP, id, "DOWN")
