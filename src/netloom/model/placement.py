"""Where things are: the one place that says on which hosts a port or a router is.

Rules, scope, plan, status and explain ask here, so that no two of them can disagree.
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.model.names import (
    OWNER_DHCP,
    OWNER_DISTRIBUTED,
    OWNER_FLOATING_IP,
    OWNER_HA_INTERFACE,
    OWNER_HA_REPLICATED,
    OWNER_ROUTER_INTERFACE,
    ROUTER_OWNERS,
)
from netloom.model.networking import Port, Router


def places(
    thing: Port | Router, router: Router | None = None, present: Iterable[str] = ()
) -> tuple[str, ...]:
    """Hosts that carry a port or a router, the one that should be active first; empty where none does.

    `router`: of a router's port, its router, None where it is not known. `present`: for a port that is everywhere, the
    hosts that have its network; what asks where a port makes its network present has none of them yet. The interfaces of a
    distributed router make no network present: they follow what does (`anchors`). Of such a router these are the hosts of its SNAT.
    """
    if isinstance(thing, Router):
        return tuple(replica.host for replica in thing.replicas)
    if thing.device_owner == OWNER_HA_INTERFACE:
        return (thing.host,) if thing.host else ()
    if thing.device_owner == OWNER_FLOATING_IP:
        return (thing.entry,) if thing.entry else ()
    if thing.device_owner == OWNER_DISTRIBUTED:
        return ()
    if thing.device_owner in ROUTER_OWNERS:
        return places(router) if router is not None else ()
    if is_everywhere(thing):
        return tuple(sorted(present))
    return (thing.host,) if thing.host else ()


def anchors(port: Port, router: Router | None = None) -> tuple[str, ...]:
    """Hosts where a port makes the distributed routers of its network be: an instance's, or another router's that may ask them."""
    if port.device_owner in (OWNER_ROUTER_INTERFACE, OWNER_HA_REPLICATED):
        return places(port, router)
    return (port.host,) if port.host and is_bound_itself(port) else ()


def is_everywhere(port: Port) -> bool:
    """Whether a port is on every host that has its network, with the same addresses: that of DHCP."""
    return port.device_owner == OWNER_DHCP


def is_bound_itself(port: Port) -> bool:
    """Whether a port is where its own binding says: no router's, none that is everywhere, none without a device."""
    return port.device_owner not in _ELSEWHERE


_ELSEWHERE = ROUTER_OWNERS | {OWNER_DHCP, OWNER_FLOATING_IP}
