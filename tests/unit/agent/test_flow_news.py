"""What the switch's flow monitor says is taken apart right, whatever pieces it comes in."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from pathlib import Path

from netloom.dataplane.ovs.flowwatch import (
    ADDED,
    ALL_GROUPS,
    MODIFIED,
    REMOVED,
    Change,
    Command,
    FlowWatch,
)


def update(event: int, cookie: int, more: int = 8) -> bytes:
    """One ofp_flow_update_full, with a match and instructions of some length."""
    body = struct.pack("!BBHHH4xQ", 0, 0, 0, 0, 1, cookie) + bytes(more)
    return struct.pack("!HH", 4 + len(body), event) + body


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", 6, kind, 8 + len(body), 1) + body


def answer(*updates: bytes) -> bytes:
    return message(19, struct.pack("!HHxxxx", 16, 0) + b"".join(updates))


class Switch:
    """The other end: what was asked, and what it says."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(folder / "br-int.mgmt"))
        self._socket.listen()
        self.told: queue.SimpleQueue[tuple[str, list[Change] | None, list[Command]]]
        self.told = queue.SimpleQueue()
        self.watch = FlowWatch(folder, lambda *news: self.told.put(news))
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
        # Hello, what it wants to be told unasked, what it asks.
        assert switch.asked[:2] == bytes([6, 0]) and switch.asked[9] == 28
        assert switch.asked[8 + struct.unpack_from("!H", switch.asked, 10)[0] + 1] == 18
        said = answer(update(ADDED, 1), update(REMOVED, 2, 40)) + answer(update(MODIFIED, 3))
        for place in range(0, len(said), 7):
            switch.link.sendall(said[place : place + 7])
        assert switch.told.get(timeout=10) == (
            "br-int",
            [(1, ADDED), (2, REMOVED), (3, MODIFIED)],
            [],
        )
        switch.link.sendall(message(2, b"are you there?"))
        assert switch.link.recv(4096) == message(3, b"are you there?")
        # It had no room for all that it had to say.
        switch.link.sendall(answer(update(ADDED, 4), struct.pack("!HHI", 8, 5, 0)))
        assert switch.told.get(timeout=10) == ("br-int", None, [])
    finally:
        switch.close()


def forwarded(command: int, group: int) -> bytes:
    """A command about groups that another connection gave (ofp15_group_mod)."""
    return message(32, message(15, struct.pack("!HBxIHxxI", command, 0, group, 0, 0xFFFFFFFF)))


def test_commands_about_groups_are_told_with_what_they_do_to_flows(tmp_path: Path) -> None:
    switch = Switch(tmp_path)
    try:
        gone = forwarded(2, 5) + answer(update(REMOVED, 9)) + forwarded(2, ALL_GROUPS)
        switch.link.sendall(gone)
        expected = ("br-int", [(9, REMOVED)], [(2, 5), (2, ALL_GROUPS)])
        assert switch.told.get(timeout=10) == expected
    finally:
        switch.close()


def test_a_switch_that_cannot_tell_is_left_to_the_audit(tmp_path: Path) -> None:
    switch = Switch(tmp_path)
    switch.link.sendall(message(1, b"\0\1\0\0"))
    assert switch.link.recv(4096) == b"", "it hangs up"
    switch.close()
    assert switch.told.empty()
