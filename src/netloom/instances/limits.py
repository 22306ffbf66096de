"""Whether this host can keep instances within their limits, found by trying; where it cannot, it offers none.

Control groups limit memory, processors and processes; a file system of its own (`volume`) limits an instance's disk.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from netloom.dataplane.process import ApplyError
from netloom.instances import volume

GROUP = "netloom"
"""The control group that holds a group for each instance."""
ROOT = Path("/sys/fs/cgroup")
TRIAL_BYTES = 1 << 24
"""Size of the disk by which the host is tried."""
_NEEDED = {
    "memory": "memory.limit_in_bytes",
    "pids": "pids.max",
    "cpu": "cpu.cfs_quota_us",
}
"""Controller → the file that it limits by (version 1)."""


def missing(state: Path, run_dir: Path) -> str:
    """Why instances cannot be limited on this host, as one line; empty where they can."""
    try:
        return _missing_groups() or missing_disks(state, run_dir)
    except OSError as error:
        return f"limits of instances cannot be tried: {error.strerror}: {error.filename}"


def _missing_groups() -> str:
    if (ROOT / "cgroup.controllers").is_file():
        return _try_unified()
    lacking = [name for name in _NEEDED if not (ROOT / name).is_dir()]
    if lacking:
        return (
            f"instances cannot be limited: no control group of {' and '.join(lacking)} below {ROOT}"
        )
    if (ROOT / "unified").is_dir():
        return (
            f"instances cannot be limited: crun refuses the mixture of control groups below {ROOT}"
        )
    for name, file in _NEEDED.items():
        reason = _try(ROOT / name, file)
        if reason:
            return reason
    return ""


def _try_unified() -> str:
    given = (ROOT / "cgroup.controllers").read_text().split()
    lacking = [name for name in _NEEDED if name not in given]
    if lacking:
        return f"instances cannot be limited: the control groups lack {' and '.join(lacking)}"
    for name in _NEEDED:
        with suppress(OSError):
            (ROOT / "cgroup.subtree_control").write_text(f"+{name}")
    return next(
        filter(None, (_try(ROOT, f) for f in ("memory.max", "pids.max", "cpu.max"))),
        "",
    )


def _try(parent: Path, file: str) -> str:
    """Make a group and look whether it has its limit."""
    group = parent / f"{GROUP}-probe-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        return f"instances cannot be limited: no control group can be made in {parent}: {error.strerror}"
    try:
        return (
            ""
            if (group / file).exists()
            else f"instances cannot be limited: {parent} has no {file}"
        )
    finally:
        group.rmdir()


def missing_disks(state: Path, run_dir: Path) -> str:
    """Why a disk cannot be made and mounted.

    Where the state folder has no room just now, the trial is made in the run folder: a full disk is the trouble of the
    instances that need it, passes, and says nothing of what this host can do.
    """
    room, _inodes = volume.room(state)
    place = run_dir / "probe"
    disk = (state if room >= TRIAL_BYTES else run_dir) / "probe.disk"
    try:
        volume.unmount(place)  # an agent that was killed in its trial has left it
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        volume.make(disk, TRIAL_BYTES)
        volume.mount(disk, place)
        volume.unmount(place)
    except ApplyError as error:
        return f"disks of instances cannot be limited: {error}"
    finally:
        disk.unlink(missing_ok=True)
        with suppress(OSError):
            place.rmdir()
    return ""


def groups() -> set[str]:
    """Server ids that have a control group without processes: it was left behind."""
    found: set[str] = set()
    for parent in _parents():
        if parent.is_dir():
            found |= {path.name for path in parent.iterdir() if path.is_dir() and _empty(path)}
    return found


def _empty(group: Path) -> bool:
    try:
        return not (group / "cgroup.procs").read_text()
    except OSError:
        return False  # it has just gone


def remove_group(server_id: str) -> None:
    """Remove an instance's control groups, where crun left them; its processes have ended."""
    for parent in _parents():
        top = parent / server_id
        if top.is_dir():
            below = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
            for group in (*below, top):
                with suppress(FileNotFoundError):
                    group.rmdir()


def _parents() -> list[Path]:
    if (ROOT / "cgroup.controllers").is_file():
        return [ROOT / GROUP]
    return [point / GROUP for point in ROOT.iterdir()] if ROOT.is_dir() else []
