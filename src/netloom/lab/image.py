"""The small image: busybox and dropbear, a few megabytes, boots as a container in a tenth of a second.

Made from Debian packages that are installed here anyway. One user, `netloom`, who has root's power inside the
instance (as `sudo` gives elsewhere) and can log in with the key pair's key only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from netloom.lab.state import state_directory
from netloom.model.errors import UserError

NAME = "small"
USER = "netloom"
"""Who logs in."""
_PROGRAMS = {
    "/bin/busybox": "bin/busybox",
    "/usr/sbin/dropbear": "usr/sbin/dropbear",
    "/usr/bin/dropbearkey": "usr/bin/dropbearkey",
}
_DIRECTORIES = (
    *(
        "bin",
        "sbin",
        "usr/bin",
        "usr/sbin",
        "etc/dropbear",
        "home/netloom",
        "root",
        "proc",
        "sys",
        "dev",
    ),
    *("run", "tmp", "var/log", "var/run", "lib", "lib64"),
)
_TEXTS = {
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nnetloom:*:0:0:netloom:/home/netloom:/bin/sh\n",
    "etc/group": "root:x:0:\ntty:x:5:\n",
    "etc/shells": "/bin/sh\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/profile": 'PS1="\\h:\\w\\$ "\nexport PATH=/sbin:/bin:/usr/sbin:/usr/bin\n',
    "etc/os-release": 'NAME="Netloom small image"\nID=netloom-small\n',
}
_SCRIPTS = {
    "inittab": "etc/inittab",
    "rc": "etc/rc",
    "cards": "etc/cards",
    "udhcpc.script": "etc/udhcpc.script",
}
_SIZE_MIB = 16
_UUID = "6e65746c-6f6f-4d00-8000-736d616c6c00"
_EPOCH = 1_700_000_000


def small_image() -> Path:
    """Return the image as a qcow2 file, made once for each version of what goes into it."""
    files = _files()
    digest = hashlib.sha256(repr((_DIRECTORIES, _TEXTS, _SIZE_MIB)).encode())
    for source, target in sorted(files.items()):
        digest.update(f"{target}\0".encode() + source.read_bytes())
    path = state_directory() / "images" / f"small-{digest.hexdigest()[:16]}.qcow2"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            _build(Path(work), files).replace(path)
    return path


def _files() -> dict[Path, str]:
    """Every file that is copied: source on this machine → place in the image, libraries included."""
    found: dict[Path, str] = {}
    for program, place in _PROGRAMS.items():
        path = Path(program)
        if not path.is_file():
            raise UserError(
                f"{program} is missing: install the Debian packages busybox-static and dropbear-bin"
            )
        found[path] = place
        # A static program has no libraries, and ldd says so with a status of its own.
        listed = subprocess.run(
            ["ldd", program], capture_output=True, text=True, check=False
        ).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            found[Path(library)] = str(Path(library)).lstrip("/").removeprefix("usr/")
    scripts = resources.files("netloom.lab") / "image_files"
    for script, place in _SCRIPTS.items():
        found[Path(str(scripts / script))] = place
    return found


def _build(work: Path, files: dict[Path, str]) -> Path:
    root = work / "root"
    for directory in _DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    for source, place in files.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644 if place == "etc/inittab" else 0o755)
    for place, text in _TEXTS.items():
        (root / place).write_text(text)
    listed = subprocess.run(
        [str(root / "bin/busybox"), "--list-full"], capture_output=True, text=True, check=True
    )
    for applet in listed.stdout.split():
        link = root / applet
        if not link.exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/bin/busybox")
    (root / "tmp").chmod(0o1777)
    (root / "home/netloom").chmod(0o700)
    for path in sorted(root.rglob("*")):
        os.utime(path, (_EPOCH, _EPOCH), follow_symlinks=False)
    raw, image = work / "small.raw", work / "small.qcow2"
    with raw.open("wb") as handle:
        handle.truncate(_SIZE_MIB * 1024**2)
    _run(
        *(
            "mke2fs",
            "-q",
            "-t",
            "ext4",
            "-O",
            "^has_journal",
            "-m",
            "0",
            "-L",
            "netloom-small",
            "-U",
            _UUID,
        ),
        *("-E", f"hash_seed={_UUID},root_owner=0:0", "-d", str(root), str(raw)),
    )
    _run("qemu-img", "convert", "-q", "-c", "-O", "qcow2", str(raw), str(image))
    return image


def _run(*command: str) -> None:
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": str(_EPOCH)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is missing: run tools/install-debian as root") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise UserError(f"the small image could not be made: {command[0]}: {words[-1]}")
