"""From an image to a root file system: unpacked once per image, copied for each instance.

Nothing of a hostile image gets outside its folder: each name is checked, folders are opened one by one
without following links, and devices, sockets and pipes are left out. Unpacked trees lie in folders of mode
0700; a copy's owners are shifted into the instance's own range of user ids.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from netloom.dataplane.process import ApplyError
from netloom.instances.disks import linux_file_system, open_disk
from netloom.instances.ext4 import ROOT_INODE, Ext4, Inode

ID_COUNT = 65536
"""User and group ids of an instance: 0 to 65535 inside."""
MOST_FILES = 1_000_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """A folder that is being filled; every path is relative to it. `limit`: bytes of all files together."""

    def __init__(self, top: Path, limit: int) -> None:
        self._top = os.open(top, _FOLDER)
        self._left = limit
        self._files = MOST_FILES

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._top)

    def _parent(self, path: str) -> tuple[int, str]:
        """(open folder, last name) of a path; missing folders are made. The caller closes the folder."""
        names = [name for name in path.split("/") if name not in ("", ".")]
        if not names or any(
            name == ".." or len(os.fsencode(name)) > 255 or "\0" in name for name in names
        ):
            raise ApplyError(f"the image has a path that is refused: {path[:100]!r}")
        self._files -= 1
        if self._files < 0:
            raise ApplyError(f"the image has more than {MOST_FILES} files")
        here = os.dup(self._top)
        try:
            for name in names[:-1]:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=here)
                there = os.open(name, _FOLDER, dir_fd=here)
                os.close(here)
                here = there
        except OSError as error:
            os.close(here)
            raise ApplyError(
                f"the image has a path through something else than folders: {path[:100]!r}"
            ) from error
        return here, names[-1]

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
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=here)
            if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                raise ApplyError(
                    f"the image has both a folder and something else at {path[:100]!r}"
                )
            self._own(here, name, stat.S_IFDIR | mode, uid, gid)
        finally:
            os.close(here)

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
        self._left -= size
        if size < 0 or self._left < 0:
            raise ApplyError("the image unpacks to more than this host takes")
        here, name = self._parent(path)
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=here)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=here)
            try:
                for offset, data in content:
                    os.pwrite(descriptor, data, offset)
                os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
            self._own(here, name, stat.S_IFREG | mode, uid, gid)
        finally:
            os.close(here)

    def symlink(self, path: str, target: str, uid: int, gid: int) -> None:
        """A symbolic link. It may point anywhere: only inside the instance is it ever followed."""
        here, name = self._parent(path)
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=here)
            os.symlink(target, name, dir_fd=here)
            self._own(here, name, stat.S_IFLNK, uid, gid)
        finally:
            os.close(here)

    def hardlink(self, path: str, target: str) -> None:
        """Another name for a file of the image that is there already."""
        source, old = self._parent(target)
        try:
            here, name = self._parent(path)
            try:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=here)
                os.link(old, name, src_dir_fd=source, dst_dir_fd=here, follow_symlinks=False)
            except FileNotFoundError as error:
                raise ApplyError(
                    f"the image has a link to what is not there: {target[:100]!r}"
                ) from error
            finally:
                os.close(here)
        finally:
            os.close(source)


def unpack(image: Path, disk_format: str, container_format: str, into: Path, limit: int) -> None:
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
                written[number] = where
            elif stat.S_ISLNK(inode.mode):
                tree.symlink(where, os.fsdecode(system.link_target(inode)), inode.uid, inode.gid)


def copy_shifted(source: Path, target: Path, base: int) -> None:
    """Copy an unpacked tree; every owner and group is `base` higher in the copy."""
    target.mkdir(mode=0o755)
    links: dict[int, Path] = {}
    _copy_folder(source, target, base, links)


def _copy_folder(source: Path, target: Path, base: int, links: dict[int, Path]) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            place = target / entry.name
            status = entry.stat(follow_symlinks=False)
            if entry.is_symlink():
                place.symlink_to(Path(entry.path).readlink())
            elif entry.is_dir(follow_symlinks=False):
                place.mkdir(mode=0o700)
                _copy_folder(Path(entry.path), place, base, links)
            elif status.st_ino in links:
                place.hardlink_to(links[status.st_ino])
                continue
            else:
                shutil.copyfile(entry.path, place, follow_symlinks=False)
                if status.st_nlink > 1:
                    links[status.st_ino] = place
            _shift(place, status, base)
    _shift(target, source.stat(), base)


def _shift(place: Path, status: os.stat_result, base: int) -> None:
    os.chown(place, status.st_uid + base, status.st_gid + base, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        place.chmod(stat.S_IMODE(status.st_mode))  # after chown, which takes set-user-id away
        os.utime(place, (status.st_atime, status.st_mtime))
