"""Whether the other ends of tunnels answer: a ping to each every few seconds, by raw sockets that never wait."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from netloom.model.family import V4, V6, Family
from netloom.model.family import of as family_of

ASK_SECONDS = 3.0
SILENT_SECONDS = 12.0
"""How long a host may be silent before its tunnel counts as broken: some four pings."""

_SOCKET = {V4: (socket.AF_INET, socket.IPPROTO_ICMP), V6: (socket.AF_INET6, socket.IPPROTO_ICMPV6)}
_ECHO, _ANSWER = {V4: 8, V6: 128}, {V4: 0, V6: 129}


class Peers:
    """Who was asked, since when, and who answered last when. Times are `time.monotonic()`."""

    def __init__(self) -> None:
        self._sockets: dict[Family, socket.socket] = {}
        self._ident = os.getpid() & 0xFFFF
        self._asked_at = 0.0
        self._heard: dict[str, float] = {}
        """Address → when it answered last; when it was asked first, where it never did."""

    def look(self, addresses: Iterable[str], now: float) -> set[str]:
        """Take the answers that came, ask again when it is time; return the addresses that are silent."""
        wanted = set(addresses)
        for family in {family_of(address) for address in wanted} - self._sockets.keys():
            with suppress(OSError):  # a kernel without IPv6: none of its addresses answers
                self._sockets[family] = _opened(family)
        for family, listening in self._sockets.items():
            self._listen(family, listening, now)
        if now - self._asked_at > SILENT_SECONDS:
            self._heard = {}  # we were busy with something else: nobody could have answered
        self._heard = {address: self._heard.get(address, now) for address in wanted}
        if now >= self._asked_at + ASK_SECONDS:
            self._asked_at = now
            for address in sorted(wanted):
                family = family_of(address)
                # No route to it: then there is no answer either.
                with suppress(OSError, KeyError):
                    self._sockets[family].sendto(_echo(family, self._ident), (address, 0))
        return {address for address, heard in self._heard.items() if now - heard > SILENT_SECONDS}

    def _listen(self, family: Family, listening: socket.socket, now: float) -> None:
        with suppress(BlockingIOError):
            while True:
                packet, (address, *_) = listening.recvfrom(256)
                # Of IPv4 the kernel hands over the header too, of IPv6 it does not.
                message = packet[(packet[0] & 15) * 4 :] if family is V4 else packet
                if len(message) < 8 or address not in self._heard:
                    continue
                kind, _, _, ident = struct.unpack("!BBHH", message[:6])
                if (kind, ident) == (_ANSWER[family], self._ident):
                    self._heard[address] = now


def _opened(family: Family) -> socket.socket:
    kind, protocol = _SOCKET[family]
    opened = socket.socket(kind, socket.SOCK_RAW, protocol)
    opened.setblocking(False)
    return opened


def _echo(family: Family, ident: int) -> bytes:
    """An ICMP echo request without content; of IPv6 the kernel fills in the checksum."""
    total = (_ECHO[family] << 8) + ident
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", _ECHO[family], 0, checksum, ident, 0)
