"""DHCP servers: one dnsmasq in each network's namespace, not a child of the agent.

Each has a folder of its own, named by the network's id: `conf`, `hosts` and `opts` (read again on
SIGHUP), `pid`, and `mark`: what it was last given. It is ours when the process of `pid` runs with that
folder's `conf` on its command line.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from netloom.dataplane import netns
from netloom.dataplane.mark import fingerprint
from netloom.dataplane.netlink import index_of, open_netlink
from netloom.dataplane.process import ApplyError, run
from netloom.model.hoststate import Dnsmasq, Key
from netloom.model.names import dhcp_namespace
from netloom.model.render import dnsmasq_conf, dnsmasq_hosts, dnsmasq_opts

STOP_SECONDS = 1.0


def read(directory: Path) -> dict[Key, str]:
    """Our servers → fingerprint, empty where one is not running as it was started."""
    found: dict[Key, str] = {}
    if directory.is_dir():
        for home in directory.iterdir():
            found["dnsmasq", home.name] = _mark(home)[0] if _running(home) else ""
    return found


def _mark(home: Path) -> tuple[str, str]:
    """(fingerprint, what a restart depends on) as of the last `ensure`."""
    try:
        mark, _, fixed = (home / "mark").read_text().partition(" ")
    except (OSError, ValueError):
        return "", ""  # not there, or damaged
    return mark, fixed


def _running(home: Path) -> int:
    """Process id of the server, 0 where it does not run, or not in today's namespace of that name."""
    try:
        pid = int((home / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if f"--conf-file={home}/conf".encode() not in command:
            return 0
        inside = Path(f"/proc/{pid}/ns/net").stat().st_ino
        wanted = (netns.DIRECTORY / dhcp_namespace(home.name)).stat().st_ino
    except (OSError, ValueError):
        return 0
    return pid if inside == wanted else 0


def _write(path: Path, text: str) -> bool:
    """Write the file if it differs; true if it did."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    partial = path.with_name(path.name + ".new")
    partial.write_text(text)
    partial.chmod(0o644)  # dnsmasq reads it again after it has given up root
    partial.replace(path)
    return True


def ensure(item: Dnsmasq, directory: Path) -> None:
    """Run the server with exactly these leases; starts, restarts, or just has it read its files again."""
    home = directory / item.network_id
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    conf = dnsmasq_conf(item, str(home))
    with netns.inside(item.namespace), open_netlink() as link:
        # Its socket is bound to the device: a device that was made again needs a new one.
        fixed = str(index_of(link, item.device))
    pid = _running(home)
    restart = _write(home / "conf", conf) or not pid or _mark(home)[1] != fixed
    reread = _write(home / "hosts", dnsmasq_hosts(item))
    reread = _write(home / "opts", dnsmasq_opts(item)) or reread
    if restart:
        _stop(home)
        with netns.inside(item.namespace):
            run(["dnsmasq", f"--conf-file={home}/conf"], timeout=5)
    elif reread:
        os.kill(pid, signal.SIGHUP)
    (home / "mark").write_text(f"{fingerprint(item)} {fixed}")


def _stop(home: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = _running(home) or _left_behind(home)
        if not pid:
            break
        os.kill(pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
    (home / "pid").unlink(missing_ok=True)


def _left_behind(home: Path) -> int:
    """A server of ours that still runs, whichever namespace it is in."""
    try:
        pid = int((home / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if f"--conf-file={home}/conf".encode() in command else 0


def remove(network_id: str, directory: Path) -> None:
    """Stop a server and forget its folder."""
    home = directory / network_id
    _stop(home)
    shutil.rmtree(home, ignore_errors=True)
    if home.exists():
        raise ApplyError(f"cannot remove {home}")
