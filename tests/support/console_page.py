"""Pages with what was typed and what was printed: commands that a test types anew, in one shell, to compare."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_END = "@@end-of-command@@"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIES = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
    (r"\b(tap|q[rg]-|[fhs][agq]-)[0-9a-f]{8}-[0-9a-f]{2}\b", r"\1ID"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\b(0x)[0-9a-f]+\b", r"\1N"),
    (r"\b(\d+\.\d+\.\d+)\.(?!1\b|10\b)\d{1,3}\b", r"\1.N"),  # gateways and the web server stay
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*", "TIME"),
    (r"\b[\d.]+ ?(ms|s)\b", r"N \1"),
    (r"\b(id|seq|change|port|vni|key|reg\d+|ack|win|ecr|val|uid)([ =:]+)\d+", r"\1\2N"),
    (r"(\.N)\.\d{4,5}\b(?= [>:])", r"\1.PORT"),
    (r"(?m)^\d+: ", "N: "),
    (r"@if\d+", "@ifN"),
    (r"\+-[-+]+", "+--"),
    (r"[ \t]+", " "),
)


def settled(text: str) -> list[str]:
    """What must be the same each time: lines without ids, times, drawn addresses and the width of columns."""
    for pattern, put in _VARIES:
        text = re.sub(pattern, put, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


class Shell:
    """A bash that stays; variables live from one command to the next. `programs`: first word → what is called instead."""

    def __init__(
        self, environment: Mapping[str, str], programs: Mapping[str, Callable[..., str]]
    ) -> None:
        self._programs = programs
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(environment),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bash.kill()
        self._bash.communicate()

    def type(self, line: str) -> str:
        """Run a line and return what it printed."""
        named = re.fullmatch(r"(\w+)=\$\((\w+) (.*)\)", line)
        first, rest = (named[2], named[3]) if named else (line.split()[0], line.partition(" ")[2])
        program = self._programs.get(first)
        if program is None:
            return self._raw(line)
        words = self._raw(rf"printf '%s\1' {rest}").split("\1")[:-1]
        said = program(*words)
        if not named:
            return said
        quoted = said.strip().replace("'", r"'\''")
        return self._raw(f"{named[1]}='{quoted}'")

    def _raw(self, line: str) -> str:
        stdin, stdout = self._bash.stdin, self._bash.stdout
        assert stdin is not None and stdout is not None
        # Without its input, which holds the next lines: ssh would take them.
        stdin.write(f"{{ {line}\n}} </dev/null\necho; echo {_END}\n")
        stdin.flush()
        lines: list[str] = []
        for said in stdout:
            if said.strip() == _END:
                return "".join(lines).removesuffix("\n")
            lines.append(said)
        raise AssertionError(f"the shell ended at: {line}: {''.join(lines)}")


def retyped(page: Path, shell: Shell, told: Callable[[str], object]) -> tuple[str, list[str]]:
    """The page with what its commands print now, and each difference that matters, as a person reads it."""
    wrong: list[str] = []

    def block(found: re.Match[str]) -> str:
        lines: list[str] = []
        for part in re.split(r"^\$ ", found[1], flags=re.MULTILINE)[1:]:
            line, _, before = part.partition("\n")
            now = shell.type(line)
            told(f"$ {line}\n{now}")
            a, b = settled(before), settled(now)
            if a == b:
                now = before  # ids that are drawn anew are no news
            else:
                shown = difflib.unified_diff(a, b, "page", "now", lineterm="")
                wrong.append("\n".join([f"$ {line}", *shown]))
            lines += [f"$ {line}", *([now.rstrip()] if now.strip() else [])]
        return "```console\n" + "\n".join(lines) + "\n```"

    return _BLOCK.sub(block, page.read_text()), wrong
