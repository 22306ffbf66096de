"""Ending a start that is no longer wanted, from another thread."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import BinaryIO, cast

from netloom.dataplane.process import ApplyError


class Cancelled(ApplyError):
    """The work was given up because nobody wants its result any more."""

    def __init__(self) -> None:
        super().__init__("no longer wanted")


class Cancel:
    """Shared by who does the work and who may end it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """End the work: its process now, all else at its next `check`."""
        with self._lock:
            self.cancelled = True
            if self._process is not None:
                with contextlib.suppress(OSError):
                    self._process.kill()

    def check(self) -> None:
        """Raise Cancelled where the work was given up."""
        if self.cancelled:
            raise Cancelled

    def holds(self, process: subprocess.Popen[bytes]) -> None:
        """Have `cancel` kill this process (a Popen that has ended is not signalled)."""
        with self._lock:
            self._process = process
            if self.cancelled:
                process.kill()

    def writer(self, file: BinaryIO) -> BinaryIO:
        """A file whose `write` raises Cancelled once the work was given up."""
        return cast(BinaryIO, _Writer(file, self))


class _Writer:
    def __init__(self, file: BinaryIO, cancel: Cancel) -> None:
        self._file = file
        self._cancel = cancel

    def write(self, data: bytes) -> int:
        self._cancel.check()
        return self._file.write(data)
