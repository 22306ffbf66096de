"""`python -m netloom.image.inspecting`: finds the format of uploaded data, within `confined.Bounds`."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from oslo_utils.imageutils import format_inspector

from netloom.model import confined


class Look(Struct, frozen=True):
    """What to look into: a file that is said to be of this disk format, which an inspector may call one of `seen_as`."""

    file: str
    disk_format: str
    seen_as: tuple[str, ...]


class Found(Struct, frozen=True):
    """How large the disk is, in bytes; `unfit`: why the data is not taken."""

    size: int = 0
    unfit: str = ""


def look(task: Look) -> Found:
    """Find out what the data is."""
    try:
        found = format_inspector.detect_file_format(task.file)
    except format_inspector.ImageFormatError as error:
        return Found(unfit=f"The data is of more than one format: {error}")
    seen = str(found) if found else "nothing known"
    if found is None or seen not in task.seen_as:
        return Found(
            unfit=f"The data is {seen}, not {task.disk_format} as the image's disk_format says."
        )
    try:
        found.safety_check()
        # A raw disk is what it is; others say in their header how large they will become.
        raw = task.disk_format in ("raw", "iso")
        return Found(Path(task.file).stat().st_size if raw else found.virtual_size)
    except format_inspector.SafetyCheckFailed as error:
        return Found(unfit=f"The image is not safe to use: {_why(error)}.")
    except format_inspector.ImageFormatError as error:
        return Found(unfit=f"The {task.disk_format} data cannot be read: {error}")


def _why(error: format_inspector.SafetyCheckFailed) -> str:
    return "; ".join(f"{name}: {failure}" for name, failure in error.failures.items())


if __name__ == "__main__":
    confined.serve(Look, look, (OSError,))
