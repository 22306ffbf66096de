"""Images of this host: fetched and unpacked once, kept while an instance uses them.

`<state>/images/<image id>/` holds `rootfs`, the unpacked image, and `size`, what it takes.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from netloom.dataplane.process import ApplyError
from netloom.instances import unpacking
from netloom.instances.cancel import Cancel
from netloom.instances.remove import remove_tree
from netloom.instances.rootfs import Size
from netloom.model.files import write_whole
from netloom.model.hoststate import Instance

Fetch = Callable[[str, BinaryIO, int], str]
"""(image id, file to write to, most bytes) → SHA-512 as the server says it."""
SPARE_BYTES = 16 << 20
"""What an instance or an image must leave free on the host's disk."""


class Images:
    """Used by workers, several at a time."""

    def __init__(self, state: Path, fetch: Fetch, most_bytes: int) -> None:
        self._homes = state / "images"
        self._fetch = fetch
        self._most = most_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @contextmanager
    def unpacked(self, item: Instance, cancel: Cancel) -> Generator[tuple[Path, Size]]:
        """The image unpacked, from an earlier time or now; it is kept as long as the caller works with it."""
        lock = self._lock_of(item.image_id)
        while not lock.acquire(timeout=0.2):
            cancel.check()
        try:
            home = self._homes / item.image_id
            size = _size_of(home)
            if size is None:
                size = self._unpack(item, home, cancel)
            yield home / "rootfs", size
        finally:
            lock.release()

    def _lock_of(self, image_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(image_id, threading.Lock())

    def _unpack(self, item: Instance, home: Path, cancel: Cancel) -> Size:
        """Fetch an image and unpack it into `home`: whole, or not at all."""
        remove_tree(home)
        home.mkdir(parents=True, mode=0o700)
        try:
            image, into = home / "image", home / "rootfs"
            with image.open("w+b") as file:
                expected = self._fetch(item.image_id, cancel.writer(file), self._most)
                file.flush()
                if expected and _sha512(file, cancel) != expected:
                    raise ApplyError(f"image {item.image_id} arrived damaged")
            into.mkdir()
            task = unpacking.Unpack(
                str(image), item.disk_format, item.container_format, str(into), self._most
            )
            size = unpacking.run(task, image.stat().st_size, cancel)
            image.unlink()
            write_whole(home / "size", msgspec.json.encode(size))
        except BaseException:
            # A full disk is not for this image alone. What stays all the same is removed by `forget`.
            with suppress(ApplyError):
                remove_tree(home)
            raise
        return size

    def unwanted(self, wanted: set[str]) -> set[str]:
        """Images that lie here for no instance."""
        if not self._homes.is_dir():
            return set()
        return {home.name for home in self._homes.iterdir()} - wanted

    def forget(self, wanted: set[str]) -> None:
        """Remove unpacked images that no instance here uses; raises ApplyError where one stays."""
        for name in self.unwanted(wanted):
            lock = self._lock_of(name)
            if lock.acquire(blocking=False):
                try:
                    remove_tree(self._homes / name)
                finally:
                    lock.release()


def check_room(state: Path, size: Size) -> None:
    """Raise ApplyError where the host's disk has no room for what an instance begins with."""
    free = shutil.disk_usage(state).free
    if free < size.bytes + SPARE_BYTES:
        raise ApplyError(
            f"No space left on device: the instance begins with {size.bytes >> 20} MiB,"
            f" and this host has {free >> 20} MiB left"
        )


def _size_of(home: Path) -> Size | None:
    try:
        return msgspec.json.decode((home / "size").read_bytes(), type=Size)
    except (OSError, msgspec.MsgspecError):
        return None


def _sha512(file: BinaryIO, cancel: Cancel) -> str:
    file.seek(0)
    digest = hashlib.sha512()
    while block := file.read(1 << 20):
        cancel.check()
        digest.update(block)
    return digest.hexdigest()
