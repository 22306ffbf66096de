"""Programs in namespaces that go on while no agent runs: what their kinds have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netloom.agent.reconcile.diff import Mark
from netloom.agent.reconcile.kind import Kind, Look
from netloom.dataplane.linux import homes
from netloom.dataplane.mark import broken, fingerprint
from netloom.model.hoststate import Key


class Programs(Kind):
    """Base of these kinds. `files`: names of the files that each has in its folder below `directory`."""

    inside = True
    files: tuple[str, ...] = ("conf",)

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stamps: dict[Key, homes.Stamp] = {}  # of each one's files, as they were right

    def known(self) -> dict[Key, Mark]:
        """Those that are there: the mark of one that runs, and why others do not."""
        raise NotImplementedError

    def alive(self) -> dict[Key, Mark]:
        """As `known`, after those that hang were ended."""
        return self.known()

    def damage(self, item: Any) -> str:
        """What is not as wanted in the files of one, in words; empty where all is."""
        raise NotImplementedError

    def there(self, look: Look) -> dict[Key, Mark]:
        """Those of `known` that a look asks for."""
        known = self.known().items()
        return {key: m for key, m in known if look.only is None or self.place(key) in look.only}

    def read(self, look: Look) -> dict[Key, Mark]:
        found = self.there(look)
        for item in look.of(self.name):
            if found.get(item.key) == fingerprint(item) and (wrong := self.damage(item)):
                found[item.key] = broken(wrong)
        return found

    def touched(self, item: Any) -> Mark:
        """Why one is broken whose files others have changed since they were looked at last; else empty."""
        now = self._stamp(item.key)
        if self._stamps.get(item.key) == now:
            return ""
        self._stamps[item.key] = now
        wrong = self.damage(item)
        return broken(wrong) if wrong else ""

    def written(self, item: Any) -> None:
        """Take down that the files of one are right."""
        self._stamps[item.key] = self._stamp(item.key)

    def _stamp(self, key: Key) -> homes.Stamp:
        return homes.stamp(self.directory / key[1], self.files)

    def mark(self, item: Any) -> Mark:
        return fingerprint(item)

    def forget(self, key: Key) -> None:
        self._stamps.pop(key, None)
