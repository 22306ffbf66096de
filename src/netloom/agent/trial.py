"""The saved view on trial: one that ended the agent's process twice is not the first thing that it does again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from netloom.model.files import write_whole

MOST_ENDS = 2
"""So often an agent may end while it carries out a saved view before that is left aside."""


class Trial:
    """A file beside the saved view that is there while an agent, just started, carries it out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = False

    def begin(self, digest: str) -> bool:
        """Begin with the view of this digest; false where agents before ended over it, killed or crashed."""
        try:
            known, _, count = self._path.read_text("ascii").partition(" ")
            ends = int(count) if known == digest else 0
        except (OSError, ValueError):
            ends = 0
        self._open = True
        with suppress(
            OSError
        ):  # a disk that takes nothing: then the view is only one of several troubles
            write_whole(self._path, f"{digest} {ends + 1}\n".encode())
        return ends < MOST_ENDS

    def end(self) -> None:
        """The agent outlived it."""
        if self._open:
            self._open = False
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
