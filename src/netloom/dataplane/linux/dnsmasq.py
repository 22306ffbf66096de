"""DHCP servers: one dnsmasq in each network's namespace, not a child of the agent.

Each has a folder of its own, named by the network's id: `conf`, `hosts` and `opts` (read again on
SIGHUP), `pid`, and `mark`: what it was last given. It is ours when the process of `pid` runs with that
folder's `conf` on its command line.

Before it runs, its namespace has the table `ip netloom-dhcp` of nftables, which lets it hear each client in its own name
alone.

A server keeps in memory whom it leased an address to, and gives it to nobody else for that time, whatever its
files say: a lease that is gone from them is released in its client's place.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Interface
from pathlib import Path

from netloom.dataplane.linux import homes, netns
from netloom.dataplane.linux.netlink import addresses_on, index_of, open_netlink
from netloom.dataplane.linux.nft import Wanted
from netloom.dataplane.mark import fingerprint
from netloom.dataplane.process import ApplyError, run
from netloom.model.files import write_whole
from netloom.model.hoststate import Dnsmasq, Key
from netloom.model.names import dhcp_namespace
from netloom.render.dnsmasq import dnsmasq_conf, dnsmasq_hosts, dnsmasq_opts
from netloom.render.nft import DHCP_TABLE, dhcp_ruleset
from netloom.render.values import Unwritable

STOP_SECONDS = 1.0
HUNG_LOOKS = 3
"""How often in a row a server is found with work and idle before it is taken to hang."""
TABLE = ("ip", DHCP_TABLE)
FILES = ("conf", "hosts", "opts")
_SERVER_PORT = 67
_LEASE = re.compile(
    r"^([0-9a-f]{2}(?::[0-9a-f]{2}){5}),(?:[^\n]*,)?(\d+\.\d+\.\d+\.\d+),[^,\n]*$", re.MULTILINE
)
_LEASE6 = re.compile(r"^([0-9a-f]{2}(?::[0-9a-f]{2}){5}(?:,\[[0-9a-f:.]+\])+)$", re.MULTILINE)


def read(directory: Path) -> dict[Key, str]:
    """Our servers → fingerprint, or why one does not run as it was started."""
    return homes.read("dnsmasq", directory, _running, lambda home: _mark(home)[0])


def damage(item: Dnsmasq, directory: Path) -> str:
    """What is not as wanted in the files of a server, in words; empty where all is."""
    home = directory / item.network_id
    try:
        texts = _texts(item, home)
    except ApplyError:
        return ""  # `ensure` says so
    odd = [name for name, text in texts.items() if not homes.says(home / name, text)]
    return f"its file {', '.join(odd)} was changed" if odd else ""


def wanted_table(item: Dnsmasq) -> Wanted:
    """The table before the server."""
    return Wanted(TABLE, dhcp_ruleset(item))


def _texts(item: Dnsmasq, home: Path) -> dict[str, str]:
    try:
        return {
            "conf": dnsmasq_conf(item, str(home)),
            "hosts": dnsmasq_hosts(item),
            "opts": dnsmasq_opts(item),
        }
    except Unwritable as error:
        raise ApplyError(f"dnsmasq cannot be told: {error}") from error


def _guard(item: Dnsmasq) -> None:
    """Put the table into the server's namespace."""
    with netns.inside(item.namespace):
        run(["nft", "-f", "-"], stdin=dhcp_ruleset(item))


def _mark(home: Path) -> tuple[str, str]:
    """(fingerprint, what a restart depends on) as of the last `ensure`."""
    mark, _, fixed = homes.mark(home).partition(" ")
    return mark, fixed


def is_on_device(item: Dnsmasq, directory: Path) -> bool:
    """Whether the server's device is the one that its socket is bound to, not one that was made anew."""
    with netns.inside(item.namespace), open_netlink() as link:
        there = link.link_lookup(ifname=item.device)
    return bool(there) and _mark(directory / item.network_id)[1] == str(there[0])


def _running(home: Path) -> int:
    """Process id of the server, 0 where it does not run, or not in today's namespace of that name."""
    return homes.within(_left_behind(home), dhcp_namespace(home.name))


def _write(path: Path, text: str) -> bool:
    """Write the file if it differs; true if it did."""
    if homes.says(path, text):
        return False
    write_whole(path, text.encode(), 0o644)  # dnsmasq reads it again after it has given up root
    return True


def ensure(item: Dnsmasq, directory: Path) -> None:
    """Run the server with exactly these leases; starts, restarts, or just has it read its files again.

    Raises ApplyError where it does not run, or where a value cannot be written into one of its files.
    """
    home = directory / item.network_id
    texts = _texts(item, home)
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    _guard(item)
    with netns.inside(item.namespace), open_netlink() as link:
        # Its socket is bound to the device: a device that was made again needs a new one.
        fixed = str(index_of(link, item.device))
    pid = _running(home)
    restart = _write(home / "conf", texts["conf"]) or not pid or _mark(home)[1] != fixed
    before, before6 = _leases(home), _leases6(home)
    # Whoever finds no mark was interrupted, knows not what the server has in memory, and starts it anew.
    (home / "mark").unlink(missing_ok=True)
    reread = _write(home / "hosts", texts["hosts"])
    reread = _write(home / "opts", texts["opts"]) or reread
    # A DHCPv6 client alone can give a lease back (it signs with a name of its own): the server forgets those that go with all else.
    if restart or before6 - _leases6(home):
        _stop(home)
        with netns.inside(item.namespace):
            run(["dnsmasq", f"--conf-file={home}/conf"], timeout=5)
    elif reread:
        os.kill(pid, signal.SIGHUP)
        _release(item, before - _leases(home))
    (home / "mark").write_text(f"{fingerprint(item)} {fixed}")


def end_hung(directory: Path, looks: dict[str, tuple[int, int, int]]) -> list[str]:
    """Kill servers of ours that are stopped, or have messages waiting and do nothing; returns their networks.

    To be called about once a second. `looks` remembers what the last calls saw: network → (process, its processor time,
    how often in a row it was found idle with work waiting).
    """
    ended: list[str] = []
    pids = {home.name: _running(home) for home in directory.iterdir()} if directory.is_dir() else {}
    for gone in looks.keys() - pids.keys():
        del looks[gone]
    for name, pid in pids.items():
        old, before, times = looks.get(name, (0, 0, 0))
        state, spent = _activity(pid)
        idle = state in ("T", "t") or (spent == before and _waiting(pid))
        times = times + 1 if pid and pid == old and idle else 0
        looks[name] = (pid, spent, times)
        if times >= HUNG_LOOKS:
            os.kill(pid, signal.SIGKILL)
            ended.append(name)
    return ended


def _activity(pid: int) -> tuple[str, int]:
    """A process's state (proc(5)) and the processor time that it has used, in ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return "", 0


def _waiting(pid: int) -> bool:
    """Whether messages wait in the queue of the server's socket."""
    try:
        rows = Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]
    except OSError:
        return False
    fields = [row.split() for row in rows]
    return any(f[1].endswith(f":{_SERVER_PORT:04X}") and f[4][9:] != "00000000" for f in fields)


def _leases(home: Path) -> set[tuple[str, str]]:
    """MAC and address of every lease in `hosts`, as far as it is ours to read: somebody may have damaged it."""
    path = home / "hosts"
    text = path.read_text(errors="replace") if path.is_file() else ""
    return set(_LEASE.findall(text))


def _leases6(home: Path) -> set[str]:
    """The lines of `hosts` that give IPv6 addresses."""
    path = home / "hosts"
    return set(_LEASE6.findall(path.read_text(errors="replace") if path.is_file() else ""))


def _release(item: Dnsmasq, leases: Iterable[tuple[str, str]]) -> None:
    """Give back what these clients (MAC, address) hold."""
    with netns.inside(item.namespace):
        with open_netlink() as link:
            ours = [IPv4Interface(own) for own in addresses_on(link, index_of(link, item.device))]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talk:
            for mac, address in sorted(leases):
                ip = IPv4Interface(address).ip
                for server in (own.ip for own in ours if ip in own.network):
                    message = _release_message(mac, ip.packed, server.packed)
                    talk.sendto(message, (str(server), _SERVER_PORT))


def _release_message(mac: str, address: bytes, server: bytes) -> bytes:
    """DHCPRELEASE (RFC 2131, 4.4.6)."""
    request, ethernet, release = 1, 1, 7
    head = struct.pack("!BBBBIHH4s12x", request, ethernet, 6, 0, 0, 0, 0, address)
    hardware = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    options = b"\x63\x82\x53\x63" + bytes([53, 1, release, 54, 4]) + server + b"\xff"
    return (head + hardware + bytes(192) + options).ljust(300, b"\0")


def _stop(home: Path) -> None:
    homes.stop(home, lambda: _running(home) or _left_behind(home), STOP_SECONDS)


def _left_behind(home: Path) -> int:
    """A server of ours that still runs, whichever namespace it is in."""
    return homes.process(home, (f"--conf-file={home}/conf",))


def remove(network_id: str, directory: Path) -> None:
    """Stop a server and forget its folder."""
    home = directory / network_id
    _stop(home)
    homes.remove(home)
