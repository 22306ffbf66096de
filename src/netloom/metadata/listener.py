"""Metadata listeners: sockets opened inside each network's namespace, served by one thread.

Who asks is known from the address that the request came from: flows let only a port's own addresses
reach it. Headers say nothing here. All is bounded: size and time of a request, and connections per asker.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable

from netloom.dataplane.linux import netns
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import MetadataListener
from netloom.model.names import METADATA_ADDRESS

log = logging.getLogger(__name__)

Answer = Callable[[str, str], tuple[str, bytes] | None]
"""(port id, path) → (content type, body), None where there is no such thing."""

LONGEST_REQUEST = 8192
LONGEST_SECONDS = 10.0
CONNECTIONS_PER_ASKER = 8
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Error",
}


class _Connection:
    """One request: what came in, what goes out."""

    def __init__(self, link: socket.socket, port_id: str) -> None:
        self.link = link
        self.port_id = port_id
        self.received = b""
        self.sending = b""
        self.ends = time.monotonic() + LONGEST_SECONDS


class MetadataServer:
    """All listeners of this host. `ensure` and `remove` are called by the reconcile thread."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[str, tuple[socket.socket, int]] = {}
        self._askers: dict[str, dict[str, str]] = {}
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        threading.Thread(target=self._serve, daemon=True, name="metadata").start()

    def networks(self) -> list[str]:
        """Ids of the networks whose listener is open."""
        return list(self._listeners)

    def alive(self, network_id: str, namespace: str) -> bool:
        """True while the listener is open, in today's namespace of that name."""
        there = self._listeners.get(network_id)
        try:
            if there is None or (netns.DIRECTORY / namespace).stat().st_ino != there[1]:
                return False
            # Somebody may have ended it from outside (`ss -K`).
            return there[0].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        except OSError:
            return False

    def ensure(self, item: MetadataListener) -> None:
        """Open the listener if it is not open, and take over who stands behind which address."""
        if not self.alive(item.network_id, item.namespace):
            self.remove(item.network_id)
            with netns.inside(item.namespace):
                listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((METADATA_ADDRESS, 80))
                listener.listen(64)
                listener.setblocking(False)
            except OSError as error:
                listener.close()
                raise ApplyError(
                    f"cannot listen on {METADATA_ADDRESS}: {error.strerror}"
                ) from error
            inode = (netns.DIRECTORY / item.namespace).stat().st_ino
            self.listen(item.network_id, listener, inode, item.askers)
        self._askers[item.network_id] = dict(item.askers)

    def listen(
        self, network_id: str, listener: socket.socket, inode: int, askers: dict[str, str]
    ) -> None:
        """Serve an open listener; `inode` is that of its namespace."""
        self._askers[network_id] = dict(askers)
        with self._lock:
            self._listeners[network_id] = (listener, inode)
        self._selector.register(listener, selectors.EVENT_READ, network_id)
        self._wake.send(b"x")

    def remove(self, network_id: str) -> None:
        """Close a listener, so that its namespace can go, and what is still connected through it."""
        self._askers.pop(network_id, None)
        with self._lock:
            there = self._listeners.pop(network_id, None)
        if there is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(there[0])
            there[0].close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select(1.0):
                try:
                    if isinstance(key.data, _Connection):
                        self._go_on(key.data)
                    elif isinstance(key.data, str):
                        self._accept(key.data)
                    else:
                        self._woken.recv(64)
                except OSError:
                    if isinstance(key.data, _Connection):
                        self._end(key.data)
            now = time.monotonic()
            for connection in [c for c in self._connections if c.ends < now]:
                self._end(connection)

    def _accept(self, network_id: str) -> None:
        with self._lock:
            there = self._listeners.get(network_id)
            if there is None:
                return
            link, (address, _) = there[0].accept()
        port_id = self._askers.get(network_id, {}).get(address)
        busy = sum(connection.port_id == port_id for connection in self._connections)
        if port_id is None or busy >= CONNECTIONS_PER_ASKER:
            link.close()
            return
        link.setblocking(False)
        connection = _Connection(link, port_id)
        self._connections.add(connection)
        self._selector.register(link, selectors.EVENT_READ, connection)

    def _go_on(self, connection: _Connection) -> None:
        if not connection.sending:
            data = connection.link.recv(LONGEST_REQUEST)
            connection.received += data
            whole = b"\r\n\r\n" in connection.received or b"\n\n" in connection.received
            if not whole and data and len(connection.received) < LONGEST_REQUEST:
                return
            connection.sending = self._response(connection.port_id, connection.received, whole)
            self._selector.modify(connection.link, selectors.EVENT_WRITE, connection)
        sent = connection.link.send(connection.sending)
        connection.sending = connection.sending[sent:]
        if not connection.sending:
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.link)
        with contextlib.suppress(OSError):
            connection.link.shutdown(socket.SHUT_WR)
        connection.link.close()

    def _response(self, port_id: str, request: bytes, whole: bool) -> bytes:
        words = request.partition(b"\n")[0].split()
        if not whole or len(words) != 3:
            return _http(400, "text/plain", b"")
        method, target = words[0], words[1].decode("latin-1").partition("?")[0]
        if method not in (b"GET", b"HEAD"):
            return _http(405, "text/plain", b"")
        try:
            answer = self._answer(port_id, target)
        except Exception:  # whatever it is, the next asker must get an answer
            log.exception("metadata for port %s, path %s", port_id, target)
            return _http(500, "text/plain", b"")
        if answer is None:
            return _http(404, "text/plain", b"404 Not Found\n")
        return _http(200, *answer, with_body=method == b"GET")


def _http(status: int, kind: str, body: bytes, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
