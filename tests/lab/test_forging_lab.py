"""Forged frames on a running lab: none of them, and no frame of another tenant, reaches a neighbour.

The ports are plugged as Nova's os-vif would plug them, so that the test has the instance's end in its hands.
"""

from __future__ import annotations

import socket
import struct
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from netloom.lab.client import Client
from tests.support.running_lab import RunningLab, backend

pytestmark = [pytest.mark.root, pytest.mark.slow]

NETWORKING = "/networking/v2.0"
FOREIGN = "fa:16:3e:99:99:99"

SEND = """
import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((sys.argv[1], 0))
for word in sys.argv[2:]:
    link.send(bytes.fromhex(word))
"""
LISTEN = """
import socket, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind((sys.argv[1], 0))
link.settimeout(0.2)
open("/run/listens-" + sys.argv[1], "w").close()
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        print(link.recv(2000).hex())
    except TimeoutError:
        pass
"""


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(
    source: tuple[str, str], to: tuple[str, str], mark: str, port: int = 4000, vlan: int = 0
) -> str:
    """A UDP frame, as hexadecimal digits, from (MAC, address) to (MAC, address), with `mark` in it."""
    payload = mark.encode()
    datagram = struct.pack("!HHHH", port, 5000, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0)
    head += socket.inet_aton(source[1]) + socket.inet_aton(to[1])
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
    frame = mac_bytes(to[0]) + mac_bytes(source[0]) + tag + b"\x08\x00" + head + datagram
    return frame.ljust(60, b"\0").hex()


def arp(sender: str, claimed: tuple[str, str], target: tuple[str, str], mark: str) -> str:
    """An ARP answer sent from MAC `sender` that claims (MAC, address)."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    body += mac_bytes(claimed[0]) + socket.inet_aton(claimed[1])
    body += mac_bytes(target[0]) + socket.inet_aton(target[1])
    return (mac_bytes(target[0]) + mac_bytes(sender) + b"\x08\x06" + body + mark.encode()).hex()


class Plugged:
    """A port of the API on a host, with the instance's end of its device in the host."""

    def __init__(self, lab: RunningLab, client: Client, host: str, port: dict[str, Any]) -> None:
        self.lab, self.host, self.id = lab, host, port["id"]
        self.mac, self.address = port["mac_address"], port["fixed_ips"][0]["ip_address"]
        self.device, self.end = "tap" + self.id[:11], "vm" + self.id[:8]
        lab.exec(host, "ip", "link", "add", self.device, "type", "veth", "peer", "name", self.end)
        lab.exec(host, "ethtool", "-K", self.end, "tx", "off")
        for name in (self.device, self.end):
            lab.exec(host, "ip", "link", "set", name, "up")
        ids = f"external_ids:iface-id={self.id}"
        plug = ("add-port", "br-int", self.device, "--", "set", "interface", self.device, ids)
        if backend() == "ovs":
            lab.exec(host, "ovs-vsctl", *plug)  # a Linux bridge host takes the device by its name
        show = f"{NETWORKING}/ports/{self.id}"
        lab.until(
            lambda: client.get(show)["port"]["status"] == "ACTIVE", 30, f"{self.id} is not ACTIVE"
        )

    @property
    def own(self) -> tuple[str, str]:
        return self.mac, self.address

    def send(self, *frames: str) -> None:
        self.lab.exec(self.host, sys.executable, "-c", SEND, self.end, *frames)

    def listen(self, seconds: float) -> str:
        """All that arrives within so many seconds, as text."""
        words = (sys.executable, "-c", LISTEN, self.end, str(seconds))
        lines = self.lab.exec(self.host, *words, timeout=seconds + 30).split()
        return "\n".join(bytes.fromhex(line).decode("latin1") for line in lines)

    def listens(self) -> bool:
        """Whether `listen` has begun."""
        return bool(
            self.lab.exec(self.host, "sh", "-c", f"ls /run/listens-{self.end}", check=False)
        )

    def unplug(self) -> None:
        if backend() == "ovs":
            unplug = ("ovs-vsctl", "--if-exists", "del-port", "br-int", self.device)
            self.lab.exec(self.host, *unplug, check=False)
        self.lab.exec(self.host, "ip", "link", "del", self.device, check=False)


def test_forged_frames_reach_nobody(lab: RunningLab) -> None:
    made: list[str] = []
    plugged: list[Plugged] = []
    with lab.client() as client:

        def make(kind: str, **values: Any) -> dict[str, Any]:
            path = f"{NETWORKING}/{kind.replace('_', '-')}s"
            found = client.post(path, {kind: values})[kind]
            made.append(f"{path}/{found['id']}")
            return found

        def plug(network: str, host: str, address: str) -> Plugged:
            port = make(
                "port",
                network_id=network,
                fixed_ips=[{"ip_address": address}],
                security_groups=[group],
                device_id=str(uuid.uuid4()),
                **{"binding:host_id": host},
            )
            plugged.append(Plugged(lab, client, host, port))
            return plugged[-1]

        try:
            group = make("security_group", name="forging")["id"]
            make(
                "security_group_rule", security_group_id=group, direction="ingress", protocol="udp"
            )
            networks: list[str] = []
            for name in ("forge-a", "forge-b"):
                networks.append(make("network", name=name)["id"])
                make("subnet", network_id=networks[-1], cidr="10.66.0.0/24", ip_version=4)
            one = plug(networks[0], "compute1", "10.66.0.11")
            two = plug(networks[0], "compute2", "10.66.0.12")
            near = plug(networks[0], "compute1", "10.66.0.13")
            # another tenant with the same addresses
            stranger = plug(networks[1], "compute2", "10.66.0.12")
            everybody = ("ff:ff:ff:ff:ff:ff", "10.66.0.255")
            with ThreadPoolExecutor(3) as pool:
                ports = (two, near, stranger)
                heard = [pool.submit(port.listen, 8.0) for port in ports]
                for port in ports:
                    lab.until(port.listens, 30, "nobody listens")
                for target in (two.own, near.own):
                    one.send(
                        udp(one.own, target, "honest-unicast"),
                        udp((FOREIGN, one.address), target, "forged-mac"),
                        udp((one.mac, "10.66.0.99"), target, "forged-address"),
                        udp((one.mac, target[1]), target, "forged-neighbour"),
                        udp(one.own, target, "forged-dhcp", port=67),
                        udp(one.own, target, "forged-vlan", vlan=101),
                        arp(one.mac, (one.mac, "10.66.0.1"), target, "forged-arp-address"),
                        arp(one.mac, (FOREIGN, one.address), target, "forged-arp-mac"),
                        arp(one.mac, one.own, target, "honest-arp"),
                    )
                one.send(
                    udp(one.own, everybody, "honest-broadcast"),
                    udp((FOREIGN, one.address), everybody, "forged-broadcast"),
                )
                to_two, to_near, to_stranger = (future.result() for future in heard)
            for text in (to_two, to_near):
                for mark in ("honest-unicast", "honest-arp", "honest-broadcast"):
                    assert mark in text
                assert "forged" not in text
            assert "honest" not in to_stranger
            assert "forged" not in to_stranger
        finally:
            for port in plugged:
                port.unplug()
            for path in reversed(made):
                client.delete(path)
