"""Looking into uploaded image data before anything else opens it: it comes from strangers.

A process of its own looks, with limits of memory and time.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from netloom.image.inspecting import Found, Look
from netloom.model import confined
from netloom.model.errors import BadRequest, UnsupportedMedia

log = logging.getLogger(__name__)

DISK_FORMATS = ("raw", "qcow2", "iso", "vmdk", "vhd", "vhdx", "vdi")
"""What can be stored. Which of them boot is the host's affair: container instances take raw and qcow2."""

CONTAINER_FORMATS = ("bare", "docker")

MEMORY_BYTES = 512 << 20
LEAST_SECONDS = 30
BYTES_PER_SECOND = 4 << 20
"""What looking may take: memory, and processor time for so many bytes on top of the least."""

_SEEN_AS = {"raw": {"raw", "gpt"}}
"""Disk format → what the inspector may call it: a raw disk may well have a partition table."""


def virtual_size(file: Path, disk_format: str, max_bytes: int) -> int:
    """Return how large the disk is that the file holds, in bytes.

    Raises UnsupportedMedia where the file is not of that format or could make its reader open other files
    (backing file, data file, unknown features), BadRequest where the disk would be larger than `max_bytes`.
    """
    length = file.stat().st_size
    seconds = LEAST_SECONDS + length // BYTES_PER_SECOND
    bounds = confined.Bounds(
        memory_bytes=MEMORY_BYTES, cpu_seconds=seconds, file_bytes=0, seconds=60 + 5 * seconds
    )
    seen_as = tuple(_SEEN_AS.get(disk_format, {disk_format}))
    try:
        answer = confined.run(
            "netloom.image.inspecting", Look(str(file), disk_format, seen_as), bounds
        )
    except confined.Overrun as error:
        raise UnsupportedMedia(f"The data cannot be looked into: {error}.") from None
    except confined.Refused as error:
        log.error("image data cannot be looked into: %s", error)
        raise UnsupportedMedia("The data cannot be looked into.") from None
    found = msgspec.json.decode(answer, type=Found)
    if found.unfit:
        raise UnsupportedMedia(found.unfit)
    if found.size > max_bytes:
        raise BadRequest(
            f"The disk would have {found.size} bytes, more than the {max_bytes} that are allowed."
        )
    return found.size
