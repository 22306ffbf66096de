"""Many instances on one machine, on hosts with Linux bridges: until all are ACTIVE, pings between pairs of them, and one more."""

from __future__ import annotations

import ctypes
import os
import random
import select
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from netloom.lab import settings
from netloom.lab.client import Client
from netloom.lab.state import Lab, LabState
from netloom.model.errors import UserError

Say = Callable[[str], None]
NETWORKING, COMPUTE = "/networking/v2.0", "/compute/v2.1"
PAIRS = 10_000
NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
"""Entries of the kernel's table of neighbours, which all namespaces share."""
AT_ONCE = 400
"""Pings that are under way: the first of a pair is a broadcast to all instances."""
SINGLES = 5
"""Instances that are booted one after the other, for the median of one."""
SETTLE = 30.0
"""Seconds until the last of many that became ACTIVE have booted to their end."""
_CLONE_NEWNET = 0x40000000


AT_A_TIME = 60
"""Instances that are being built at once: one that waits for its turn for two minutes counts as failed (`build_seconds`)."""


def measure(lab: Lab, state: LabState, count: int, say: Say) -> dict[str, float]:
    """Seconds, MiB and numbers of each step. Raises UserError where an instance does not become ACTIVE, or where the kernel's table of
    neighbours is too small for the pings.
    """
    found: dict[str, float] = {}
    if count <= SINGLES:
        raise UserError(f"--instances {count}: {SINGLES} are booted one by one, ask for more")
    most = int(NEIGHBOURS.read_text())
    if most < 2 * PAIRS:
        raise UserError(
            f"{PAIRS} pairs need that many entries in the kernel's table of neighbours at both ends, and it takes {most}:"
            f" sysctl -w net.ipv4.neigh.default.gc_thresh3={4 * PAIRS} net.ipv4.neigh.default.gc_thresh2={2 * PAIRS}"
        )
    with Client(state.port, "admin", settings.passwords(lab)["admin"]) as client:
        crowd = Crowd(client, state.computes)
        first = found["one of the first → ACTIVE, s"] = crowd.one()
        free = _available()
        more = count - SINGLES
        found[f"{more} more → all ACTIVE, s"] = crowd.boot(more)
        found["memory of an instance with all that is for it, MiB"] = (free - _available()) / more
        say(f"  {found}")
        time.sleep(SETTLE)
        last = found["one more → ACTIVE, s"] = crowd.one()
        found["ratio of one more to one of the first"] = last / first
        begun = time.perf_counter()
        pairs = crowd.pairs(PAIRS)
        found["pairs asked"] = len(pairs)
        found["pairs without an answer"] = len(pinged(_namespaces(lab, client), pairs))
        found["seconds for all pairs"] = time.perf_counter() - begun
    return found


class Crowd:
    """A network, a group that lets pings in, and the instances so far."""

    def __init__(self, client: Client, computes: int) -> None:
        self._client = client
        self._computes = computes
        self._number = 0
        made = client.post(f"{NETWORKING}/networks", {"network": {"name": "crowd"}})
        self._network = made["network"]
        project = self._network["project_id"]
        quota = {"instances": -1, "cores": -1, "ram": -1}
        client.put(f"{COMPUTE}/os-quota-sets/{project}", {"quota_set": quota})
        client.put(f"{NETWORKING}/quotas/{project}", {"quota": {"port": -1}})
        subnet = {"network_id": self._network["id"], "ip_version": 4, "cidr": "10.80.0.0/16"}
        client.post(f"{NETWORKING}/subnets", {"subnet": subnet})
        group = client.post(f"{NETWORKING}/security-groups", {"security_group": {"name": "crowd"}})
        self._group = group["security_group"]["id"]
        rule = {"security_group_id": self._group, "direction": "ingress", "protocol": "icmp"}
        client.post(f"{NETWORKING}/security-group-rules", {"security_group_rule": rule})
        self._image = client.get("/image/v2/images", name="small")["images"][0]["id"]
        flavors = client.get(f"{COMPUTE}/flavors")["flavors"]
        self._flavor = next(each["id"] for each in flavors if each["name"] == "m1.tiny")

    def one(self) -> float:
        """Boot one instance, several times; the median in seconds."""
        return median(self.boot(1) for _ in range(SINGLES))

    def boot(self, count: int) -> float:
        """Ask for instances, spread over the hosts, some at a time, and wait until all are ACTIVE; seconds."""
        begun = time.perf_counter()
        asked: set[str] = set()
        left = count
        while asked or left:
            while left and len(asked) < AT_A_TIME:
                asked.add(self._ask())
                left -= 1
            for server in servers(self._client):
                if server["status"] == "ERROR":
                    raise UserError(f"server {server['id']} failed: {server.get('fault')}")
                if server["status"] == "ACTIVE":
                    asked.discard(server["id"])
            if time.perf_counter() - begun > 900:
                raise UserError(f"{len(asked) + left} instances are not ACTIVE after 900 s")
            time.sleep(0.05 if count == 1 else 1.0)
        return time.perf_counter() - begun

    def _ask(self) -> str:
        self._number += 1
        port = {"network_id": self._network["id"], "security_groups": [self._group]}
        made = self._client.post(f"{NETWORKING}/ports", {"port": port})["port"]
        server = {
            "name": f"crowd-{self._number}",
            "imageRef": self._image,
            "flavorRef": self._flavor,
            "networks": [{"port": made["id"]}],
            "availability_zone": f"nova:compute{self._number % self._computes + 1}",
        }
        answer = self._client.post(f"{COMPUTE}/servers", {"server": server})
        return answer["server"]["id"]

    def pairs(self, count: int) -> list[tuple[str, str]]:
        """Pairs of a server and another one's address, by chance that is the same each time."""
        where = {"network_id": self._network["id"], "device_owner": "compute:nova"}
        ports = self._client.get(f"{NETWORKING}/ports", **where)["ports"]
        known = [(p["device_id"], p["fixed_ips"][0]["ip_address"]) for p in ports if p["device_id"]]
        draw = random.Random(1)
        found: list[tuple[str, str]] = []
        while len(found) < count and len(known) > 1:
            (one, _), (_, other) = draw.sample(known, 2)
            found.append((one, other))
        return found


def servers(client: Client) -> Iterator[dict[str, Any]]:
    """All of them, page by page."""
    marker: dict[str, str] = {}
    while page := client.get(f"{COMPUTE}/servers/detail", limit="500", **marker)["servers"]:
        yield from page
        marker = {"marker": page[-1]["id"]}


def _namespaces(lab: Lab, client: Client) -> dict[str, int]:
    """Server → the machine's number of a process in its network namespace."""
    homes: dict[tuple[str, str], str] = {}
    for server in servers(client):
        host = server["OS-EXT-SRV-ATTR:host"]
        pid = lab.host(host) / "state/instances" / server["id"] / "running"
        homes[host, pid.read_text().split()[0]] = server["id"]
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            groups = (entry / "cgroup").read_text()
            lines = (entry / "status").read_text().splitlines()
        except OSError:
            continue
        numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
        host = next((h for h, _ in homes if f"{lab.group}/{h}/" in groups + "/"), "")
        if len(numbers) > 2 and (host, numbers[1]) in homes:
            found[homes[host, numbers[1]]] = int(entry.name)
    return found


def pinged(processes: dict[str, int], pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Send one ping for each pair, and a second one where the first has no answer; those that have none at all."""
    left = pairs
    for _ in range(2):
        missing: list[tuple[str, str]] = []
        for place in range(0, len(left), AT_ONCE):
            missing += _round(processes, left[place : place + AT_ONCE])
        left = missing
    return left


def _round(processes: dict[str, int], pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    waiting: dict[socket.socket, tuple[str, str]] = {}
    for one, other in pairs:
        talk = _socket(processes[one])
        body = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, len(waiting) & 0xFFFF)
        talk.sendto(_summed(body + bytes(16)), (other, 0))
        waiting[talk] = (one, other)
    deadline = time.monotonic() + 3.0
    while waiting and (rest := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(list(waiting), [], [], rest)
        for talk in ready:
            data, sender = talk.recvfrom(1500)
            if data[20] == 0 and sender[0] == waiting[talk][1]:
                del waiting[talk]
                talk.close()
    for talk in waiting:
        talk.close()
    return list(waiting.values())


_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def _inside(pid: int) -> Generator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(there)
        os.close(home)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) < 0:
        raise UserError(f"cannot enter a namespace: {os.strerror(ctypes.get_errno())}")


def _socket(pid: int) -> socket.socket:
    with _inside(pid):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _summed(message: bytes) -> bytes:
    """An ICMP message with its checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]


def _available() -> float:
    """MiB of memory that programs could still have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 1024
