"""Neighbours (ARP): entries for addresses whose MAC is known, a bound for the others, and whether the table is full.

The kernel has one table for all its namespaces (gc_thresh3 entries). Permanent entries count towards no limit and are
never asked for; what a namespace may ask for beside them is bounded by an nftables table in it (`render/nft.py`).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from netloom.dataplane.linux import netns
from netloom.dataplane.linux.netlink import open_netlink
from netloom.dataplane.process import run
from netloom.model.hoststate import Key, Neighbour, NeighbourBound
from netloom.render.nft import neighbour_changes, neighbour_ruleset

PERMANENT = 0x80
FULL_SECONDS = 30.0
"""How long it is said that the table was full."""
SIZES = {"gc_thresh1": 4096, "gc_thresh2": 8192, "gc_thresh3": 16384}
"""What a host gets that is ours to set: the least that is kept, what is cleared after 5 s, the most."""

_GET_TABLES, _DUMP = 66, 0x301
_HEADER = struct.Struct("=IHHII")
_NAME, _THRESH3, _CONFIG, _STATS = 1, 4, 5, 7


def read(link: Any, namespace: str, devices: dict[int, str]) -> list[Neighbour]:
    """Permanent entries of the calling thread's namespace."""
    return [
        Neighbour(
            namespace=namespace,
            device=devices[item["ifindex"]],
            address=item.get("dst"),
            mac=item.get("lladdr"),
        )
        for item in link.get_neighbours(family=socket.AF_INET)
        if item["state"] & PERMANENT and item["ifindex"] in devices and item.get("lladdr")
    ]


def apply(
    namespace: str,
    bound: NeighbourBound | None,
    known: Iterable[str],
    gone: Sequence[tuple[str, str]],
    come: Sequence[Neighbour],
) -> dict[Key, str]:
    """Take entries (device, address) out and put others in; returns key → reason of those that failed.

    `bound`: make the bound anew, with all of `known`; else only what changes is changed in it.
    """
    failed: dict[Key, str] = {}
    with netns.inside(namespace):
        with open_netlink() as link:
            indexes = {item.get("ifname"): item["index"] for item in link.get_links()}
            for device, address in gone:
                if device in indexes:
                    with suppress(NetlinkError):  # the kernel has dropped it with its device's link
                        link.neigh("del", dst=address, ifindex=indexes[device])
            for item in come:
                if item.device not in indexes:
                    failed[item.key] = f"device {item.device} is not there"
                    continue
                where = {"dst": item.address, "ifindex": indexes[item.device]}
                link.neigh("replace", lladdr=item.mac, state=PERMANENT, **where)
        if bound is not None:
            text = neighbour_ruleset(bound, {*bound.known, *known})
        else:
            text = neighbour_changes(
                [address for _, address in gone], [item.address for item in come]
            )
        if text.strip():
            run(["nft", "-f", "-"], stdin=text)
    return failed


def grow() -> list[str]:
    """Let this machine's table hold more, where it is ours to set; returns what was changed. Never makes it smaller."""
    keys = {f"ipv4.neigh.default.{name}": size for name, size in SIZES.items()}
    there = netns.read_sysctls(keys)  # only the machine's own namespace has these
    small = {key: size for key, size in keys.items() if key in there and int(there[key]) < size}
    for key in sorted(small, reverse=True):
        netns.write_sysctl(key, str(small[key]))
    return [f"net.{key} = {size} (was {there[key]})" for key, size in small.items()]


class Fullness:
    """Whether the kernel could not take down a neighbour lately."""

    def __init__(self) -> None:
        self._fulls: int | None = None
        self._at = 0.0
        self._words = ""

    def look(self, now: float) -> str:
        """One plain line where the table was full within the last half minute, else nothing."""
        found = usage()
        if found is None:
            return ""
        entries, most, fulls = found
        if self._fulls is not None and fulls > self._fulls:
            self._at = now
            self._words = (
                f"the kernel's table of neighbours (ARP) is full: {entries} entries, at most {most}"
                " (net.ipv4.neigh.default.gc_thresh3): new addresses are not resolved"
            )
        elif self._words and now - self._at > FULL_SECONDS:
            self._words = ""
        self._fulls = fulls
        return self._words


def usage() -> tuple[int, int, int] | None:
    """(entries, most, how often it was full) of the kernel's IPv4 neighbour table, as rtnetlink tells it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
        link.settimeout(1.0)
        link.bind((0, 0))
        body = struct.pack("=Bxxx", socket.AF_INET)
        link.send(_HEADER.pack(_HEADER.size + len(body), _GET_TABLES, _DUMP, 1, 0) + body)
        try:
            data = link.recv(1 << 16)
        except OSError:
            return None
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        attributes = _attributes(data[_HEADER.size + 4 : length]) if kind == _GET_TABLES - 2 else {}
        if attributes.get(_NAME, b"").rstrip(b"\0") == b"arp_cache" and _STATS in attributes:
            entries = struct.unpack_from("=I", attributes[_CONFIG], 4)[0]
            most = struct.unpack("=I", attributes[_THRESH3])[0]
            fulls = struct.unpack_from("=Q", attributes[_STATS], 80)[0]
            return entries, most, fulls
        data = data[max(_HEADER.size, (length + 3) & ~3) :]
    return None


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind] = data[4:length]
        data = data[max(4, (length + 3) & ~3) :]
    return found
