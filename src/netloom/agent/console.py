"""Consoles: one thread reads what instances say and keeps the end of it; the link takes it to the server."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable
from pathlib import Path

from netloom.model.files import write_whole

TAIL_BYTES = 100 * 1024
"""What is kept, on disk and on the server, of each console."""
SEND_SECONDS = 2.0


class Consoles:
    """`send` is called with (server id, tail) for consoles that changed, at most every two seconds."""

    def __init__(self, send: Callable[[str, bytes], None]) -> None:
        self._send = send
        self._selector = selectors.DefaultSelector()
        self._open: dict[str, int] = {}
        self._tails: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start reading."""
        threading.Thread(target=self._serve, daemon=True, name="console").start()

    def follow(self, pipes: dict[str, Path]) -> None:
        """Read exactly these: server id → pipe. What was kept of a console is taken up again."""
        with self._lock:
            for server_id in [name for name in self._open if name not in pipes]:
                descriptor = self._open.pop(server_id)
                self._tails.pop(server_id, None)
                self._changed.discard(server_id)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(descriptor)
                os.close(descriptor)
            for server_id, pipe in pipes.items():
                if server_id in self._open:
                    continue
                try:
                    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                except OSError:
                    continue  # it has just gone
                self._open[server_id] = descriptor
                kept = pipe.with_name("console.log")
                self._tails[server_id] = b""
                with contextlib.suppress(OSError):
                    self._tails[server_id] = kept.read_bytes()[-TAIL_BYTES:]
                self._changed.add(server_id)
                self._selector.register(descriptor, selectors.EVENT_READ, (server_id, kept))

    def _serve(self) -> None:
        sent = 0.0
        while True:
            if not self._open:
                time.sleep(0.2)
                continue
            for key, _ in self._selector.select(0.5):
                server_id, kept = key.data
                with self._lock:
                    if self._open.get(server_id) != key.fd:
                        continue
                    with contextlib.suppress(BlockingIOError):
                        said = os.read(key.fd, 65536)
                        self._tails[server_id] = (self._tails[server_id] + said)[-TAIL_BYTES:]
                        self._changed.add(server_id)
                    with contextlib.suppress(OSError):
                        write_whole(kept, self._tails[server_id])
            if time.monotonic() - sent >= SEND_SECONDS:
                with self._lock:
                    news = {name: self._tails[name] for name in self._changed}
                    self._changed.clear()
                for server_id, tail in news.items():
                    self._send(server_id, tail)
                sent = time.monotonic()
            else:
                time.sleep(0.05)  # a console that never stops costs little
