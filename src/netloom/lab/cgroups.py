"""A control group per host of a lab, so that what its instances leave behind can be found and removed.

Standard library only: the first process of every host imports it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CLONE_NEWCGROUP = 0x02000000
_libc = ctypes.CDLL(None, use_errno=True)


def hierarchies() -> list[tuple[Path, str, str]]:
    """Mounted hierarchies as (mount point, `cgroup` or `cgroup2`, mount options of the controllers)."""
    found: list[tuple[Path, str, str]] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        point = Path(before.split()[4])
        controllers = [word for word in options.split(",") if word not in ("rw", "ro")]
        found.append((point, kind, ",".join(controllers)))
    return found


def enter(group: str) -> None:
    """Move this process into `group` of every hierarchy and make that the root it sees.

    On the unified hierarchy only leaves may hold processes once controllers are handed down, so the
    process itself ends in `group`/init while `group` stays the root of its view.
    """
    mounted = hierarchies()
    for point, kind, controllers in mounted:
        directory = point / group
        if kind == "cgroup2" and len(mounted) == 1:
            _hand_down(point)
            directory.parent.mkdir(exist_ok=True)
            _hand_down(directory.parent)
        directory.mkdir(parents=True, exist_ok=True)
        if "cpuset" in controllers.split(","):
            _inherit_cpuset(point, directory)
        (directory / "cgroup.procs").write_text(str(os.getpid()))
    if _libc.unshare(CLONE_NEWCGROUP) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the control group namespace")
    if len(mounted) == 1 and mounted[0][1] == "cgroup2":
        directory = mounted[0][0] / group
        (directory / "init").mkdir(exist_ok=True)
        (directory / "init/cgroup.procs").write_text(str(os.getpid()))
        _hand_down(directory)


def thaw(group: str) -> None:
    """Let all in a group run on: a container runtime that was killed while it removed one left it frozen,
    and what is frozen (version 1) does not even end when it is killed.
    """
    for state in ROOT.glob(f"*/{group}/**/freezer.state"):
        with contextlib.suppress(OSError):
            state.write_text("THAWED")


def remove(group: str, timeout: float = 5.0) -> None:
    """Remove `group` and all below it from every hierarchy; its processes have ended already."""
    deadline = time.monotonic() + timeout
    for point, _, _ in hierarchies():
        top = point / group
        while top.is_dir():
            for directory in sorted(
                (path for path in top.rglob("*") if path.is_dir()), reverse=True
            ):
                with contextlib.suppress(OSError):
                    directory.rmdir()
            with contextlib.suppress(OSError):
                top.rmdir()
            # The kernel takes a moment to let a group go after its last process has ended.
            if not top.is_dir() or time.monotonic() > deadline:
                break
            time.sleep(0.02)


def _hand_down(directory: Path) -> None:
    """Let children of `directory` use every controller that it may give (unified hierarchy)."""
    try:
        available = (directory / "cgroup.controllers").read_text().split()
    except OSError:
        return
    for controller in available:
        # A controller that some other hierarchy or a process of this group holds stays where it is.
        with contextlib.suppress(OSError):
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(point: Path, directory: Path) -> None:
    """A cpuset made on a version 1 hierarchy has no CPUs until they are given, level by level."""
    steps = [directory, *directory.parents]
    for level in reversed(steps[: steps.index(point)]):
        for name in ("cpuset.cpus", "cpuset.mems"):
            with contextlib.suppress(OSError):
                if not (level / name).read_text().strip():
                    (level / name).write_text((level.parent / name).read_text())
