"""Clients that write down what they were told is done, to be compared with what a killed server still knows."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

NETWORKING, IMAGE, IDENTITY, COMPUTE = "networking/v2.0", "image/v2", "identity/v3", "compute/v2.1"
PLACES = {
    "network": f"{NETWORKING}/networks",
    "subnet": f"{NETWORKING}/subnets",
    "port": f"{NETWORKING}/ports",
    "floatingip": f"{NETWORKING}/floatingips",
    "image": f"{IMAGE}/images",
    "user": f"{IDENTITY}/users",
    "server": f"{COMPUTE}/servers",
}
OCTETS = {"content-type": "application/octet-stream"}


@dataclass
class Ledger:
    """One client: its own objects, what was acknowledged of them, and the one request that was not answered.

    `there`: (kind, id) → the name it was last acknowledged with. `doubt`: (what, kind, id or name, name).
    """

    http: httpx.Client
    who: str
    world: dict[str, str]
    draw: random.Random
    stopped: Callable[[], bool]
    acknowledged: int = 0
    there: dict[tuple[str, str], str] = field(default_factory=dict)
    gone: set[tuple[str, str]] = field(default_factory=set)
    data: dict[str, str] = field(default_factory=dict)
    doubt: tuple[str, str, str, str] | None = None
    number: int = 0
    failed: str = ""

    def work(self) -> None:
        """Ask for one thing after the other until told to stop, or the server is gone."""
        try:
            while not self.stopped():
                self.draw.choice(OPERATIONS)(self)
        except httpx.TransportError:
            return
        except AssertionError as error:
            self.failed = str(error)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = (
            self.http.request(method, path, json=body, **more)
            if body is not None
            else (self.http.request(method, path, **more))
        )
        assert answer.status_code < 300, (method, path, body, answer.text)
        self.acknowledged += 1
        return answer.json() if answer.content else None

    def name(self) -> str:
        self.number += 1
        return f"{self.who}-{self.number}"

    def mine(self, kind: str) -> list[str]:
        return [ident for (which, ident) in self.there if which == kind]

    def create(self, kind: str, name: str, **attributes: Any) -> str:
        """Make one; returns its id."""
        called = "description" if kind == "floatingip" else "name"
        body: Any = {called: name, **attributes}
        self.doubt = ("create", kind, "", name)
        made = self.ask("POST", PLACES[kind], body if kind == "image" else {kind: body})
        made = made if kind == "image" else made[kind]
        self.there[kind, made["id"]] = name
        self.doubt = None
        return made["id"]

    def rename(self, kind: str) -> None:
        for ident in self.draw.sample(self.mine(kind), min(1, len(self.mine(kind)))):
            name = self.name()
            self.doubt = ("rename", kind, ident, name)
            path = f"{PLACES[kind]}/{ident}"
            if kind == "image":
                patch = [{"op": "replace", "path": "/name", "value": name}]
                media = {"content-type": "application/openstack-images-v2.1-json-patch"}
                self.ask("PATCH", path, patch, headers=media)
            else:
                called = "description" if kind == "floatingip" else "name"
                self.ask("PATCH" if kind == "user" else "PUT", path, {kind: {called: name}})
            self.there[kind, ident] = name
            self.doubt = None

    def delete(self, kind: str, ident: str) -> None:
        self.doubt = ("delete", kind, ident, "")
        self.ask("DELETE", f"{PLACES[kind]}/{ident}")
        del self.there[kind, ident]
        self.gone.add((kind, ident))
        self.doubt = None

    def delete_one(self, kind: str, keep: int) -> None:
        mine = self.mine(kind)
        if len(mine) > keep:
            self.delete(kind, self.draw.choice(mine))

    # --- after a kill ---------------------------------------------------------------------------

    def compare(self, found: dict[str, dict[str, str]]) -> None:
        """What was acknowledged is so. `found`: kind → id → name, of everything that the server has."""
        doubt, self.doubt = self.doubt, None
        for (kind, ident), name in list(self.there.items()):
            now = found[kind].get(ident)
            what, which, whom, wanted = doubt or ("", "", "", "")
            if what == "delete" and (which, whom) == (kind, ident) and now is None:
                del self.there[kind, ident]
                self.gone.add((kind, ident))
                continue
            renamed = what == "rename" and (which, whom) == (kind, ident)
            assert now == name or (renamed and now == wanted), (kind, ident, name, now, doubt)
            self.there[kind, ident] = now
        for kind, ident in self.gone:
            assert ident not in found[kind], (kind, ident)
        known = {ident for _, ident in self.there}
        for kind, objects in found.items():
            for ident, name in objects.items():
                if name.startswith(f"{self.who}-") and ident not in known:
                    assert doubt is not None and doubt[0] == "create", (kind, ident, name, doubt)
                    assert (kind, name) == (doubt[1], doubt[3])
                    self.there[kind, ident] = name
        for ident in self.mine("image"):
            answer = self.http.get(f"{IMAGE}/images/{ident}/file")
            if ident in self.data:
                assert answer.status_code == 200, (ident, answer.status_code)
                assert hashlib.md5(answer.content).hexdigest() == self.data[ident], ident
            else:
                # The upload that was cut off: whole or not at all.
                status = self.http.get(f"{IMAGE}/images/{ident}").json()
                assert (status["status"], answer.status_code) in (("queued", 204), ("active", 200))
                if status["status"] == "active":
                    assert hashlib.md5(answer.content).hexdigest() == status["checksum"]
                    self.data[ident] = status["checksum"]


def _network(client: Ledger) -> None:
    if len(client.mine("network")) < 6:
        made = client.create("network", client.name())
        octets = f"10.{client.draw.randrange(10, 250)}.{client.draw.randrange(250)}"
        attributes: dict[str, Any] = {"network_id": made, "ip_version": 4, "cidr": f"{octets}.0/24"}
        client.create("subnet", client.name(), **attributes)
    else:
        _delete_network(client)


def _delete_network(client: Ledger) -> None:
    """A network whose subnet goes first, as a request of its own."""
    whose = client.draw.choice(client.mine("network"))
    shown = client.ask("GET", f"{PLACES['network']}/{whose}")["network"]
    for subnet in shown["subnets"]:
        client.delete("subnet", subnet)
    client.delete("network", whose)


def _port(client: Ledger) -> None:
    client.create("port", client.name(), network_id=client.world["network"])


def _floatingip(client: Ledger) -> None:
    if len(client.mine("floatingip")) < 8:
        ports = client.mine("port")
        more = (
            {"port_id": client.draw.choice(ports)} if ports and client.draw.random() < 0.5 else {}
        )
        taken = client.http.get(
            f"{NETWORKING}/floatingips", params={"port_id": more.get("port_id", "")}
        )
        if more and taken.json()["floatingips"]:
            more = {}
        client.create(
            "floatingip", client.name(), floating_network_id=client.world["public"], **more
        )
    else:
        client.delete_one("floatingip", 0)


def _image(client: Ledger) -> None:
    if len(client.mine("image")) >= 4:
        client.delete_one("image", 0)
        return
    made = client.create("image", client.name(), disk_format="raw", container_format="bare")
    content = client.draw.randbytes(client.draw.choice([1000, 300_000, 2_000_000]))
    client.ask("PUT", f"{IMAGE}/images/{made}/file", content=content, headers=OCTETS)
    client.data[made] = hashlib.md5(content).hexdigest()


def _user(client: Ledger) -> None:
    if len(client.mine("user")) < 5:
        client.create("user", client.name())
    else:
        client.delete_one("user", 0)


def _server(client: Ledger) -> None:
    if len(client.mine("server")) < 4:
        client.create(
            "server",
            client.name(),
            imageRef=client.world["image"],
            flavorRef="1",
            networks=[{"uuid": client.world["network"]}],
        )
    else:
        client.delete_one("server", 0)


def _rename(client: Ledger) -> None:
    client.rename(client.draw.choice(list(PLACES)))


def _remove_port(client: Ledger) -> None:
    client.delete_one("port", 5)


OPERATIONS = [
    _network,
    _port,
    _port,
    _remove_port,
    _floatingip,
    _image,
    _user,
    _server,
    _rename,
    _rename,
]
