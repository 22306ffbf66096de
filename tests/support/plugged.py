"""Instances of a private host as an attacker's test has them: plugged as os-vif does it, their frames in its hands."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support import raw_frames
from tests.support.agents import apply_view, plug, settings
from tests.support.host import Host
from tests.support.running_lab import RunningLab
from tests.support.worlds import World


class Frames:
    """Frames that came to a device since the test began to listen."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._start = len(file.read_text())

    def begin(self) -> Frames:
        """Forget what came before."""
        self._start = len(self._file.read_text())
        return self

    def all(self) -> list[bytes]:
        """Whole frames, in their order."""
        lines = self._file.read_text()[self._start :].split("\n")
        return [bytes.fromhex(line) for line in lines[:-1]]

    def have(self, mark: bytes) -> bool:
        """Whether any frame has these bytes in it."""
        return any(mark in frame for frame in self.all())

    def wait(self, mark: bytes) -> None:
        """Wait for a frame with these bytes in it."""
        RunningLab.until(lambda: self.have(mark), what=f"no frame with {mark!r}")


class Plugged:
    """All ports of host `a` of a world, plugged into a private host whose agent has carried out the world's view."""

    def __init__(self, host: Host, folder: Path, world: World, **more: str) -> None:
        self.host, self.folder, self.world = host, folder, world
        self.config = settings("a", folder / "a", 1, **more)
        self.apply()
        self.ports = {port.id: port for port in world.tables["ports"].values() if port.host == "a"}
        self._frames: dict[str, Frames] = {}
        for port in self.ports.values():
            there = plug(host, port)
            address = port.fixed_ips[0].ip_address
            host.run("ip", "-n", there, "addr", "add", f"{address}/24", "dev", "eth0")
        self.apply()

    def apply(self) -> str:
        """Have the agent carry out the world as it is now."""
        return apply_view(self.host, self.config, self.world.view("a"))

    def mac(self, name: str) -> str:
        return self.ports[name].mac_address

    def address(self, name: str) -> str:
        return self.ports[name].fixed_ips[0].ip_address

    def inside(self, name: str, *words: str) -> tuple[str, ...]:
        """The words, to be run in an instance's namespace."""
        return ("ip", "netns", "exec", f"vm-{name}", *words)

    def python(self, name: str, script: str, *words: str, check: bool = True) -> str:
        """Run Python code in an instance's namespace."""
        return self.host.run(*self.inside(name, sys.executable, "-c", script, *words), check=check)

    def send(self, name: str, *frames: bytes) -> None:
        """Send frames out of an instance's device."""
        program = str(Path(raw_frames.__file__))
        words = self.inside(name, sys.executable, program, "send", "eth0")
        self.host.run(*words, *(frame.hex() for frame in frames))

    def listen(self, name: str) -> Frames:
        """What comes to an instance's device from now on."""
        if name in self._frames:
            return self._frames[name].begin()
        file = self.folder / f"frames-{name}"
        program = str(Path(raw_frames.__file__))
        words = self.inside(name, sys.executable, program, "listen", "eth0")
        self.host.start(*words, output=file)
        RunningLab.until(lambda: file.is_file() and "listening" in file.read_text())
        self._frames[name] = Frames(file)
        return self._frames[name]
