"""Numbers that depend on history, kept in a file of a host that has no switch's database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from netloom.dataplane.process import ApplyError
from netloom.model.files import write_whole


class InFile:
    """Names → numbers as text, in a file that is always whole. A file that cannot be read counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] | None = None

    def read(self) -> dict[str, str]:
        """All that is kept there."""
        if self._known is None:
            try:
                found = json.loads(self._path.read_text())
            except (OSError, ValueError):
                found = {}
            pairs = found.items() if isinstance(found, dict) else ()
            self._known = {str(name): str(value) for name, value in pairs}
        return self._known

    def change(self, gone: Iterable[str], come: Mapping[str, str]) -> None:
        """Take names out, then put others in; raises ApplyError."""
        names = set(gone)
        now = {name: value for name, value in self.read().items() if name not in names} | {**come}
        try:
            write_whole(self._path, json.dumps(now, sort_keys=True, indent=0).encode())
        except OSError as error:
            raise ApplyError(f"{self._path} cannot be written: {error.strerror}") from error
        self._known = now
