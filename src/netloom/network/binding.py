"""Binding: which host realises a port, and what Nova must know to plug into it."""

from __future__ import annotations

from msgspec.structs import replace

from netloom.model import Context, Network, Port
from netloom.model.names import OWNER_DISTRIBUTED
from netloom.network import backends, liveness
from netloom.store import Reader, Writer

UNBOUND = "unbound"
FAILED = "binding_failed"


def is_bound(port: Port) -> bool:
    """True where a host realises the port."""
    return port.vif_type not in (UNBOUND, FAILED)


def bound(r: Reader, ctx: Context, port: Port, network: Network) -> Port:
    """Return the port as bound to `port.host`, as that host's backend does it, where it is alive and can.

    Else `binding_failed`; without a host `unbound`. That it failed is no error of the request: Nova reads
    the type and gives up by itself.
    """
    if not port.host:
        return replace(port, vif_type=UNBOUND, vif_details={})
    facts = liveness.usable(r, ctx, port.host)
    if facts is not None and not backends.of(facts).distributed and _is_spread(r, port.network_id):
        facts = None  # its router would not be there
    vif = backends.vif(facts, network, port.vnic_type) if facts is not None else None
    vif_type, details = vif or (FAILED, {})
    return replace(port, vif_type=vif_type, vif_details=details)


def _is_spread(r: Reader, network_id: str) -> bool:
    """True where a network has a distributed router."""
    return bool(r.count(Port, network_id=network_id, device_owner=OWNER_DISTRIBUTED))


def retry(w: Writer, ctx: Context, host: str) -> list[Port]:
    """Bind again what could not be bound to this host, as when its agent came later; for the keeper."""
    failed = [port for port in w.list(Port, host=host) if port.vif_type == FAILED]
    networks = w.get_many(Network, {port.network_id for port in failed})
    tried = [bound(w, ctx, port, networks[port.network_id]) for port in failed]
    return [w.update(port) for port in tried if port.vif_type != FAILED]
