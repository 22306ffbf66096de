"""A running lab as tests use it: commands in its hosts, requests to its API, ssh into its instances."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

import pytest

from netloom.lab import guest, settings, state, up, wiring
from netloom.lab.client import Client
from netloom.lab.openstack import OpenStack
from netloom.lab.processes import Process
from netloom.lab.state import Lab, LabState
from netloom.model.hosts import Backend


class RunningLab:
    """A lab that is up: `lab` its files, `state` what was started."""

    def __init__(self, lab: Lab, state: LabState) -> None:
        self.lab = lab
        self.state = state

    def process(self, host: str) -> Process:
        """PID 1 of a host (or of `outside`)."""
        return self.state.processes[host]

    def exec(self, host: str, *command: str, check: bool = True, timeout: float = 60.0) -> str:
        """Run a command in a host and return its output."""
        line = wiring.inside(self.process(host), command)
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=timeout)
        assert not check or done.returncode == 0, f"{command} on {host}: {done.stderr}{done.stdout}"
        return done.stdout

    def client(self, user: str = "admin") -> Client:
        """A session of the API as admin or demo (use it with `with`)."""
        return Client(self.state.port, user, settings.passwords(self.lab)[user])

    def openstack(self, user: str = "admin") -> OpenStack:
        """The real client (use it with `with`)."""
        return OpenStack(self.lab, self.lab.cloud if user == "admin" else f"{self.lab.cloud}-demo")

    def status(self) -> str:
        """What `netloom lab status` says."""
        line = [sys.executable, "-m", "netloom", "lab", "status", "--name", self.lab.name]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60).stdout

    def ssh(self, key: Path, address: str, *words: str, origin: str = "outside") -> str:
        """Run words in an instance over ssh from a host of the lab."""
        return guest.ssh(self.process(origin), key, address, *words)

    @staticmethod
    def until(true: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
        """Wait until `true()`; fails the test where that takes longer."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, what or "it did not come true in time"
            time.sleep(0.1)


def backend() -> Backend:
    """What carries networks on the hosts of this run's labs."""
    return "linuxbridge" if os.environ.get("NETLOOM_TEST_BACKEND") == "linuxbridge" else "ovs"


@contextmanager
def own_lab(name: str, computes: int, **options: Unpack[up.Options]) -> Iterator[RunningLab]:
    """A lab with a state folder of its own, as long as the context lasts; removed then, whatever happened in it.

    Its hosts have the backend that the run was told (`pytest --backend`), where the test says none.
    """
    options.setdefault("backend", backend())
    # Not tmp_path: unix sockets have short paths only.
    with tempfile.TemporaryDirectory(prefix="nl") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETLOOM_STATE", folder)
        found = state.find(name)
        with up.temporary(found, computes, **options) as running:
            yield RunningLab(found, running)
