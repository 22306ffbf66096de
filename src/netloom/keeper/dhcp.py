"""DHCP that comes back by itself: a port that was deleted, an address that was not free.

Neutron's agent makes a new DHCP port within seconds after somebody deleted one; operators do that with a port that is stuck.
The keeper follows the change feed: what it does is in proportion to what changed. When it starts, it looks at every network
once.
"""

from __future__ import annotations

import logging

from netloom.model import Context, Network, Port, Subnet
from netloom.network import dhcp
from netloom.store import Change, Reader, Store

log = logging.getLogger("netloom.keeper")

_BATCH = 1000


def follow(store: Store, ctx: Context, seen: int | None) -> int:
    """Mend the DHCP port of the networks that changed after `seen` (None: of all); returns the newest change seen."""
    with store.reader() as r:
        newest = r.seq()
        if seen == newest:
            return newest
        if seen is None or seen < r.oldest() - 1:
            found = {subnet.network_id for subnet in r.list(Subnet) if subnet.enable_dhcp}
        else:
            found = _touched(r, seen, newest)
        networks = r.get_many(Network, found)
        lacking = [ident for ident in sorted(networks) if dhcp.lacks(r, networks[ident])]
    for ident in lacking:
        with store.writer(actor="keeper") as w:
            network = w.get(Network, ident)
            # It may have gone, or been mended, since it was looked at.
            if network is None or not dhcp.lacks(w, network):
                continue
            before = dhcp.dhcp_port(w, ident)
            port = dhcp.ensure_dhcp_port(w, ctx, network)
        if port is not None and port != before:
            log.info("network %s has its DHCP port again: %s", ident, port.id)
    return newest


def _touched(r: Reader, after: int, newest: int) -> set[str]:
    """Networks whose ports, subnets or addresses changed."""
    found: set[str] = set()
    while after < newest:
        changes = r.changes(after, _BATCH)
        if not changes:
            break
        for change in changes:
            found |= _networks(change)
        after = changes[-1].seq
    return found


def _networks(change: Change) -> set[str]:
    if change.kind not in (Port.KIND, Subnet.KIND):
        return set()
    before, after = change.before or {}, change.after or {}
    # What leaves the addresses as they are frees none. A port that is bound may be the first one of its network.
    if before and after and all(before.get(n) == after.get(n) for n in _COUNTING):
        return set()
    return {str(doc["network_id"]) for doc in (before, after) if doc.get("network_id")}


_COUNTING = ("fixed_ips", "host", "device_owner", "device_id", "enable_dhcp", "allocation_pools")
