"""Looking into uploaded image data before anything else opens it: it comes from strangers."""

from __future__ import annotations

from pathlib import Path

from oslo_utils.imageutils import format_inspector

from netloom.model.errors import BadRequest, UnsupportedMedia

DISK_FORMATS = ("raw", "qcow2", "iso", "vmdk", "vhd", "vhdx", "vdi")
"""What can be stored. Which of them boot is the host's affair: container instances take raw and qcow2."""

CONTAINER_FORMATS = ("bare", "docker")

_SEEN_AS = {"raw": {"raw", "gpt"}}
"""Disk format → what the inspector may call it: a raw disk may well have a partition table."""


def virtual_size(file: Path, disk_format: str, max_bytes: int) -> int:
    """Return how large the disk is that the file holds, in bytes.

    Raises UnsupportedMedia where the file is not of that format or could make its reader open other files
    (backing file, data file, unknown features), BadRequest where the disk would be larger than `max_bytes`.
    """
    try:
        found = format_inspector.detect_file_format(str(file))
    except format_inspector.ImageFormatError as error:
        raise UnsupportedMedia(f"The data is of more than one format: {error}") from None
    seen = str(found) if found else "nothing known"
    if found is None or seen not in _SEEN_AS.get(disk_format, {disk_format}):
        raise UnsupportedMedia(
            f"The data is {seen}, not {disk_format} as the image's disk_format says."
        )
    try:
        found.safety_check()
        # A raw disk is what it is; others say in their header how large they will become.
        size = file.stat().st_size if disk_format in ("raw", "iso") else found.virtual_size
    except format_inspector.SafetyCheckFailed as error:
        raise UnsupportedMedia(f"The image is not safe to use: {_why(error)}.") from None
    except format_inspector.ImageFormatError as error:
        raise UnsupportedMedia(f"The {disk_format} data cannot be read: {error}") from None
    if size > max_bytes:
        raise BadRequest(
            f"The disk would have {size} bytes, more than the {max_bytes} that are allowed."
        )
    return size


def _why(error: format_inspector.SafetyCheckFailed) -> str:
    return "; ".join(f"{name}: {failure}" for name, failure in error.failures.items())
