"""Reading disk images without trusting them: qcow2, raw, partitions.

Everything is read by this code alone, in a memory-safe language: no image ever meets qemu or the kernel's
mount. What the reader does not know, or what points outside the file (backing file, data file), is refused.
Source of the format: the QEMU project's docs/interop/qcow2.txt.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Protocol

from netloom.dataplane.process import ApplyError

QCOW2_MAGIC = b"QFI\xfb"
_INCOMPATIBLE_DIRTY = 1
_LINUX_MAGIC_OFFSET = 0x438
_SECTOR = 512
_CACHE_BYTES = 16 << 20
"""What a qcow2 reader keeps of its tables, and of clusters that it inflated."""


class Disk(Protocol):
    """Random access to the bytes of a disk."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there; fewer where the disk ends."""
        ...


class Raw:
    """A file that is the disk."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `Disk`."""
        return os.pread(self._descriptor, length, offset)


class Part:
    """A window on a disk: a partition."""

    def __init__(self, disk: Disk, start: int, size: int) -> None:
        self._disk = disk
        self._start = start
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """See `Disk`."""
        return self._disk.read(self._start + offset, max(0, min(length, self.size - offset)))


class Qcow2:
    """A qcow2 file, version 2 or 3, that stands alone."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self._file = Raw(descriptor)
        head = self._file.read(0, 112).ljust(112, b"\0")
        magic, version, backing, _, bits, size, crypt, l1_size, l1_offset = struct.unpack_from(
            ">4sIQIIQIIQ", head
        )
        if magic != QCOW2_MAGIC or version not in (2, 3):
            raise ApplyError("the image is not qcow2 version 2 or 3")
        if backing:
            raise ApplyError("the image has a backing file: refused")
        if crypt:
            raise ApplyError("the image is encrypted: refused")
        if not 9 <= bits <= 21:
            raise ApplyError("the image's cluster size is not valid")
        if size > limit:
            raise ApplyError(
                f"the image unpacks to {size >> 20} MiB: this host takes {limit >> 20}"
            )
        features = struct.unpack_from(">Q", head, 72)[0] if version == 3 else 0
        if features & ~_INCOMPATIBLE_DIRTY:
            raise ApplyError(
                "the image uses qcow2 features that are refused (such as an external data file)"
            )
        self.size = size
        self._bits = bits
        self._cluster = 1 << bits
        needed = -(-size // (self._cluster * self._cluster // 8))
        if l1_size < needed or l1_size > 1 << 22:
            raise ApplyError("the image's table is not valid")
        table = self._file.read(l1_offset, needed * 8)
        if len(table) < needed * 8:
            raise ApplyError("the image is cut off")
        self._l1 = struct.unpack(f">{needed}Q", table)
        self._l2: dict[int, bytes] = {}
        self._inflated: dict[int, bytes] = {}
        self._kept = max(4, _CACHE_BYTES >> bits)

    def read(self, offset: int, length: int) -> bytes:
        """See `Disk`."""
        out: list[bytes] = []
        end = min(offset + length, self.size)
        while offset < end:
            inside = offset & (self._cluster - 1)
            step = min(self._cluster - inside, end - offset)
            out.append(self._read_cluster(offset >> self._bits, inside, step))
            offset += step
        return b"".join(out)

    def _read_cluster(self, number: int, inside: int, length: int) -> bytes:
        per_table = self._cluster // 8
        offset = self._l1[number // per_table] & 0x00FFFFFFFFFFFE00
        entry = self._entry(offset, number % per_table) if offset else 0
        if entry & 1 << 62:
            return self._compressed(entry)[inside : inside + length].ljust(length, b"\0")
        place = entry & 0x00FFFFFFFFFFFE00
        if not place or entry & 1:  # never written, or «reads as zeros»
            return bytes(length)
        return self._file.read(place + inside, length).ljust(length, b"\0")

    def _entry(self, offset: int, number: int) -> int:
        table = self._l2.get(offset)
        if table is None:
            table = self._file.read(offset, self._cluster)
            if len(table) < self._cluster:
                raise ApplyError("the image is cut off")
            self._keep(self._l2, offset, table)
        return int.from_bytes(table[8 * number : 8 * number + 8])

    def _keep(self, cache: dict[int, bytes], key: int, data: bytes) -> None:
        if len(cache) >= self._kept:
            del cache[next(iter(cache))]
        cache[key] = data

    def _compressed(self, entry: int) -> bytes:
        plain = self._inflated.get(entry)
        if plain is None:
            width = 62 - (self._bits - 8)
            place = entry & (1 << width) - 1
            sectors = (entry >> width & (1 << (62 - width)) - 1) + 1
            data = self._file.read(place, sectors * _SECTOR - (place & (_SECTOR - 1)))
            try:
                plain = zlib.decompressobj(-12).decompress(data, self._cluster)
            except zlib.error as error:
                raise ApplyError(f"the image is damaged: {error}") from error
            self._keep(self._inflated, entry, plain)
        return plain


def open_disk(descriptor: int, disk_format: str, limit: int) -> Disk:
    """The disk in an image file of this format (`qcow2` or `raw`); raises ApplyError for any other."""
    magic = os.pread(descriptor, 4, 0)
    if disk_format == "qcow2":
        return Qcow2(descriptor, limit)
    if disk_format != "raw":
        raise ApplyError(
            f"disk format {disk_format} cannot be run as a container: use raw or qcow2"
        )
    if magic == QCOW2_MAGIC:
        raise ApplyError("the image says raw but is qcow2: refused")
    disk = Raw(descriptor)
    if disk.size > limit:
        raise ApplyError(f"the image has {disk.size >> 20} MiB: this host takes {limit >> 20}")
    return disk


def linux_file_system(disk: Disk) -> Disk:
    """The disk itself or its first partition that holds an ext2, ext3 or ext4 file system."""
    for part in [disk, *_partitions(disk)]:
        if part.read(_LINUX_MAGIC_OFFSET, 2) == b"\x53\xef":
            return part
    raise ApplyError("the image holds no ext2, ext3 or ext4 file system")


def _partitions(disk: Disk) -> list[Disk]:
    """Partitions of a disk with a GPT or an MBR (its four primary ones)."""
    first = disk.read(0, _SECTOR)
    if first[510:512] != b"\x55\xaa":
        return []
    found: list[Disk] = []
    header = disk.read(_SECTOR, 92)
    if header[:8] == b"EFI PART":
        table, count, width = struct.unpack_from("<QII", header, 72)
        if count > 256 or not 128 <= width <= 1024:
            raise ApplyError("the image's partition table is not valid")
        for number in range(count):
            entry = disk.read(table * _SECTOR + number * width, 48).ljust(48, b"\0")
            start, last = struct.unpack_from("<QQ", entry, 32)
            if entry[:16] != bytes(16) and last >= start:
                found.append(Part(disk, start * _SECTOR, (last - start + 1) * _SECTOR))
        return found
    for number in range(4):
        start, count = struct.unpack_from("<II", first, 446 + 16 * number + 8)
        if start and count:
            found.append(Part(disk, start * _SECTOR, count * _SECTOR))
    return found
