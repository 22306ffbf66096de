"""What the switch's flow monitor says is taken apart right, whatever pieces it comes in."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from pathlib import Path

from netloom.dataplane.ovs.flowwatch import ADDED, MODIFIED, REMOVED, Change, FlowWatch


def update(event: int, cookie: int, more: int = 8) -> bytes:
    """One ofp_flow_update_full, with a match and instructions of some length."""
    body = struct.pack("!BBHHH4xQ", 0, 0, 0, 0, 1, cookie) + bytes(more)
    return struct.pack("!HH", 4 + len(body), event) + body


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", 5, kind, 8 + len(body), 1) + body


def answer(*updates: bytes) -> bytes:
    return message(19, struct.pack("!HHxxxx", 16, 0) + b"".join(updates))


class Switch:
    """The other end: what was asked, and what it says."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(folder / "br-int.mgmt"))
        self._socket.listen()
        self.told: queue.SimpleQueue[tuple[str, list[Change] | None]] = queue.SimpleQueue()
        self.watch = FlowWatch(folder, lambda bridge, news: self.told.put((bridge, news)))
        self.watch.follow(["br-int"])
        self.link, _ = self._socket.accept()
        self.asked = self.link.recv(4096)

    def close(self) -> None:
        self.link.close()
        self._socket.close()
        for thread in threading.enumerate():
            if thread.name == "flows of br-int":
                thread.join(10)


def test_changes_are_told_together_in_their_order(tmp_path: Path) -> None:
    switch = Switch(tmp_path)
    try:
        assert switch.asked[:2] == bytes([5, 0]) and switch.asked[9] == 18
        said = answer(update(ADDED, 1), update(REMOVED, 2, 40)) + answer(update(MODIFIED, 3))
        for place in range(0, len(said), 7):
            switch.link.sendall(said[place : place + 7])
        assert switch.told.get(timeout=10) == ("br-int", [(1, ADDED), (2, REMOVED), (3, MODIFIED)])
        switch.link.sendall(message(2, b"are you there?"))
        assert switch.link.recv(4096) == message(3, b"are you there?")
        # It had no room for all that it had to say.
        switch.link.sendall(answer(update(ADDED, 4), struct.pack("!HHI", 8, 5, 0)))
        assert switch.told.get(timeout=10) == ("br-int", None)
    finally:
        switch.close()


def test_a_switch_that_cannot_tell_is_left_to_the_audit(tmp_path: Path) -> None:
    switch = Switch(tmp_path)
    switch.link.sendall(message(1, b"\0\1\0\0"))
    assert switch.link.recv(4096) == b"", "it hangs up"
    switch.close()
    assert switch.told.empty()
