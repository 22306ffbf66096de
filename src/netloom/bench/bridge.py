"""Hosts with Linux bridges: how fast, beside a plain kernel bridge of the same run, and how many instances on one machine.

The plain one is what the kernel can do by itself: a bridge, a VXLAN device with the other end's address, and one rule that asks
connection tracking. It goes over the same cables of the same lab, in two namespaces of their own.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from netloom.bench.api import Endpoint
from netloom.bench.lab import endpoint
from netloom.lab import hosts, wiring
from netloom.lab.processes import Process
from netloom.lab.state import Lab, LabState
from netloom.lab.topology import FABRIC, UNDERLAY
from netloom.model import names
from netloom.model.errors import UserError

Say = Callable[[str], None]
ENDS = ("compute1", "compute2")
ROUNDS, SECONDS, PINGS = 5, 2.0, 400
PLAIN = "/16"

TALK = """
import socket, sys, time
words = sys.argv[1:]
if words[0] == "serve":
    server = socket.create_server(("", int(words[1])), backlog=8)
    print("ready", flush=True)
    buffer = bytearray(1 << 20)
    while True:
        talk, _ = server.accept()
        while talk.recv_into(buffer):
            pass
        talk.close()
talk = socket.create_connection((words[1], int(words[2])), 5)
block, sent, begun = bytes(1 << 20), 0, time.monotonic()
while (now := time.monotonic()) - begun < float(words[3]):
    sent += talk.send(block)
print(sent * 8 / (now - begun) / 1e9)
"""
"""One end takes all that comes, the other sends for so long and says how many Gb/s went."""


class Way:
    """Two ends between which packets go: what runs a command at either, and the address of the second."""

    def __init__(self, title: str, one: list[str], other: list[str], address: str) -> None:
        self.title, self.one, self.other, self.address = title, one, other, address
        talk = [*other, sys.executable, "-c", TALK, "serve", "5001"]
        self.server = subprocess.Popen(talk, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        self.server.stdout.readline()

    def gigabits(self) -> float:
        """What one TCP connection carries."""
        line = [*self.one, sys.executable, "-c", TALK, "send", self.address, "5001", str(SECONDS)]
        return float(run(line))

    def round_trip(self) -> float:
        """Microseconds of a ping, the median of many."""
        line = [*self.one, "ping", "-n", "-i", "0.003", "-c", str(PINGS), self.address]
        times = [float(each) for each in re.findall(r"time=([0-9.]+) ms", run(line))]
        if not times:
            raise UserError(f"{self.title}: no answer from {self.address}")
        return statistics.median(times) * 1000

    def close(self) -> None:
        """End the program at the other end."""
        self.server.kill()
        self.server.wait()


def measure(lab: Lab, state: LabState, say: Say) -> dict[str, float]:
    """Gb/s and microseconds of both ways, in turns, and the ratios of their medians."""
    api = endpoint(state, lab)
    found = compared([ours(api, state), plain(state)], say)
    api.close()
    return found


def compared(ways: list[Way], say: Say) -> dict[str, float]:
    """Gb/s and microseconds of two ways, in turns, and the ratios of their medians; the ways are closed."""
    found: dict[str, float] = {}
    try:
        rates: list[list[float]] = [[] for _ in ways]
        for _ in range(ROUNDS):
            for rate, way in zip(rates, ways, strict=True):
                rate.append(way.gigabits())
        for rate, way in zip(rates, ways, strict=True):
            found[f"{way.title}, Gb/s"] = statistics.median(rate)
            found[f"{way.title}, µs there and back"] = way.round_trip()
            say(f"  {way.title}: {' '.join(f'{each:.2f}' for each in rate)} Gb/s")
    finally:
        for way in ways:
            way.close()
    mine, other = (statistics.median(rate) for rate in rates)
    found["ratio of Gb/s"] = mine / other
    trips = [found[f"{way.title}, µs there and back"] for way in ways]
    found["ratio of µs there and back"] = trips[0] / trips[1]
    return found


Plug = Callable[[str, Any], tuple[Any, list[str]]]
"""(host, network) → a port there, and what runs a command behind its device."""


def between(api: Endpoint, title: str, plug: Plug) -> Way:
    """Two ports on two hosts, in a network with security groups on."""
    network = api.create("network")
    api.create("subnet", network_id=network["id"], ip_version=4, cidr="10.78.0.0/24")
    lines: list[list[str]] = []
    addresses: list[str] = []
    groups: list[str] = []
    for host in ENDS:
        port, line = plug(host, network)
        groups = port["security_groups"]
        addresses.append(port["fixed_ips"][0]["ip_address"])
        lines.append(line)
        run([*line, "ip", "address", "add", f"{addresses[-1]}/24", "dev", "eth0"])
    for protocol in ("icmp", "tcp"):
        rule = {"security_group_id": groups[0], "direction": "ingress", "protocol": protocol}
        api.ask("POST", "security-group-rules", {"security_group_rule": rule})
    until_answered(lines[0], addresses[1])
    return Way(title, lines[0], lines[1], addresses[1])


def ours(api: Endpoint, state: LabState) -> Way:
    """Ports that are plugged as somebody else's instances are."""

    def plug(host: str, network: Any) -> tuple[Any, list[str]]:
        port = api.create("port", network_id=network["id"], **{"binding:host_id": host})
        return port, _plug(hosts.find(state, host), port)

    return between(api, "Linux bridge with security groups, VXLAN", plug)


def _plug(host: Process, port: dict[str, Any]) -> list[str]:
    """Make a namespace behind a port's device; returns what runs a command there."""
    inside, device = f"bench-{port['id'][:8]}", names.tap(port["id"])
    script = (
        f"ip netns add {inside}; ip link add {device} type veth peer name eth0 netns {inside}; "
        f"ip -n {inside} link set eth0 address {port['mac_address']} mtu 1450 up"
    )
    run(wiring.inside(host, ["sh", "-ec", script]))
    return wiring.inside(host, ["ip", "netns", "exec", inside])


def plain(state: LabState) -> Way:
    """The same with the kernel's own tools alone, in two namespaces that are on the lab's underlay."""
    fabric = hosts.find(state, FABRIC)
    lines: list[list[str]] = []
    for number in (1, 2):
        host, end, far = f"plain{number}", f"10.255.250.{number}", f"10.255.250.{3 - number}"
        rule = "table ip plain { chain f { type filter hook forward priority 0; ct state new,established accept; }; }"
        script = (
            f"ip netns add {host}; ip netns add {host}i; "
            f"ip link add u{host} type veth peer name eth0 netns {host}; ip link set u{host} master {UNDERLAY} up; "
            f"ip -n {host} addr add {end}{PLAIN} dev eth0; ip -n {host} link set eth0 up; "
            f"ip -n {host} link add name bridge0 type bridge nf_call_iptables 1 mcast_snooping 0; ip -n {host} link set bridge0 up; "
            f"ip -n {host} link add name tunnel0 type vxlan id 77 local {end} remote {far} dstport 4789; "
            f"ip -n {host} link set tunnel0 mtu 1450 master bridge0 up; "
            f"ip -n {host} link add name device0 type veth peer name eth0 netns {host}i; "
            f"ip -n {host} link set device0 mtu 1450 master bridge0 up; "
            f"ip -n {host}i link set eth0 mtu 1450 up; ip -n {host}i addr add 10.79.0.{number}/24 dev eth0; "
            f"ip netns exec {host} nft '{rule}'"
        )
        run(wiring.inside(fabric, ["sh", "-ec", script]))
        lines.append(wiring.inside(fabric, ["ip", "netns", "exec", f"{host}i"]))
    until_answered(lines[0], "10.79.0.2")
    return Way("kernel bridge and VXLAN with one conntrack rule", lines[0], lines[1], "10.79.0.2")


def until_answered(line: Sequence[str], address: str) -> None:
    """Wait until a ping is answered; UserError where none is."""
    for _ in range(30):
        words = [*line, "ping", "-n", "-c", "1", "-W", "1", address]
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return
    raise UserError(f"{address} did not answer within 30 s")


def run(line: Sequence[str]) -> str:
    """Run a command; returns what it said."""
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise UserError(f"{' '.join(line[-4:])} failed: {words[-1]}")
    return done.stdout


def table(found: dict[str, float]) -> str:
    """The figures as Markdown."""
    lines = ["| work | measured |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value:.2f} |" for name, value in found.items())])
