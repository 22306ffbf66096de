"""The disk of an instance: a file of the flavor's size with an ext4 file system, mounted by a loop device.

Bytes and inodes are bounded by the file system itself, whatever the instance does, and removing the disk is removing one
file, however many folders are in it. The file is sparse: it takes what was ever written to it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from netloom.dataplane.linux import netns
from netloom.dataplane.process import ApplyError, run

BYTES_PER_INODE = 16384
"""An instance has one inode for so many bytes of its disk: 65,536 a GiB."""
_OPTIONS = "loop,nodev,nosuid,noatime,errors=remount-ro,noinit_itable"
_FORMAT = ("-O", "^has_journal,^resize_inode", "-m", "0", "-E", "lazy_itable_init=1")

_libc = ctypes.CDLL(None, use_errno=True)


def make(disk: Path, size: int) -> None:
    """Make the file and its file system, without a journal: what a host's crash tears is mended by `mount`.

    Always a new file: into one that was mounted a moment ago the kernel may still write what it kept of it.
    """
    disk.unlink(missing_ok=True)
    with disk.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-i", str(BYTES_PER_INODE), *_FORMAT, str(disk)])


def mend(disk: Path) -> None:
    """Check a file system that was used before; raises ApplyError where it is beyond repair."""
    command = ["e2fsck", "-y", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ApplyError(f"the instance's disk cannot be checked: {error}") from error
    if done.returncode > 3:
        words = done.stderr.strip().splitlines() or [f"e2fsck: exit status {done.returncode}"]
        raise ApplyError(f"the instance's disk is damaged: {words[-1][:200]}")


def mount(disk: Path, place: Path) -> None:
    """Mount it; the loop device goes with the mount."""
    run(["mount", "-t", "ext4", "-o", _OPTIONS, str(disk), str(place)])


def unmount(place: Path) -> None:
    """Take the mount away, if there is one, and the folder it was mounted at."""
    while netns.is_mounted(place):
        netns.unmount(place)
    with suppress(FileNotFoundError):
        place.rmdir()


def clear(place: Path) -> None:
    """Leave nothing in a file system that has just been made."""
    (place / "lost+found").rmdir()


def room(place: Path) -> tuple[int, int]:
    """(bytes, inodes) that are free."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize, found.f_favail


def settle(place: Path) -> None:
    """Have all that was written in the file below: only now is it known to have found room there."""
    opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(opened) != 0:
            raise ApplyError("No space left on device: the instance's disk could not be written")
    finally:
        os.close(opened)
