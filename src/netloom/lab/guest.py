"""Logging in to instances with real ssh, from a host of the lab."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path

from netloom.lab import wiring
from netloom.lab.image import USER
from netloom.lab.processes import Process
from netloom.model.errors import UserError

OPTIONS = (
    *(
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ),
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "-o", "PasswordAuthentication=no"),
)


def command(key: Path, address: str, *words: str) -> list[str]:
    """The ssh command line."""
    return ["ssh", "-i", str(key), *OPTIONS, f"{USER}@{address}", *words]


def ssh(origin: Process, key: Path, address: str, *words: str, timeout: float = 20.0) -> str:
    """Run words in the instance, coming from a host of the lab; UserError with ssh's own words on failure."""
    line = wiring.inside(origin, command(key, address, *words))
    try:
        done = subprocess.run(
            line,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"ssh to {address} did not end within {timeout:.0f} s") from None
    if done.returncode:
        words_said = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise UserError(f"ssh to {address}: {shlex.join(words)}: {words_said[-1]}")
    return done.stdout.strip()


def wait(origin: Process, key: Path, address: str, timeout: float = 60.0) -> float:
    """Try until someone can log in; returns the seconds that it took."""
    begun = time.monotonic()
    while True:
        try:
            ssh(origin, key, address, "true")
        except UserError as error:
            if time.monotonic() - begun > timeout:
                raise UserError(f"nobody could log in within {timeout:.0f} s: {error}") from None
            time.sleep(0.1)
            continue
        return time.monotonic() - begun


def answers(origin: Process, address: str) -> bool:
    """Whether a ping from a host of the lab is answered within a second."""
    line = wiring.inside(origin, ["ping", "-c", "1", "-W", "1", "-n", address])
    return subprocess.run(line, capture_output=True, check=False).returncode == 0
