"""What others change on this host: the kernel tells of it at once, for all namespaces in one socket.

Devices, addresses and routes that are removed are news, devices that are changed (put down, say) and settings of
namespaces too; what is added beside them is left to the next audit. A namespace
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

log = logging.getLogger(__name__)

HERE = -1
"""The id of this namespace itself."""
TOGETHER_SECONDS = 0.2
"""News of so long is told at once: an instance that plays with its addresses costs no more than that."""

_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_LINKS, _ADDRESSES, _ROUTES = 0x1, 0x10, 0x40
_HEADER = struct.Struct("=IHHII")
_SETTINGS = 1 << 23 | 1 << 24
"""RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF: forwarding, rp_filter and proxies of each device."""
_NEWS = frozenset({16, 17, 21, 25, 80})
"""RTM_NEWLINK (made, put up or down, renamed), RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE, RTM_NEWNETCONF."""
_GET_ID, _NEW_ID = 90, 88
_ATTRIBUTE_ID, _ATTRIBUTE_FD = 1, 3


class Watch:
    """Calls `removed` (in a thread of its own, until the process ends) with the ids of namespaces that
    something is gone from or has changed in.
    """

    def __init__(self, removed: Callable[[frozenset[int]], None]) -> None:
        self._removed = removed
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
        self._socket.bind((0, _LINKS | _ADDRESSES | _ROUTES | _SETTINGS))
        threading.Thread(target=self._listen, daemon=True, name="watch").start()

    def _listen(self) -> None:
        while True:
            try:
                found = self._receive(0)
                while (more := self._receive(socket.MSG_DONTWAIT)) is not None:
                    found = (found or set()) | more
            except OSError as error:
                # More than the socket holds (ENOBUFS): what was missed, the audit finds.
                log.debug("news of namespaces were lost: %s", error.strerror)
                found = None
            if found:
                self._removed(frozenset(found))
            time.sleep(TOGETHER_SECONDS)

    def _receive(self, flags: int) -> set[int] | None:
        """Namespaces that the next datagram has news of; None where there is no datagram."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(1 << 16, 64, flags)
        except BlockingIOError:
            return None
        ids = [
            struct.unpack("=i", value)[0]
            for _, kind, value in ancillary
            if kind == _LISTEN_ALL_NSID
        ]
        return {ids[0] if ids else HERE} if not _NEWS.isdisjoint(_kinds(data)) else set()


def _kinds(data: bytes) -> list[int]:
    """Types of the messages in a datagram."""
    kinds: list[int] = []
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        kinds.append(kind)
        data = data[max(_HEADER.size, (length + 3) & ~3) :]
    return kinds


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
