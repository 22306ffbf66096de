"""A large cloud of `netloom bench scale`, written into the database in bulk before its server starts, and who listens to it."""

from __future__ import annotations

import queue
import selectors
import socket
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from msgspec import Struct

from netloom.model import (
    AllocationPool,
    FixedIP,
    HostFacts,
    Network,
    Port,
    Resource,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from netloom.model.credentials import secret_hash
from netloom.model.errors import UserError
from netloom.model.names import OWNER_DHCP
from netloom.network import dhcp, ipam, macs, port_keys
from netloom.plan import VERSION
from netloom.store import Store
from netloom.store.inserting import insert_all

AT = "2026-01-01T00:00:00Z"
ON_A_NETWORK = 20
"""Ports of a network, its DHCP port included, each on another host."""

NETWORKS_OF_A_PROJECT = 2


AT_ONCE = 20
"""Hosts that wait for their snapshot at once."""


class CloudSize(Struct, frozen=True):
    """How many hosts and networks; ON_A_NETWORK ports each."""

    hosts: int
    networks: int

    @property
    def ports(self) -> int:
        """Ports of the cloud."""
        return self.networks * ON_A_NETWORK


def host_of(size: CloudSize, network: int, number: int) -> str:
    """The host of a network's port: networks overlap on hosts as they do where tenants come and go."""
    return f"sim-{(network * 7 + number * 13) % size.hosts + 1}"


def network_id(number: int) -> str:
    """The id of a network."""
    return _id(1, number)


def port_id(network: int, number: int) -> str:
    """The id of a network's port; number 0 is that of DHCP."""
    return _id(4, network * ON_A_NETWORK + number)


def fill(
    database: Path, size: CloudSize, words: dict[str, str], first_tunnel_ip: IPv4Address
) -> None:
    """Make a database with hosts (name → credential) that have said their facts, networks, and bound ports."""
    store = Store.open(f"sqlite:///{database}")
    store.upgrade()
    with store.writer(actor="netloom bench") as w:
        for number, (name, word) in enumerate(words.items()):
            facts = HostFacts(
                host=name, tunnel_ip=str(first_tunnel_ip + number), plan_version=VERSION
            )
            w.put_host(name, secret_hash=secret_hash(word), facts=facts)
            w.heartbeat(name, time.time(), 0)
        seq = w.seq()
    for start in range(0, size.networks, 250):
        objects: list[Resource] = []
        claims: list[tuple[str, str, str]] = []
        for number in range(start, min(start + 250, size.networks)):
            _add(objects, claims, size, number)
        with store.transaction() as session:
            insert_all(session, objects, claims, seq + 1)
        seq += len(objects)
    store.close()


def _add(
    objects: list[Resource], claims: list[tuple[str, str, str]], size: CloudSize, number: int
) -> None:
    """Append a network with all that is on it, after the groups of its project."""
    project = number // NETWORKS_OF_A_PROJECT
    owner, group = f"{project + 1:032x}", _id(3, project)
    common: Any = {"project_id": owner, "created_at": AT, "updated_at": AT, "revision_number": 1}
    if number % NETWORKS_OF_A_PROJECT == 0:
        objects.append(SecurityGroup(id=group, name="default", is_default=True, **common))
        for place, (direction, remote) in enumerate((("egress", None), ("ingress", group))):
            rule = SecurityGroupRule(
                id=_id(5, project * 2 + place),
                security_group_id=group,
                direction=direction,
                remote_group_id=remote,
                **common,
            )
            objects.append(rule)
    network, subnet = network_id(number), _id(2, number)
    base = f"10.{number // 256 % 256}.{number % 256}"
    objects.append(Network(id=network, key=number + 1, segmentation_id=number + 1, **common))
    objects.append(
        Subnet(
            id=subnet,
            network_id=network,
            cidr=f"{base}.0/24",
            gateway_ip=f"{base}.1",
            allocation_pools=(AllocationPool(f"{base}.2", f"{base}.254"),),
            **common,
        )
    )
    claims += [("key", str(number + 1), network), ("vni:vxlan", str(number + 1), network)]
    for place in range(ON_A_NETWORK):
        key = number * ON_A_NETWORK + place + 1
        address = f"{base}.{place + 2}"
        mac = "fa:16:" + ":".join(f"{key:08x}"[at : at + 2] for at in range(0, 8, 2))
        port = Port(
            id=port_id(number, place),
            network_id=network,
            key=key,
            mac_address=mac,
            fixed_ips=(FixedIP(subnet, address),),
            device_owner="compute:nova" if place else OWNER_DHCP,
            device_id=_id(6, key) if place else dhcp.device_id(network),
            security_groups=(group,) if place else (),
            port_security_enabled=bool(place),
            host=host_of(size, number, place) if place else "",
            vif_type="ovs" if place else "unbound",
            **common,
        )
        objects.append(port)
        claims += [
            (ipam.scope(network), address, port.id),
            (macs.scope(network), mac, port.id),
            (port_keys.SCOPE, str(key), port.id),
        ]


def _id(sort: int, number: int) -> str:
    return f"{number:08x}-0000-4000-8{sort:03d}-{number:012x}"


class Listeners:
    """The streams of many hosts that only listen: what a host would make of a step is not measured.

    One thread reads them all. It notes when a text that it waits for came, and from how many hosts.
    """

    def __init__(self, server: Path, words: dict[str, str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._waiting: bytes = b""
        self._came: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._begun: set[socket.socket] = set()
        self._stopping = False
        self._server = server
        for number, (name, word) in enumerate(words.items()):
            self._sockets.append(self._open(name, word))
            while number - len(self._begun) > AT_ONCE:
                self._read_for(0.05)
        while len(self._begun) < len(words):
            self._read_for(0.1)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _open(self, name: str, word: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._server))
        head = f"GET /agent/v1/hosts/{name}/stream HTTP/1.1\r\nHost: server\r\n"
        connection.sendall(f"{head}Authorization: Bearer {word}\r\n\r\n".encode())
        self._selector.register(connection, selectors.EVENT_READ, b"")
        return connection

    def _read_for(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            block = connection.recv(1 << 20)
            if not block:
                raise UserError("the server ended a stream")
            tail = key.data + block[-200:]
            if b"\n\r\n" in block or b"\n\r\n" in tail:
                self._begun.add(connection)  # a line has ended: the snapshot is here
            self._selector.modify(connection, selectors.EVENT_READ, tail[-200:])
            if self._waiting and self._waiting in block:
                self._came.put(time.perf_counter())

    def _read(self) -> None:
        while not self._stopping:
            self._read_for(0.5)

    def expect(self, text: str) -> None:
        """Look for this text from now on."""
        while not self._came.empty():
            self._came.get()
        self._waiting = text.encode()

    def all_came(self, count: int) -> float:
        """Wait until so many hosts have got what is expected; returns when the last one had it (perf_counter)."""
        return [self._came.get(timeout=60) for _ in range(count)][-1]

    def end(self) -> None:
        """Hang up."""
        self._stopping = True
        self._thread.join()
        for each in self._sockets:
            each.close()
