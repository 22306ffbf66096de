"""Faults on a running lab: what hosts do when a part of them, or the server, is gone; and hostile instances.

Instances are plugged by hand here (as Nova's os-vif would), so that the tests can send any frame.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from netloom.lab import wiring
from tests.support.pings import answered, unanswered
from tests.support.running_lab import RunningLab

pytestmark = [pytest.mark.root, pytest.mark.slow]

NETWORKING = "/networking/v2.0"
LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev "$interface"; ip addr add "$ip/$mask" dev "$interface"
ip link set "$interface" mtu "${mtu:-1500}"
ip route replace 169.254.169.254 via "$serverid"
"""


@dataclass
class Guest:
    """A namespace on a host with one port of the network."""

    lab: RunningLab
    host: str
    port: dict[str, Any]

    @property
    def address(self) -> str:
        return self.port["fixed_ips"][0]["ip_address"]

    @property
    def name(self) -> str:
        return "vm-" + self.port["id"]

    def plug(self) -> None:
        device, mac = "tap" + self.port["id"][:11], self.port["mac_address"]
        script = f"""
            ip netns add {self.name}
            ip link add {device} type veth peer name eth0 netns {self.name}
            ip -n {self.name} link set eth0 address {mac} up; ip -n {self.name} link set lo up
            ethtool -K {device} tx off; ip netns exec {self.name} ethtool -K eth0 tx off
            ip link set {device} up
            ovs-vsctl add-port br-int {device} -- set interface {device} external_ids:iface-id={self.port["id"]}
            printf '%s' '{LEASE}' > /run/lease; chmod 755 /run/lease
        """
        self.lab.exec(self.host, "sh", "-ec", script)

    def unplug(self) -> None:
        device = "tap" + self.port["id"][:11]
        script = f"ovs-vsctl --if-exists del-port br-int {device}; ip netns del {self.name}; ip link del {device}"
        self.lab.exec(self.host, "sh", "-c", script, check=False)

    def run(self, *words: str, check: bool = True) -> str:
        return self.lab.exec(self.host, "ip", "netns", "exec", self.name, *words, check=check)

    def lease(self) -> None:
        ask = "busybox udhcpc -i eth0 -s /run/lease -O mtu -qn -t 8 -T 1 2>&1"
        said = ""

        def obtained() -> bool:
            nonlocal said
            said = self.run("sh", "-c", ask, check=False)
            return "obtained" in said

        self.lab.until(obtained, 60, "no lease")
        assert f"lease of {self.address} obtained" in said

    def reaches(self, address: str, *more: str) -> bool:
        return answered(partial(self.run, check=False), address, *more, count=2)


@pytest.fixture(scope="module")
def guests(lab: RunningLab) -> Iterator[tuple[Guest, Guest, Guest]]:
    """Two on compute1, one on compute2, in one network; everything is let in."""
    made: list[Guest] = []
    with lab.client() as client:
        network = client.post(f"{NETWORKING}/networks", {"network": {"name": "faults"}})["network"]
        subnet = {"network_id": network["id"], "cidr": "10.77.0.0/24", "ip_version": 4}
        client.post(f"{NETWORKING}/subnets", {"subnet": subnet})
        group = client.post(f"{NETWORKING}/security-groups", {"security_group": {"name": "faults"}})
        group_id = group["security_group"]["id"]
        rule = {"security_group_id": group_id, "direction": "ingress", "ethertype": "IPv4"}
        client.post(f"{NETWORKING}/security-group-rules", {"security_group_rule": rule})
        try:
            for host in ("compute1", "compute1", "compute2"):
                port = {
                    "network_id": network["id"],
                    "device_owner": "compute:nova",
                    "device_id": "by-hand",
                    "binding:host_id": host,
                    "security_groups": [group_id],
                }
                made.append(
                    Guest(lab, host, client.post(f"{NETWORKING}/ports", {"port": port})["port"])
                )
                made[-1].plug()
            for guest in made:
                path = f"{NETWORKING}/ports/{guest.port['id']}"
                lab.until(
                    lambda path=path: client.get(path)["port"]["status"] == "ACTIVE", what="ports"
                )
                guest.lease()
            lab.until(lambda: made[0].reaches(made[2].address), what="the guests reach each other")
            yield made[0], made[1], made[2]
        finally:
            # What stays would be another test's: ports that nobody plugs, in a list or in what doctor finds.
            for guest in made:
                guest.unplug()
                client.delete(f"{NETWORKING}/ports/{guest.port['id']}")
            client.delete(f"{NETWORKING}/networks/{network['id']}")
            client.delete(f"{NETWORKING}/security-groups/{group_id}")


def pid_of(lab: RunningLab, host: str, *words: str) -> int:
    """The process id, in the host, of the one process with these words on its command line; 0 where there is none."""
    for line in lab.exec(host, "ps", "-wweo", "pid,args").splitlines():
        pid, _, command = line.strip().partition(" ")
        if all(word in command for word in words) and "<defunct>" not in command:
            return int(pid)
    return 0


def kill(lab: RunningLab, host: str, *words: str) -> None:
    pid = pid_of(lab, host, *words)
    assert pid, f"{words} does not run on {host}"
    lab.exec(host, "kill", "-9", str(pid))


def lost_while(guest: Guest, address: str, seconds: float, fault: Callable[[], None]) -> set[int]:
    """Which packets are lost of a ping at ten a second while something happens."""
    count = int(seconds * 10) + 1  # the last one does not count
    command = [
        "ip",
        "netns",
        "exec",
        guest.name,
        "ping",
        "-n",
        "-i",
        "0.1",
        "-c",
        str(count),
        address,
    ]
    running = subprocess.Popen(
        wiring.inside(guest.lab.process(guest.host), command), stdout=subprocess.PIPE, text=True
    )
    time.sleep(1)
    fault()
    return unanswered(running.communicate()[0])


def test_a_killed_agent_costs_not_one_packet(
    lab: RunningLab, guests: tuple[Guest, Guest, Guest]
) -> None:
    one, _, far = guests

    def fault() -> None:
        for host in ("compute1", "compute2"):
            kill(lab, host, "netloom agent")

    assert not lost_while(one, far.address, 6, fault)
    lab.until(lambda: pid_of(lab, "compute1", "netloom agent"), what="the agent comes back")


def test_a_killed_switch_comes_back_by_itself(
    lab: RunningLab, guests: tuple[Guest, Guest, Guest]
) -> None:
    one, _, far = guests
    kill(lab, "compute2", "ovs-vswitchd")
    lab.until(lambda: one.reaches(far.address), 30, "forwarding comes back")
    far.lease()  # DHCP, whose device was made anew, too
    # Each physical bridge starts with a flow of the switch's own; the agent's flow in its place is no trouble.
    lab.until(
        lambda: "is not Netloom's" not in lab.status(), 10, "a replaced flow is in the status"
    )
    before = pid_of(lab, "compute1", "ovsdb-server")
    kill(lab, "compute1", "ovsdb-server")
    lab.until(lambda: pid_of(lab, "compute1", "ovsdb-server") not in (0, before))
    assert len(lost_while(one, far.address, 3, lambda: None)) <= 1


def test_a_killed_dnsmasq_is_back(lab: RunningLab, guests: tuple[Guest, Guest, Guest]) -> None:
    one = guests[0]
    words = ("dnsmasq", f"agent/dhcp/{one.port['network_id']}")
    lab.until(lambda: pid_of(lab, "compute1", *words))
    before = pid_of(lab, "compute1", *words)
    kill(lab, "compute1", *words)
    lab.until(lambda: pid_of(lab, "compute1", *words) not in (0, before), 30, "dnsmasq is back")
    one.lease()


def test_hosts_go_on_without_the_server(
    lab: RunningLab, guests: tuple[Guest, Guest, Guest]
) -> None:
    one, near, far = guests
    server = lab.process("server").pid
    os.kill(server, signal.SIGSTOP)
    try:
        assert not lost_while(one, far.address, 3, lambda: kill(lab, "compute1", "netloom agent"))
        lab.until(
            lambda: pid_of(lab, "compute1", "netloom agent"),
            what="the agent starts without the server",
        )
        one.lease()
        assert one.reaches(near.address)
        # It even mends what breaks meanwhile, from what it last knew.
        lab.exec("compute1", "ovs-ofctl", "-O", "OpenFlow14", "del-flows", "br-int")
        kill(lab, "compute1", "ovs-vswitchd")
        lab.until(lambda: one.reaches(near.address), 30, "the agent mends without the server")
    finally:
        os.kill(server, signal.SIGCONT)


def test_forgers_get_nowhere(lab: RunningLab, guests: tuple[Guest, Guest, Guest]) -> None:
    forger, near, far = guests
    lab.until(lambda: forger.reaches(near.address) and forger.reaches(far.address), 30)
    # A neighbour's address as a second one: nothing that is sent with it arrives.
    forger.run("ip", "addr", "add", f"{near.address}/32", "dev", "eth0")
    try:
        assert not forger.reaches(far.address, "-I", near.address)
        # Nor are its ARP announcements believed.
        forger.run("arping", "-c", "2", "-U", "-I", "eth0", near.address, check=False)
        assert far.reaches(near.address)
        neighbours = far.run("ip", "neigh", "show", near.address)
        assert forger.port["mac_address"] not in neighbours
    finally:
        forger.run("ip", "addr", "del", f"{near.address}/32", "dev", "eth0")
    # Another MAC.
    forger.run("ip", "link", "set", "eth0", "address", "fa:16:3e:66:66:66")
    assert not forger.reaches(far.address)
    forger.run("ip", "link", "set", "eth0", "address", forger.port["mac_address"])
    lab.until(lambda: forger.reaches(far.address), 30)


def test_a_dhcp_server_in_an_instance_is_not_heard(
    lab: RunningLab, guests: tuple[Guest, Guest, Guest]
) -> None:
    forger, near, _ = guests
    config = "interface eth0\\nstart 10.77.0.200\\nend 10.77.0.210\\noption subnet 255.255.255.0\\nlease_file /dev/null\\n"
    lab.exec("compute1", "sh", "-c", f"printf '{config}' > /run/udhcpd.conf")
    inside = ("ip", "netns", "exec", forger.name)
    rogue = subprocess.Popen(
        wiring.inside(
            lab.process("compute1"), [*inside, "busybox", "udhcpd", "-f", "/run/udhcpd.conf"]
        ),
        stderr=subprocess.DEVNULL,
    )
    try:
        lab.until(
            lambda: ":67 " in lab.exec("compute1", *inside, "ss", "-Hulnp"),
            30,
            "udhcpd does not start",
        )
        for _ in range(3):
            near.run("ip", "addr", "flush", "dev", "eth0")
            near.lease()
            assert f" {near.address}/24" in near.run("ip", "addr", "show", "eth0")
    finally:
        kill(lab, "compute1", "busybox udhcpd")
        rogue.wait(timeout=5)


ASK = """
import http.client, sys
link = http.client.HTTPConnection("169.254.169.254", timeout=3, source_address=(sys.argv[1], 0))
try:
    link.request("GET", "/latest/meta-data/", headers={"X-Forwarded-For": sys.argv[2]})
    print(link.getresponse().status)
except OSError as error:
    print(type(error).__name__)
"""


def test_metadata_is_for_its_own_instance(
    lab: RunningLab, guests: tuple[Guest, Guest, Guest]
) -> None:
    forger, near, _ = guests

    def ask(source: str) -> str:
        return forger.run(sys.executable, "-c", ASK, source, near.address).strip()

    # A port without a server of ours has no metadata, but it does get an answer.
    assert ask(forger.address) == "404"
    # Asked with a neighbour's address: no answer at all.
    forger.run("ip", "addr", "add", f"{near.address}/32", "dev", "eth0")
    try:
        assert ask(near.address) == "TimeoutError"
    finally:
        forger.run("ip", "addr", "del", f"{near.address}/32", "dev", "eth0")
