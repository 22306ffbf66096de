"""Trunk ports with real packets: VLAN devices inside an instance, each a port with addresses and rules of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import vlan_device
from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Background, Capture, Instance, Tenant, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

ANY = {"ethertype": "IPv4"}
ICMP = {"protocol": "icmp"}
OFCTL = ("ovs-ofctl", "-O", "OpenFlow14")
HOST, OTHER = "compute1", "compute2"
VLAN_DEVICE = str(Path(vlan_device.__file__))


class Trunked:
    """An instance whose card is a trunk of three subports, and one plain instance on each network, on the other host."""

    def __init__(self, lab: RunningLab, tenant: Tenant) -> None:
        self.lab, self.tenant = lab, tenant
        self.open, self.pings_only = tenant.group(ANY), tenant.group(ICMP)
        self.native = tenant.network("native", "10.80.0.0/24")
        self.red = tenant.network("red-of-trunk", "10.81.0.0/24")
        self.blue = tenant.network("blue-of-trunk", "10.82.0.0/24")
        tenant.router(self.native, self.red, self.blue)
        self.server = tenant.boot("plain", OTHER, self.native, self.open)
        parent = self._port(self.native, self.open)
        self.subs = {
            101: self._port(self.red, self.open),
            102: self._port(self.blue, self.pings_only),
            # Another one on the parent's own network.
            103: self._port(self.native, self.open),
        }
        subs = [self.entry(tag) for tag in (101, 102)]
        self.trunk = tenant.make("trunks", port_id=parent["id"], sub_ports=subs)
        booted = self.tenant.boot_on("trunked", HOST, parent)
        self.peers = {
            tag: tenant.boot(f"peer{tag}", OTHER, network, self.open)
            for tag, network in ((101, self.red), (102, self.blue))
        }
        self.peer = {tag: tenant.instance(server) for tag, server in self.peers.items()}
        self.plain = tenant.instance(self.server)
        self.instance: Instance = tenant.instance(booted)
        self.card = re.findall(
            r"\d+: (\w+)[@:]", self.instance.run("ip", "-o", "link", "show", "up")
        )
        self.dev = next(name for name in self.card if name != "lo")
        self.running: dict[int, Background] = {}

    def _port(self, network: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        return self.tenant.make(
            "ports", network_id=network["id"], security_groups=[group["id"]], name="of-a-trunk"
        )

    def entry(self, tag: int) -> dict[str, Any]:
        """What the API is told of a subport."""
        return {
            "port_id": self.subs[tag]["id"],
            "segmentation_type": "vlan",
            "segmentation_id": tag,
        }

    def act(self, action: str, *tags: int) -> dict[str, Any]:
        """Add or remove subports."""
        path = f"{NETWORKING}/trunks/{self.trunk['id']}/{action}"
        return self.tenant.put(path, {"sub_ports": [self.entry(tag) for tag in tags]})

    def status(self) -> str:
        """The trunk's status in the API."""
        return self.tenant.get(f"{NETWORKING}/trunks/{self.trunk['id']}")["trunk"]["status"]

    def port(self, tag: int) -> dict[str, Any]:
        """A subport as the API shows it."""
        return self.tenant.get(f"{NETWORKING}/ports/{self.subs[tag]['id']}")["port"]

    def address(self, tag: int) -> str:
        """A subport's address."""
        return self.subs[tag]["fixed_ips"][0]["ip_address"]

    def vlan_device(self, tag: int, mac: str = "") -> str:
        """The VLAN device of a subport inside the instance, with the subport's MAC; without an address yet."""
        if tag not in self.running:
            line = (sys.executable, VLAN_DEVICE, self.dev, str(tag), mac or self.mac(tag))
            self.running[tag] = Background(self.instance.line(*line))
            output = self.running[tag].process.stdout
            assert output is not None and output.readline() == "ready\n", output.read()
        return f"{self.dev}.{tag}"

    def take_away(self, tag: int) -> None:
        """Take a VLAN device away."""
        if tag in self.running:
            self.running.pop(tag).stop(signal.SIGKILL)

    def mac(self, tag: int) -> str:
        """A subport's MAC address."""
        return self.subs[tag]["mac_address"]

    def addressed(self, tag: int) -> str:
        """The VLAN device with the subport's address on it."""
        name = self.vlan_device(tag)
        self.instance.run("ip", "addr", "replace", f"{self.address(tag)}/24", "dev", name)
        return name


@pytest.fixture(scope="module")
def trunked(lab: RunningLab) -> Iterator[Trunked]:
    with Tenant(lab) as tenant:
        made = Trunked(lab, tenant)
        try:
            yield made
        finally:
            for tag in list(made.running):
                made.take_away(tag)


def test_statuses_follow_the_wire(trunked: Trunked) -> None:
    RunningLab.until(lambda: trunked.status() == "ACTIVE", 30, f"trunk is {trunked.status()}")
    for tag in (101, 102):
        port = trunked.port(tag)
        assert (port["status"], port["binding:host_id"]) == ("ACTIVE", HOST)
        assert port["device_owner"] == "trunk:subport"
    assert trunked.port(103)["status"] == "DOWN"


def test_dhcp_works_on_a_subport(trunked: Trunked) -> None:
    name = trunked.vlan_device(101)
    script = "/bin/true"
    said = trunked.instance.run(
        "busybox", "udhcpc", "-i", name, "-n", "-q", "-f", "-t", "10", "-T", "1", "-s", script
    )
    assert f"lease of {trunked.address(101)} obtained" in said, said


def test_subports_reach_their_networks_and_the_wire_shows_their_tags(trunked: Trunked) -> None:
    for tag, peer in trunked.peer.items():
        name = trunked.addressed(tag)
        trunked.instance.reaches(peer.address)
        where = on_host(trunked.lab, HOST)
        with Capture(where, trunked.instance.tap, "icmp or (vlan and icmp)") as seen:
            many = trunked.instance.run(
                "ping", "-n", "-c", "40", "-i", "0.05", "-W", "2", "-I", name, peer.address
            )
            peer.reaches(trunked.address(tag))
        # A busy machine may lose one; a stage that loses them loses more.
        lost = re.search(r"40 packets transmitted, (\d+) received", many)
        assert lost is not None and int(lost.group(1)) >= 38, many
        for kind in ("request", "reply"):
            lines = [line for line in seen.frames if f"echo {kind}" in line]
            assert lines and all(f"vlan {tag}," in line for line in lines), seen.text
    # The card itself sends without a tag, as ever.
    with Capture(on_host(trunked.lab, HOST), trunked.instance.tap, "icmp") as seen:
        trunked.instance.reaches(trunked.plain.address)
    assert seen.frames and "vlan" not in seen.text.split("listening")[-1], seen.text


def test_rules_hold_on_subports(trunked: Trunked) -> None:
    """102 lets pings in alone; 101 lets all in, and so does the card: the rules are each port's own."""
    for tag in (101, 102):
        trunked.addressed(tag)

    def quiet(tag: int) -> bool:
        code = (
            "import socket,sys\n"
            f"s=socket.socket(); s.settimeout(2)\n"
            f"sys.exit(s.connect_ex(('{trunked.address(tag)}', 7001)) != 111)"
        )
        done = subprocess.run(
            trunked.peer[tag].line(sys.executable, "-c", code), check=False, timeout=10
        )
        return done.returncode != 0

    trunked.peer[102].reaches(trunked.address(102))
    assert quiet(102), "a TCP packet reached a subport whose rules let pings in alone"
    assert not quiet(101), "no TCP packet reached a subport whose rules let all in"


def test_nobody_is_somebody_else_on_a_subport(trunked: Trunked) -> None:
    name = trunked.addressed(101)
    peer = trunked.peer[101]
    RunningLab.until(lambda: trunked.instance.pings(peer.address, "-I", name), 10)
    trunked.instance.run("ip", "addr", "add", "10.81.0.222/24", "dev", name)
    try:
        assert not trunked.instance.pings(peer.address, "-I", "10.81.0.222")
        # Another's tag is no way out of one's own network, and neither is a tag that is nobody's.
        for tag, eaves in ((102, trunked.peer[102]), (999, trunked.plain)):
            trunked.take_away(tag)
            link = trunked.vlan_device(tag, trunked.mac(101))
            with Capture(on_host(trunked.lab, OTHER), eaves.tap, "arp") as seen:
                arping = ("busybox", "arping", "-c", "2", "-w", "2", "-I", link)
                trunked.instance.run(*arping, "-s", "10.81.0.222", eaves.address)
            assert "10.81.0.222" not in seen.text
            trunked.take_away(tag)
    finally:
        trunked.instance.run("ip", "addr", "del", "10.81.0.222/24", "dev", name)


def test_subports_come_and_go_while_the_instance_runs(trunked: Trunked) -> None:
    """A further subport on the card's own network: it meets the card, and gets no copy of what it sends itself."""
    trunked.act("add_subports", 103)
    RunningLab.until(lambda: trunked.status() == "ACTIVE", 30, f"trunk is {trunked.status()}")
    name = trunked.vlan_device(103)
    where = trunked.plain
    # A namespace without a name: one would be the whole machine's to see.
    apart = subprocess.Popen(trunked.instance.line("unshare", "--net", "sleep", "300"))
    inside = ("nsenter", "--target", str(apart.pid), "--net", "--")
    own_netns = Path(f"/proc/{trunked.instance.pid}/ns/net").stat().st_ino
    there = Path(f"/proc/{apart.pid}/ns/net")
    machine = Path("/proc/self/ns/net").stat().st_ino
    RunningLab.until(lambda: there.stat().st_ino not in (own_netns, machine), 10)
    trunked.instance.run("ip", "link", "set", name, "netns", str(apart.pid))
    try:
        trunked.instance.run(
            *inside, "ip", "addr", "add", f"{trunked.address(103)}/24", "dev", name
        )
        trunked.instance.run(*inside, "ip", "link", "set", name, "up")

        def reaches(address: str) -> bool:
            return " 1 received" in trunked.instance.run(
                *inside, "ping", "-c", "1", "-W", "1", address
            )

        RunningLab.until(lambda: reaches(where.address), 20, "103 never reached its network")
        RunningLab.until(
            lambda: reaches(trunked.instance.address), 10, "a subport does not reach its own card"
        )
        own = trunked.subs[103]["mac_address"]
        line = trunked.instance.line(*inside)
        with Capture(line, name, "-Q", "in", "arp", "and", "ether", "src", own) as seen:
            trunked.instance.run(
                *inside, "busybox", "arping", "-c", "2", "-w", "2", "-I", name, "10.80.0.250"
            )
        assert not [f for f in seen.frames if own in f], seen.text
        trunked.act("remove_subports", 103)
        RunningLab.until(
            lambda: not reaches(where.address), 10, "103 is reached after it was removed"
        )
        assert trunked.port(103)["binding:host_id"] == ""
        RunningLab.until(lambda: trunked.status() == "ACTIVE", 30, f"trunk is {trunked.status()}")
    finally:
        apart.kill()
        apart.wait()


def test_explain_and_the_doctor_know_subports(trunked: Trunked) -> None:
    trunked.addressed(102)
    peer = trunked.peer[102]
    sub, tenant = trunked.subs[102]["id"], trunked.tenant
    for source, target in ((sub, peer.address), (peer.port["id"], trunked.address(102))):
        answer = tenant.get("/explain/v1", source=source, destination=target)
        assert answer["verdict"] == "reachable", answer
        assert f"{trunked.instance.tap}.102" in str(answer), answer
    names = {"source": peer.port["id"], "destination": trunked.address(102)}
    answer = tenant.get("/explain/v1", **names, protocol="tcp", port="22")
    assert answer["verdict"] != "reachable" and answer["cause"] == "rules", answer
    trunked.lab.exec(HOST, *OFCTL, "del-flows", "br-int", f"table=60,reg2={port_key(trunked)}")
    trunked.instance.reaches(peer.address, 15)
    command = [sys.executable, "-m", "netloom", "doctor", "--name", trunked.lab.lab.name, HOST]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def port_key(trunked: Trunked) -> str:
    """The register value of subport 102, from the flow that tags its frames."""
    flows = trunked.lab.exec(HOST, *OFCTL, "dump-flows", "--no-stats", "br-int", "table=60")
    tagged = next(line for line in flows.splitlines() if "set_field:4198->vlan_vid" in line)
    found = re.search(r"reg2=(0x[0-9a-f]+)", tagged)
    assert found is not None
    return found.group(1)
