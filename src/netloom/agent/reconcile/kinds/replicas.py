"""What a replica of an HA router has beside the router: keepalived and conntrackd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, each
from netloom.dataplane.linux import conntrackd, keepalived
from netloom.dataplane.mark import broken, fingerprint
from netloom.model.hoststate import ConnectionSync, Keepalived, Key


class Keepaliveds(Kind):
    """keepalived of each HA router here: its processes and its file.

    `active`: namespace → whether the router is active here. `cut`: says which links of this host are cut.
    """

    name = "keepalived"
    sorts = ("keepalived",)
    after = ("device", "route", "nat", "neighbour")
    inside = True

    def __init__(
        self,
        directory: Path,
        ended: Callable[[str], None],
        cut: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._cut = cut
        self._directory = directory
        self._ends = keepalived.Ends(directory, ended)
        self.active: dict[str, bool] = {}

    def tell_links(self) -> None:
        """Tell each which links of this host are cut: one that is alone must not go on as if it were not."""
        if self.active:
            keepalived.tell_links(self._cut(), self._directory)

    def read(self, look: Look) -> dict[Key, Mark]:
        found = {
            key: mark
            for key, mark in keepalived.read(self._directory).items()
            if look.only is None or key[1] in look.only
        }
        for item in look.of(self.name):
            if found.get(item.key) == fingerprint(item):
                if wrong := keepalived.damage(item, self._directory):
                    found[item.key] = broken(wrong)
                elif wrong := self.lacks(item):
                    found[item.key] = wrong
                self.look_at(item)
        self.tell_links()
        self._ends.follow()
        return found

    def look_at(self, item: Keepalived) -> bool:
        """Look whether a router is active here; true where that is news."""
        before = self.active.get(item.namespace)
        self.active[item.namespace] = keepalived.is_active(item)
        return self.active[item.namespace] != before

    def lacks(self, item: Keepalived) -> Mark:
        """Why one that is active is broken: somebody took away what it put in; else empty."""
        wrong = keepalived.missing(item)
        return broken(f"{', '.join(wrong[:3])} was gone") if wrong else ""

    def touched(self, item: Any) -> Mark:
        """Why one is broken whose file others have changed; else empty."""
        wrong = keepalived.damage(item, self._directory)
        return broken(wrong) if wrong else ""

    def alive(self) -> dict[Key, Mark]:
        """Those that run, and why others do not; what is stopped is ended first."""
        keepalived.end_hung(self._directory)
        self._ends.follow()
        return keepalived.read(self._directory)

    def mark(self, item: Keepalived) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, self._ensure)
        failed |= each(change.remove, lambda key: keepalived.remove(key[1], self._directory))
        self._ends.follow()
        return failed

    def _ensure(self, item: Keepalived) -> None:
        keepalived.tell_links(self._cut(), self._directory)
        keepalived.ensure(item, self._directory)
        self.look_at(item)

    def needs(self, item: Keepalived) -> Iterable[Key]:
        yield "device", item.namespace, item.device
        for address in item.addresses:
            yield "device", item.namespace, address.device
            if address.cidr.endswith("/32"):
                yield "floating-nat", item.namespace, address.cidr.removesuffix("/32")

    def forget(self, key: Key) -> None:
        self.active.pop(key[1], None)


class ConnectionSyncs(Kind):
    """conntrackd of each HA router here."""

    name = "conntrackd"
    sorts = ("conntrackd",)
    after = ("device", "nat")
    inside = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, look: Look) -> dict[Key, Mark]:
        found = {
            key: mark
            for key, mark in conntrackd.read(self._directory).items()
            if look.only is None or key[1] in look.only
        }
        for item in look.of(self.name):
            wrong = conntrackd.damage(item, self._directory)
            if wrong and found.get(item.key) == fingerprint(item):
                found[item.key] = broken(wrong)
        return found

    def touched(self, item: Any) -> Mark:
        """Why one is broken whose file others have changed; else empty."""
        wrong = conntrackd.damage(item, self._directory)
        return broken(wrong) if wrong else ""

    def alive(self) -> dict[Key, Mark]:
        """Those that run, and why others do not."""
        return conntrackd.read(self._directory)

    def mark(self, item: ConnectionSync) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, lambda item: conntrackd.ensure(item, self._directory))
        return failed | each(change.remove, lambda key: conntrackd.remove(key[1], self._directory))

    def needs(self, item: ConnectionSync) -> Iterable[Key]:
        yield "device", item.namespace, item.device
