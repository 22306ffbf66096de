"""Two instances on two hosts that talk all the time, while everything around them changes and breaks."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.support.running_lab import RunningLab
from tests.support.tenant import COMPUTE, Tenant, machine_pid


@dataclass
class Gap:
    """A time without contact, in seconds of time.monotonic()."""

    began: float
    ended: float = 0.0
    damages: list[str] = field(default_factory=list[str])
    told: bool = False

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began


class Standing:
    """The pair, its pings, and when it had no contact."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab
        self.tenant = Tenant(lab)
        group = self.tenant.group({})
        network = self.tenant.network("standing", "10.9.0.0/24")
        self.tenant.router(network)
        servers = [
            self.tenant.boot(f"standing-{h}", h, network, group) for h in ("compute1", "compute2")
        ]
        self.one, self.two = (self.tenant.instance(server) for server in servers)
        self.one.reaches(self.two.address)
        self.gaps: list[Gap] = []
        self._open: Gap | None = None
        self._recent: list[tuple[float, str]] = []
        self._ended = False
        self._watch = threading.Thread(target=self._run, daemon=True)
        self._watch.start()

    def damaged(self, what: str) -> None:
        """Note a damage, so that a gap that follows has a name."""
        self._recent.append((time.monotonic(), what))
        if self._open is not None:
            self._open.damages.append(what)

    def _run(self) -> None:
        pid = self.one.pid
        while not self._ended:
            if self._answers(pid):
                if self._open is not None:
                    self._open.ended = time.monotonic()
                    self._open = None
                time.sleep(0.25)
                continue
            if self._open is None:
                now = time.monotonic()
                recent = [what for at, what in self._recent if now - at < 20]
                self._open = Gap(now, damages=recent)
                self.gaps.append(self._open)
            pid = self._pid() or pid
            time.sleep(0.25)

    def _answers(self, pid: int) -> bool:
        line = ["nsenter", "--target", str(pid), "--net", "--", "ping", "-n", "-c", "1", "-W", "1"]
        done = subprocess.run(
            [*line, self.two.address], capture_output=True, text=True, check=False
        )
        return " 1 received" in done.stdout

    def _pid(self) -> int:
        """The instance may have been started anew."""
        with contextlib.suppress(OSError, IndexError, AssertionError):
            home = self.lab.lab.host(self.one.host) / "state/instances" / self.one.id
            return machine_pid(self.lab, self.one.host, (home / "running").read_text().split()[0])
        return 0

    def servers(self) -> dict[str, str]:
        """Statuses of the pair."""
        found: dict[str, str] = {}
        for instance in (self.one, self.two):
            server: dict[str, Any] = self.tenant.get(f"{COMPUTE}/servers/{instance.id}")["server"]
            found[server["name"]] = server["status"]
        return found

    def stop(self) -> None:
        """End the watch and delete the pair."""
        self._ended = True
        self._watch.join()
        self.tenant.__exit__(None, None, None)
