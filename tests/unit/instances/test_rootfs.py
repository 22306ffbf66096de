"""Images become root file systems, and hostile ones do not get out of their folder."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from netloom.dataplane.process import ApplyError
from netloom.instances.cancel import Cancel
from netloom.instances.copying import copy_shifted
from netloom.instances.rootfs import unpack

pytestmark = pytest.mark.root
"""What is unpacked belongs to uid 0."""
LIMIT = 64 << 20
needs_tools = pytest.mark.skipif(
    not shutil.which("mke2fs", path=os.environ["PATH"] + ":/sbin:/usr/sbin")
    or not shutil.which("qemu-img"),
    reason="needs e2fsprogs and qemu-utils",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What the images hold."""
    top = tmp_path / "source"
    (top / "etc").mkdir(parents=True)
    (top / "bin").mkdir()
    (top / "etc/hostname").write_text("small\n")
    (top / "bin/big").write_bytes(os.urandom(3_000_000))
    (top / "bin/sparse").write_bytes(b"")
    with (top / "bin/sparse").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"end")
    (top / "bin/big").chmod(0o4755)
    (top / "bin/link").symlink_to("/etc/hostname")
    (top / "bin/long").symlink_to("x" * 200)
    os.link(top / "bin/big", top / "bin/same")
    for number in range(300):
        (top / "etc" / f"file-{number:03}-{'n' * 60}").write_text(str(number))
    return top


def check(source: Path, into: Path) -> None:
    assert sorted(p.relative_to(source) for p in source.rglob("*")) == sorted(
        p.relative_to(into) for p in into.rglob("*")
    )
    for path in source.rglob("*"):
        there = into / path.relative_to(source)
        assert stat.S_IMODE(path.lstat().st_mode) == stat.S_IMODE(there.lstat().st_mode)
        if path.is_symlink():
            assert path.readlink() == there.readlink()
        elif path.is_file():
            assert path.read_bytes() == there.read_bytes()
    assert (into / "bin/big").stat().st_ino == (into / "bin/same").stat().st_ino


def ext4(source: Path, target: Path, kind: str = "ext4", *options: str) -> Path:
    subprocess.run(
        ["/sbin/mke2fs", "-q", "-t", kind, *options, "-d", str(source), str(target), "24M"],
        check=True,
    )
    return target


@needs_tools
@pytest.mark.parametrize("kind", ["ext2", "ext4"])
@pytest.mark.parametrize(
    "convert", [(), ("-O", "qcow2"), ("-O", "qcow2", "-c"), ("-O", "qcow2", "-o", "compat=0.10")]
)
def test_disks(source: Path, tmp_path: Path, kind: str, convert: tuple[str, ...]) -> None:
    image = ext4(source, tmp_path / "disk", kind, *(("-b", "1024") if kind == "ext2" else ()))
    if convert:
        subprocess.run(["qemu-img", "convert", *convert, str(image), f"{image}.qcow2"], check=True)
        image = Path(f"{image}.qcow2")
    into = tmp_path / "into"
    into.mkdir()
    unpack(image, "qcow2" if convert else "raw", "bare", into, LIMIT)
    check(source, into)


@pytest.mark.parametrize("compression", ["", "gz"])
def test_archives(source: Path, tmp_path: Path, compression: str) -> None:
    with tarfile.open(tmp_path / "image", f"w:{compression}") as archive:
        archive.add(source, ".")
    into = tmp_path / "into"
    into.mkdir()
    unpack(tmp_path / "image", "raw", "docker", into, LIMIT)
    check(source, into)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "parent": [member("a/../../escaped")],
    "absolute through a link": [member("out", tarfile.SYMTYPE, "/"), member("out/tmp/escaped")],
    "link to the folder above": [member("up", tarfile.SYMTYPE, ".."), member("up/escaped")],
    "hard link out": [member("shadow", tarfile.LNKTYPE, "../outside")],
    "hard link through a link": [
        member("up", tarfile.SYMTYPE, ".."),
        member("x", tarfile.LNKTYPE, "up/outside"),
    ],
    "file in place of a folder": [member("d", tarfile.DIRTYPE), member("d")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    with tarfile.open(tmp_path / "image", "w") as archive:
        for info in HOSTILE[name]:
            archive.addfile(info, io.BytesIO())
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ApplyError):
        unpack(tmp_path / "image", "raw", "bare", into, LIMIT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image", "into", "outside"]
    assert not Path("/tmp/escaped").exists()
    assert (tmp_path / "outside").stat().st_nlink == 1


def test_absolute_names_and_devices_stay_inside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "image", "w") as archive:
        archive.addfile(member("/etc/passwd"))
        device = member("dev/sda", tarfile.BLKTYPE)
        archive.addfile(device)
    into = tmp_path / "into"
    into.mkdir()
    unpack(tmp_path / "image", "raw", "bare", into, LIMIT)
    assert [str(p.relative_to(into)) for p in sorted(into.rglob("*"))] == ["etc", "etc/passwd"]


def test_too_much_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "image", "w:gz") as archive:
        info = member("zeros")
        info.size = 20_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ApplyError, match="more than this host takes"):
        unpack(tmp_path / "image", "raw", "bare", into, 10_000_000)


@needs_tools
@pytest.mark.parametrize(
    "options", [["-o", "backing_file=/etc/passwd,backing_fmt=raw"], ["-o", "data_file=d"]]
)
def test_images_that_point_elsewhere_are_refused(options: list[str], tmp_path: Path) -> None:
    image = tmp_path / "image"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(image), "10M"]
    subprocess.run(command, check=True, cwd=tmp_path)
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ApplyError, match="refused"):
        unpack(image, "qcow2", "bare", into, LIMIT)


@needs_tools
def test_damage_is_an_error_and_never_a_crash(source: Path, tmp_path: Path) -> None:

    whole = bytearray(ext4(source, tmp_path / "disk").read_bytes())
    dice = random.Random(7)
    for attempt in range(15):
        data = bytearray(whole)
        for _ in range(200):
            # Mostly where it hurts: superblock, group descriptors, inodes, folders.
            data[dice.randrange(1024, 600_000)] = dice.randrange(256)
        image, into = tmp_path / "image", tmp_path / f"into{attempt}"
        image.write_bytes(data)
        into.mkdir()
        with contextlib.suppress(ApplyError):
            unpack(image, "raw", "bare", into, LIMIT)


def test_a_qcow2_that_calls_itself_raw_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(struct.pack(">4sI", b"QFI\xfb", 3).ljust(2048, b"\0"))
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ApplyError, match="raw but is qcow2"):
        unpack(tmp_path / "image", "raw", "bare", into, LIMIT)


def test_a_copy_belongs_to_the_instance(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    copy_shifted(source, tmp_path / "copy", 1_000_000, Cancel())
    check(source, tmp_path / "copy")
    assert {p.lstat().st_uid for p in (tmp_path / "copy").rglob("*")} == {1_000_000}
    assert (tmp_path / "copy").stat().st_uid == 1_000_000
    assert (tmp_path / "copy/bin/sparse").stat().st_blocks * 512 < 1_000_000
