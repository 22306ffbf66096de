"""A reader of ext2, ext3 and ext4 file systems: regular files, folders and symbolic links.

Every number read from the disk is checked before it is used, loops end, and sizes are bounded: an image is
hostile until proven otherwise. Source of the format: the kernel's Documentation/filesystems/ext4.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator

from msgspec import Struct

from netloom.dataplane.process import ApplyError
from netloom.instances.disks import Disk

ROOT_INODE = 2
_EXTENTS = 0x80000
_INLINE_DATA = 0x10000000
_INCOMPAT_KNOWN = 0x2 | 0x4 | 0x40 | 0x80 | 0x200 | 0x2000
"""filetype, recover (a journal to replay: refused below), extents, 64bit, flex_bg, csum_seed."""
_INCOMPAT_RECOVER = 0x4
_BLOCK = 1 << 20
_MOST_RUNS = 1_000_000
_MOST_NODES = 10_000


class Inode(Struct, frozen=True):
    """`mode` with the type's bits; `data`: the 60 bytes that hold block numbers, extents or a short link."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    flags: int
    links: int
    data: bytes


class Ext4:
    """One file system."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        sb = disk.read(1024, 1024).ljust(1024, b"\0")
        if sb[56:58] != b"\x53\xef":
            raise ApplyError("the image holds no ext file system")
        (self._inodes, self._blocks) = struct.unpack_from("<II", sb, 0)
        log_block = struct.unpack_from("<I", sb, 24)[0]
        self._first_block, self._per_group_blocks = (
            struct.unpack_from("<I", sb, 20)[0],
            struct.unpack_from("<I", sb, 32)[0],
        )
        self._per_group = struct.unpack_from("<I", sb, 40)[0]
        revision = struct.unpack_from("<I", sb, 76)[0]
        self._inode_size = struct.unpack_from("<H", sb, 88)[0] if revision else 128
        incompatible = struct.unpack_from("<I", sb, 96)[0] if revision else 0
        if incompatible & ~_INCOMPAT_KNOWN:
            raise ApplyError(
                f"the image's file system has features that are not read: {incompatible:#x}"
            )
        if incompatible & _INCOMPAT_RECOVER:
            raise ApplyError("the image's file system was not unmounted cleanly: run e2fsck on it")
        if log_block > 6 or not 128 <= self._inode_size <= 4096 or not self._per_group:
            raise ApplyError("the image's file system is damaged")
        self.block = 1024 << log_block
        self._descriptor = struct.unpack_from("<H", sb, 254)[0] if incompatible & 0x80 else 32
        self._nodes = 0
        if self._descriptor not in (32, 64):
            raise ApplyError("the image's file system is damaged")

    def inode(self, number: int) -> Inode:
        """An inode by its number."""
        if not 1 <= number <= self._inodes:
            raise ApplyError("the image's file system is damaged: no such inode")
        group, index = divmod(number - 1, self._per_group)
        start = (self._first_block + 1) * self.block + group * self._descriptor
        entry = self._disk.read(start, self._descriptor).ljust(self._descriptor, b"\0")
        table = struct.unpack_from("<I", entry, 8)[0]
        if self._descriptor == 64:
            table |= struct.unpack_from("<I", entry, 40)[0] << 32
        raw = self._disk.read(table * self.block + index * self._inode_size, 128)
        if len(raw) < 128:
            raise ApplyError("the image is cut off")
        mode, uid, size, _, _, mtime, _, gid, links = struct.unpack_from("<HHIIIIIHH", raw)
        flags = struct.unpack_from("<I", raw, 32)[0]
        uid |= struct.unpack_from("<H", raw, 120)[0] << 16
        gid |= struct.unpack_from("<H", raw, 122)[0] << 16
        if stat.S_ISREG(mode):
            size |= struct.unpack_from("<I", raw, 108)[0] << 32
        return Inode(number, mode, uid, gid, size, mtime, flags, links, raw[40:100])

    def entries(self, folder: Inode) -> Iterator[tuple[bytes, int]]:
        """(name, inode number) of a folder, without `.` and `..`."""
        if folder.size > 64 << 20:
            raise ApplyError("the image's file system has a folder that is too large")
        for _, chunk in self.content(folder):
            for base in range(0, len(chunk), self.block):
                yield from _entries(chunk[base : base + self.block])

    def link_target(self, inode: Inode) -> bytes:
        """Where a symbolic link points."""
        if inode.size > 4096:
            raise ApplyError("the image's file system is damaged: a link")
        if inode.size < 60 and not inode.flags & _EXTENTS:
            return inode.data[: inode.size]
        return b"".join(chunk for _, chunk in self.content(inode))

    def content(self, inode: Inode) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of a file; what is left out is zeros."""
        if inode.flags & _INLINE_DATA:
            raise ApplyError("the image's file system keeps data in inodes, which is not read")
        runs = self._extents(inode.data, 0) if inode.flags & _EXTENTS else self._classic(inode)
        end = 0
        for number, (logical, physical, count) in enumerate(runs):
            if number > _MOST_RUNS:
                raise ApplyError("the image's file system has a file in too many pieces")
            if logical < end:  # what overlaps could be read for ever
                raise ApplyError("the image's file system is damaged: pieces of a file overlap")
            end = logical + count
            offset, left = logical * self.block, count * self.block
            place = physical * self.block
            while left > 0 and offset < inode.size:
                step = min(left, _BLOCK, inode.size - offset)
                chunk = self._disk.read(place, step)
                if len(chunk) < step:
                    raise ApplyError("the image is cut off")
                yield offset, chunk
                offset, place, left = offset + step, place + step, left - step

    def _extents(self, node: bytes, depth: int) -> Iterator[tuple[int, int, int]]:
        """(first logical block, first physical block, count) below a node of the extent tree."""
        self._nodes = self._nodes + 1 if depth else 0
        if self._nodes > _MOST_NODES or len(node) < 12:
            raise ApplyError("the image's file system is damaged: an extent tree")
        magic, entries, _, level = struct.unpack_from("<HHHH", node)
        if magic != 0xF30A or depth > 5 or 12 + entries * 12 > len(node):
            raise ApplyError("the image's file system is damaged: an extent tree")
        for number in range(entries):
            at = 12 + number * 12
            if level:
                low, high = struct.unpack_from("<IH", node, at + 4)
                child = self._disk.read((high << 32 | low) * self.block, self.block)
                if struct.unpack_from("<H", child.ljust(8, b"\0"), 6)[0] >= level:
                    raise ApplyError("the image's file system is damaged: an extent tree")
                yield from self._extents(child, depth + 1)
                continue
            logical, count, high, low = struct.unpack_from("<IHHI", node, at)
            if count <= 32768:  # more: reserved but never written, so zeros
                yield logical, high << 32 | low, count

    def _classic(self, inode: Inode) -> Iterator[tuple[int, int, int]]:
        """The runs of a file with block numbers instead of extents (ext2, ext3)."""
        blocks = struct.unpack("<15I", inode.data)
        wanted = -(-inode.size // self.block)
        for logical, physical in enumerate(blocks[:12]):
            if physical and logical < wanted:
                yield logical, physical, 1
        logical = 12
        for level, physical in enumerate(blocks[12:], 1):
            if logical >= wanted:
                return
            yield from self._indirect(physical, level, logical, wanted)
            logical += (self.block // 4) ** level

    def _indirect(
        self, place: int, level: int, logical: int, wanted: int
    ) -> Iterator[tuple[int, int, int]]:
        if not place:
            return
        data = self._disk.read(place * self.block, self.block)
        if len(data) < self.block:
            raise ApplyError("the image is cut off")
        span = (self.block // 4) ** (level - 1)
        for number, physical in enumerate(struct.unpack(f"<{self.block // 4}I", data)):
            at = logical + number * span
            if at >= wanted:
                return
            if level > 1:
                yield from self._indirect(physical, level - 1, at, wanted)
            elif physical:
                yield at, physical, 1


def _entries(block: bytes) -> Iterator[tuple[bytes, int]]:
    """(name, inode number) of one block of a folder."""
    offset = 0
    while offset + 8 <= len(block):
        number, length, name_length = struct.unpack_from("<IHB", block, offset)
        if length < 8 or offset + length > len(block) or name_length > length - 8:
            raise ApplyError("the image's file system is damaged: a folder")
        name = block[offset + 8 : offset + 8 + name_length]
        if number and name not in (b".", b"..") and name:
            yield name, number
        offset += length
