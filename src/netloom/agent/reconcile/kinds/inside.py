"""Namespaces, and what stands in them: devices with their addresses, and routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, each
from netloom.dataplane.linux import namespaces, netns, nft, nsroutes
from netloom.dataplane.linux.namespaces import NOTHING_HELD, Held, Seen
from netloom.dataplane.mark import fingerprint
from netloom.model.hoststate import Device, Key, Namespace, NsRoute
from netloom.render.nft import DHCP_TABLE, NEIGHBOUR_TABLE, NFT_TABLE

_OUR_TABLES = {("ip", name) for name in (NFT_TABLE, NEIGHBOUR_TABLE, DHCP_TABLE)} | {
    ("ip6", NFT_TABLE)
}
KERNEL = frozenset({"namespace", "device", "route", "neighbour"})
"""Sorts of objects that rtnetlink tells of."""
WAYS = frozenset({"route", "neighbour"})
"""Sorts of objects that the kernel drops with a device's link."""


def seen(look: Look) -> dict[str, Seen]:
    """Our namespaces (those of `look.only`) and what is in each, read once in a look."""

    def read() -> dict[str, Seen]:
        held = _held(look)
        if look.only is None:
            return namespaces.read(held)
        ways = look.sorts is not None and look.sorts <= WAYS
        read = namespaces.read_ways if ways else namespaces.read_namespace
        here = [name for name in look.only if netns.exists(name)]
        found = {name: read(name, held.get(name, NOTHING_HELD)) for name in here}
        return {name: there for name, there in found.items() if there is not None}

    there: dict[str, Seen] = look.once("seen", read)
    return there


def _held(look: Look) -> dict[str, Held]:
    """Namespace → what is wanted there and held by others."""
    items: dict[str, list[Device | NsRoute]] = {}
    for kind in ("device", "route"):
        for item in look.of(kind):
            items.setdefault(item.namespace, []).append(item)
    return {name: Held.of(some) for name, some in items.items()}


def tables(look: Look, namespace: str) -> nft.Ruleset:
    """What nftables holds in a namespace, read once in a look."""
    found: nft.Ruleset = look.once(f"nft {namespace}", lambda: nft.ruleset(namespace))
    return found


class Namespaces(Kind):
    """Network namespaces with their settings and policy rules."""

    name = "namespace"
    sorts = ("namespace",)
    after = ("interface",)
    inside = True

    def read(self, look: Look) -> dict[Key, Mark]:
        found: dict[Key, Mark] = {}
        for name, there in seen(look).items():
            found |= there.namespace
            look.foreign |= there.foreign
            if look.sorts is not None:
                continue
            for (family, table), content in tables(look, name).items():
                if (family, table) not in _OUR_TABLES and content.hooked:
                    said = f"table {family} {table} of nftables in {name} is not Netloom's"
                    look.foreign["table", name, family, table] = said
        return found

    def mark(self, item: Namespace) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, namespaces.ensure_namespace)
        return failed | each(change.remove, lambda key: namespaces.remove_namespace(key[1]))


class Devices(Kind):
    """Internal ports of the switch, moved into their namespaces.

    `disturbed`: is told of each namespace whose devices were touched, and whether all went well. `lost`: of each device that
    is nowhere. `come`: of each device with the addresses that it got and that are to be announced.
    """

    name = "device"
    sorts = ("device",)
    # A router answers at an address that no NAT leads on from, and conntrack keeps it so: NAT is there before.
    after = ("namespace", "interface", "nat")
    inside = True

    def __init__(
        self,
        disturbed: Callable[[str, bool], None],
        lost: Callable[[Device], None],
        come: Callable[[Device, list[str]], None],
        port_is_there: Callable[[str], bool],
    ) -> None:
        self._disturbed = disturbed
        self._lost = lost
        self._come = come
        self._port_is_there = port_is_there
        self._removed: list[Key] = []

    def read(self, look: Look) -> dict[Key, Mark]:
        return {key: mark for there in seen(look).values() for key, mark in there.devices.items()}

    def mark(self, item: Device) -> Mark:
        return namespaces.device_mark(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, self._ensure)
        touched: dict[str, bool] = {}
        for item in change.make:
            well = item.key not in failed
            touched[item.key[1]] = touched.get(item.key[1], False) or well
        for name, well in touched.items():
            self._disturbed(name, well)
        failed |= each(change.remove, lambda key: namespaces.remove_device(key[1], key[2]))
        self._removed += [key for key in change.remove if key not in failed]
        return failed

    def needs(self, item: Device) -> Iterable[Key]:
        own = (address for address in item.addresses if address.length == 32)
        return [("floating-nat", item.namespace, address.ip) for address in own]

    def _ensure(self, device: Device) -> None:
        try:
            added = namespaces.ensure_device(device)
        except namespaces.DeviceGone:
            self._lost(device)
            raise
        if device.announce and added:
            self._come(device, added)

    def goes_with(self, key: Key) -> Key | None:
        return ("namespace", key[1])

    def remove_dead(self) -> None:
        """Where the switch was killed, its device outlives the port that it belonged to."""
        gone, self._removed = self._removed, []
        alone = [key for key in gone if not self._port_is_there(key[2]) and netns.exists(key[1])]
        each(alone, lambda key: namespaces.delete_device(key[1], key[2]))


class Routes(Kind):
    """Routes of the main table. One that another program holds is as wanted, whether it is there or not."""

    name = "route"
    sorts = ("route",)
    after = ("device",)
    inside = True

    def read(self, look: Look) -> dict[Key, Mark]:
        found = seen(look)
        there = {key: mark for each in found.values() for key, mark in each.routes.items()}
        held = (item for item in look.of("route") if item.held_by != "agent")
        there |= {item.key: self.mark(item) for item in held if item.namespace in found}
        return there

    def mark(self, item: NsRoute) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, nsroutes.ensure_route)
        return failed | each(change.remove, lambda key: nsroutes.remove_route(key[1], key[2]))

    def goes_with(self, key: Key) -> Key | None:
        return ("namespace", key[1])
