"""A real server process for tests of the API, on a free port of the loopback."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

_ports = itertools.count(os.getpid())

SETTINGS = """
[server]
listen = "127.0.0.1:{port}"
state_dir = "{state}"
{server}
"""


@dataclass
class Serving:
    """The process, its files and where it answers."""

    process: subprocess.Popen[bytes]
    state: Path
    config: Path
    url: str

    @property
    def log(self) -> str:
        return (self.config.parent / "server.log").read_text()

    def says(self, pattern: str, seconds: float = 30) -> bool:
        """Whether the log has this, or gets it: a request's line is written when its answer is sent."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.log)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return bool(found)

    def netloom(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the same installation."""
        return netloom(*words)


def netloom(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command (or a server that is expected to refuse) to its end."""
    line = [sys.executable, "-m", "netloom", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def serving(folder: Path, server: str = "", port: int | None = None) -> Iterator[Serving]:
    """Start `netloom server` in `folder` (again, if it was there before) and end it, whatever happens."""
    port = port or free_port()
    config = folder / "server.toml"
    config.write_text(SETTINGS.format(port=port, state=folder / "state", server=server))
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "netloom", "server", "--config", str(config)],
            stdout=log,
            stderr=log,
            env=environment,
        )
    made = Serving(process, folder / "state", config, f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 120
        while not _answers(made.url):
            if process.poll() is not None:
                raise RuntimeError(f"ended with {process.returncode}: {made.log[-3000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"it does not answer: {made.log[-3000:]}")
            time.sleep(0.1)
        yield made
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2)
    except httpx.TransportError:
        return False
    return True


def free_port() -> int:
    """A port of the loopback that is free, and stays so until a server takes it.

    None that the kernel hands out (to a test in another worker): each worker counts through a range of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        port = 20000 + worker % 10 * 1000 + next(_ports) % 1000
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
