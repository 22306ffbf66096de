"""A kernel of toys that asserts order: networks hold cards, cards have addresses, doors (NAT) stand before addresses.

It is no mock of Netloom: it stands for what refuses a step that comes too early or too late. Each toy is a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from netloom.agent.reconcile.diff import Change
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady, each
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import HostObject, HostState, Key
from netloom.model.origin import Origin


class Net(HostObject, frozen=True, kw_only=True):
    """A container."""

    name: str
    colour: str = "red"

    @property
    def key(self) -> Key:
        return ("net", self.name)


class Door(HostObject, frozen=True, kw_only=True):
    """What must stand before an address does, and for as long as it does."""

    net: str
    address: str

    @property
    def key(self) -> Key:
        return ("door", self.net, self.address)


class Card(HostObject, frozen=True, kw_only=True):
    """What has addresses, in a network."""

    net: str
    name: str
    addresses: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return ("card", self.net, self.name)


class Path(HostObject, frozen=True, kw_only=True):
    """What leads over a card; all paths are changed in one step."""

    net: str
    card: str
    to: str

    @property
    def key(self) -> Key:
        return ("path", self.net, self.to)


class Killed(BaseException):
    """The agent's process ends here."""


class Kernel:
    """`objects`: key → the object that is there. `steps`: what was done, in order."""

    def __init__(self) -> None:
        self.objects: dict[Key, HostObject] = {}
        self.steps: list[tuple[str, Key]] = []
        self.refuses: set[Key] = set()
        self.kill_after: int | None = None
        self.reads: list[str] = []

    def step(self, what: str, key: Key) -> None:
        if self.kill_after is not None:
            if not self.kill_after:
                raise Killed
            self.kill_after -= 1
        if key in self.refuses:
            raise ApplyError(f"{key[-1]} is refused")
        self.steps.append((what, key))

    def within(self, net: str) -> list[Key]:
        return [key for key in self.objects if key[0] != "net" and key[1] == net]

    def put(self, item: Any) -> None:
        self.step("put", item.key)
        if not isinstance(item, Net) and ("net", item.net) not in self.objects:
            raise ApplyError(f"there is no net {item.net}")
        if isinstance(item, Card):
            for address in item.addresses:
                assert ("door", item.net, address) in self.objects, f"{address} before its door"
        if isinstance(item, Path) and ("card", item.net, item.card) not in self.objects:
            raise ApplyError(f"there is no card {item.card}")
        self.objects[item.key] = item

    def take(self, key: Key) -> None:
        self.step("take", key)
        if key not in self.objects:
            return
        if key[0] == "net":
            for inside in self.within(key[1]):
                assert inside[0] != "path" or inside in self.refuses, "a net goes after its paths"
                del self.objects[inside]
        for item in self.objects.values():
            if key[0] == "door" and isinstance(item, Card) and item.net == key[1]:
                assert key[2] not in item.addresses, f"door of {key[2]} gone before the address"
        del self.objects[key]


class Toys(Kind):
    """One kind of toys in a kernel."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        after: tuple[str, ...],
        at_once: bool = False,
        ready: Callable[[Any], bool] = lambda _item: True,
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.sorts = (name,)
        self.after = after
        self.at_once = at_once
        self.inside = True
        self.ready = ready
        self.marked = 0
        self.again: set[Key] = set()

    def read(self, look: Look) -> dict[Key, str]:
        self.kernel.reads.append(self.name)
        return {
            key: repr(item)
            for key, item in self.kernel.objects.items()
            if key[0] == self.name and (look.only is None or key[1] in look.only)
        }

    def mark(self, item: HostObject) -> str:
        self.marked += 1
        if not self.ready(item):
            raise NotReady(f"{item.key[-1]} waits")
        return repr(item)

    def stale(self) -> Iterable[Key]:
        again, self.again = self.again, set()
        return again

    def goes_with(self, key: Key) -> Key | None:
        return ("net", key[1]) if self.name in ("card", "door") else None

    def needs(self, item: HostObject) -> Iterable[Key]:
        if not isinstance(item, Card):
            return ()
        return [("door", item.net, address) for address in item.addresses]

    def outlives(self, key: Key) -> Iterable[Key]:
        if self.name != "door":
            return ()
        return [other for other in self.kernel.within(key[1]) if other[0] == "card"]

    def apply(self, change: Change) -> dict[Key, Failure]:
        if self.at_once:
            failed = each(change.remove, self.kernel.take)
            return failed | each(change.make, self.kernel.put)
        return each(change.make, self.kernel.put) | each(change.remove, self.kernel.take)


def kinds(kernel: Kernel) -> list[Toys]:
    """All kinds, given in no useful order."""
    return [
        Toys(kernel, "path", ("card",), at_once=True),
        Toys(kernel, "card", ("door", "net")),
        Toys(kernel, "net", ()),
        Toys(kernel, "door", ("net",)),
    ]


def state(**nets: dict[str, tuple[str, ...]]) -> HostState:
    """Nets with cards and their addresses, a door for each address, and a path over each card."""
    objects: list[HostObject] = []
    for net, cards in nets.items():
        objects.append(Net(name=net, origin=(Origin("network", f"{net}"),)))
        for card, addresses in cards.items():
            objects.append(
                Card(net=net, name=card, addresses=addresses, origin=(Origin("port", f"{card}"),))
            )
            objects += [Door(net=net, address=address) for address in addresses]
            objects.append(Path(net=net, card=card, to=f"{card}-path"))
    return HostState.of(objects)
