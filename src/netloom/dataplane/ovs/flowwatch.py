"""Which flows and groups of a bridge others change: Open vSwitch tells it at once (OpenFlow 1.5).

A connection to each bridge asks for changes of flows (flow monitor) and takes of each its cookie and whether it came, changed or went;
and for commands about groups that others give (OFPT_REQUESTFORWARD), of which it takes the command and the group. What a
flow or group says is not decoded: whoever is told reads it again.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

log = logging.getLogger(__name__)

ADDED, REMOVED, MODIFIED = 1, 2, 3
_ABBREVIATED, _PAUSED, _RESUMED = 4, 5, 6
TOGETHER_SECONDS = 0.2
"""News of so long is told at once."""
_VERSION = 6
"""OpenFlow 1.5. In an older one the switch could not tell of a bucket that is inserted: it ends over the attempt."""
_HELLO, _ERROR, _ECHO, _ECHO_REPLY, _ASK, _ANSWER, _SET_ASYNC, _FORWARDED = (
    0,
    1,
    2,
    3,
    18,
    19,
    28,
    32,
)
_FLOW_MONITOR = 16
_HEADER = struct.Struct("!BBHI")
_GROUP_MOD = struct.Struct("!HxxI")
_OTHER_NEWS = range(10)
"""Kinds of messages that a connection gets unasked when it is to get any: packets, ports, flows that expire, roles, tables."""
_FORWARDED_GROUPS = (11, 1)  # (property OFPACPT_REQUESTFORWARD_MASTER, for OFPRFR_GROUP_MOD)
_ANY = 0xFFFFFFFF
_ADD_REMOVED_MODIFY = 2 | 4 | 8

Change = tuple[int, int]
"""(cookie, ADDED, REMOVED or MODIFIED)."""
Command = tuple[int, int]
"""(a command about groups as OpenFlow numbers it, the group; ALL_GROUPS: all of them)."""
ALL_GROUPS = 0xFFFFFFFC
Told = Callable[[str, "list[Change] | None", list[Command]], None]
"""Is called with the bridge, what became of its flows, in order (None: news were lost), and commands about its groups."""


class FlowWatch:
    """One thread a bridge, until the bridge or the process ends."""

    def __init__(self, rundir: Path, told: Told) -> None:
        self._rundir = rundir
        self._told = told
        self._threads: dict[str, threading.Thread] = {}

    def follow(self, bridges: Iterable[str]) -> None:
        """Listen to these bridges, those that nobody listens to yet."""
        for name in bridges:
            thread = self._threads.get(name)
            if thread is None or not thread.is_alive():
                thread = threading.Thread(
                    target=self._listen, args=(name,), daemon=True, name=f"flows of {name}"
                )
                self._threads[name] = thread
                thread.start()

    def _listen(self, bridge: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.connect(str(self._rundir / f"{bridge}.mgmt"))
                link.sendall(_message(_HELLO) + _wishes() + _question())
                self._follow(bridge, link)
        except OSError as error:
            # The audit finds what is missed, and a switch that was started again is listened to anew.
            log.debug("flows of %s are not listened to: %s", bridge, error)

    def _follow(self, bridge: str, link: socket.socket) -> None:
        data = b""
        changes: list[Change] = []
        commands: list[Command] = []
        lost = False
        while True:
            news = changes or commands or lost
            if news and not select.select([link], [], [], TOGETHER_SECONDS)[0]:
                self._told(bridge, None if lost else changes, commands)
                changes, commands, lost = [], [], False
            more = link.recv(1 << 16)
            if not more:
                return
            data += more
            while len(data) >= _HEADER.size:
                _, kind, length, xid = _HEADER.unpack_from(data)
                if len(data) < length:
                    break
                body, data = data[_HEADER.size : length], data[length:]
                if kind == _ECHO:
                    link.sendall(_HEADER.pack(_VERSION, _ECHO_REPLY, length, xid) + body)
                elif kind == _ERROR:
                    log.info(
                        "this Open vSwitch does not tell of changed flows: the audit finds them"
                    )
                    return
                elif kind == _FORWARDED:
                    commands.append(_GROUP_MOD.unpack_from(body, _HEADER.size))
                elif kind == _ANSWER:
                    fresh = list(_changes(body[8:]))
                    lost = lost or (0, _PAUSED) in fresh
                    changes += [change for change in fresh if change[1] <= MODIFIED]


def _message(kind: int, body: bytes = b"") -> bytes:
    return _HEADER.pack(_VERSION, kind, _HEADER.size + len(body), 1) + body


def _wishes() -> bytes:
    """Says what the connection wants to be told unasked: commands about groups, and nothing else."""
    properties = [(kind, 0) for kind in _OTHER_NEWS] + [_FORWARDED_GROUPS]
    return _message(
        _SET_ASYNC, b"".join(struct.pack("!HHI", kind, 8, mask) for kind, mask in properties)
    )


def _question() -> bytes:
    """Asks for all changes of all flows, but not for those that are there."""
    head = struct.pack("!HHxxxx", _FLOW_MONITOR, 0)
    which = struct.pack("!IIIHBB", 1, _ANY, _ANY, _ADD_REMOVED_MODIFY, 0xFF, 0)
    return _message(_ASK, head + which + struct.pack("!HHxxxx", 1, 4))  # a match of everything


def _changes(data: bytes) -> Iterable[Change]:
    while len(data) >= 4:
        length, event = struct.unpack_from("!HH", data)
        if event in (ADDED, REMOVED, MODIFIED):
            yield struct.unpack_from("!Q", data, 16)[0], event
        elif event in (_ABBREVIATED, _PAUSED, _RESUMED):
            yield 0, event
        data = data[max(4, length) :]
