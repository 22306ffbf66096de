"""Instances of this host: their folders, and starting, adopting and removing them.

`<state>/instances/<server id>/` holds `rootfs`, `config.json`, the console and `running`: process id, its
start time and the fingerprint of what was asked for. The instance is there while that very process lives;
the agent is not its parent. `<state>/images/<image id>/` holds an unpacked image.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from netloom.dataplane import netns
from netloom.dataplane.bridges import peer_name
from netloom.dataplane.container import Crun, configuration, write_bundle
from netloom.dataplane.mark import fingerprint
from netloom.dataplane.netlink import index_of, link_names, open_netlink
from netloom.dataplane.process import ApplyError
from netloom.dataplane.rootfs import ID_COUNT, copy_shifted, unpack
from netloom.model.files import write_whole
from netloom.model.hoststate import Instance, Key, Nic
from netloom.model.sysctls import INSTANCE, settings

Fetch = Callable[[str, BinaryIO, int], str]
"""(image id, file to write to, most bytes) → SHA-512 as the server says it."""

CONSOLE_PIPE_BYTES = 1 << 20
"""What an instance may say while no agent listens, before it must wait."""
_F_SETPIPE_SZ = 1031
CARD_SECONDS = 10.0
"""How long a start waits for a card that is still to be made."""


def instance_mark(item: Instance) -> str:
    """What makes it another instance to run: not its name nor its size, which take effect when it starts anew."""
    nics = tuple(
        Nic(port_id=n.port_id, device=n.device, name=n.name, mac=n.mac, mtu=0) for n in item.nics
    )
    plain = Instance(
        server_id=item.server_id,
        type=item.type,
        image_id=item.image_id,
        disk_format="",
        container_format="",
        hostname="",
        vcpus=0,
        ram_mib=0,
        disk_gib=0,
        nics=nics,
        power=item.power,
    )
    return fingerprint(plain)


def _start_time(pid: int) -> str:
    """When a process started, in ticks since boot: with its id it is one process for good. Empty: it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


class Instances:
    """`read` is quick; all else takes its time and is called by workers, for one instance by one at a time."""

    def __init__(self, state: Path, run_dir: Path, fetch: Fetch, most_image_bytes: int) -> None:
        self._homes = state / "instances"
        self._images = state / "images"
        self._roots = run_dir / "roots"
        self._fetch = fetch
        self._most = most_image_bytes
        self._crun = Crun(run_dir / "crun")
        self._image_locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def read(self) -> dict[Key, str]:
        """Our instances → fingerprint, empty where one does not run."""
        found: dict[Key, str] = {}
        if self._homes.is_dir():
            for home in self._homes.iterdir():
                if home.name.startswith("."):
                    continue  # being removed
                pid, mark = self._running(home)
                found["instance", home.name] = mark if pid else _text(home / "stopped")
        return found

    def _running(self, home: Path) -> tuple[int, str]:
        try:
            words, started, mark = _text(home / "running").split()
            pid = int(words)
        except ValueError:
            return 0, ""
        return (pid, mark) if _start_time(pid) == started else (0, "")

    def consoles(self) -> dict[str, Path]:
        """Server id → the pipe that its console comes out of."""
        if not self._homes.is_dir():
            return {}
        pipes = {
            home.name: home / "console" for home in self._homes.iterdir() if home.name[0] != "."
        }
        return {name: pipe for name, pipe in pipes.items() if pipe.exists()}

    def ensure(self, item: Instance, number: int) -> None:
        """Run the instance (or stop it, as `power` says). `number`: of its range of user ids on this host."""
        if item.type != "container":
            raise ApplyError(f"this host cannot run instances of type {item.type}")
        home = self._homes / item.server_id
        pid, _ = self._running(home)
        if item.power != "on":
            if pid:
                self._unplug(pid, item)
            self._crun.delete(_name(item.server_id))
            home.mkdir(parents=True, exist_ok=True, mode=0o711)
            (home / "running").unlink(missing_ok=True)
            (home / "stopped").write_text(instance_mark(item))
            return
        (home / "stopped").unlink(missing_ok=True)
        if pid:
            self._plug(pid, item)
            self._note(home, pid, item)
            return
        base = number * ID_COUNT
        self._crun.delete(_name(item.server_id))
        root = self._root(item, home, base)
        write_bundle(home, configuration(item, root, base, limits=self._crun.limits))
        console = _console(home / "console", base)
        try:
            pid = self._crun.create(_name(item.server_id), home, home / "pid", console)
        finally:
            os.close(console)
        try:
            with netns.inside_pid(pid):
                netns.settle_sysctls(settings(INSTANCE))  # before its cards, which take them over
            self._plug(pid, item)
            # Before it runs: one that could not be written down would be taken for gone, and started again.
            self._note(home, pid, item)
            self._crun.start(_name(item.server_id))
        except (ApplyError, OSError):
            self._crun.delete(_name(item.server_id))
            raise

    def _note(self, home: Path, pid: int, item: Instance) -> None:
        words = f"{pid} {_start_time(pid) or 0} {instance_mark(item)}"
        write_whole(home / "running", words.encode(), 0o644)

    def _plug(self, pid: int, item: Instance) -> None:
        """Give the instance those of its cards that it does not have yet."""
        with netns.inside_pid(pid), open_netlink() as link:
            there = {found.get("ifname") for found in link.get_links()}
        for nic in item.nics:
            if nic.name in there:
                continue
            card = peer_name(nic.device)
            _await(card)
            with open_netlink() as link:
                link.link("set", index=index_of(link, card), net_ns_pid=pid)
            with netns.inside_pid(pid), open_netlink() as link:
                index = index_of(link, card)
                link.link("set", index=index, ifname=nic.name, address=nic.mac, mtu=nic.mtu)

    def _unplug(self, pid: int, item: Instance) -> None:
        """Take the instance's cards back: they would go with it, and the next start need them made anew."""
        with suppress(ApplyError), netns.inside_pid(pid), open_netlink() as link:
            for nic in item.nics:
                # What it removed or renamed is not there: the switch's port is made anew at the next start.
                for index in link.link_lookup(ifname=nic.name):
                    link.link("set", index=index, state="down")
                    link.link("set", index=index, ifname=peer_name(nic.device))
                    link.link("set", index=index, net_ns_pid=os.getpid())

    def _root(self, item: Instance, home: Path, base: int) -> Path:
        """The instance's own root file system, where its users can get at it."""
        home.mkdir(parents=True, exist_ok=True, mode=0o711)
        root = home / "rootfs"
        if not root.is_dir():
            partial = home / "rootfs.new"
            shutil.rmtree(partial, ignore_errors=True)
            try:
                with self.image(item) as unpacked:
                    copy_shifted(unpacked, partial, base)
                partial.rename(root)
            except BaseException:
                shutil.rmtree(
                    partial, ignore_errors=True
                )  # a full disk is not for this instance alone
                raise
        # The way to the state folder may be closed to others than root: the instance's root file system is
        # mounted where the way is open.
        place = self._roots / item.server_id
        place.mkdir(parents=True, exist_ok=True, mode=0o711)
        if not netns.is_mounted(place):
            netns.bind(root, place)
        return place

    @contextmanager
    def image(self, item: Instance) -> Generator[Path]:
        """The image unpacked, from an earlier time or now; it is kept as long as the caller works with it."""
        with self._lock:
            lock = self._image_locks.setdefault(item.image_id, threading.Lock())
        with lock:
            home = self._images / item.image_id
            if not (home / "rootfs").is_dir():
                self._unpack(item, home)
            yield home / "rootfs"

    def _unpack(self, item: Instance, home: Path) -> None:
        """Fetch an image and unpack it into `home`: whole, or not at all."""
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, mode=0o700)
        try:
            with (home / "image").open("w+b") as file:
                expected = self._fetch(item.image_id, file, self._most)
                file.flush()
                if expected and _sha512(file) != expected:
                    raise ApplyError(f"image {item.image_id} arrived damaged")
            (home / "new").mkdir()
            unpack(
                home / "image", item.disk_format, item.container_format, home / "new", self._most
            )
            (home / "image").unlink()
            (home / "new").rename(home / "rootfs")
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise

    def remove(self, server_id: str) -> None:
        """End the instance and remove all of it."""
        self._crun.delete(_name(server_id))
        place = self._roots / server_id
        if netns.is_mounted(place):
            netns.unmount(place)
        with suppress(FileNotFoundError):
            place.rmdir()
        home = self._homes / server_id
        if home.exists():
            doomed = home.with_name(f".{server_id}")
            shutil.rmtree(doomed, ignore_errors=True)
            home.rename(doomed)  # not to be found half removed
            shutil.rmtree(doomed)

    def forget_images(self, wanted: set[str]) -> None:
        """Remove unpacked images that no instance here uses."""
        if self._images.is_dir():
            for home in self._images.iterdir():
                with self._lock:
                    lock = self._image_locks.setdefault(home.name, threading.Lock())
                if home.name not in wanted and lock.acquire(blocking=False):
                    try:
                        shutil.rmtree(home, ignore_errors=True)
                    finally:
                        lock.release()


def _await(device: str) -> None:
    """Wait a while for a device.

    That of an instance that has ended goes with it when the kernel clears up; only then does the loop make
    it anew, while a worker is here.
    """
    deadline = time.monotonic() + CARD_SECONDS
    while device not in link_names() and time.monotonic() < deadline:
        time.sleep(0.1)


def _text(path: Path) -> str:
    """What a file of ours says; empty where it is not there or damaged."""
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _name(server_id: str) -> str:
    return f"netloom-{server_id}"


def _sha512(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha512()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _console(pipe: Path, base: int) -> int:
    """Open the pipe that the instance writes its console to; kept open both ways, it never breaks."""
    if not pipe.exists():
        os.mkfifo(pipe, 0o600)
        os.chown(pipe, base, base)  # the instance may open its own output again (/proc/1/fd/1)
    descriptor = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
    with suppress(OSError):
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, CONSOLE_PIPE_BYTES)
    return descriptor
