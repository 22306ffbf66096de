"""Folders of programs that go on while no agent runs (dnsmasq, keepalived, conntrackd), one for each.

The folder's name says whom the program serves. `pid`: which process it is; it is ours where its command line names the folder.
`mark`: what the program was last given; without it a start was interrupted.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

from netloom.dataplane.linux import netns
from netloom.dataplane.mark import broken
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Key

Stamp = tuple[tuple[int, int, int], ...]
"""(inode, size, time of the last change) of each file of a program; zeros for one that is not there."""


def read(
    sort: str,
    directory: Path,
    running: Callable[[Path], int],
    mark_of: Callable[[Path], str] | None = None,
) -> dict[Key, str]:
    """All of a sort → mark, or why one does not run as it was started. `mark_of`: where the file `mark` holds more than that."""
    found: dict[Key, str] = {}
    if directory.is_dir():
        for home in directory.iterdir():
            known = (mark_of or mark)(home) or broken("its start was interrupted")
            found[sort, home.name] = known if running(home) else broken("it did not run")
    return found


def process(home: Path, words: Collection[str], name: str = "pid") -> int:
    """Process id in the file `name` where one of its arguments is among `words`, whichever namespace it is in; else 0."""
    try:
        pid = int((home / name).read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if any(word.encode() in arguments for word in words) else 0


def within(pid: int, namespace: str) -> int:
    """The process id again where it is in today's namespace of that name; else 0."""
    try:
        inside = Path(f"/proc/{pid}/ns/net").stat().st_ino
        wanted = (netns.DIRECTORY / namespace).stat().st_ino
    except OSError:
        return 0
    return pid if inside == wanted else 0


def mark(home: Path) -> str:
    """What the file `mark` says; empty where it is not there, or damaged."""
    try:
        return (home / "mark").read_text()
    except (OSError, ValueError):
        return ""


def says(path: Path, text: str) -> bool:
    """Whether a file has this content."""
    return path.is_file() and path.read_bytes() == text.encode()


def stamp(home: Path, files: Collection[str]) -> Stamp:
    """What tells that somebody changed a file, without reading it."""
    return tuple(_stamp(home / name) for name in files)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_ctime_ns


def remove(home: Path) -> None:
    """Remove the folder of a program that does not run any more; raises ApplyError where it stays."""
    shutil.rmtree(home, ignore_errors=True)
    if home.exists():
        raise ApplyError(f"cannot remove {home}")


def stop(home: Path, running: Callable[[], int], seconds: float) -> None:
    """End a program, gently first; `running`: its process id while there is one. It has so many seconds for each way."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = running()
        if not pid:
            break
        os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
    (home / "pid").unlink(missing_ok=True)
