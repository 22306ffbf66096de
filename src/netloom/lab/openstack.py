"""The real, unmodified `openstack` client, kept open as one session: its start-up costs a second each time."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from netloom.lab.state import Lab
from netloom.model.errors import UserError

_END = "@@netloom-end@@"


class CommandFailed(UserError):
    """The client said why it did not do as told."""


class OpenStack:
    """`openstack` in interactive mode, as a given cloud of a lab's clouds.yaml."""

    def __init__(self, lab: Lab, cloud: str) -> None:
        beside = Path(sys.executable).with_name("openstack")
        program = str(beside) if beside.exists() else shutil.which("openstack")
        if program is None:
            raise UserError(
                "the openstack client is not installed: pip install python-openstackclient"
            )
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("OS_")
        }
        environment |= {
            "OS_CLIENT_CONFIG_FILE": str(lab.clouds),
            "OS_CLOUD": cloud,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        self._process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, *words: str) -> str:
        """Run one command and return all it printed, errors included."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            # `!` runs a shell command: that is how the end of the output is known.
            process.stdin.write(f"{shlex.join(words)}\n!echo {_END}\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise CommandFailed("the openstack client has ended") from None
        lines: list[str] = []
        for line in process.stdout:
            if line.strip() == _END:
                return "".join(lines).strip()
            lines.append(line)
        raise CommandFailed(f"the openstack client ended: {''.join(lines).strip()[-300:]}")

    def quiet(self, *words: str) -> None:
        """Run a command that prints nothing when it succeeds."""
        said = self.run(*words)
        if said:
            raise CommandFailed(f"openstack {shlex.join(words)}: {said[-300:]}")

    def json(self, *words: str) -> Any:
        """Run a command that shows something and return that."""
        said = self.run(*words, "-f", "json")
        try:
            return json.loads(said)
        except ValueError:
            raise CommandFailed(f"openstack {shlex.join(words)}: {said[-300:]}") from None
