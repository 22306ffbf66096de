"""Two owners of a router: a replica that became active asks whether another host has the router's addresses, too.

Replicas hear one another over the HA network. Where the hosts lose sight of each other there, each would be active, and on a
physical network that both still reach their addresses would belong to two. So whoever becomes active asks there for
the router's own address, in the manner of RFC 5227, a few times. If a rival answers that cannot be heard over the HA network, the
newcomer yields: its keepalived reads 1 in the file `rival` and gives up. It asks on, and stands by again as soon as it hears the
rival's adverts, or is free to become active when the rival falls silent.

The question has the MAC address of the HA network's port: a replica that is not active never speaks with the router's. It asks for an
answer to all, so that the switches on the way learn where the router is.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from netloom.dataplane.linux import netns
from netloom.dataplane.linux.netlink import arp_request
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Keepalived
from netloom.render.keepalived import RIVAL

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""How long an answer is waited for; a switch and a kernel need a few milliseconds."""
QUIET_LOOKS = 3
"""After so many looks without an answer there is no rival, or none any more."""

_ARP, _IP, _VRRP = 0x0806, 0x0800, 112
_OUTGOING = 4
"""PACKET_OUTGOING: a frame that this host sends."""
_NOBODY = "0.0.0.0"
"""Whose address a question has that shall change nobody's table of neighbours (RFC 5227)."""


class _Contest:
    """One replica's question: its sockets, and what came of it so far."""

    def __init__(self, item: Keepalived, home: Path) -> None:
        self.item = item
        self.home = home
        self.yields = yielding(home)
        self.answered = self.heard = False
        self.against = self.quiet = 0
        self.due = 0.0
        self.adverts: socket.socket | None = None
        self.questions: list[tuple[socket.socket, bytes, bytes]] = []
        """Socket, the address that is asked for, and the whole question."""
        try:
            with netns.inside(item.namespace):
                self.adverts = _open(socket.SOCK_DGRAM, _IP, item.device)
                for shared in item.shared:
                    address = shared.cidr.partition("/")[0]
                    ear = _open(socket.SOCK_RAW, _ARP, shared.device)
                    mac = self.adverts.getsockname()[4].hex(":")
                    question = arp_request(mac, _NOBODY, address, answer_to_all=True)
                    self.questions.append((ear, socket.inet_aton(address), question))
        except OSError:
            self.close()
            raise

    def sockets(self) -> list[socket.socket]:
        adverts = [self.adverts] if self.adverts else []
        return adverts + [ear for ear, *_ in self.questions]

    def close(self) -> None:
        for each in self.sockets():
            each.close()

    def ask(self) -> None:
        """Begin a look."""
        self.answered = self.heard = False
        for ear, _, question in self.questions:
            try:
                ear.send(question)
            except OSError as error:
                log.debug("%s: cannot ask: %s", self.item.namespace, error)

    def take(self, ear: socket.socket) -> None:
        """Take in what one of its sockets has."""
        while True:
            try:
                frame, (_, _, direction, *_) = ear.recvfrom(256)
            except BlockingIOError:
                return
            except OSError:
                return  # the device is gone
            if direction == _OUTGOING:
                continue
            if ear is self.adverts:
                self.heard = self.heard or frame[9:10] == bytes([_VRRP])
            else:
                asked = next(address for each, address, _ in self.questions if each is ear)
                self.answered = self.answered or frame[28:32] == asked

    def judge(self) -> bool:
        """End a look; false where the contest is over."""
        self.quiet = 0 if self.answered else self.quiet + 1
        self.against = self.against + 1 if self.answered and not self.heard else 0
        if not (self.home / "conf").exists():
            return False
        if self.yields:
            if self.heard or self.quiet >= QUIET_LOOKS:
                why = "can be heard again" if self.heard else "does not answer any more"
                log.warning("%s: the host that has the router, too, %s", self.item.namespace, why)
                return self._say(False)
            return True
        # Of two that ask at once the lesser one yields first.
        if self.against >= 2 * (1 + self.item.below):
            log.error(
                "%s: another host has %s, too, and cannot be heard: this one stands by",
                self.item.namespace,
                self.item.shared[0].cidr,
            )
            return self._say(True)
        return self.quiet < QUIET_LOOKS and not (self.quiet and self.heard)

    def _say(self, yields: bool) -> bool:
        self.yields = yields
        self.quiet = 0
        say(self.home, yields)
        return yields


class Rivals:
    """All contests of a host, in one thread that sleeps while there are none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._asked: dict[str, Keepalived] = {}
        self._wake, self._woken = socket.socketpair()
        self._thread: threading.Thread | None = None

    def contest(self, item: Keepalived) -> None:
        """Ask whether another host has the addresses of this router, which is active here (or yields)."""
        if not item.shared:
            return
        with self._lock:
            self._asked[item.namespace] = item
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, daemon=True, name="rivals")
                self._thread.start()
        self._wake.send(b"!")

    def _serve(self) -> None:
        running: dict[str, _Contest] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                due = min((each.due for each in running.values()), default=None)
                wait = None if due is None else max(0.0, due - time.monotonic())
                for key, _ in selector.select(wait):
                    if key.fileobj is self._woken:
                        self._woken.recv(4096)
                        self._begin(running, selector)
                    else:
                        key.data(key.fileobj)
                now = time.monotonic()
                for name, each in list(running.items()):
                    if each.due > now:
                        continue
                    if each.judge():
                        each.due = now + LOOK_SECONDS
                        each.ask()
                    else:
                        del running[name]
                        _end(each, selector)

    def _begin(self, running: dict[str, _Contest], selector: selectors.BaseSelector) -> None:
        with self._lock:
            asked, self._asked = self._asked, {}
        for name, item in asked.items():
            if name in running:
                _end(running.pop(name), selector)
            try:
                fresh = _Contest(item, self._directory / name)
            except (ApplyError, OSError) as error:
                log.warning("%s: cannot ask for rivals: %s", name, error)
                continue
            running[name] = fresh
            take: Callable[[socket.socket], None] = fresh.take
            for each in fresh.sockets():
                selector.register(each, selectors.EVENT_READ, take)
            fresh.due = time.monotonic() + LOOK_SECONDS
            fresh.ask()


def _end(contest: _Contest, selector: selectors.BaseSelector) -> None:
    for each in contest.sockets():
        selector.unregister(each)
    contest.close()


def say(home: Path, yields: bool) -> None:
    """Tell one keepalived whether it yields to a rival. Written over, not replaced: keepalived watches the file itself."""
    (home / RIVAL).write_text(str(int(yields)))


def yielding(home: Path) -> bool:
    """Whether the replica of this folder yields to a rival."""
    try:
        return (home / RIVAL).read_text() == "1"
    except OSError:
        return False


def _open(sort: int, protocol: int, device: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, sort | socket.SOCK_CLOEXEC, socket.htons(protocol))
    try:
        opened.setblocking(False)
        opened.bind((device, protocol))
    except OSError:
        opened.close()
        raise
    return opened
