"""What others change on this host: the kernel tells of it at once, for all namespaces in one socket of each family.

Devices, addresses and routes that are removed are news, devices that are changed (put down, say) and settings of
namespaces too; of what is added, and of neighbours, policy rules and nftables, it is what others do (`_others`). A namespace
is named by the id under which ours knows it (rtnetlink's nsid), which it has got with its first device.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable

from netloom.dataplane.linux import netns
from netloom.dataplane.process import OWN

log = logging.getLogger(__name__)

_PID_BITS = (1 << 22) - 1
"""pyroute2 puts a number above these bits, so that each of a process's sockets has a port of its own."""
HERE = -1
"""The id of this namespace itself."""
TOGETHER_SECONDS = 0.2
"""News of so long is told at once: an instance that plays with its addresses costs no more than that."""

_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_LINKS, _NEIGHBOURS, _RULES = 0x1, 0x4, 0x80
_ADDRESSES, _ROUTES = 0x10 | 0x100, 0x40 | 0x400
"""Of IPv4 and IPv6."""
_NETFILTER, _TABLES = 12, 0x40
"""Protocol NETLINK_NETFILTER, and its group NFNLGRP_NFTABLES."""
_HEADER = struct.Struct("=IHHII")
_SETTINGS = 1 << 23 | 1 << 24
"""RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF: forwarding, rp_filter and proxies of each device."""
_NEWS = frozenset({16, 17, 21, 25, 80})
"""RTM_NEWLINK (made, put up or down, renamed), RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE, RTM_NEWNETCONF."""
_NEWS_OF_OTHERS = frozenset({20, 24, 28, 32, 33})
"""RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWNEIGH, RTM_NEWRULE, RTM_DELRULE: news where a process did it, and none of ours."""
_GET_ID, _NEW_ID = 90, 88
_ATTRIBUTE_ID, _ATTRIBUTE_FD = 1, 3


class Watch:
    """Calls `changed` (in threads of its own, until the process ends) with the ids of namespaces that
    something is gone from or has changed in; `tables` with those whose nftables others have changed.
    """

    def __init__(
        self,
        changed: Callable[[frozenset[int]], None],
        tables: Callable[[frozenset[int]], None] = lambda _ids: None,
    ) -> None:
        groups = _LINKS | _NEIGHBOURS | _ADDRESSES | _ROUTES | _RULES | _SETTINGS
        _listen(0, groups, _is_news, changed)
        _listen(_NETFILTER, _TABLES, lambda _kind, sender: _others(sender), tables)


def _listen(
    protocol: int,
    groups: int,
    is_news: Callable[[int, int], bool],
    told: Callable[[frozenset[int]], None],
) -> None:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    link.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
    link.bind((0, groups))

    def serve() -> None:
        while True:
            try:
                found = _receive(link, 0, is_news)
                while (more := _receive(link, socket.MSG_DONTWAIT, is_news)) is not None:
                    found = (found or set()) | more
            except OSError as error:
                # More than the socket holds (ENOBUFS): what was missed, the audit finds.
                log.debug("news of namespaces were lost: %s", error.strerror)
                found = None
            if found:
                told(frozenset(found))
            time.sleep(TOGETHER_SECONDS)

    threading.Thread(target=serve, daemon=True, name=f"watch {protocol}").start()


def _receive(
    link: socket.socket, flags: int, is_news: Callable[[int, int], bool]
) -> set[int] | None:
    """Namespaces that the next datagram has news of; None where there is no datagram."""
    try:
        data, ancillary, _, _ = link.recvmsg(1 << 16, 64, flags)
    except BlockingIOError:
        return None
    ids = [
        struct.unpack("=i", value)[0] for _, kind, value in ancillary if kind == _LISTEN_ALL_NSID
    ]
    if not any(is_news(kind, sender) for kind, sender in _messages(data)):
        return set()
    return {ids[0] if ids else HERE}


def _is_news(kind: int, sender: int) -> bool:
    return kind in _NEWS or (kind in _NEWS_OF_OTHERS and _others(sender))


def _others(sender: int) -> bool:
    """Whether another process did it: the kernel names the port of its socket, 0 for itself.

    A program's first socket has the number of its process for a port. Ours have that of the agent in their lower bits.
    """
    return sender != 0 and sender not in OWN and sender & _PID_BITS != os.getpid() & _PID_BITS


def _messages(data: bytes) -> list[tuple[int, int]]:
    """(type, port of the sender) of the messages in a datagram."""
    found: list[tuple[int, int]] = []
    while len(data) >= _HEADER.size:
        length, kind, _, _, sender = _HEADER.unpack_from(data)
        found.append((kind, sender))
        data = data[max(_HEADER.size, (length + 3) & ~3) :]
    return found


def names() -> dict[int, str]:
    """Ids of the named namespaces that have one → name."""
    found: dict[int, str] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
        link.bind((0, 0))
        for name in netns.names():
            number = _id_of(link, name)
            if number is not None:
                found[number] = name
    return found


def _id_of(link: socket.socket, name: str) -> int | None:
    try:
        namespace = os.open(netns.DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        body = struct.pack("=Bxxx", socket.AF_UNSPEC) + struct.pack(
            "=HHI", 8, _ATTRIBUTE_FD, namespace
        )
        link.send(_HEADER.pack(_HEADER.size + len(body), _GET_ID, 1, 1, 0) + body)
        reply = link.recv(4096)
    finally:
        os.close(namespace)
    _, kind, *_ = _HEADER.unpack_from(reply)
    if kind != _NEW_ID:
        return None  # the file is no namespace, or an old kernel
    place = _HEADER.size + 4
    while place + 4 <= len(reply):
        length, attribute = struct.unpack_from("=HH", reply, place)
        if attribute == _ATTRIBUTE_ID:
            number: int = struct.unpack_from("=i", reply, place + 4)[0]
            return number if number >= 0 else None
        place += max(4, (length + 3) & ~3)
    return None
