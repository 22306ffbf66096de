"""An HA router in a lab, and what its failover is felt as."""

from __future__ import annotations

import itertools
import os
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from netloom.dataplane.linux import netns
from netloom.dataplane.linux.netlink import addresses_on, open_netlink
from netloom.lab import wiring
from netloom.lab.topology import FABRIC, OUTSIDE, WEB
from tests.support import tcp_talk
from tests.support.pings import Pinging
from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Background, Tenant, on_host

HOSTS = ("network1", "network2")
EVERY = 0.05
"""Seconds between two pings."""
OUTAGE = 1.0
"""Seconds without an answer that a failover may cost."""
TALK = str(Path(tcp_talk.__file__))
PORT = 8090


class Cloud(SimpleNamespace):
    """An HA router with an instance behind it that has a floating IP, and one that has none."""

    lab: RunningLab
    tenant: Tenant

    @property
    def namespace(self) -> str:
        return f"qrouter-{self.router['id']}"

    def namespace_file(self, host: str) -> str:
        """The router's namespace on a host, as this machine sees the file."""
        return f"/proc/{self.lab.process(host).pid}/root/run/netns/{self.namespace}"

    def addresses(self, host: str) -> set[str]:
        """The router's addresses on a host, but those of the HA network and of `lo`."""
        # Without a program of its own: tests look often, on a machine with few processors.
        try:
            target = os.open(self.namespace_file(host), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return set()
        with netns.entered(target), open_netlink() as link:
            devices = [(d.get("ifname"), d["index"]) for d in link.get_links()]
            ours = [index for name, index in devices if name[:3] in ("qr-", "qg-")]
            return {address for index in ours for address in addresses_on(link, index)}

    def owners(self) -> list[str]:
        """The hosts where the router has its addresses."""
        return [host for host in HOSTS if self.addresses(host)]

    def states(self) -> dict[str, str]:
        """What the API says: host → ha_state."""
        path = f"{NETWORKING}/routers/{self.router['id']}/l3-agents"
        return {agent["host"]: agent["ha_state"] for agent in self.tenant.get(path)["agents"]}

    def active(self) -> str:
        """The host where the router is active; waits until it is exactly one, and the API says so."""
        RunningLab.until(lambda: len(self.owners()) == 1, 10, f"owners: {self.owners()}")
        (host,) = self.owners()
        RunningLab.until(
            lambda: self.states() == {h: "active" if h == host else "standby" for h in HOSTS},
            10,
            f"{host} is active, and the API says {self.states()}",
        )
        return host


class Felt:
    """Pings out of an instance by SNAT, and in to a floating IP; `longest`: seconds without an answer, of each."""

    def __init__(self, cloud: Cloud) -> None:
        lines = [
            cloud.plain.line("ping", "-n", "-D", "-i", str(EVERY), WEB),
            on_host(cloud.lab, OUTSIDE, "ping", "-n", "-D", "-i", str(EVERY), cloud.fip),
        ]
        self._running = [Pinging(line) for line in lines]
        self.longest: list[float] = []

    def __enter__(self) -> Felt:
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1.0)
        for pings in self._running:
            said = pings.stop()
            at = [
                float(found) for found in re.findall(r"^\[([\d.]+)\].*icmp_seq=.*ttl=", said, re.M)
            ]
            assert len(at) > 10, said
            gaps = [then - before for before, then in itertools.pairwise(at)]
            self.longest.append(max(0.0, max(gaps) - EVERY))


class Talks:
    """TCP sessions out by SNAT and in through a floating IP, that must go on."""

    def __init__(self, cloud: Cloud) -> None:
        serve = [sys.executable, TALK, "serve", str(PORT)]
        talk = [sys.executable, "-u", TALK, "talk"]
        self._servers = [
            Background(on_host(cloud.lab, OUTSIDE, *serve)),
            Background(cloud.behind.line(*serve)),
        ]
        for where in (on_host(cloud.lab, OUTSIDE), cloud.behind.line()):
            line = [*where, "ss", "-Hltn"]
            RunningLab.until(lambda line=line: f":{PORT}" in wiring.run(line), 30)
        self._talks = [
            Background(cloud.plain.line(*talk, WEB, str(PORT))),
            Background(on_host(cloud.lab, OUTSIDE, *talk, cloud.fip, str(PORT))),
        ]
        time.sleep(1.0)
        assert [each.process.poll() for each in self._talks] == [None, None]

    def stop(self) -> list[bool]:
        """Whether each still lived."""
        lived: list[bool] = []
        for each in self._talks:
            alive = each.process.poll() is None
            lived.append(alive and each.stop().count("beat") > 3)
        for each in self._servers:
            each.stop()
        return lived


class Both:
    """Watches how long, in one piece, two hosts have the router's addresses."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.seconds = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        since = None
        while not self._end.is_set():
            now = time.monotonic()
            if len(self._cloud.owners()) < 2:
                since = None
            else:
                since = since or now
                self.seconds = max(self.seconds, now - since)
            time.sleep(0.02)

    def stop(self) -> float:
        self._end.set()
        self._thread.join()
        return self.seconds

    def __enter__(self) -> Both:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def fabric(lab: RunningLab, *command: str) -> None:
    """Run a command in the namespace that has the lab's cables."""
    wiring.run(wiring.inside(lab.process(FABRIC), command, network_only=True))


def plugs(host: str) -> list[str]:
    return [f"{network}-{host}" for network in "uep"]


def cut(lab: RunningLab, *cables: str, up: bool = False) -> None:
    """Pull cables out of the switches, or plug them in again."""
    for cable in cables:
        fabric(lab, "ip", "link", "set", cable, "up" if up else "down")


def other(host: str) -> str:
    return next(each for each in HOSTS if each != host)


def keepalived(cloud: Cloud, host: str) -> list[str]:
    """Process ids of the router's keepalived on a host."""
    home = f"/run/netloom/agent/ha/{cloud.namespace}"
    said = cloud.lab.exec(host, "cat", f"{home}/pid", f"{home}/vrrp.pid", check=False)
    return said.split()
