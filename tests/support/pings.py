"""Pings, and what they found."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence


def answered(run: Callable[..., str], address: str, *more: str, count: int = 1) -> bool:
    """Whether every one of `count` pings is answered; `run` runs a command and returns what it said.

    Each a program of its own: `ping` waits only for the first answer as long as it is told.
    """
    return all(
        " 1 received" in run("ping", "-n", "-c", "1", "-W", "1", *more, address)
        for _ in range(count)
    )


class Pinging:
    """A `ping` without an end that runs beside the test; `stop` returns all it said."""

    def __init__(self, line: Sequence[str]) -> None:
        # Into a file: a pipe that nobody reads meanwhile would stop it.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(line, stdout=self._said)

    def stop(self) -> str:
        """End it by Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)
        with self._said:
            self._said.seek(0)
            return self._said.read()


def unanswered(said: str) -> set[int]:
    """Numbers of the pings without an answer, from all that `ping -n` printed (not `-q`) until it was ended.

    The last one does not count: `ping` does not wait for it when it is interrupted, and at its own end
    no longer than two of the longest round trips so far.
    """
    sent = re.search(r"(\d+) packets transmitted", said)
    assert sent, said
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", said)}
    assert answered, said
    return set(range(1, int(sent[1]))) - answered
