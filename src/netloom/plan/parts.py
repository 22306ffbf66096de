"""The parts of a plan, and the memory of what each was made from.

```
 row of the view          parts
 (the host itself)        host
 network                  network, broadcast, clients
 port                     port            wherever it is: its address, its MAC, its membership in groups
 router, server           router, server
 security group, rule     group
 address group            addresses
```

The plan is the union of its parts. A part depends on the rows and sets that it read (`Index`); it is planned anew when one of them
changes, and else it stays as it is. Flows that several parts share are joined from their pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import immutables

from netloom.model.family import V4
from netloom.model.hosts import HostView
from netloom.model.hoststate import HostObject, HostState, Key, Refusal, StateDelta
from netloom.model.names import OWNER_DISTRIBUTED, OWNER_HA_INTERFACE, router_namespace
from netloom.model.networking import Port
from netloom.model.placement import places
from netloom.plan import dhcp, neighbours
from netloom.plan.distributed import plan_spread
from netloom.plan.index import Changed, Index, Read, Remembered, differing, origin, spread_over
from netloom.plan.instances import instance
from netloom.plan.l3 import left_out, plan_router
from netloom.plan.linuxbridge import parts as linuxbridge
from netloom.plan.ovs import address_limits, l2, local, route, security_groups
from netloom.plan.ovs.bridges import plan_bridges
from netloom.plan.ovs.pieces import Piece, joined
from netloom.plan.ovs.ports import dhcp_device, hidden_headers, plan_port

Part = tuple[str, str]
"""(kind, id)."""
Made = Iterator[HostObject | Piece]
Objects = immutables.MapMutation[Key, HostObject]


def _host(index: Index, id: str) -> Made:
    yield from plan_bridges(index)
    yield from hidden_headers(index)
    yield from security_groups.plan_host(index)
    yield from route.plan_host(index)


def _network(index: Index, id: str) -> Made:
    network = index.network(id)
    if network is None or not index.is_present(id):
        return
    yield from l2.arrivals(index, network)
    if network.admin_state_up and index.is_used(id):
        port = index.dhcp_port_of(id)
        yield from dhcp.plan_network(index, network, port)
        if port is not None:
            yield from dhcp_device(index, network, port)
            yield from local.network_services(index, network, port)


def _broadcast(index: Index, id: str) -> Made:
    network = index.network(id)
    if network is None or not index.is_present(id):
        return
    yield from l2.floods(index, network)
    port = index.dhcp_port_of(id)
    if port is not None and network.admin_state_up and index.is_used(id):
        yield from local.deliver_to_all(index, network, port)


def _clients(index: Index, id: str) -> Made:
    network = index.network(id)
    port = index.dhcp_port_of(id)
    if network is None or port is None or not index.is_used(id) or not network.admin_state_up:
        return
    yield from dhcp.plan_clients(index, network, port)
    yield neighbours.bound_of_dhcp(index, network, port, V4)


def _port(index: Index, id: str) -> Made:
    port = index.port(id)
    if port is None:
        return
    yield from security_groups.plan_member(index, port)
    network = index.network(port.network_id)
    if network is None or not index.is_present(network.id):
        return
    if index.is_here(port) and not port.key:
        yield _without_key(port)
        return
    if network.admin_state_up:
        yield from local.arp(index, network, port)
    if port.device_owner == OWNER_DISTRIBUTED:
        yield from route.into_router(index, network, port)
    else:
        yield from l2.known_address(index, network, port)
        yield from route.neighbour(index, network, port)
    yield from l2.between_replicas(index, network, port)
    yield from l2.from_wire(index, network, port)
    yield from neighbours.beside_routers(index, network, port, V4)
    if not index.is_here(port):
        return
    yield from plan_port(index, network, port)
    if index.is_up(port):
        if port.device_owner != OWNER_HA_INTERFACE:
            yield from l2.receiver(index, network, port)
        yield from security_groups.plan_user(index, port)
        if port.device_owner == OWNER_DISTRIBUTED:
            yield from route.ways(index, network, port)
            yield from route.to_wire(index, network, port)
        dhcp_port = index.dhcp_port_of(network.id)
        if dhcp_port is not None and index.is_used(network.id):
            yield from local.port_services(index, network, port, dhcp_port)
            yield from dhcp.refusals_of_port(index, network, port)


def _without_key(port: Port) -> Refusal:
    """A port of a server that gives no numbers: nothing tells its packets from others', so it has none."""
    detail = "the server has given the port no number: it is older than this host's agent"
    return Refusal(detail=detail, state="error", origin=origin(port))


def _router(index: Index, id: str) -> Made:
    router = index.row("routers", id)
    if router is not None and index.host in places(router):
        yield from plan_router(index, router)
        yield from left_out(index, router)
        yield neighbours.bound_of_router(router, router.namespace)
    if router is not None and router.distributed and index.host in spread_over(index, id):
        yield from plan_spread(index, router)
        if index.host not in places(router):
            yield from left_out(index, router)
        yield neighbours.bound_of_router(router, router_namespace(id))


def _limits(index: Index, id: str) -> Made:
    router = index.row("routers", id)
    if router is not None and index.host in places(router):
        yield from address_limits.plan_router(index, router)
    if router is not None and router.distributed and index.host in spread_over(index, id):
        yield from address_limits.plan_spread(index, router)


def _group(index: Index, id: str) -> Made:
    yield from security_groups.plan_group(index, id)


def _addresses(index: Index, id: str) -> Made:
    yield from security_groups.plan_addresses(index, id)


def _server(index: Index, id: str) -> Made:
    server = index.row("servers", id)
    if server is not None and server.host == index.host:
        yield instance(index, server)


_KINDS: dict[str, Callable[[Index, str], Made]] = {
    "host": _host,
    "port": _port,
    "group": _group,
    "addresses": _addresses,
    "network": _network,
    "broadcast": _broadcast,
    "clients": _clients,
    "router": _router,
    "limits": _limits,
    "server": _server,
}
"""In the order in which a whole plan has them."""

_BY_BACKEND = {"linuxbridge": _KINDS | linuxbridge.KINDS}
"""Where a backend has parts of its own; the others' are those of Open vSwitch."""

_OF_TABLE = {
    "networks": ("network", "broadcast", "clients"),
    "ports": ("port",),
    "routers": ("router", "limits"),
    "security_groups": ("group",),
    "address_groups": ("addresses",),
    "servers": ("server",),
}


def union(view: HostView) -> HostState:
    """The union of all parts of a view, without any memory of them; raises ValueError where two want one key."""
    index = Index(view)
    objects: dict[Key, HostObject] = {}
    pieces: dict[Key, list[Piece]] = {}
    for part in _parts(view):
        for key, item in _collected(index, part).items():
            if isinstance(item, tuple):
                pieces.setdefault(key, []).extend(item)
            else:
                other = objects.setdefault(key, item)
                if other is not item:
                    raise _two_versions(key, other, item)
            if key in pieces and key in objects:
                raise ValueError(f"a whole flow and pieces of it: {key}")
    return HostState(objects | {key: joined(several) for key, several in pieces.items()})


def _two_versions(key: Key, one: HostObject, other: HostObject) -> ValueError:
    return ValueError(f"two versions of {key}: from {one.origin} and {other.origin}")


class Parts:
    """The plan of one host, kept up with its view: `state` is always what `plan(view)` would give.

    After an exception it must not be used any more.
    """

    def __init__(self, view: HostView) -> None:
        self._index = Index(view)
        self._readers: dict[Read, set[Part | Read]] = {}
        self._reads: dict[Part, set[Read]] = {}
        self._made: dict[Part, dict[Key, HostObject | tuple[Piece, ...]]] = {}
        self._objects: immutables.Map[Key, HostObject] = immutables.Map()
        self._pieces: dict[Key, dict[Part, tuple[Piece, ...]]] = {}
        self.planned = 0
        """How many parts were planned, all in all."""
        self._plan(_parts(view))

    @property
    def state(self) -> HostState:
        """The whole plan."""
        return HostState(self._objects)

    def follow(self, view: HostView, changed: Changed | None = None) -> StateDelta:
        """Go on to the host's next view; returns what that changes.

        `changed`: the rows that may differ, by table; without it all rows are compared.
        """
        if view.facts != self._index.facts:
            fresh = Parts(view)
            delta = _difference(self._objects, fresh._objects)
            fresh.planned += self.planned
            self.__dict__ = fresh.__dict__
            return delta
        if changed is None:
            changed = differing(self._index.view, view)
        old = self._index.view
        touched = self._index.follow(view, changed)
        due = {
            (kind, row[1]) for row in touched for kind in _OF_TABLE.get(row[0], ()) if len(row) == 2
        }
        for rule in changed.get("security_group_rules", ()):
            for there in (old, view):
                if rule in there.security_group_rules:
                    due.add(("group", there.security_group_rules[rule].security_group_id))
        return self._plan(sorted(due | self._affected(touched), key=_order))

    def _affected(self, touched: Iterable[Read]) -> set[Part]:
        """The parts that read something that changed, after what is remembered was brought up to date."""
        parts: set[Part] = set()
        levels: dict[int, set[Read]] = {}

        def tell(read: Read) -> None:
            for reader in self._readers.get(read, ()):
                if isinstance(reader[0], Remembered):
                    levels.setdefault(reader[0].level, set()).add(reader)
                else:
                    parts.add(reader)

        for read in touched:
            tell(read)
        while levels:
            for read in levels.pop(min(levels)):
                if self._again(read):
                    tell(read)
        return parts

    def _again(self, read: Read) -> bool:
        """Work out again what is remembered; true where it differs. What nobody reads any more is forgotten."""
        value, reads = self._index.results.pop(read)
        for each in reads:
            self._leave(each, read)
        if read not in self._readers:
            return False
        what, key = read
        self._index.recall(what, key)
        self._take_news()
        return self._index.results[read][0] != value

    def _take_news(self) -> None:
        for read in self._index.news:
            for each in self._index.results[read][1]:
                self._readers.setdefault(each, set()).add(read)
        self._index.news.clear()

    def _leave(self, read: Read, reader: Part | Read) -> None:
        readers = self._readers.get(read)
        if readers is not None:
            readers.discard(reader)
            if not readers:
                del self._readers[read]

    def _plan(self, parts: Iterable[Part]) -> StateDelta:
        """Plan parts; everything that they no longer make goes before what is new comes."""
        old: dict[Key, HostObject | None] = {}
        fresh: dict[Part, dict[Key, HostObject | tuple[Piece, ...]]] = {}
        for part in parts:
            self.planned += 1
            made, reads = self._index.noting(lambda part=part: _collected(self._index, part))
            reads.discard((_TABLE_OF.get(part[0], ""), part[1]))
            before = self._reads.pop(part, set())
            for read in before - reads:
                self._leave(read, part)
            for read in reads - before:
                self._readers.setdefault(read, set()).add(part)
            if reads:
                self._reads[part] = reads
            fresh[part] = made
        self._take_news()
        with self._objects.mutate() as objects:
            for part, made in fresh.items():
                for key in self._made.get(part, {}):
                    if key not in made or key in self._pieces:
                        old.setdefault(key, objects.get(key))
                        self._withdraw(objects, part, key)
            for part, made in fresh.items():
                had = self._made.get(part, {})
                for key, item in made.items():
                    old.setdefault(key, objects.get(key))
                    self._put(objects, part, key, item, kept=key in had)
                if made:
                    self._made[part] = made
                else:
                    self._made.pop(part, None)
            for key in old:
                if key in self._pieces:
                    pieces = self._pieces[key].values()
                    objects[key] = joined(piece for several in pieces for piece in several)
            self._objects = objects.finish()
        return _delta(old, self._objects)

    def _withdraw(self, objects: Objects, part: Part, key: Key) -> None:
        pieces = self._pieces.get(key)
        if pieces is not None:
            pieces.pop(part, None)
            if pieces:
                return
            del self._pieces[key]
        objects.pop(key, None)

    def _put(
        self,
        objects: Objects,
        part: Part,
        key: Key,
        item: HostObject | tuple[Piece, ...],
        kept: bool,
    ) -> None:
        if isinstance(item, tuple):
            if key in objects and key not in self._pieces:
                raise ValueError(f"a whole flow and pieces of it: {key}")
            self._pieces.setdefault(key, {})[part] = item
            return
        other = objects.get(key)
        if other is not None and not kept:
            raise _two_versions(key, other, item)
        objects[key] = item


_TABLE_OF = {kind: table for table, kinds in _OF_TABLE.items() for kind in kinds}


def _parts(view: HostView) -> list[Part]:
    """All parts of a view, in order."""
    found: set[Part] = {("host", "")}
    for table, kinds in _OF_TABLE.items():
        found.update((kind, id) for id in getattr(view, table) for kind in kinds)
    found.update(("group", r.security_group_id) for r in view.security_group_rules.values())
    return sorted(found, key=_order)


_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}


def _order(part: Part) -> tuple[int, str]:
    return _NUMBER[part[0]], part[1]


def _collected(index: Index, part: Part) -> dict[Key, HostObject | tuple[Piece, ...]]:
    """What a part makes, by key; raises ValueError where two different objects have one key."""
    kind, id = part
    found: dict[Key, HostObject | tuple[Piece, ...]] = {}
    for item in _BY_BACKEND.get(index.facts.backend, _KINDS)[kind](index, id):
        key = item.key
        if isinstance(item, Piece):
            other = found.get(key, ())
            if not isinstance(other, tuple):
                raise ValueError(f"a whole flow and pieces of it: {key}")
            found[key] = (*other, item)
        elif found.setdefault(key, item) != item:
            raise ValueError(f"two versions of {key}")
    return found


def _delta(old: Mapping[Key, HostObject | None], now: Mapping[Key, HostObject]) -> StateDelta:
    """What changed of these keys."""
    put = {key: now[key] for key, was in old.items() if key in now and now[key] != was}
    return StateDelta(
        put=put,
        gone={key: was for key, was in old.items() if was is not None and key not in now},
    )


def _difference(old: Mapping[Key, HostObject], new: Mapping[Key, HostObject]) -> StateDelta:
    return _delta({key: old.get(key) for key in (*old, *new)}, new)
