"""Running the tools that speak to the kernel and to Open vSwitch."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Sequence

TIMEOUT = 30.0
"""Seconds after which a tool is taken to hang."""

OWN: deque[int] = deque(maxlen=512)
"""Ids of the last tools that were run: the kernel names them where it tells what they changed."""


class ApplyError(Exception):
    """Something on this host could not be read or changed; the text is one line with the reason."""


def run(command: Sequence[str], *, stdin: str = "", timeout: float = TIMEOUT) -> str:
    """Run a tool in the calling thread's network namespace and return its output.

    Raises ApplyError with the tool's own last words where it fails, hangs or is not installed.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError as error:
        raise ApplyError(f"{command[0]} is not installed") from error
    OWN.append(child.pid)
    with child:
        try:
            out, wrong = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise ApplyError(f"{command[0]} did not finish within {timeout:.0f} s") from error
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        words = (wrong.strip() or out.strip() or f"exit status {child.returncode}").splitlines()
        # nft draws its input below its error, `ip -batch` says which line it was; most others end with theirs.
        said = (line for line in words if "Error:" in line or " answers: " in line)
        line = next(said, words[-1])
        raise ApplyError(f"{command[0]}: {line.removeprefix(command[0] + ': ')[:300]}")
    return out
