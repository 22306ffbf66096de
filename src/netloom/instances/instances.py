"""Instances of this host: their folders, and starting, adopting and removing them.

`<state>/instances/<server id>/` holds `disk`, `config.json`, the console and `running`: process id, its
start time and the fingerprint of what was asked for. The instance is there while that very process lives;
the agent is not its parent. Its disk is mounted at `<run>/roots/<server id>`.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from netloom.dataplane.linux import netns
from netloom.dataplane.linux.netlink import delete_link, index_of, link_names, open_netlink
from netloom.dataplane.mark import fingerprint
from netloom.dataplane.ovs.bridges import peer_name
from netloom.dataplane.process import ApplyError
from netloom.instances import limits, restarts, volume
from netloom.instances.cancel import Cancel
from netloom.instances.container import Crun, configuration, write_bundle
from netloom.instances.copying import copy_shifted
from netloom.instances.images import Fetch, Images, check_room
from netloom.instances.remove import remove_tree
from netloom.instances.rootfs import ID_COUNT, Size
from netloom.model.files import write_whole
from netloom.model.hoststate import Instance, Key, Nic
from netloom.model.sysctls import INSTANCE, settings

CONSOLE_PIPE_BYTES = 1 << 20
"""What an instance may say while no agent listens, before it must wait."""
_F_SETPIPE_SZ = 1031
_PREFIX = "netloom-"
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
        restarts=item.restarts,
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

    def __init__(
        self,
        state: Path,
        run_dir: Path,
        fetch: Fetch,
        most_image_bytes: int,
        *,
        types: Collection[str],
        refusal: str = "",
    ) -> None:
        """`types`: of instances that this host runs; `refusal`: why it runs none that its settings allow."""
        self._types = types
        self._refusal = refusal
        self._state = state
        self._homes = state / "instances"
        self._roots = run_dir / "roots"
        self._crun = Crun(run_dir / "crun")
        self.images = Images(state, fetch, most_image_bytes)

    def read(self) -> dict[Key, str]:
        """Our instances → fingerprint, empty where one does not run, or where only something of it is left."""
        return {("instance", name): "" for name in self._traces()} | self.alive()

    def alive(self) -> dict[Key, str]:
        """As `read`, without those of which only something is left: two short files an instance."""
        if not self._homes.is_dir():
            return {}
        # One that begins with a dot is being removed.
        names = [home.name for home in self._homes.iterdir() if not home.name.startswith(".")]
        return {("instance", name): self.mark(name) for name in names}

    def mark(self, server_id: str) -> str:
        """The fingerprint of one instance, empty where it does not run."""
        home = self._homes / server_id
        pid, mark = self._running(home)
        return mark if pid else _text(home / "stopped")

    def _traces(self) -> set[str]:
        """Server ids of which something may be left, should an agent have ended while it started or removed it."""
        found = {n.removeprefix(_PREFIX) for n in self._crun.names() if n.startswith(_PREFIX)}
        found.update(limits.groups())
        for folder in (self._roots, self._homes):
            if folder.is_dir():
                found.update(place.name.removeprefix(".") for place in folder.iterdir())
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

    def ensure(self, item: Instance, number: int, cancel: Cancel) -> None:
        """Run the instance (or stop it, as `power` says). `number`: of its range of user ids on this host.

        Raises Cancelled soon after `cancel` says that nobody wants it any more.
        """
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
        if pid and restarts.due(home, item):
            if item.gently:
                restarts.ask_to_end(pid)
            self._unplug(pid, item)
            pid = 0
        if pid:
            self._plug(pid, item)
            self._note(home, pid, item)
            return
        if item.type not in self._types:
            raise ApplyError(self._refusal or f"this host runs no instances of type {item.type}")
        base = number * ID_COUNT
        self._crun.delete(_name(item.server_id))
        root = self._root(item, home, base, cancel)
        cancel.check()
        write_bundle(home, configuration(item, root, base))
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
            restarts.note(home, item)
            self._crun.start(_name(item.server_id))
        except (ApplyError, OSError):
            self._crun.delete(_name(item.server_id))
            raise

    def _note(self, home: Path, pid: int, item: Instance) -> None:
        words = f"{pid} {_start_time(pid) or 0} {instance_mark(item)}"
        write_whole(home / "running", words.encode(), 0o644)

    def _plug(self, pid: int, item: Instance) -> None:
        """Give the instance those of its cards that it does not have yet.

        A card that is on the host is not the instance's: what it has under that name there leads nowhere.
        """
        with netns.inside_pid(pid), open_netlink() as link:
            there = {found.get("ifname") for found in link.get_links()}
        waiting = link_names()
        for nic in item.nics:
            card = peer_name(nic.device)
            if nic.name in there and card not in waiting:
                continue
            if nic.name in there:
                with netns.inside_pid(pid):
                    delete_link(nic.name)
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

    def _root(self, item: Instance, home: Path, base: int, cancel: Cancel) -> Path:
        """The instance's own root file system, mounted where its users can get at it.

        The way to the state folder may be closed to others than root.
        """
        home.mkdir(parents=True, exist_ok=True, mode=0o711)
        place = self._roots / item.server_id
        place.mkdir(parents=True, exist_ok=True, mode=0o711)
        if (home / "disk").is_file():
            if not netns.is_mounted(place):
                volume.mend(home / "disk")
                volume.mount(home / "disk", place)
            return place
        volume.unmount(place)
        place.mkdir(exist_ok=True, mode=0o711)
        partial = home / "disk.new"
        try:
            with self.images.unpacked(item, cancel) as (image, size):
                check_room(self._state, size)
                volume.make(partial, max(1, item.disk_gib) << 30)
                volume.mount(partial, place)
                volume.clear(place)
                _check_fits(size, place, item)
                copy_shifted(image, place, base, cancel)
            volume.settle(place)
            partial.rename(home / "disk")
        except BaseException:
            volume.unmount(place)  # a full disk is not for this instance alone
            partial.unlink(missing_ok=True)
            raise
        return place

    def remove(self, server_id: str) -> None:
        """End the instance and remove all of it; raises ApplyError where something stays."""
        self._crun.delete(_name(server_id))
        volume.unmount(self._roots / server_id)
        limits.remove_group(server_id)
        home = self._homes / server_id
        doomed = home.with_name(f".{server_id}")
        if home.exists():
            remove_tree(doomed)
            home.rename(doomed)  # not to be found half removed
        remove_tree(doomed)


def _check_fits(size: Size, place: Path, item: Instance) -> None:
    """Raise ApplyError where the image is larger than the flavor's disk."""
    room, inodes = volume.room(place)
    if size.bytes > room:
        raise ApplyError(
            f"the image unpacks to {size.bytes >> 20} MiB, more than the flavor's disk"
            f" of {max(1, item.disk_gib)} GiB takes"
        )
    if size.entries > inodes:
        raise ApplyError(
            f"the image has {size.entries} files, more than the {inodes} that the flavor's disk"
            f" of {max(1, item.disk_gib)} GiB takes"
        )


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
    return f"{_PREFIX}{server_id}"


def _console(pipe: Path, base: int) -> int:
    """Open the pipe that the instance writes its console to; kept open both ways, it never breaks."""
    if not pipe.exists():
        os.mkfifo(pipe, 0o600)
        os.chown(pipe, base, base)  # the instance may open its own output again (/proc/1/fd/1)
    descriptor = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
    with suppress(OSError):
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, CONSOLE_PIPE_BYTES)
    return descriptor
