"""conntrackd of each replica of an HA router, not a child of the agent.

Each has a folder of its own, named by its namespace: `conf`, `pid`, `lock`, `ctl` (its socket) and `mark`: what it was last given. It
is ours when the process of `pid` runs with that folder's `conf` on its command line.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from netloom.dataplane.linux import homes, netns
from netloom.dataplane.mark import fingerprint
from netloom.dataplane.process import ApplyError, run
from netloom.model.files import write_whole
from netloom.model.hoststate import ConnectionSync, Key
from netloom.render.keepalived import conntrackd_conf
from netloom.render.values import Unwritable

STOP_SECONDS = 1.0
_START = 'conntrackd -C "$1/conf" </dev/null >/dev/null 2>&1 & echo $! >"$1/pid"'
"""conntrackd writes nowhere which process it is."""


def read(directory: Path) -> dict[Key, str]:
    """Ours → fingerprint, or why one does not run as it was started."""
    return homes.read("conntrackd", directory, running)


def damage(item: ConnectionSync, directory: Path) -> str:
    """What is not as wanted in the file of one, in words; empty where all is."""
    home = directory / item.namespace
    try:
        text = _text(item, home)
    except ApplyError:
        return ""  # `ensure` says so
    return "" if homes.says(home / "conf", text) else "its file conf was changed"


def ensure(item: ConnectionSync, directory: Path) -> None:
    """Run it with exactly this configuration. Raises ApplyError where it cannot be started."""
    home = directory / item.namespace
    text = _text(item, home)
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    same = homes.says(home / "conf", text)
    if not same or not running(home) or homes.mark(home) != fingerprint(item):
        (home / "mark").unlink(missing_ok=True)
        _stop(home)
        write_whole(home / "conf", text.encode(), 0o600)
        with netns.inside(item.namespace):
            run(["sh", "-c", _START, "sh", str(home)], timeout=10)
        (home / "mark").write_text(fingerprint(item))


def running(home: Path) -> int:
    """Process id of it, 0 where it does not run, or not in today's namespace of that name."""
    return homes.within(_alive(home), home.name)


def remove(namespace: str, directory: Path) -> None:
    """Stop one and forget its folder."""
    home = directory / namespace
    _stop(home)
    homes.remove(home)


def _alive(home: Path) -> int:
    # Between fork and exec it is a shell with the folder's name.
    return homes.process(home, (f"{home}/conf", str(home)))


def _stop(home: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = _alive(home)
        if not pid:
            break
        os.kill(pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while _alive(home) and time.monotonic() < deadline:
            time.sleep(0.005)
    # One that was killed leaves them behind, and they keep the next one away.
    for name in ("pid", "lock", "ctl"):
        (home / name).unlink(missing_ok=True)


def _text(item: ConnectionSync, home: Path) -> str:
    try:
        return conntrackd_conf(item, str(home))
    except Unwritable as error:
        raise ApplyError(f"conntrackd cannot be told: {error}") from error
