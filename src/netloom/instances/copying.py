"""An unpacked image's copy for one instance. Nothing of the image's content is looked at here."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from netloom.dataplane.process import ApplyError
from netloom.instances.cancel import Cancel

SECONDS = 600.0
"""How long one copy may take."""


def copy_shifted(source: Path, target: Path, base: int, cancel: Cancel) -> None:
    """Copy an unpacked tree into the empty folder `target`; every owner and group is `base` higher in the copy.

    Nobody else can get at `target` meanwhile. Raises ApplyError where that fails, Cancelled where nobody wants it any more.
    """
    command = ["nice", "-n", "5", "cp", "-a", "--", f"{source}/.", str(target)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        cancel.holds(process)
        try:
            _, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise ApplyError(f"the image was not copied within {SECONDS:.0f} s") from None
        finally:
            process.kill()
    cancel.check()
    if process.returncode:
        words = said.decode(errors="replace").strip().splitlines() or ["cp failed"]
        raise ApplyError(f"the image cannot be copied: {words[-1][:200]}")
    _shift(target, base, cancel)


def _shift(target: Path, base: int, cancel: Cancel) -> None:
    """Add `base` to the owner and group of a folder and of all below it."""
    linked: set[int] = set()
    folders = [str(target)]
    _own(folders[0], target.stat(), base)
    while folders:
        cancel.check()
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.path)
                elif status.st_nlink > 1:
                    if status.st_ino in linked:
                        continue
                    linked.add(status.st_ino)
                _own(entry.path, status, base)


def _own(place: str, status: os.stat_result, base: int) -> None:
    os.chown(place, status.st_uid + base, status.st_gid + base, follow_symlinks=False)
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISLNK(status.st_mode):
        Path(place).chmod(stat.S_IMODE(status.st_mode))  # chown takes set-user-id away
