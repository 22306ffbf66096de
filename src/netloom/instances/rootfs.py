"""From an image to a root file system: unpacked once per image, copied for each instance.

Nothing of a hostile image gets outside its folder: each name is checked, folders are opened one by one
without following links, and devices, sockets and pipes are left out. Everything is counted before it is written.
Unpacked trees lie in folders of mode 0700; a copy's owners are shifted into the instance's own range of user ids.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO, Any, cast

from msgspec import Struct

from netloom.dataplane.process import ApplyError
from netloom.instances.disks import linux_file_system, open_disk
from netloom.instances.ext4 import ROOT_INODE, Ext4, Inode

ID_COUNT = 65536
"""User and group ids of an instance: 0 to 65535 inside."""
MOST_FILES = 500_000
MOST_DEPTH = 128
"""Folders within folders; a path costs an open for each."""
_UNIT = 4096
_ZEROS = bytes(1 << 20)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Size(Struct, frozen=True):
    """What a tree takes: bytes in whole blocks as if it had no holes, and entries (inodes at most)."""

    bytes: int
    entries: int


class Tree:
    """A folder that is being filled; every path is relative to it.

    `limit`: bytes of all files together. `replace`: a path may come twice, as it may in an archive, the last counts.
    """

    def __init__(self, top: Path, limit: int, replace: bool = True) -> None:
        self.replace = replace
        self._top = os.open(top, _FOLDER)
        self._limit = self._left = limit
        self._files = 0
        self._last: tuple[list[str], int] = ([], os.dup(self._top))

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._last[1])
        os.close(self._top)

    @property
    def size(self) -> Size:
        """What was put in."""
        return Size(self._limit - self._left, self._files)

    def _count(self, size: int) -> None:
        """Count an entry and its bytes, before it is made."""
        self._files += 1
        if self._files > MOST_FILES:
            raise ApplyError(f"the image has more than {MOST_FILES} files")
        self._left -= -(-size // _UNIT) * _UNIT
        if size < 0 or self._left < 0:
            raise ApplyError("the image unpacks to more than this host takes")

    def _parent(self, path: str) -> tuple[int, str]:
        """(open folder, last name) of a path; missing folders are made. The folder stays ours."""
        names = [name for name in path.split("/") if name not in ("", ".")]
        if not names or any(
            name == ".." or len(os.fsencode(name)) > 255 or "\0" in name for name in names
        ):
            raise ApplyError(f"the image has a path that is refused: {path[:100]!r}")
        if len(names) > MOST_DEPTH:
            raise ApplyError(f"the image has folders more than {MOST_DEPTH} deep")
        above, here = self._last
        if above != names[:-1]:
            # The folder of the last path is kept open: most paths go to the same.
            here = self._descend(names[:-1], path)
            os.close(self._last[1])
            self._last = (names[:-1], here)
        return here, names[-1]

    def _descend(self, names: list[str], path: str) -> int:
        here = os.dup(self._top)
        try:
            for name in names:
                try:
                    os.mkdir(name, 0o755, dir_fd=here)
                    self._count(_UNIT)
                except FileExistsError:
                    pass
                there = os.open(name, _FOLDER, dir_fd=here)
                os.close(here)
                here = there
        except OSError as error:
            os.close(here)
            if error.errno == errno.ENOSPC:
                raise
            raise ApplyError(
                f"the image has a path through something else than folders: {path[:100]!r}"
            ) from error
        except ApplyError:
            os.close(here)
            raise
        return here

    def _make_way(self, name: str, here: int) -> None:
        if self.replace:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=here)

    def _own(self, here: int, name: str, mode: int, uid: int, gid: int) -> None:
        if not (0 <= uid < ID_COUNT and 0 <= gid < ID_COUNT):
            uid = gid = 0
        os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(name, stat.S_IMODE(mode), dir_fd=here)

    def folder(self, path: str, mode: int, uid: int, gid: int) -> None:
        """A folder; its mode and owner are set when it is there already."""
        if path.strip("./") == "":
            os.fchown(self._top, uid if uid < ID_COUNT else 0, gid if gid < ID_COUNT else 0)
            return
        here, name = self._parent(path)
        self._count(_UNIT)
        with suppress(FileExistsError) if self.replace else nullcontext():
            os.mkdir(name, 0o700, dir_fd=here)
        if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise ApplyError(f"the image has both a folder and something else at {path[:100]!r}")
        self._own(here, name, stat.S_IFDIR | mode, uid, gid)

    def file(
        self,
        path: str,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        content: Iterable[tuple[int, bytes]],
    ) -> None:
        """A regular file of this size; `content`: (offset, bytes), the rest is zeros."""
        self._count(size)
        here, name = self._parent(path)
        self._make_way(name, here)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=here)
        try:
            end = 0
            for offset, data in content:
                # What is said twice could be said for ever.
                if offset < end or offset + len(data) > size:
                    raise ApplyError(f"the image has a file whose pieces overlap: {path[:100]!r}")
                end = offset + len(data)
                if data != _ZEROS[: len(data)]:
                    os.pwrite(descriptor, data, offset)
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
        self._own(here, name, stat.S_IFREG | mode, uid, gid)

    def symlink(self, path: str, target: str, uid: int, gid: int) -> None:
        """A symbolic link. It may point anywhere: only inside the instance is it ever followed."""
        self._count(_UNIT)
        here, name = self._parent(path)
        self._make_way(name, here)
        os.symlink(target, name, dir_fd=here)
        self._own(here, name, stat.S_IFLNK, uid, gid)

    def hardlink(self, path: str, target: str) -> None:
        """Another name for a file of the image that is there already."""
        self._count(0)
        folder, old = self._parent(target)
        source = os.dup(folder)
        try:
            here, name = self._parent(path)
            self._make_way(name, here)
            os.link(old, name, src_dir_fd=source, dst_dir_fd=here, follow_symlinks=False)
        except FileNotFoundError as error:
            raise ApplyError(
                f"the image has a link to what is not there: {target[:100]!r}"
            ) from error
        finally:
            os.close(source)


def unpack(image: Path, disk_format: str, container_format: str, into: Path, limit: int) -> Size:
    """Fill the folder `into` with the image's files; raises ApplyError where it is refused.

    A tar archive (plain or compressed), or a disk (raw or qcow2) with an ext2, ext3 or ext4 file system.
    """
    if container_format not in ("bare", "docker"):
        raise ApplyError(f"container format {container_format} cannot be run: use bare or docker")
    tree = Tree(into, limit)
    descriptor = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if disk_format == "raw" and _is_tar(descriptor):
            with os.fdopen(os.dup(descriptor), "rb") as file:
                _unpack_tar(file, tree)
        else:
            _unpack_ext4(Ext4(linux_file_system(open_disk(descriptor, disk_format, limit))), tree)
        return tree.size
    except FileExistsError as error:
        raise ApplyError("the image has two entries of one name in a folder") from error
    except (OSError, ValueError, OverflowError, RecursionError, struct.error) as error:
        raise ApplyError(f"the image cannot be unpacked: {error}") from error
    finally:
        os.close(descriptor)
        tree.close()


def _is_tar(descriptor: int) -> bool:
    head = os.pread(descriptor, 512, 0)
    compressed = head.startswith((b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh"))
    return compressed or head[257:262] == b"ustar"


def _unpack_tar(file: IO[bytes], tree: Tree) -> None:
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                # It keeps every member that it has read, in a list that the type stubs do not know.
                cast(Any, archive).members = []
                if member.isdir():
                    tree.folder(member.name, member.mode, member.uid, member.gid)
                elif member.isreg():
                    source = archive.extractfile(member)
                    assert source is not None  # a regular member has content
                    tree.file(
                        member.name,
                        member.mode,
                        member.uid,
                        member.gid,
                        member.size,
                        _chunks(source),
                    )
                elif member.issym():
                    tree.symlink(member.name, member.linkname, member.uid, member.gid)
                elif member.islnk():
                    tree.hardlink(member.name, member.linkname)
    except (tarfile.TarError, EOFError) as error:
        raise ApplyError(f"the image is not a valid archive: {error}") from error


def _chunks(source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while data := source.read(1 << 20):
        yield offset, data
        offset += len(data)


def _unpack_ext4(system: Ext4, tree: Tree) -> None:
    tree.replace = False  # a name that comes twice could come for ever
    written: dict[int, str] = {}
    seen = {ROOT_INODE}
    waiting: list[tuple[str, Inode]] = [("", system.inode(ROOT_INODE))]
    tree.folder("", 0o755, 0, 0)
    while waiting:
        path, folder = waiting.pop()
        for raw, number in system.entries(folder):
            name = os.fsdecode(raw)
            if "/" in name or name == "lost+found":
                continue
            where = f"{path}/{name}"
            inode = system.inode(number)
            if stat.S_ISDIR(inode.mode):
                if number in seen:
                    raise ApplyError("the image's file system is damaged: folders in a circle")
                seen.add(number)
                tree.folder(where, stat.S_IMODE(inode.mode), inode.uid, inode.gid)
                waiting.append((where, inode))
            elif stat.S_ISREG(inode.mode) and number in written:
                tree.hardlink(where, written[number])
            elif stat.S_ISREG(inode.mode):
                mode = stat.S_IMODE(inode.mode)
                tree.file(where, mode, inode.uid, inode.gid, inode.size, system.content(inode))
                if inode.links > 1:
                    written[number] = where
            elif stat.S_ISLNK(inode.mode):
                tree.symlink(where, os.fsdecode(system.link_target(inode)), inode.uid, inode.gid)
