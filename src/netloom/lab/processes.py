"""Processes of a lab, named so that a process id used again by a stranger is never touched."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

TAG = "NETLOOM_LAB_DIR"
"""Environment variable that every process of a lab inherits: its lab's folder."""


class Process(Struct, frozen=True):
    """A process: its id and when it started, in clock ticks since boot."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """True while it runs; a zombie has ended."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[19]) == self.started and fields[0] not in "ZX"
        return False


def describe(pid: int) -> Process | None:
    """The running process with this id."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[19]))


def boot_id() -> str:
    """The machine's present boot: a process noted in another boot is gone."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def tagged(directory: Path) -> list[Process]:
    """Every process that carries the tag of the lab in `directory`, known or forgotten."""
    wanted = f"{TAG}={directory}".encode()
    found: list[Process] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                process = describe(int(entry.name))
                if process is not None and process.alive:
                    found.append(process)
    return found


def kill(processes: Iterable[Process], timeout: float = 10.0) -> list[Process]:
    """End processes at once (SIGKILL) and wait until they are gone; returns those that are not."""
    left = [process for process in processes if process.alive]
    for process in left:
        _signal(process, signal.SIGKILL)
    return wait_gone(left, timeout)


def wait_gone(processes: Sequence[Process], timeout: float) -> list[Process]:
    """Wait until processes have ended; returns those that have not in time."""
    deadline = time.monotonic() + timeout
    while True:
        left = [process for process in processes if process.alive]
        # Our own children must be reaped, once they have ended; others' are.
        for process in processes:
            with contextlib.suppress(OSError):
                os.waitpid(process.pid, os.WNOHANG)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def _signal(process: Process, number: int) -> None:
    """Send a signal through a pidfd, checked after opening: no other process can be hit."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        if process.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)
