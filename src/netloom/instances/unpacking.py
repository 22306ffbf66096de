"""`python -m netloom.instances.unpacking`: reads an image within `confined.Bounds`.

Everything that looks at an image's content happens in this process. `run` starts it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from netloom.dataplane.process import ApplyError
from netloom.instances.cancel import Cancel
from netloom.instances.rootfs import Size, unpack
from netloom.model import confined

MEMORY_BYTES = 512 << 20
"""Address space of the process; Python alone takes 40 MiB of it."""
LEAST_CPU_SECONDS = 30
BYTES_PER_CPU_SECOND = 4 << 20
"""An image may take a second of processor time for so many bytes that it has, on top of the least."""


class Unpack(Struct, frozen=True):
    """Unpack the file `image` into the folder `into`; `limit`: bytes of all its files."""

    image: str
    disk_format: str
    container_format: str
    into: str
    limit: int


def run(task: Unpack, size: int, cancel: Cancel) -> Size:
    """Do it in a process of its own; `size`: bytes of the file that is read. Raises ApplyError."""
    cpu = LEAST_CPU_SECONDS + size // BYTES_PER_CPU_SECOND
    bounds = confined.Bounds(
        memory_bytes=MEMORY_BYTES, cpu_seconds=cpu, file_bytes=task.limit, seconds=60 + 5 * cpu
    )
    try:
        answer = confined.run("netloom.instances.unpacking", task, bounds, cancel.holds)
    except confined.Overrun as error:
        cancel.check()
        raise ApplyError(f"reading the image was ended: {error}") from error
    except confined.Refused as error:
        cancel.check()
        raise ApplyError(str(error)) from error
    return msgspec.json.decode(answer, type=Size)


def _work(task: Unpack) -> Size:
    os.umask(0o022)
    image, into = Path(task.image), Path(task.into)
    return unpack(image, task.disk_format, task.container_format, into, task.limit)


if __name__ == "__main__":
    confined.serve(Unpack, _work, (ApplyError, OSError, RecursionError))
