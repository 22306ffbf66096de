"""Linux bridges, the devices in them, and where MAC addresses are behind these."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady
from netloom.dataplane.linux import bridges
from netloom.dataplane.linux.netlink import link_names
from netloom.dataplane.mark import fingerprint
from netloom.model.filtering import FdbEntry
from netloom.model.hoststate import Bridge, Interface, Key


def links(look: Look) -> bridges.Links:
    """The devices of this host, read once in a look."""
    found: bridges.Links = look.once("ip links", bridges.links)
    return found


def _ports(look: Look) -> dict[Key, Mark]:
    found: dict[Key, Mark] = look.once("bridges", lambda: bridges.read(look.wanted, links(look)))
    return found


class LinuxBridges(Kind):
    """Known again by the alias of the bridge."""

    name = "bridge"
    sorts = ("bridge",)
    after = ("filter",)

    def read(self, look: Look) -> dict[Key, Mark]:
        return {key: mark for key, mark in _ports(look).items() if key[0] == "bridge"}

    def mark(self, item: Bridge) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        items = [item for item in change.make if isinstance(item, Bridge)]
        failed = _failures(bridges.apply_bridges(items))
        return failed | _failures(bridges.remove(change.remove))


class BridgePorts(Kind):
    """Devices in our bridges, known again by the bridge that they are in. Their rules stand before they do.

    `made`: is told of each device that was made. `wanted`: device → its interface; always the same dict.
    """

    name = "interface"
    sorts = ("interface",)
    after = ("bridge", "filter")

    def __init__(self, made: Callable[[str], None]) -> None:
        self._made = made
        self.wanted: dict[str, Interface] = {}
        self._plugged: dict[
            str, bool
        ] = {}  # device that somebody else plugs → whether it was there

    def read(self, look: Look) -> dict[Key, Mark]:
        return {key: mark for key, mark in _ports(look).items() if key[0] == "interface"}

    def mark(self, item: Interface) -> Mark:
        self.wanted[item.name] = item
        self._plugged.pop(item.name, None)
        if item.expected:
            self._plugged[item.name] = item.name in link_names()
            if not self._plugged[item.name]:
                raise NotReady(f"device {item.name} is not plugged")
        return fingerprint(item)

    def forget(self, key: Key) -> None:
        if key[2] in self.wanted and self.wanted[key[2]].key == key:
            del self.wanted[key[2]]
            self._plugged.pop(key[2], None)

    def stale(self) -> Iterable[Key]:
        if not self._plugged:
            return ()
        there = link_names()
        return [
            self.wanted[name].key for name, was in self._plugged.items() if (name in there) != was
        ]

    def apply(self, change: Change) -> dict[Key, Failure]:
        items = [item for item in change.make if isinstance(item, Interface)]
        failed, made = bridges.apply_interfaces(items) if items else ({}, [])
        for name in made:
            self._made(name)
        return _failures(failed) | _failures(bridges.remove(change.remove))

    def needs(self, item: Interface) -> Iterable[Key]:
        return [("filter", item.name)]

    def waits_for(self, device: str) -> bool:
        """Whether somebody else has still to plug a device."""
        return self._plugged.get(device) is False

    def let_go(self, key: Key) -> bool:
        """Take a device away whose other end is gone, so that it is made anew."""
        return key not in bridges.remove([key])


class FdbEntries(Kind):
    """Where MAC addresses are: every entry of our devices that was not learned is ours."""

    name = "fdb"
    sorts = ("fdb",)
    after = ("interface",)

    def __init__(self, ports: BridgePorts) -> None:
        self._ports = ports
        self._waiting: dict[
            Key, str
        ] = {}  # entry → its device, which somebody else has still to plug

    def read(self, look: Look) -> dict[Key, Mark]:
        return dict.fromkeys(bridges.read_fdb(self._ports.wanted), "there")

    def mark(self, item: FdbEntry) -> Mark:
        self._waiting.pop(item.key, None)
        if self._ports.waits_for(item.device):
            self._waiting[item.key] = item.device
            raise NotReady(f"device {item.device} is not plugged")
        return "there"

    def forget(self, key: Key) -> None:
        self._waiting.pop(key, None)

    def stale(self) -> Iterable[Key]:
        waiting = self._waiting.items()
        return [key for key, device in waiting if not self._ports.waits_for(device)]

    def apply(self, change: Change) -> dict[Key, Failure]:
        items = [item for item in change.make if isinstance(item, FdbEntry)]
        failed = _failures(bridges.apply_fdb(items)) if items else {}
        return failed | (_failures(bridges.remove_fdb(change.remove)) if change.remove else {})


def _failures(reasons: dict[Key, str]) -> dict[Key, Failure]:
    return {key: Failure(reason) for key, reason in reasons.items()}
