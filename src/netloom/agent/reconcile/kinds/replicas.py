"""What a replica of an HA router has beside the router: keepalived and conntrackd."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Look, each
from netloom.agent.reconcile.kinds.programs import Programs
from netloom.dataplane.linux import conntrackd, keepalived, rivals
from netloom.dataplane.mark import broken, fingerprint
from netloom.model.hoststate import ConnectionSync, Keepalived, Key


class Keepaliveds(Programs):
    """keepalived of each HA router here: its processes and its file.

    `active`: namespace → whether the router is active here. `cut`: says which links of this host are cut.
    """

    name = "keepalived"
    sorts = ("keepalived",)
    after = ("device", "route", "nat", "neighbour")

    def __init__(
        self,
        directory: Path,
        ended: Callable[[str], None],
        cut: Callable[[], Mapping[str, bool]],
    ) -> None:
        super().__init__(directory)
        self._cut = cut
        self._ends = keepalived.Ends(directory, ended)
        self._rivals = rivals.Rivals(directory)
        self.active: dict[str, bool] = {}

    def known(self) -> dict[Key, Mark]:
        return keepalived.read(self.directory)

    def alive(self) -> dict[Key, Mark]:
        keepalived.end_hung(self.directory)
        self._ends.follow()
        return self.known()

    def damage(self, item: Keepalived) -> str:
        return keepalived.damage(item, self.directory)

    def tell_links(self) -> None:
        """Tell each which links of this host are cut: one that is alone must not go on as if it were not."""
        if self.active:
            keepalived.tell_links(self._cut(), self.directory)

    def read(self, look: Look) -> dict[Key, Mark]:
        found = self.there(look)
        for item in look.of(self.name):
            if found.get(item.key) == fingerprint(item):
                _, gone = self.look_at(item)
                if wrong := self.damage(item):
                    found[item.key] = broken(wrong)
                elif gone:
                    found[item.key] = gone
        self.tell_links()
        self._ends.follow()
        return found

    def look_at(self, item: Keepalived) -> tuple[bool, Mark]:
        """Whether it is news that a router is active here, or is not; and why an active one is broken, else empty.

        It is broken where somebody took away what it put in.
        """
        active, gone = keepalived.look(item)
        news = self.active.get(item.namespace) != active
        self.active[item.namespace] = active
        if news and (active or rivals.yielding(self.directory / item.namespace)):
            self._rivals.contest(item)
        return news, broken(f"{', '.join(gone[:3])} was gone") if gone else ""

    def apply(self, change: Change) -> dict[Key, Failure]:
        cut = functools.cache(self._cut)  # once for all of them
        failed = each(change.make, lambda item: self._begin(item, cut()))
        begun = [item for item in change.make if item.key not in failed]
        failed |= each(begun, self._finish)
        failed |= each(change.remove, lambda key: keepalived.remove(key[1], self.directory))
        self._ends.follow()
        return failed

    def _begin(self, item: Keepalived, cut: Mapping[str, bool]) -> None:
        keepalived.tell_links(cut, self.directory)
        keepalived.begin(item, self.directory)

    def _finish(self, item: Keepalived) -> None:
        keepalived.finish(item, self.directory)
        self.written(item)
        self.look_at(item)

    def needs(self, item: Keepalived) -> Iterable[Key]:
        yield "device", item.namespace, item.device
        for address in item.addresses:
            yield "device", item.namespace, address.device
            if address.cidr.endswith("/32"):
                yield "floating-nat", item.namespace, address.cidr.removesuffix("/32")

    def forget(self, key: Key) -> None:
        super().forget(key)
        self.active.pop(key[1], None)


class ConnectionSyncs(Programs):
    """conntrackd of each HA router here."""

    name = "conntrackd"
    sorts = ("conntrackd",)
    after = ("device", "nat")

    def known(self) -> dict[Key, Mark]:
        return conntrackd.read(self.directory)

    def damage(self, item: ConnectionSync) -> str:
        return conntrackd.damage(item, self.directory)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, self._ensure)
        return failed | each(change.remove, lambda key: conntrackd.remove(key[1], self.directory))

    def _ensure(self, item: ConnectionSync) -> None:
        conntrackd.ensure(item, self.directory)
        self.written(item)

    def needs(self, item: ConnectionSync) -> Iterable[Key]:
        yield "device", item.namespace, item.device
