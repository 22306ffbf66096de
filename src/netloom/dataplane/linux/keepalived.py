"""keepalived of each HA router, not a child of the agent: it goes on while no agent runs.

Each has a folder of its own, named by its namespace: `conf`, `pid` (keepalived's own process), `vrrp.pid` (its child, which does the
work), `mark`: what it was last given, and `rival`: whether it yields (see `rivals`). It is ours when the process of `pid` runs with that folder's `conf` on its command line.

A child that dies is started again by its parent, and a parent that dies takes its child along. What is killed whole leaves its
addresses behind while another host becomes active: so the end of the parent is waited for (`Ends`), its addresses are
taken away at once, and it is started again.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from netloom.dataplane.linux import homes, netns, rivals
from netloom.dataplane.linux.netlink import addresses_on, all_addresses, open_netlink
from netloom.dataplane.mark import fingerprint
from netloom.dataplane.process import ApplyError, run
from netloom.model.files import write_whole
from netloom.model.hoststate import Keepalived, Key
from netloom.render.keepalived import RIVAL, keepalived_conf
from netloom.render.values import Unwritable

log = logging.getLogger(__name__)

STOP_SECONDS = 2.0
START_SECONDS = 2.0
SETTLE_SECONDS = 1.0
"""How long an active one may take to put in what it was given."""
GOODBYE_SECONDS = 0.3
AGAIN_SECONDS = 5.0
"""One that ends twice in that time is left to the agent, which makes pauses."""

RETRY_MILLISECONDS = "100"
"""Between two questions for a neighbour's MAC address. One that becomes active knows none, and the answer to its first question may
still go where the last active one was; the kernel's own second would be felt as a second without the router."""
SIGNS = "169.254.0."
"""How the signs of being active begin (`Keepalived.sign`)."""
_PROTOCOL = 18
"""RTPROT_KEEPALIVED: who put a route in."""
_OF_LINK = 253
_starting = threading.Lock()
"""Who starts or stops one waits for others who do."""


def read(directory: Path) -> dict[Key, str]:
    """Ours → fingerprint, or why one does not run as it was started."""
    return homes.read("keepalived", directory, running)


def damage(item: Keepalived, directory: Path) -> str:
    """What is not as wanted in the file of one, in words; empty where all is."""
    try:
        text = _text(item, directory)
    except ApplyError:
        return ""  # `ensure` says so
    conf = directory / item.namespace / "conf"
    return "" if homes.says(conf, text) else "its file conf was changed"


def begin(item: Keepalived, directory: Path) -> None:
    """Start it with exactly this configuration; one that runs reads it again and stays what it is, active or not.

    `finish` waits for it: of many that are begun together no one waits for another. Raises ApplyError where a value cannot be written
    into its file.
    """
    home = directory / item.namespace
    text = _text(item, directory)
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    (home / "mark").unlink(missing_ok=True)
    if not (home / RIVAL).exists():
        rivals.say(home, False)
    if not homes.says(home / "conf", text):
        write_whole(home / "conf", text.encode(), 0o600)
    with netns.inside(item.namespace):
        for device in sorted({address.device for address in item.addresses}):
            netns.write_sysctl(f"ipv4.neigh.{device}.retrans_time_ms", RETRY_MILLISECONDS)
    with _starting:
        pid = running(home)
        if pid:
            os.kill(pid, signal.SIGHUP)
        else:
            _stop(home)
            _launch(home)


def finish(item: Keepalived, directory: Path) -> None:
    """Wait until one that was begun runs as it should. Raises ApplyError where it does not."""
    home = directory / item.namespace
    _wait(home)
    if item.links or item.shared:
        _wait_for_watch(home)
    _settle(item)
    _restore(item)
    (home / "mark").write_text(fingerprint(item))


def _settle(item: Keepalived) -> None:
    """Wait until an active one has put in what it was given; what it has not done then, it does later."""
    wanted = {(address.device, address.cidr) for address in item.addresses}
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        there = held(item)
        others = {pair for pair in there if pair[0] not in ("lo", item.device)}
        if (item.device, item.sign) not in there or others == wanted:
            break
        time.sleep(0.01)


def look(item: Keepalived) -> tuple[bool, list[str]]:
    """Whether the router is active on this host; and addresses and routes of an active one that somebody took away.

    keepalived does not see to them again.
    """
    there = held(item)
    if (item.device, item.sign) not in there:
        return False, []
    lost = [a.cidr for a in item.addresses if (a.device, a.cidr) not in there]
    with netns.inside(item.namespace), open_netlink() as link:
        ways = {_destination(r) for r in link.get_routes(family=socket.AF_INET, proto=_PROTOCOL)}
    return True, [*lost, *(r.destination for r in item.routes if r.destination not in ways)]


def _destination(route: Any) -> str:
    return f"{route.get('dst') or '0.0.0.0'}/{route['dst_len']}"


def _restore(item: Keepalived) -> None:
    """Put in what is missing of an active one; nothing of it stays where that ended meanwhile."""
    lost = set(look(item)[1])
    if not lost:
        return
    with netns.inside(item.namespace), open_netlink() as link:
        index = {device.get("ifname"): device["index"] for device in link.get_links()}
        for address in item.addresses:
            if address.cidr in lost and address.device in index:
                ip, length = address.cidr.split("/")
                link.addr("replace", index=index[address.device], address=ip, prefixlen=int(length))
        for route in item.routes:
            if route.destination in lost and route.device in index:
                way = {"gateway": route.gateway} if route.gateway else {"scope": _OF_LINK}
                oif = index[route.device]
                link.route("replace", dst=route.destination, oif=oif, proto=_PROTOCOL, **way)
    if (item.device, item.sign) not in held(item):
        with netns.inside(item.namespace), open_netlink() as link:
            _clear(link)


def held(item: Keepalived) -> set[tuple[str, str]]:
    """(device, address) of all addresses in the router's namespace; none where there is no namespace."""
    if not netns.exists(item.namespace):
        return set()
    with netns.inside(item.namespace), open_netlink() as link:
        return all_addresses(link)


def running(home: Path) -> int:
    """Process id of it, 0 where it does not run, or not in today's namespace of that name."""
    return homes.within(_alive(home), home.name)


def tell_links(cut: Mapping[str, bool], directory: Path) -> None:
    """Tell every keepalived, at once, which links of this host are cut."""
    folder = _links(directory)
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    for name, is_cut in cut.items():
        text = str(int(is_cut))
        if not homes.says(folder / name, text):
            # Written over, not replaced: keepalived watches the file itself.
            (folder / name).write_text(text)


def _links(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}-links")


def end_hung(directory: Path) -> list[str]:
    """Kill those that are stopped: they keep their addresses while another host becomes active. Returns their namespaces."""
    ended: list[str] = []
    for home in directory.iterdir() if directory.is_dir() else ():
        for name in ("vrrp.pid", "pid"):
            pid = _alive(home, name)
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (OSError, IndexError):
                continue
            if pid and state in ("T", "t"):
                os.kill(pid, signal.SIGKILL)
                ended.append(home.name)
    return ended


def remove(namespace: str, directory: Path) -> None:
    """Stop one, which takes its addresses and routes away, and forget its folder."""
    home = directory / namespace
    with _starting:
        (home / "conf").unlink(missing_ok=True)  # whoever waits for its end starts it no more
        _stop(home)
    homes.remove(home)


class Ends:
    """Waits, in a thread of its own, for the ends of keepalived's processes, and starts at once what ended.

    `told` is called after that, with the namespace.
    """

    def __init__(self, directory: Path, told: Callable[[str], None]) -> None:
        self._directory = directory
        self._told = told
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._followed: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def follow(self) -> None:
        """Wait for the ends of all that run now."""
        homes = list(self._directory.iterdir()) if self._directory.is_dir() else []
        for home in homes:
            pid = running(home)
            if pid and self._followed.get(home.name) != pid:
                self._wait_for(home.name, pid)

    def _wait_for(self, name: str, pid: int) -> None:
        try:
            end = os.pidfd_open(pid)
        except OSError:
            return  # it has ended: the agent's own look finds it
        with self._lock:
            self._followed[name] = pid
            self._selector.register(end, selectors.EVENT_READ, (name, pid))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, daemon=True, name="keepalived")
                self._thread.start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select(1.0):
                name, pid = key.data
                self._selector.unregister(key.fd)
                os.close(key.fd)
                with self._lock:
                    if self._followed.get(name) == pid:
                        del self._followed[name]
                self._again(name)

    def _again(self, name: str) -> None:
        home = self._directory / name
        now = time.monotonic()
        soon = now - self._since.get(name, -AGAIN_SECONDS) < AGAIN_SECONDS
        self._since[name] = now
        try:
            with _starting:
                if not soon and (home / "conf").exists() and not running(home):
                    log.warning("keepalived of %s ended: it is started again", name)
                    _end_child(home)
                    _start(home)
        except (ApplyError, OSError) as error:
            log.warning("keepalived of %s: %s", name, error)
        self.follow()
        self._told(name)


def _clear(link: Any) -> None:
    """Take away what an earlier one left that was killed: the next one takes it for somebody else's."""
    for device in link.get_links():
        name, index = device.get("ifname"), device["index"]
        if name.startswith(("qr-", "qg-", "sg-")):
            link.flush_addr(index=index)
        for cidr in addresses_on(link, index):
            if cidr.startswith(SIGNS):
                ip, length = cidr.split("/")
                link.addr("del", index=index, address=ip, prefixlen=int(length))
    link.flush_routes(family=socket.AF_INET, proto=_PROTOCOL)


def _end_child(home: Path) -> None:
    """Wait a moment until the child of a parent that ended is gone: it says goodbye to the others, which take over at once."""
    deadline = time.monotonic() + GOODBYE_SECONDS
    while (pid := _alive(home, "vrrp.pid")) and time.monotonic() < deadline:
        time.sleep(0.005)
    if pid:
        os.kill(pid, signal.SIGKILL)


def _start(home: Path) -> None:
    _launch(home)
    _wait(home)


def _launch(home: Path) -> None:
    with netns.inside(home.name):
        with open_netlink() as link:
            _clear(link)
        run(
            [
                "keepalived",
                "-P",
                "-f",
                f"{home}/conf",
                "-p",
                f"{home}/pid",
                "-r",
                f"{home}/vrrp.pid",
            ],
            timeout=10,
        )


def _wait(home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (_alive(home) and _alive(home, "vrrp.pid")):
        if time.monotonic() > deadline:
            raise ApplyError("keepalived ended as soon as it was started")
        time.sleep(0.01)


def _wait_for_watch(home: Path) -> None:
    """Wait until keepalived watches its files; raise ApplyError where the kernel does not let it.

    Without a watch it would not hear that a link is cut, and stay active beside another host. It tries again when it is
    begun again.
    """
    deadline = time.monotonic() + START_SECONDS
    while not _watches(_alive(home, "vrrp.pid")):
        if time.monotonic() > deadline:
            most = Path("/proc/sys/fs/inotify/max_user_instances").read_text().strip()
            raise ApplyError(
                "keepalived cannot watch its files and would stay active behind a cut link:"
                f" raise fs.inotify.max_user_instances, which is {most}, on this machine"
            )
        time.sleep(0.01)


def _watches(pid: int) -> bool:
    try:
        opened = Path(f"/proc/{pid}/fd").iterdir()
        return any(str(each.readlink()) == "anon_inode:inotify" for each in opened)
    except OSError:
        return False  # it ends just now, or none runs


def _alive(home: Path, name: str = "pid") -> int:
    """A process of ours that runs, whichever namespace it is in; 0 where none does."""
    return homes.process(home, (f"{home}/conf",), name)


def _stop(home: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        for name in ("pid", "vrrp.pid"):
            pid = _alive(home, name)
            if pid and (name == "pid" or number == signal.SIGKILL):
                os.kill(pid, number)
        while (_alive(home) or _alive(home, "vrrp.pid")) and time.monotonic() < deadline:
            time.sleep(0.005)
        if not _alive(home) and not _alive(home, "vrrp.pid"):
            break
    for name in ("pid", "vrrp.pid"):
        (home / name).unlink(missing_ok=True)


def _text(item: Keepalived, directory: Path) -> str:
    try:
        return keepalived_conf(item, str(_links(directory)), str(directory / item.namespace))
    except Unwritable as error:
        raise ApplyError(f"keepalived cannot be told: {error}") from error
