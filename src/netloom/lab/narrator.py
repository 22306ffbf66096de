"""Telling a person what happens: steps, commands, what they proved, and how long they took."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Generator
from contextlib import contextmanager

_WIDTH = 100


class Narrator:
    """Writes to standard output; numbers the steps of each part."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._number = 0
        self._colour = sys.stdout.isatty()

    def part(self, title: str) -> None:
        """Begin a part."""
        self._number = 0
        self._line("")
        self._line(self._bold(title))

    @contextmanager
    def step(self, title: str) -> Generator[None]:
        """Number a step; say how long it took once it is done."""
        self._number += 1
        self._line(f"  {self._number}. {title}")
        begun = time.monotonic()
        yield
        self._line(f"     done in {time.monotonic() - begun:.1f} s")

    def command(self, line: str) -> None:
        """Show a command line as a person would type it."""
        self._wrapped(line, "     $ ", "         ")

    def output(self, text: str) -> None:
        """Show what a command printed."""
        for line in text.rstrip().splitlines():
            self._line(f"       {line}")

    def proved(self, text: str) -> None:
        """Say what was shown to be true."""
        self._wrapped(text, "     ✓ " if self._utf8() else "     ok ", "       ")

    def listed(self, mark: str, text: str) -> None:
        """One item of a list."""
        self._wrapped(text, f"       {mark}", " " * (7 + len(mark)))

    def say(self, text: str) -> None:
        """Say something as it is."""
        self._line(text)

    def _wrapped(self, text: str, first: str, rest: str) -> None:
        self._line(
            textwrap.fill(
                text,
                _WIDTH,
                initial_indent=first,
                subsequent_indent=rest,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._colour else text

    def _utf8(self) -> bool:
        return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"

    def _line(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
