"""HA routers as they fail over: `netloom bench failover`, on a lab of its own with two network hosts.

One router, several times in a row, with pings out by SNAT and in to a floating IP; then many routers together. Who has a router is
told by two who cannot know of each other: the API (`ha_state`), and the physical network, where the host that becomes active
says whose address the router's is now (gratuitous ARP).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from netloom.bench import lab as bench_lab
from netloom.bench.api import Endpoint
from netloom.lab import hosts, wiring
from netloom.lab.processes import Process
from netloom.lab.state import LabState
from netloom.lab.topology import FABRIC, OUTSIDE, WEB
from netloom.model.errors import UserError

HOSTS = ("network1", "network2")
EVERY = 0.02
"""Seconds between two pings."""
SETTLE = 3.0
"""Seconds between two failovers: of a router that comes back nothing is under way."""
PATIENCE = 600.0
WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
"""How many programs of one user may watch files."""
OTHERS = 50
"""Watches that other programs of the machine may have."""

Say = Callable[[str], None]

_ANSWERED = re.compile(r"^\[([\d.]+)\].*icmp_seq=.*ttl=", re.MULTILINE)
_ANNOUNCED = re.compile(r"^([\d.]+) .*(?:Announcement|who-has) ([\d.]+)(?: tell ([\d.]+))?")


class Felt(Struct, frozen=True):
    """Seconds without an answer that each failover cost, by way; and each return of the lost host."""

    lost: dict[str, list[float]]
    back: dict[str, list[float]]


class Together(Struct, frozen=True):
    """Seconds until all of many routers were there, and after the cut until the API and the network said so of each."""

    count: int
    made: float
    announced: list[float]
    told: float


def one(state: LabState, api: Endpoint, times: int, say: Say) -> Felt:
    """Cut the cables of the active host and plug them in again, several times."""
    compute, outside = hosts.find(state, bench_lab.HOST), hosts.find(state, OUTSIDE)
    network = api.create("network")
    api.create("subnet", network_id=network["id"], ip_version=4, cidr="10.78.0.0/24")
    router = _router(api, network)
    behind, plain = bench_lab.plug(api, compute, network, 2)
    bench_lab.let_ping_in(api, behind)
    for port in (behind, plain):
        bench_lab.lease(compute, port)
    address = _published(api, behind)
    inside = ["ip", "netns", "exec", bench_lab.inside(plain)]
    lines = {
        "out by SNAT": wiring.inside(compute, [*inside, *_ping(WEB)]),
        "in to a floating IP": wiring.inside(outside, _ping(address)),
    }
    for line in lines.values():
        _until(lambda line=line: _answered_once(line), "nothing is answered")
    felt = Felt({way: [] for way in lines}, {way: [] for way in lines})
    for number in range(times):
        active = _active(api, router)
        other = next(host for host in HOSTS if host != active)
        for what, up, found in (("lost", False, felt.lost), ("back", True, felt.back)):
            with Pings(lines) as pings:
                cables(state, active, up=up)
                _until(lambda to=other: _active(api, router) == to, f"{other} never took over")
                time.sleep(SETTLE)
            for way, seconds in pings.longest.items():
                found[way].append(seconds)
            shown = ", ".join(f"{way} {found[way][-1]:.2f} s" for way in lines)
            say(f"  {number + 1}. {active} {what}: {shown}")
    return felt


def together(state: LabState, api: Endpoint, count: int, say: Say) -> Together:
    """Make many HA routers, cut one network host, and wait until the other one has all of them.

    Raises UserError where the kernel of this machine does not let so many programs watch files.
    """
    most = int(WATCHES.read_text())
    if most < len(HOSTS) * count + OTHERS:
        raise UserError(
            f"{count} HA routers need a watch each on {len(HOSTS)} hosts, and this machine's kernel gives {most}:"
            f" sysctl -w fs.inotify.max_user_instances={len(HOSTS) * count + OTHERS}"
        )
    begun = time.perf_counter()
    quota = dict.fromkeys(("network", "subnet", "port", "router"), -1)
    api.ask("PUT", f"quotas/{_project(api)}", {"quota": quota})
    routers: list[Any] = []
    for number in range(count):
        network = api.create("network")
        cidr = f"10.{100 + number // 250}.{number % 250}.0/24"
        api.create("subnet", network_id=network["id"], ip_version=4, cidr=cidr)
        routers.append(_router(api, network))
    asked = time.perf_counter() - begun
    ids = {router["id"] for router in routers}
    _until(lambda: _spread(api, ids) == count, "not every router is active on one host")
    made = time.perf_counter() - begun
    say(f"  {count} HA routers: asked for in {asked:.1f} s, all active after {made:.1f} s")
    addresses = {
        router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]: router["id"]
        for router in routers
    }
    mine = {router for router in ids if _active_now(api, router) == HOSTS[0]}
    with _Announcements(hosts.find(state, OUTSIDE)) as heard:
        time.sleep(1.0)
        began = time.time()
        cables(state, HOSTS[0], up=False)
        _until(
            lambda: all(_active_now(api, router) == HOSTS[1] for router in mine),
            "not every router was taken over",
        )
        told = time.time() - began
        time.sleep(1.0)
    cables(state, HOSTS[0], up=True)
    first: dict[str, float] = {}
    for at, address in heard.said:
        router = addresses.get(address)
        if router is not None and router in mine and at >= began:
            first.setdefault(router, at - began)
    if missing := len(mine) - len(first):
        raise UserError(f"{missing} routers were never announced on the network public")
    announced = sorted(first.values())
    say(
        f"  {HOSTS[0]} cut with {len(mine)} active: announced after {announced[0]:.2f} to {announced[-1]:.2f} s,"
        f" median {median(announced):.2f} s; the API says so of all after {told:.1f} s"
    )
    return Together(count, made, announced, told)


def table(felt: Felt | None, many: Together | None) -> str:
    """Write the figures as a Markdown table."""
    lines = ["| work | median | worst |", "|---|---|---|"]
    for words, found in (("lost", felt.lost), ("back", felt.back)) if felt else ():
        for way, seconds in found.items():
            lines.append(
                f"| active host {words}, {way}, {len(seconds)} times: without an answer "
                f"| {median(seconds):.2f} s | {max(seconds):.2f} s |"
            )
    if many:
        moved = len(many.announced)
        lines += [
            f"| {many.count} HA routers made, active on one of two hosts | {many.made:.0f} s | |",
            f"| one of the hosts cut, {moved} routers active there: announced by the other "
            f"| {median(many.announced):.2f} s | {many.announced[-1]:.2f} s |",
        ]
    return "\n".join(lines)


def cables(state: LabState, host: str, *, up: bool) -> None:
    """Pull all cables of a host out of the switches, or plug them in again, at once."""
    word = "up" if up else "down"
    batch = "".join(f"link set {network}-{host} {word}\n" for network in "uep")
    wiring.run(
        wiring.inside(hosts.find(state, FABRIC), ["ip", "-batch", "-"], network_only=True), batch
    )


def _router(api: Endpoint, network: Any) -> Any:
    external = bench_lab.public(api)
    router = api.create("router", ha=True, external_gateway_info={"network_id": external["id"]})
    (subnet,) = api.ask("GET", f"subnets?network_id={network['id']}")["subnets"]
    api.ask("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return router


def _published(api: Endpoint, port: Any) -> str:
    made = api.create(
        "floatingip", floating_network_id=bench_lab.public(api)["id"], port_id=port["id"]
    )
    return made["floating_ip_address"]


def _project(api: Endpoint) -> str:
    return api.ask("GET", "quotas/project")["project"]["project_id"]


def _active_now(api: Endpoint, router: str) -> str:
    agents = api.ask("GET", f"routers/{router}/l3-agents")["agents"]
    active = [agent["host"] for agent in agents if agent["ha_state"] == "active"]
    return active[0] if len(active) == 1 else ""


def _active(api: Endpoint, router: Any) -> str:
    _until(lambda: _active_now(api, router["id"]) != "", "no host is active alone")
    return _active_now(api, router["id"])


def _spread(api: Endpoint, routers: set[str]) -> int:
    time.sleep(1.0)
    return sum(_active_now(api, router) != "" for router in routers)


def _ping(address: str) -> list[str]:
    return ["ping", "-n", "-D", "-i", str(EVERY), address]


def _answered_once(line: Sequence[str]) -> bool:
    words = [*line[:-1], "-c", "1", "-W", "1", line[-1]]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


class Pings:
    """Pings while the context lasts; `longest`: way → seconds without an answer, at most."""

    def __init__(self, lines: dict[str, list[str]]) -> None:
        self._lines = lines
        self.longest: dict[str, float] = {}

    def __enter__(self) -> Pings:
        # Into files: a pipe that nobody reads meanwhile would stop them.
        self._said = {way: tempfile.TemporaryFile("w+") for way in self._lines}  # noqa: SIM115
        self._running = {
            way: subprocess.Popen(line, stdout=self._said[way]) for way, line in self._lines.items()
        }
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        for way, running in self._running.items():
            running.terminate()
            running.wait(timeout=30)
            with self._said[way] as said:
                said.seek(0)
                at = [float(found) for found in _ANSWERED.findall(said.read())]
            gaps = [later - before for before, later in pairwise(at)]
            self.longest[way] = max(0.0, max(gaps, default=PATIENCE) - EVERY)


class _Announcements:
    """Addresses that somebody said were his, on the network public; `said`: (seconds since 1970, address)."""

    def __init__(self, outside: Process) -> None:
        self._line = wiring.inside(
            outside,
            [
                "tcpdump",
                "-Z",
                "root",
                "-l",
                "-tt",
                "-n",
                "--immediate-mode",
                "-i",
                "eth-public",
                "arp",
            ],
        )
        self.said: list[tuple[float, str]] = []

    def __enter__(self) -> _Announcements:
        self._text = tempfile.TemporaryFile("w+")
        self._running = subprocess.Popen(self._line, stdout=self._text, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        self._running.wait(timeout=30)
        with self._text as text:
            text.seek(0)
            for line in text:
                found = _ANNOUNCED.match(line)
                if found and found[3] in (None, found[2]):
                    self.said.append((float(found[1]), found[2]))


def _until(test: Callable[[], bool], complaint: str) -> None:
    bench_lab.until(test, complaint, PATIENCE)
