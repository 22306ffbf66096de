"""How much of a cloud a question has to look at: what a packet can meet, found out as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from msgspec import Struct

from netloom.model.names import OWNER_FLOATING_IP
from netloom.model.networking import Port
from netloom.plan.index import device_of
from netloom.scope import Moment

T = TypeVar("T")


class Reach(Struct, frozen=True):
    """The networks that a packet is followed on, and the routers that it is followed through."""

    networks: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()

    def __or__(self, other: Reach) -> Reach:
        return Reach(self.networks | other.networks, self.routers | other.routers)


class Further(Exception):
    """The packet gets further than what was planned: the question is asked again, with this as well."""

    def __init__(self, reach: Reach) -> None:
        super().__init__("more of the cloud is needed")
        self.reach = reach


class Around:
    """What lies beyond a reach: it is not planned, but a packet that gets there must not be lost. Raises Further."""

    def __init__(self, moment: Moment, reach: Reach, router_ports: Iterable[Port]) -> None:
        self._moment = moment
        self._reach = reach
        self.networks = reach.networks
        self._ports = {device_of(port): port for port in router_ports}

    def _need(self, networks: Iterable[str] = (), routers: Iterable[str] = ()) -> None:
        wanted = Reach(frozenset(networks), frozenset(routers))
        if self._reach | wanted != self._reach:
            raise Further(wanted)

    def leaves(self, device: str) -> None:
        """A frame leaves by a device: of a router's, the network may not be planned."""
        port = self._ports.get(device)
        if port is not None:
            self._need([port.network_id])

    def enters(self, device: str) -> None:
        """A packet comes to a device: of a router's, the router may not be planned."""
        port = self._ports.get(device)
        if port is not None and port.device_owner == OWNER_FLOATING_IP:
            fip = self._moment.tables["floatingips"].get(port.device_id)
            self._need(routers=[fip.router_id] if fip is not None and fip.router_id else [])
        elif port is not None:
            self._need(routers=[port.device_id])

    def wire(self, physical_network: str, vlan: int) -> set[str]:
        """A frame is on a wire; returns the networks that it is on there."""
        there = {network.id for network in self._moment.wires.get((physical_network, vlan), ())}
        self._need(there)
        return there

    def asks_for(self, address: str) -> None:
        """Whether anybody has an address is asked."""
        self._need(self._moment.networks_with(address))

    def forwards(self, device_id: str) -> None:
        """An instance may send on by any of its cards."""
        if device_id:
            self._need(self._moment.networks_of_device(device_id))


class Later(Mapping[str, T], Generic[T]):
    """Values that are made when they are asked for first."""

    def __init__(self, names: Iterable[str], make: Callable[[str], T]) -> None:
        self._names = dict.fromkeys(names)
        self._make = make
        self.made: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self.made:
            if name not in self._names:
                raise KeyError(name)
            self.made[name] = self._make(name)
        return self.made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
