"""Whether the other ends of tunnels answer: a ping to each every few seconds, by one raw socket that never waits."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

ASK_SECONDS = 3.0
SILENT_SECONDS = 12.0
"""How long a host may be silent before its tunnel counts as broken: some four pings."""

_ECHO, _ANSWER = 8, 0


class Peers:
    """Who was asked, since when, and who answered last when. Times are `time.monotonic()`."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._ident = os.getpid() & 0xFFFF
        self._asked_at = 0.0
        self._heard: dict[str, float] = {}
        """Address → when it answered last; when it was asked first, where it never did."""

    def look(self, addresses: Iterable[str], now: float) -> set[str]:
        """Take the answers that came, ask again when it is time; return the addresses that are silent."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            self._socket.setblocking(False)
        self._listen(self._socket, now)
        wanted = set(addresses)
        if now - self._asked_at > SILENT_SECONDS:
            self._heard = {}  # we were busy with something else: nobody could have answered
        self._heard = {address: self._heard.get(address, now) for address in wanted}
        if now >= self._asked_at + ASK_SECONDS:
            self._asked_at = now
            for address in sorted(wanted):
                with suppress(OSError):  # no route to it: then there is no answer either
                    self._socket.sendto(_echo(self._ident), (address, 0))
        return {address for address, heard in self._heard.items() if now - heard > SILENT_SECONDS}

    def _listen(self, listening: socket.socket, now: float) -> None:
        with suppress(BlockingIOError):
            while True:
                packet, (address, _) = listening.recvfrom(256)
                message = packet[(packet[0] & 15) * 4 :]
                if len(message) < 8 or address not in self._heard:
                    continue
                kind, _, _, ident = struct.unpack("!BBHH", message[:6])
                if (kind, ident) == (_ANSWER, self._ident):
                    self._heard[address] = now


def _echo(ident: int) -> bytes:
    """An ICMP echo request without content."""
    total = (_ECHO << 8) + ident
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", _ECHO, 0, checksum, ident, 0)
