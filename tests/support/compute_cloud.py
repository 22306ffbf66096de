"""A cloud with hosts that report, as agents would: what tests of the compute API start from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from netloom.model import HostFacts, Status
from netloom.model.cloud import Server
from netloom.network import status
from netloom.store import Reader
from tests.support.cloud import Cloud, running

URL = "/compute/v2.1"
OCTETS = {"content-type": "application/octet-stream"}


class ComputeCloud:
    """A cloud with an image, a flavor and, where `hosts` says so, compute hosts."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        with cloud.client("admin", "admin") as admin:
            body = {
                "name": "small",
                "visibility": "public",
                "disk_format": "raw",
                "container_format": "bare",
            }
            self.image = admin.post("/image/v2/images", json=body).json()["id"]
            data = b"a disk" * 100
            put = admin.put(f"/image/v2/images/{self.image}/file", content=data, headers=OCTETS)
            assert put.status_code == 204, put.text
            flavor = {"name": "m1.tiny", "id": "1", "ram": 64, "vcpus": 1, "disk": 1}
            made = admin.post("/compute/v2.1/flavors", json={"flavor": flavor})
            assert made.status_code == 200, made.text

    def host(self, name: str, mappings: dict[str, str] | None = None, **facts: Any) -> None:
        """A compute host reports."""
        with self.cloud.store.writer() as w:
            w.put_host(
                name,
                secret_hash="x",
                facts=HostFacts(
                    host=name,
                    tunnel_ip="192.0.2.1",
                    bridge_mappings=mappings or {},
                    instance_types=("container",),
                    **facts,
                ),
            )
            w.heartbeat(name, time.time(), 0)

    def runs(self, server_id: str) -> None:
        """The server's host reports that all of it is there."""
        with self.cloud.store.writer() as w:
            server = w.get(Server, server_id)
            assert server is not None
            rows = [Status(kind="server", id=server_id, aspect="instance", seq=1, state="ok")]
            rows += [
                Status(kind="port", id=port, aspect="l2", seq=1, state="ok")
                for port in server.port_ids
            ]
            w.put_status(server.host, rows)
            status.refresh(
                w, [("server", server_id), *(("port", port) for port in server.port_ids)]
            )

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """Read the store."""
        with self.cloud.store.reader() as reader:
            yield reader


@contextlib.contextmanager
def world(folder: Path, **sections: dict[str, Any]) -> Iterator[ComputeCloud]:
    """Start one. Its hosts report once: that must do for as long as a test may take on a busy machine."""
    sections.setdefault("network", {"agent_down_seconds": 3600})
    with running(folder, **sections) as cloud:
        yield ComputeCloud(cloud)


def network(client: httpx.Client, cidr: str = "10.0.0.0/24", **attrs: Any) -> str:
    made = client.post("/networking/v2.0/networks", json={"network": {"name": "net", **attrs}})
    assert made.status_code == 201, made.text
    ident = made.json()["network"]["id"]
    # Addresses are drawn at random from the pool: those that a test names must lie outside it.
    first = cidr.removesuffix("0/24")
    pool = {"start": f"{first}100", "end": f"{first}199"}
    subnet = {"network_id": ident, "cidr": cidr, "ip_version": 4, "allocation_pools": [pool]}
    made = client.post("/networking/v2.0/subnets", json={"subnet": subnet})
    assert made.status_code == 201, made.text
    return ident


def at(version: str) -> dict[str, str]:
    return {"openstack-api-version": f"compute {version}"}


def boot(
    client: httpx.Client, cloud: ComputeCloud, version: str = "2.1", **attrs: Any
) -> httpx.Response:
    body = {"name": "vm", "imageRef": cloud.image, "flavorRef": "1", **attrs}
    return client.post(URL + "/servers", json={"server": body}, headers=at(version))


def booted(
    client: httpx.Client, cloud: ComputeCloud, version: str = "2.1", **attrs: Any
) -> dict[str, Any]:
    made = boot(client, cloud, version, **attrs)
    assert made.status_code == 202, made.text
    return show(client, made.json()["server"]["id"])


def act(client: httpx.Client, ident: str, version: str = "2.1", **action: Any) -> httpx.Response:
    return client.post(f"{URL}/servers/{ident}/action", json=action, headers=at(version))


def show(client: httpx.Client, ident: str, version: str = "2.1") -> dict[str, Any]:
    answer = client.get(f"{URL}/servers/{ident}", headers=at(version))
    assert answer.status_code == 200, answer.text
    return answer.json()["server"]
