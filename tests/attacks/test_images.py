"""An image wants the host's memory, time or disk: reading it is refused or ended within its bounds."""

from __future__ import annotations

import io
import itertools
import os
import random
import resource
import shutil
import stat
import struct
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netloom.dataplane.process import ApplyError
from netloom.instances import rootfs, unpacking
from netloom.instances.cancel import Cancel, Cancelled
from netloom.instances.remove import remove_tree
from netloom.model import confined

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-utils"),
]
LIMIT = 256 << 20
BLOCK = 4096


def read(image: Path, disk_format: str = "raw", limit: int = LIMIT) -> str:
    """Unpack an image as a host does; returns why it was refused, and makes sure that nothing else came of it."""
    into = image.parent / "into"
    into.mkdir()
    task = unpacking.Unpack(str(image), disk_format, "bare", str(into), limit)
    with pytest.raises(ApplyError) as caught:
        unpacking.run(task, 1 << 20, Cancel())
    used = sum(path.lstat().st_blocks * 512 for path in into.rglob("*"))
    assert used <= limit + (1 << 20)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10 < unpacking.MEMORY_BYTES
    return str(caught.value)


# ---- archives


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def test_a_header_larger_than_memory(tmp_path: Path) -> None:
    """A PAX header of 4 GiB: a hole on disk, and all of it in memory for a trusting reader."""
    head = tarfile.TarInfo("pax")
    head.type, head.size = tarfile.XHDTYPE, 4 << 30
    image = tmp_path / "image"
    image.write_bytes(head.tobuf(tarfile.USTAR_FORMAT))
    os.truncate(image, 5 << 30)
    assert image.stat().st_blocks < 100
    assert "more than 512 MiB of memory" in read(image)


def test_a_file_of_holes_in_an_archive(tmp_path: Path) -> None:
    """GNU sparse: no data, a size of a pebibyte."""
    head = tarfile.TarInfo("holes")
    head.type = tarfile.GNUTYPE_SPARSE
    data = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    data[483:495] = b"\x80" + (1 << 50).to_bytes(11)  # realsize
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    image = tmp_path / "image"
    image.write_bytes(bytes(data) + bytes(1024))
    assert "more than this host takes" in read(image)


def test_data_that_inflates_a_thousandfold(tmp_path: Path) -> None:
    files = [(tarfile.TarInfo(f"{number}"), bytes(16 << 20)) for number in range(3)]
    image = archive(tmp_path / "image", *files)
    assert image.stat().st_size < 1 << 20
    assert "more than this host takes" in read(image, limit=40 << 20)


def test_folders_1500_deep(tmp_path: Path) -> None:
    image = archive(tmp_path / "image", (tarfile.TarInfo("d/" * 1500 + "f"), b""))
    assert "more than 128 deep" in read(image)


def test_headers_that_lead_to_headers(tmp_path: Path) -> None:
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 512
    image = tmp_path / "image"
    image.write_bytes((head.tobuf(tarfile.GNU_FORMAT) + b"n" * 512) * 5000)
    assert "cannot be unpacked" in read(image) or "not a valid archive" in read(image)


def test_more_entries_than_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, folders, files and folders that are only named on the way: each counts, before it is made."""
    monkeypatch.setattr(rootfs, "MOST_FILES", 50)
    kinds: dict[str, Callable[[int], tarfile.TarInfo]] = {
        "file": lambda n: tarfile.TarInfo(f"{n}"),
        "folder": lambda n: typed(f"{n}", tarfile.DIRTYPE),
        "symbolic link": lambda n: typed(f"{n}", tarfile.SYMTYPE, "x" * 90),
        "hard link": lambda n: typed(f"{n + 1}", tarfile.LNKTYPE, "0") if n else typed("0"),
        "folder on the way": lambda n: tarfile.TarInfo("/".join(f"{n}-{d}" for d in range(9))),
        "same name": lambda _: tarfile.TarInfo("same"),
    }
    for name, make in kinds.items():
        image = archive(tmp_path / "image", *((make(n), b"") for n in range(60)))
        into = tmp_path / name
        into.mkdir()
        with pytest.raises(ApplyError, match="more than 50 files"):
            rootfs.unpack(image, "raw", "bare", into, LIMIT)
        assert len(list(into.rglob("*"))) <= 51


def typed(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


# ---- disks


def ext4(path: Path, source: Path, size: str = "8M") -> Path:
    options = ("-t", "ext4", "-b", str(BLOCK), "-I", "256", "-O", "^metadata_csum", "-m", "0")
    subprocess.run(
        ["/sbin/mke2fs", "-q", "-F", *options, "-d", str(source), str(path), size], check=True
    )
    return path


class Patch:
    """Inodes of an ext4 image, to be changed by hand."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self.data = bytearray(image.read_bytes())
        self._per_group = struct.unpack_from("<I", self.data, 1024 + 40)[0]

    def at(self, number: int) -> int:
        group, index = divmod(number - 1, self._per_group)
        table = struct.unpack_from("<I", self.data, BLOCK + group * 64 + 8)[0]
        return table * BLOCK + index * 256

    def find(self, wanted: Callable[[int, int], bool]) -> list[int]:
        """Offsets of inodes by (mode, size)."""
        return [self.at(n) for n in self.numbers(wanted)]

    def numbers(self, wanted: Callable[[int, int], bool]) -> list[int]:
        """Inodes by (mode, size)."""
        return [n for n in range(11, 500) if wanted(*self.mode_and_size(self.at(n)))]

    def mode_and_size(self, at: int) -> tuple[int, int]:
        return struct.unpack_from("<H", self.data, at)[0], struct.unpack_from(
            "<I", self.data, at + 4
        )[0]

    def save(self) -> Path:
        self._image.write_bytes(self.data)
        return self._image


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    return top


def test_a_file_of_pieces_that_overlap(tmp_path: Path, source: Path) -> None:
    with (source / "pieces").open("wb") as file:
        for block in (0, 10, 20):
            file.seek(block * BLOCK)
            file.write(b"x" * BLOCK)
    patch = Patch(ext4(tmp_path / "image", source))
    (at,) = patch.find(lambda mode, size: size == 21 * BLOCK)
    assert struct.unpack_from("<HH", patch.data, at + 40) == (0xF30A, 3)
    for number in range(3):
        struct.pack_into("<I", patch.data, at + 52 + 12 * number, 0)
    assert "pieces of a file overlap" in read(patch.save())


def test_a_file_of_a_pebibyte(tmp_path: Path, source: Path) -> None:
    (source / "huge").write_bytes(b"x" * 777)
    patch = Patch(ext4(tmp_path / "image", source))
    (at,) = patch.find(lambda mode, size: size == 777)
    struct.pack_into("<I", patch.data, at + 108, 1 << 18)  # the upper half of its size
    assert "more than this host takes" in read(patch.save())


def test_many_files_that_are_one_on_disk(tmp_path: Path, source: Path) -> None:
    """Each has all of the image's blocks: small on disk, as often as there are inodes when unpacked."""
    (source / "whole").write_bytes(b"x" * (4 << 20))
    for number in range(200):
        (source / f"{number}").write_bytes(b"y" * 333)
    patch = Patch(ext4(tmp_path / "image", source, "16M"))
    (whole,) = patch.find(lambda mode, size: size == 4 << 20)
    for at in patch.find(lambda mode, size: size == 333):
        patch.data[at + 4 : at + 8] = patch.data[whole + 4 : whole + 8]
        patch.data[at + 40 : at + 100] = patch.data[whole + 40 : whole + 100]
    assert "more than this host takes" in read(patch.save())


def bomb(tmp_path: Path, source: Path, block: Callable[[int], bytes]) -> Path:
    """An image of 200 folders that all read the same 2 MiB of entries; `block`: a block of them, for a file's inode."""
    (source / "tiny").write_bytes(b"x" * 333)
    (source / "entries").write_bytes(b"x" * (2 << 20))
    for number in range(200):
        (source / f"d{number}").mkdir()
    patch = Patch(ext4(tmp_path / "image", source))
    (tiny,) = patch.numbers(lambda mode, size: size == 333)
    (entries,) = patch.find(lambda mode, size: size == 2 << 20)
    _, count, _, place = struct.unpack_from("<IHHI", patch.data, entries + 52)
    assert count == 2 << 20 >> 12
    patch.data[place * BLOCK : (place + count) * BLOCK] = block(tiny) * count
    for at in patch.find(lambda mode, size: stat.S_ISDIR(mode) and size == BLOCK):
        patch.data[at + 4 : at + 8] = patch.data[entries + 4 : entries + 8]
        patch.data[at + 40 : at + 100] = patch.data[entries + 40 : entries + 100]
    return patch.save()


def entry(number: int, name: bytes, length: int) -> bytes:
    return (struct.pack("<IHBB", number, length, len(name), 0) + name).ljust(length, b"\0")


def test_a_folder_that_repeats_itself(tmp_path: Path, source: Path) -> None:
    """256 names, again and again: hundreds of thousands of entries in one block."""
    image = bomb(
        tmp_path, source, lambda tiny: b"".join(entry(tiny, b"%03d" % n, 16) for n in range(256))
    )
    assert "two entries of one name" in read(image)


def test_folders_that_take_for_ever_to_read(tmp_path: Path, source: Path) -> None:
    """Nothing but free entries: fifty million of them, and not one file that would be counted."""
    image = bomb(tmp_path, source, lambda _: entry(0, b"", 8) * 512)
    fresh = itertools.count()

    def task() -> unpacking.Unpack:
        into = tmp_path / f"into{next(fresh)}"
        into.mkdir()
        return unpacking.Unpack(str(image), "raw", "bare", str(into), LIMIT)

    bounds = confined.Bounds(
        memory_bytes=unpacking.MEMORY_BYTES, cpu_seconds=1, file_bytes=LIMIT, seconds=60
    )
    with pytest.raises(confined.Overrun, match="processor time"):
        confined.run("netloom.instances.unpacking", task(), bounds)
    bounds = confined.Bounds(
        memory_bytes=unpacking.MEMORY_BYTES, cpu_seconds=60, file_bytes=LIMIT, seconds=1
    )
    with pytest.raises(confined.Overrun, match="more than 1 s"):
        confined.run("netloom.instances.unpacking", task(), bounds)
    # The same, given up because the server was deleted.
    cancel = Cancel()
    found: list[Exception] = []

    def work() -> None:
        try:
            unpacking.run(task(), 1 << 30, cancel)
        except ApplyError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not children():
        time.sleep(0.01)
    cancel.cancel()
    thread.join()
    assert isinstance(found[0], Cancelled)
    assert not children()


def children() -> list[str]:
    """Processes of ours that read an image."""
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"netloom.instances.unpacking" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_a_disk_that_claims_to_be_large(tmp_path: Path) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "4T"], check=True)
    assert "this host takes 256" in read(image, "qcow2")


def test_clusters_that_all_inflate_from_one(tmp_path: Path, source: Path) -> None:
    """A qcow2 whose clusters are one compressed one, at all places of the disk."""
    dice = random.Random(1)
    (source / "data").write_bytes(dice.randbytes(1 << 20))
    plain = ext4(tmp_path / "plain", source)
    image = tmp_path / "image"
    command = ["qemu-img", "convert", "-O", "qcow2", "-c", str(plain), str(image)]
    subprocess.run(command, check=True)
    data = bytearray(image.read_bytes())
    (l1_at,) = struct.unpack_from(">Q", data, 40)
    (l2_at,) = struct.unpack_from(">Q", data, l1_at)
    l2_at &= 0x00FFFFFFFFFFFE00
    table = [struct.unpack_from(">Q", data, l2_at + 8 * n)[0] for n in range(8 << 20 >> 16)]
    packed = next(each for each in table if each & 1 << 62)
    for number, each in enumerate(table[2:], 2):
        struct.pack_into(">Q", data, l2_at + 8 * number, packed if each else 0)
    image.write_bytes(data)
    # What comes of it is damage, or a tree within its limit; it ends either way.
    into = tmp_path / "into"
    into.mkdir()
    task = unpacking.Unpack(str(image), "qcow2", "bare", str(into), LIMIT)
    try:
        assert unpacking.run(task, 1 << 20, Cancel()).bytes <= LIMIT
    except ApplyError as error:
        assert "Traceback" not in str(error)


# ---- and what they leave


def test_a_folder_too_deep_to_walk_is_removed() -> None:
    """As deep as a stack or the number of open files would not bear."""
    top = Path(tempfile.mkdtemp(dir="/dev/shm"))  # in memory: a disk takes seconds for it
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    remove_tree(top)
    assert not top.exists()
