"""Bridges, and their ports with the shields of those that are devices of this host's kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady, each
from netloom.agent.shields import Shields
from netloom.dataplane.linux.netlink import links_by_name
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.ovs import bridges
from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.model.hoststate import Bridge, Interface, Key
from netloom.model.names import INTEGRATION_BRIDGE

PLUGGED = "plugged"
"""Mark of an interface that somebody else plugs."""


def _ports(database: Ovsdb, look: Look) -> dict[Key, Mark]:
    return bridges.read(database, look.wanted, look.once("links", links_by_name))


class Bridges(Kind):
    """`made`: is told of each bridge that was made."""

    name = "bridge"
    sorts = ("bridge",)

    def __init__(
        self, database: Ovsdb, switch: Switch, userspace: bool, made: Callable[[str], None]
    ) -> None:
        self._database = database
        self._switch = switch
        self._userspace = userspace
        self._made = made
        self._known: set[str] = set()  # that were ours since this agent started
        self._hides = False  # whether br-int hid the ports of fragments, when that was asked last

    def read(self, look: Look) -> dict[Key, Mark]:
        found = look.once("ports", lambda: _ports(self._database, look))
        ours = {key: mark for key, mark in found.items() if key[0] == "bridge"}
        self._known |= {name for _, name in ours}
        here = ("bridge", INTEGRATION_BRIDGE)
        if here in ours:
            # The switch's database, which tells of all else, does not know it: asking takes a process.
            if look.whole:
                self._hides = not self._switch.shows_ports_of_fragments(INTEGRATION_BRIDGE)
            if self._hides:
                ours[here] = broken("it hid the ports of fragments from flows")
        return ours

    def mark(self, item: Bridge) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        items = [item for item in change.make if isinstance(item, Bridge)]
        failed = _failures(
            bridges.apply(self._database, items, self._userspace, self._known) if items else {}
        )
        self._known |= {item.name for item in items if item.key not in failed}
        for item in change.add:
            if item.key not in failed:
                self._made(item.key[1])
        done = [i for i in items if i.key not in failed and i.name == INTEGRATION_BRIDGE]
        failed |= each(done, lambda item: self._switch.show_ports_of_fragments(item.name))
        self._hides = self._hides and not any(item.key not in failed for item in done)
        self._known -= {key[1] for key in change.remove}
        return failed | _failures(bridges.remove(self._database, change.remove))


class Interfaces(Kind):
    """`made`: is told of each device of the kernel that was made or given to the switch again.

    `wanted`: device → its interface; always the same dict.
    """

    name = "interface"
    sorts = ("interface",)
    after = ("bridge",)

    def __init__(
        self, database: Ovsdb, shields: Shields | None, made: Callable[[str], None]
    ) -> None:
        self._database = database
        self._shields = shields
        self._made = made
        self.wanted: dict[str, Interface] = {}
        self._expected: dict[str, Key] = {}  # device that somebody else plugs → its interface
        self._plugged: set[str] = set()  # of these, as their marks say

    def read(self, look: Look) -> dict[Key, Mark]:
        found = look.once("ports", lambda: _ports(self._database, look))
        there = {key: mark for key, mark in found.items() if key[0] == "interface"}
        # `stale` says later that this is news.
        plugged = self._expected.keys() & bridges.ofports(self._database).keys()
        there |= {self._expected[name]: PLUGGED for name in plugged}
        if self._shields is not None:
            bare = self._shields.read()
            for key in there:
                item = look.wanted.get(key)
                for name in item.devices if isinstance(item, Interface) else ():
                    if name in bare:
                        there[key] = broken(
                            f"device {name} was not kept from this host's own kernel"
                        )
        return there

    def mark(self, item: Interface) -> Mark:
        self.wanted[item.name] = item
        if not item.expected:
            self._expected.pop(item.name, None)
            return fingerprint(item)
        self._expected[item.name] = item.key
        if item.name not in bridges.ofports(self._database):
            self._plugged.discard(item.name)
            raise NotReady(f"device {item.name} is not plugged")
        self._plugged.add(item.name)
        return PLUGGED

    def forget(self, key: Key) -> None:
        if key[2] in self.wanted and self.wanted[key[2]].key == key:
            del self.wanted[key[2]]
        if self._expected.get(key[2]) == key:
            del self._expected[key[2]]
            self._plugged.discard(key[2])

    def stale(self) -> Iterable[Key]:
        if not self._expected:
            return ()
        plugged = self._expected.keys() & bridges.ofports(self._database).keys()
        return [self._expected[name] for name in plugged ^ self._plugged]

    def apply(self, change: Change) -> dict[Key, Failure]:
        items = [item for item in change.make if isinstance(item, Interface)]
        ours = [item for item in items if not item.expected]
        failed = _failures(bridges.apply(self._database, ours, self._shields is not None))
        if self._shields is not None:
            made = [item for item in ours if item.key not in failed]
            self._shields.made(name for item in made for name in item.devices)
            self._shields.ensure(items)
            for item in items:
                for name in item.devices:
                    if name in self._shields.failed:
                        failed[item.key] = Failure(self._shields.failed[name])
        for item in ours:
            if item.key not in failed:
                self._made(item.name)
        gone = [key for key in change.remove if key[2] not in self._expected]
        return failed | _failures(bridges.remove(self._database, gone))

    def goes_with(self, key: Key) -> Key | None:
        return ("bridge", key[1])

    def let_go(self, key: Key) -> bool:
        """Have the switch forget a port whose device somebody deleted; the device is made anew with the port."""
        return key not in bridges.remove(self._database, [key], keep_device=True)


def _failures(reasons: dict[Key, str]) -> dict[Key, Failure]:
    return {key: Failure(reason) for key, reason in reasons.items()}
