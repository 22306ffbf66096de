"""Unpacked images on a host: used by several instances, gone when none needs them."""

from pathlib import Path
from typing import BinaryIO

import msgspec

from netloom.instances.cancel import Cancel
from netloom.instances.images import Images
from netloom.instances.rootfs import Size
from netloom.model.hoststate import Instance


def never(image_id: str, into: BinaryIO, limit: int) -> str:
    raise AssertionError(f"{image_id} is there already")


def test_an_image_that_is_being_copied_is_not_removed(tmp_path: Path) -> None:
    images = Images(tmp_path / "state", never, 1 << 20)
    unpacked = tmp_path / "state/images/small/rootfs"
    unpacked.mkdir(parents=True)
    (unpacked.parent / "size").write_bytes(msgspec.json.encode(Size(4096, 1)))
    item = Instance(
        server_id="s", type="container", image_id="small", disk_format="raw", container_format="bare",
        hostname="s", vcpus=1, ram_mib=64, disk_gib=1,
    )  # fmt: skip
    with images.unpacked(item, Cancel()) as (root, size):
        images.forget(set())  # the last other instance of it has just gone
        assert root == unpacked and root.is_dir() and size.entries == 1
    images.forget({"small"})
    assert unpacked.is_dir()
    images.forget(set())
    assert not unpacked.parent.exists()
