"""Unpacked images on a host: used by several instances, gone when none needs them."""

from pathlib import Path
from typing import BinaryIO

from netloom.instances.instances import Instances
from netloom.model.hoststate import Instance


def never(image_id: str, into: BinaryIO, limit: int) -> str:
    raise AssertionError(f"{image_id} is there already")


def test_an_image_that_is_being_copied_is_not_removed(tmp_path: Path) -> None:
    instances = Instances(tmp_path / "state", tmp_path / "run", never, 1 << 20)
    unpacked = tmp_path / "state/images/small/rootfs"
    unpacked.mkdir(parents=True)
    item = Instance(
        server_id="s", type="container", image_id="small", disk_format="raw", container_format="bare",
        hostname="s", vcpus=1, ram_mib=64, disk_gib=1,
    )  # fmt: skip
    with instances.image(item) as root:
        instances.forget_images(set())  # the last other instance of it has just gone
        assert root == unpacked and root.is_dir()
    instances.forget_images({"small"})
    assert unpacked.is_dir()
    instances.forget_images(set())
    assert not unpacked.exists()
