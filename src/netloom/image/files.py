"""Image data on disk: one file per image, put in place whole or not at all.

`<state_dir>/images/<image id>` is the data of an active image. Uploads grow beside it under a name that
starts with a dot; what a killed server left of them is swept away at the next start.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from netloom.model.errors import NotFound, TooLarge

HASH = "sha512"


def folder(state_dir: Path) -> Path:
    """Where image data lies."""
    return Path(state_dir) / "images"


def path(state_dir: Path, image_id: str) -> Path:
    """Return the file of an image. Ids are UUIDs, so a path can never lead elsewhere (ValueError)."""
    return folder(state_dir) / str(uuid.UUID(image_id))


def data(state_dir: Path, image_id: str) -> Path:
    """Return the file of an active image; NotFound where it is not there (a backup without images, a deletion just now)."""
    file = path(state_dir, image_id)
    if not file.is_file():
        raise NotFound(f"The data of image {image_id} is not on this server.")
    return file


def remove(state_dir: Path, image_id: str) -> None:
    """Remove the data of an image, if there is any."""
    path(state_dir, image_id).unlink(missing_ok=True)


def sweep(state_dir: Path, image_ids: Collection[str]) -> None:
    """Remove what belongs to none of these images: uploads cut short, data of deleted images."""
    place = folder(state_dir)
    if place.is_dir():
        for child in place.iterdir():
            if child.name not in image_ids:
                child.unlink()


class Upload:
    """Data on its way to disk. As a context manager: what was not kept is removed, and what was kept in vain.

    That is so where an error comes after `keep`: the transaction it was part of was rolled back. A handler that is
    cancelled knows nothing of its transaction, which is carried through: the data stays where it is.
    """

    def __init__(self, state_dir: Path, image_id: str, max_bytes: int) -> None:
        self._final = path(state_dir, image_id)
        self._final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = self._final.with_name(f".{image_id}.{uuid.uuid4().hex}")
        self._max_bytes = max_bytes
        self._file: BinaryIO = self.path.open("xb")
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hash = hashlib.new(HASH)
        self.size = 0
        self._kept = False

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)
        if self._kept and isinstance(error, Exception):
            self._final.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append; raises TooLarge past the limit."""
        self.size += len(data)
        if self.size > self._max_bytes:
            raise TooLarge(
                f"The image is larger than the {self._max_bytes} bytes that are allowed."
            )
        self._file.write(data)
        self._md5.update(data)
        self._hash.update(data)

    def finish(self) -> None:
        """All data is written: have it on the disk before anybody is told."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    @property
    def checksum(self) -> str:
        """MD5 of what was written, in hex: Glance's `checksum`."""
        return self._md5.hexdigest()

    @property
    def hash_value(self) -> str:
        """SHA-512 of what was written, in hex: Glance's `os_hash_value`."""
        return self._hash.hexdigest()

    def keep(self) -> None:
        """Put the data in the image's place, durably."""
        self.path.replace(self._final)
        self._kept = True
        descriptor = os.open(self._final.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
