"""The unmodified `openstack` client without its start-up: a process that has its modules loaded forks for each command.

A start costs about a second of CPU, and the tests give some two hundred commands. Each command has a process,
an environment and a working directory of its own, as if it had been typed.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGES = ("common", "compute.v2", "identity.v3", "image.v2", "network.v2", "volume.v3")


class Done(NamedTuple):
    """What one command left: its exit status, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class _Client:
    """The process that forks; it ends with this one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.client_forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        atexit.register(self._end)

    def run(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Done:
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env)}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return Done(*json.loads(self._process.stdout.readline()))

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


_clients: list[_Client] = []


def run(arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Done:
    """Run `openstack` with these arguments, in this folder and with this environment alone."""
    if not _clients:
        _clients.append(_Client())
    return _clients[0].run(arguments, cwd, env)


def _serve() -> None:
    from openstackclient import shell

    for name in _PACKAGES:
        package = importlib.import_module(f"openstackclient.{name}")
        for module in pkgutil.iter_modules(package.__path__, f"openstackclient.{name}."):
            with suppress(ImportError):
                importlib.import_module(module.name)
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                _be_the_client(shell.main, asked, out.fileno(), err.fileno())
            _, status = os.waitpid(child, 0)
            said: list[Any] = [os.waitstatus_to_exitcode(status)]
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        print(json.dumps(said), flush=True)


def _be_the_client(main: Any, asked: dict[str, Any], out: int, err: int) -> None:
    """Do what the program `openstack` does, in a process that was forked for it; never returns."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.argv = ["openstack", *asked["arguments"]]
        code = main(sys.argv[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    _serve()
