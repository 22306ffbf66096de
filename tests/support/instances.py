"""Run instances in a private host, without a server: `python -m tests.support.instances ITEM.json IMAGE`."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from netloom.instances.cancel import Cancel
from netloom.instances.instances import Instances, instance_mark
from netloom.model.hoststate import Instance


def main() -> None:
    item = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Instance)
    image = Path(sys.argv[2])

    def fetch(image_id: str, into: BinaryIO, limit: int) -> str:
        with image.open("rb") as file:
            shutil.copyfileobj(file, into)
        return ""

    instances = Instances(
        Path(sys.argv[3]), Path("/run/netloom/agent"), fetch, 1 << 30, types=("container",)
    )
    if "remove" in sys.argv:
        instances.remove(item.server_id)
        return
    started = time.monotonic()
    instances.ensure(item, 16, Cancel())
    print(f"{time.monotonic() - started:.3f} s")
    assert instances.read() == {("instance", item.server_id): instance_mark(item)}, instances.read()
    print((Path(sys.argv[3]) / "instances" / item.server_id / "running").read_text())


if __name__ == "__main__":
    main()
