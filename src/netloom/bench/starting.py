"""Waiting for a server that was started for a measurement, and asking it for a token."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import httpx

from netloom.model.errors import UserError

PASSWORDS = "first-passwords.json"
"""In the state folder, as the server makes it before it listens to anybody."""


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(process: subprocess.Popen[bytes], port: int, folder: Path, log: Path) -> None:
    """Wait until a server with this new state folder answers: it may be another one that has the port."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=1, trust_env=False)
            if (folder / PASSWORDS).exists():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    words = log.read_text().strip().splitlines()
    raise UserError(f"the server did not start: {words[-1] if words else 'it said nothing'}")


def token(port: int, folder: Path) -> str:
    """Return an administrator's token of a server that has just been made."""
    password = json.loads((folder / PASSWORDS).read_text())["admin"]
    domain = {"id": "default"}
    user = {"name": "admin", "password": password, "domain": domain}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }
    }
    answer = httpx.post(
        f"http://127.0.0.1:{port}/identity/v3/auth/tokens", json=body, trust_env=False
    )
    return answer.raise_for_status().headers["x-subject-token"]
