"""A HostView, indexed for all planners and kept up with its changes; it notes what each part of the plan reads.

Everything is sorted by id where it leaves this module, so that no planner depends on the order of a dict or set.

There are two sorts of reads. A *row* is read by table and id. A *set* is read by name: which ports are here, on which
hosts a network is. Sets are counted: a set changes only when a member comes or goes, so a part that asks on which hosts
a network is present is not planned anew when one of these hosts gets its second port.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from netloom.model.base import Resource
from netloom.model.cloud import Server
from netloom.model.family import ADDRESSED, V4, V6, Family, link_local
from netloom.model.hosts import TABLES, HostView
from netloom.model.names import OWNER_DISTRIBUTED, ROUTER_OWNERS
from netloom.model.networking import FloatingIP, Network, Port, PortForwarding, Router, Subnet
from netloom.model.origin import HOST, Origin
from netloom.model.placement import places
from netloom.plan.sets import TUNNELS, device_of, entries, is_trusted

Read = tuple[Any, ...]
"""A row, `(table, id)`; a set, `(name, …)`; or what is remembered, `(Remembered, key)`."""
Changed = Mapping[str, Iterable[str]]
"""Table of HostView → ids of the rows that came, changed or went."""

T = TypeVar("T")

_NOT_PLANNED = {"name": "", "description": "", "revision_number": 0, "updated_at": "", "tags": ()}
"""Fields that no plan depends on: a change of them alone changes nothing on any host."""


class Remembered(Generic[T]):
    """A function of an Index and a key whose results are kept until something that it read changes.

    Where the new result equals the old one, nothing that read it is planned anew. `level`: it reads only
    remembered functions of lower levels.
    """

    def __init__(self, level: int, function: Callable[[Index, str], T]) -> None:
        self.level = level
        self.function = function

    def __call__(self, index: Index, key: str) -> T:
        return index.recall(self, key)


def remembered(level: int) -> Callable[[Callable[[Index, str], T]], Remembered[T]]:
    """Make a function of an index and a key a Remembered one."""
    return lambda function: Remembered(level, function)


class Index:
    """Lookups over one HostView.

    A port is *local* when its device is on this host: instances' ports bound here, ports of routers
    that have a replica here, and the DHCP port of every network (it is everywhere at once).
    """

    def __init__(self, view: HostView) -> None:
        self.view = view
        self.facts = view.facts
        self.host = view.facts.host
        self._sets: dict[Read, dict[Any, int]] = {}
        self._numbers: dict[Read, list[int]] = {}
        self._reads: set[Read] = set()
        self.results: dict[Read, tuple[Any, set[Read]]] = {}
        """What is remembered: its read → the result, and what was read for it."""
        self.news: list[Read] = []
        """Reads of what has been remembered since the list was emptied last."""
        for table in TABLES:
            for row in getattr(view, table).values():
                for key, member in entries(view, table, row):
                    counts = self._sets.setdefault(key, {})
                    counts[member] = counts.get(member, 0) + 1

    # --- keeping up ----------------------------------------------------------------------------

    def follow(self, view: HostView, changed: Changed) -> set[Read]:
        """Go on to another view of the same host; returns the rows and sets that are not as before."""
        old = self.view
        rows = {table: set(ids) for table, ids in changed.items()}
        for router_id in rows.get("routers", ()):
            # The ports of a router are where the router is.
            rows.setdefault("ports", set()).update(self._sets.get(("router_ports", router_id), ()))
        touched: set[Read] = set()
        was: dict[tuple[Read, Any], bool] = {}
        for table, ids in rows.items():
            before, after = getattr(old, table), getattr(view, table)
            for ident in ids:
                if _planned(before.get(ident)) != _planned(after.get(ident)):
                    touched.add((table, ident))
                if ident in before:
                    for entry in entries(old, table, before[ident]):
                        self._count(entry, -1, was)
        self.view = view
        for table, ids in rows.items():
            after = getattr(view, table)
            for ident in ids:
                if ident in after:
                    for entry in entries(view, table, after[ident]):
                        self._count(entry, 1, was)
        for (key, member), present in was.items():
            if (member in self._sets.get(key, ())) != present:
                touched.add(key)
                self._numbers.pop(key, None)
        return touched

    def _count(self, entry: tuple[Read, Any], by: int, was: dict[tuple[Read, Any], bool]) -> None:
        key, member = entry
        counts = self._sets.setdefault(key, {})
        was.setdefault(entry, member in counts)
        number = counts.get(member, 0) + by
        if number:
            counts[member] = number
        else:
            del counts[member]
            if not counts:
                del self._sets[key]

    # --- what was read -------------------------------------------------------------------------

    def noting(self, function: Callable[[], T]) -> tuple[T, set[Read]]:
        """Call a function; returns its result, and what it read."""
        outer, self._reads = self._reads, set()
        try:
            return function(), self._reads
        finally:
            self._reads = outer

    def recall(self, what: Remembered[T], key: str) -> T:
        """The result of a remembered function."""
        read = (what, key)
        self._reads.add(read)
        if read not in self.results:
            self.results[read] = self.noting(lambda: what.function(self, key))
            self.news.append(read)
        return self.results[read][0]

    # --- rows ----------------------------------------------------------------------------------

    def row(self, table: str, id: str | None) -> Any | None:
        """One row; None where the view does not have it."""
        self._reads.add((table, id))
        return getattr(self.view, table).get(id)

    def port(self, id: str | None) -> Port | None:
        return self.row("ports", id)

    def network(self, id: str | None) -> Network | None:
        return self.row("networks", id)

    def rows(self, table: str, *key: Any) -> list[Any]:
        """The rows whose ids are the members of a set, by id."""
        found = (self.row(table, ident) for ident in self.members(*key))
        return [row for row in found if row is not None]

    def members(self, *key: Any) -> list[Any]:
        """The members of a set, sorted."""
        self._reads.add(key)
        return sorted(self._sets.get(key, ()))

    def has(self, *key: Any) -> bool:
        """Whether a set has any members."""
        self._reads.add(key)
        return key in self._sets

    def count(self, *key: Any) -> int:
        """How many members a set has."""
        self._reads.add(key)
        return len(self._sets.get(key, ()))

    # --- lookups -------------------------------------------------------------------------------

    def places(self, port: Port) -> tuple[str, ...]:
        """Hosts that carry a port; none for one that is everywhere (DHCP), and one that is unbound."""
        if port.device_owner == OWNER_DISTRIBUTED:
            return spread_over(self, port.device_id)
        router = self.row("routers", port.device_id) if port.device_owner in ROUTER_OWNERS else None
        return places(port, router)

    def is_here(self, port: Port) -> bool:
        """Whether this host is one of those that carry a port."""
        return self.host in self.places(port)

    def is_present(self, network_id: str) -> bool:
        """Whether a network is known and has a local port, or is beside one that has by a distributed router here."""
        if self.network(network_id) is None:
            return False
        return self.is_used(network_id) or bool(spread_here(self, network_id))

    def is_used(self, network_id: str) -> bool:
        """Whether a network has a local port that is no distributed router's."""
        return self.has("present", network_id)

    def spread_here(self, network_id: str) -> list[Port]:
        """A network's ports of distributed routers that are on this host, by id."""
        found = (self.port(ident) for ident in spread_here(self, network_id))
        return [port for port in found if port is not None]

    def networks(self) -> list[Network]:
        """Networks that are present here (a local port makes it so), by id."""
        return [self.view.networks[i] for i in sorted(self.view.networks) if self.is_present(i)]

    def local_ports(self, network_id: str) -> list[Port]:
        """A network's ports with a device here, DHCP ports left out, by id."""
        return self.rows("ports", "here", network_id)

    def dhcp_port_of(self, network_id: str) -> Port | None:
        """A network's DHCP port (the first by id, were there several); None where none is up."""
        ports = self.rows("ports", "dhcp", network_id)
        return next((port for port in ports if port.admin_state_up and port.key), None)

    def subnets_of(self, network_id: str, family: Family) -> list[Subnet]:
        """A network's subnets of a family, by id."""
        return self.rows("subnets", "subnets", network_id, family.version)

    def families_of(self, network_id: str) -> list[Family]:
        """The families that a network speaks here: IPv4 always, another where it has a subnet of it.

        A host with Linux bridges carries IPv4 alone.
        """
        if self.facts.backend == "linuxbridge":
            return [V4]
        return [f for f in ADDRESSED if f is V4 or self.has("subnets", network_id, f.version)]

    def router_ports(self, router_id: str) -> list[Port]:
        """A router's ports, gateway port included, by id."""
        return self.rows("ports", "router_ports", router_id)

    def floating_of(self, router_id: str) -> list[FloatingIP]:
        """Associated floating IPs that go through a router, by id."""
        return self.rows("floatingips", "floating", router_id)

    def forwarding_of(self, router_id: str) -> list[FloatingIP]:
        """Floating IPs that forward single ports through a router, by id."""
        return self.rows("floatingips", "forwarding", router_id)

    def forwardings_of(self, floatingip_id: str) -> list[PortForwarding]:
        """The port forwardings of a floating IP, by id."""
        return self.rows("port_forwardings", "forwarded", floatingip_id)

    def server_of(self, port_id: str) -> Server | None:
        """The server of this host that has a port, as compute recorded it.

        Never by `device_id`: the port's owner may set that to another project's server.
        """
        servers = self.rows("servers", "servers_of_port", port_id)
        return servers[-1] if servers else None

    def tunnel_ips(self, hosts: Iterable[str]) -> list[str]:
        """Tunnel addresses of hosts, in the hosts' order by name; hosts that have none are left out."""
        found = (self.tunnel_ip(host) for host in sorted(hosts))
        return [ip for ip in found if ip]

    def tunnel_ip(self, host: str) -> str | None:
        """Where to send a host's tunnels."""
        chassis = self.row("chassis", host)
        return chassis.tunnel_ip if chassis else None

    def is_up(self, port: Port) -> bool:
        """A port forwards when it and its network are up."""
        network = self.network(port.network_id)
        return port.admin_state_up and network is not None and network.admin_state_up

    def is_shared(self, network_id: str, address: str) -> bool:
        """Whether another port's allowed address pairs name this very address (not a wide range)."""
        return self.has("shared", network_id, address)

    def anybody_in(self, network_id: str, first: int, last: int, family: Family) -> bool:
        """Whether a known port of a network has a fixed address in a range of addresses."""
        key = ("numbers", network_id, family.version)
        self._reads.add(key)
        if key not in self._numbers:
            self._numbers[key] = sorted(self._sets.get(key, ()))
        known = self._numbers[key]
        place = bisect_left(known, first)
        return place < len(known) and known[place] <= last


@remembered(1)
def spread_over(index: Index, router_id: str) -> tuple[str, ...]:
    """The hosts that a distributed router is on: those where one of its networks has something to route for."""
    networks = {
        port.network_id
        for port in index.router_ports(router_id)
        if port.device_owner == OWNER_DISTRIBUTED
    }
    return tuple(sorted({host for each in networks for host in index.members("anchors", each)}))


@remembered(2)
def spread_here(index: Index, network_id: str) -> tuple[str, ...]:
    """Ids of a network's ports of distributed routers that are on this host, whichever other hosts these are on."""
    ports = index.rows("ports", "spread", network_id)
    return tuple(port.id for port in ports if index.is_here(port))


@remembered(2)
def hosts_with(index: Index, network_id: str) -> tuple[str, ...]:
    """The hosts that carry a network's ports, by name."""
    spread = index.rows("ports", "spread", network_id)
    others = {host for port in spread for host in index.places(port)}
    return tuple(sorted({*index.members("places", network_id), *others}))


def _planned(row: Any | None) -> Any | None:
    """The row without what no plan depends on."""
    return replace(row, **_NOT_PLANNED) if isinstance(row, Resource) else row


def differing(old: HostView, new: HostView) -> dict[str, set[str]]:
    """The rows in which two views differ, found by comparing all of them."""
    return {table: set(_differing(getattr(old, table), getattr(new, table))) for table in TABLES}


def _differing(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if old is new:
        return
    for ident, row in new.items():
        was = old.get(ident)
        if was is not row and was != row:
            yield ident
    yield from old.keys() - new.keys()


def addresses_of(port: Port, family: Family) -> list[str]:
    """A port's addresses of a family, in the port's order."""
    return [fixed.ip_address for fixed in port.fixed_ips if family.has(fixed.ip_address)]


def own_addresses(port: Port, family: Family) -> list[str]:
    """A port's addresses of a family; in IPv6 also the one that its device gives itself on its link."""
    fixed = addresses_of(port, family)
    return [*fixed, link_local(port.mac_address)] if fixed and family is V6 else fixed


def origin(*things: Network | Port | Router | FloatingIP | Subnet) -> tuple[Origin, ...]:
    """What caused an object."""
    return tuple(map(Origin.of, things))


def of_host(*hosts: str) -> tuple[Origin, ...]:
    """Hosts themselves as what caused an object."""
    return tuple(Origin(HOST, host) for host in hosts)


__all__ = [
    "ROUTER_OWNERS",
    "TUNNELS",
    "Changed",
    "Index",
    "Read",
    "Remembered",
    "addresses_of",
    "device_of",
    "differing",
    "hosts_with",
    "is_trusted",
    "of_host",
    "origin",
    "own_addresses",
    "remembered",
    "spread_over",
]
