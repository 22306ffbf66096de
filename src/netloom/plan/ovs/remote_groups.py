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
from collections.abc import Iterator, Sequence

from msgspec import Struct

from netloom.model.family import Family, of
from netloom.model.networking import Network, Port
from netloom.model.origin import Origin
from netloom.plan.index import TUNNELS, Index
from netloom.plan.sets import allowed_sources


class Remote(Struct, frozen=True):
    """One alternative of who is at the other end: what is None is not looked at. `why`: its origin."""

    why: Origin
    net: int | None = None
    mac: str | None = None
    address: str | None = None


def near(index: Index, port: Port, networks: Sequence[str], family: Family) -> Iterator[Remote]:
    """A member as it is seen on `networks`, those of the group's users, and behind unknown gateways of physical ones."""
    why = Origin.of(port)
    found: dict[Remote, None] = {}
    for mac, address in allowed_sources(port, family):
        own = index.network(port.network_id) if port.network_id in networks else None
        if own is not None:
            found[Remote(why, own.key, mac, _unless_all(address))] = None
        for wire in _wires(index, networks):
            if wire.id != port.network_id and _crosses(index, port, address, networks):
                found[Remote(why, net=wire.key, address=address)] = None
    yield from found


def routed(index: Index, port: Port, networks: Sequence[str], family: Family) -> Iterator[Remote]:
    """A member's addresses that count through a router."""
    for address in dict.fromkeys(address for _, address in allowed_sources(port, family)):
        if _crosses(index, port, address, networks):
            yield Remote(Origin.of(port), address=address)


def forwarders(index: Index, networks: Sequence[str]) -> Iterator[Remote]:
    """What forwards to networks: their router ports, and ports here or elsewhere without port security."""
    for name in networks:
        network = index.network(name)
        for port in index.rows("ports", "forwarders", name) if network else ():
            yield Remote(Origin.of(port), network.key if network else None, port.mac_address)


def any_near(index: Index, group: str, networks: Sequence[str], family: Family) -> bool:
    """Whether a member of a group is seen by `near`."""
    if any(name in networks for name in index.members("single", group, family.version)):
        return True
    ranged: list[Port] = index.rows("ports", "ranged", group, family.version)
    if any(port.network_id in networks for port in ranged):
        return True
    return any(
        any(name != wire.id for name in index.members("single", group, family.version))
        or any(
            port.network_id != wire.id and _ranges(index, port, networks, family) for port in ranged
        )
        for wire in _wires(index, networks)
    )


def any_routed(index: Index, group: str, networks: Sequence[str], family: Family) -> bool:
    """Whether a member of a group is seen by `routed`, and a forwarder by `forwarders`."""
    if not any(index.has("forwarders", name) for name in networks):
        return False
    if index.has("single", group, family.version):
        return True
    ranged: list[Port] = index.rows("ports", "ranged", group, family.version)
    return any(_ranges(index, port, networks, family) for port in ranged)


def _ranges(index: Index, port: Port, networks: Sequence[str], family: Family) -> bool:
    """Whether a range of a member's counts through a router."""
    return any(
        _crosses(index, port, address, networks) for _, address in allowed_sources(port, family)
    )


def _wires(index: Index, networks: Sequence[str]) -> list[Network]:
    """Those of the networks that are physical."""
    found = (index.network(name) for name in networks)
    return [network for network in found if network and network.network_type not in TUNNELS]


def _unless_all(address: str) -> str | None:
    return None if address.endswith("/0") else address


def _crosses(index: Index, port: Port, address: str, networks: Sequence[str]) -> bool:
    """Whether an address may stand for its port beyond a router.

    A range with any known port of these networks in it (its own port counts) would stand for that port too.
    """
    if "/" not in address:
        return True
    range_ = ipaddress.ip_network(address)
    if range_.prefixlen == 0:
        return False
    first, last = int(range_.network_address), int(range_.broadcast_address)
    return not any(
        index.anybody_in(name, first, last, of(address))
        for name in dict.fromkeys((port.network_id, *networks))
    )
