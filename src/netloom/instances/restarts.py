"""Restarting an instance because its user asked for it.

Each request has a number; the number with which an instance was last started lies beside it. An instance that was
started with another number than is wanted is ended and started anew, whatever its agent did in between.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from netloom.model.files import write_whole
from netloom.model.hoststate import Instance

GENTLE_SECONDS = 5.0
"""How long an instance that was asked to end has for it; then it is ended."""

_FILE = "restarts"


def due(home: Path, item: Instance) -> bool:
    """Say whether the instance that runs was started for an earlier request. Without a file it was for none."""
    try:
        return int((home / _FILE).read_text()) != item.restarts
    except FileNotFoundError:
        return item.restarts != 0
    except (OSError, ValueError):
        return True  # damaged: better once too often than a restart that never comes


def note(home: Path, item: Instance) -> None:
    """Write down for which request the instance is being started."""
    write_whole(home / _FILE, str(item.restarts).encode(), 0o644)


def ask_to_end(pid: int) -> None:
    """Ask an instance to end by itself and wait for it, at most GENTLE_SECONDS.

    systemd is asked with the signal that it takes for "power off"; busybox, sysvinit and plain programs take SIGTERM.
    An init that may not power off (none may in a container) stops all others and then waits alone.
    """
    with suppress(OSError):
        manager = Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"
        had_others = bool(_children(pid))
        os.kill(pid, signal.SIGRTMIN + 4 if manager else signal.SIGTERM)
        deadline = time.monotonic() + GENTLE_SECONDS
        while time.monotonic() < deadline:
            if not _lives(pid) or (had_others and not _children(pid)):
                return
            time.sleep(0.1)


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"


def _children(pid: int) -> list[str]:
    """Process ids of its children, and of all whose parents have ended."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
