"""What a fault leaves behind: nothing half done, nothing lost that was acknowledged, never a 500."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.serving import Serving, free_port, serving

TRUSTED = 'auth = "trusted-headers"'
ADMIN = {"X-Roles": "admin,member,reader", "X-Project-Id": "a" * 32}
COLLECTIONS = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "routers": "router",
    "floatingips": "floatingip",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
}
UNKNOWN = "00000000-0000-4000-8000-000000000bad"


def api(server: Serving) -> httpx.Client:
    return httpx.Client(base_url=f"{server.url}/networking/v2.0/", headers=ADMIN, timeout=20)


def create(client: httpx.Client, kind: str, **attributes: Any) -> Any:
    answer = client.post(COLLECTIONS_OF[kind], json={kind: attributes})
    assert answer.status_code == 201, answer.text
    return answer.json()[kind]


COLLECTIONS_OF = {kind: collection for collection, kind in COLLECTIONS.items()}


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Four clients make ports; the server is killed in the midst of it, three times."""
    acknowledged: dict[str, str] = {}
    lock = threading.Lock()
    port = free_port()
    with serving(tmp_path, TRUSTED, port) as server, api(server) as client:
        network = create(client, "network", name="n")
        create(client, "subnet", network_id=network["id"], ip_version=4, cidr="10.0.0.0/16")
        client.put(f"quotas/{'a' * 32}", json={"quota": {"port": -1}})

    for _ in range(3):
        with serving(tmp_path, TRUSTED, port) as server:
            enough = threading.Event()

            def work(server: Serving = server, enough: threading.Event = enough) -> None:
                with api(server) as client:
                    while True:
                        body = {"port": {"network_id": network["id"]}}
                        try:
                            answer = client.post("ports", json=body)
                        except httpx.TransportError:
                            return
                        made = answer.json()["port"]
                        with lock:
                            acknowledged[made["id"]] = made["fixed_ips"][0]["ip_address"]
                            if len(acknowledged) % 20 == 0:
                                enough.set()

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            assert enough.wait(60)
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
            for thread in threads:
                thread.join(30)

    assert len(acknowledged) >= 20
    with serving(tmp_path, TRUSTED, port) as server, api(server) as client:
        there = {
            p["id"]: p["fixed_ips"][0]["ip_address"] for p in client.get("ports").json()["ports"]
        }
        assert acknowledged.items() <= there.items()
        # What was in flight is there wholly or not at all: each address once, each with its owner.
        assert len(set(there.values())) == len(there)
        with sqlite3.connect(server.state / "netloom.db") as database:
            claims = dict(
                database.execute(
                    "SELECT key, owner FROM claim WHERE scope = ?", (f"ip:{network['id']}",)
                )
            )
            # SQLite 3.40 sees NULLs in tables WITHOUT ROWID whose key has another order; there are none.
            damage = database.execute("PRAGMA integrity_check").fetchall()
            assert [
                line for (line,) in damage if line != "ok" and "NULL value in link." not in line
            ] == []
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        database.close()
        assert {owner: address for address, owner in claims.items() if owner in there} == there
        assert set(claims.values()) <= set(there) | {None}


def test_a_request_cut_off_half_way_leaves_nothing(server: Serving) -> None:
    """The body says it is longer than what comes before the client hangs up."""
    body = json.dumps({"network": {"name": "half"}}).encode()
    head = (
        f"POST /networking/v2.0/networks HTTP/1.1\r\nHost: x\r\nX-Roles: admin\r\nX-Project-Id: {'a' * 32}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body) + 5}\r\n\r\n"
    ).encode()
    host, port = server.url.removeprefix("http://").split(":")
    for sent in (head, head + body[:9], head + body):
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(sent)
    with api(server) as client:
        assert client.get("networks", params={"name": "half"}).json() == {"networks": []}


def test_a_bulk_create_whose_last_element_fails_leaves_nothing(server: Serving) -> None:
    with api(server) as client:
        bodies = [{"name": "bulk"}, {"name": "bulk", "mtu": 99999}]
        assert client.post("networks", json={"networks": bodies}).status_code == 400
        assert client.get("networks", params={"name": "bulk"}).json() == {"networks": []}


def test_a_body_without_end_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, f"{TRUSTED}\nmax_body_bytes = 1000") as server, api(server) as client:
        answer = client.post("networks", json={"network": {"name": "x" * 2000}})
        assert answer.status_code == 413
        assert "x-openstack-request-id" in answer.headers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("faults"), TRUSTED) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[httpx.Client]:
    with api(server) as connected:
        network = create(connected, "network", name="there")
        create(connected, "subnet", network_id=network["id"], ip_version=4, cidr="10.0.0.0/24")
        create(connected, "port", network_id=network["id"])
        create(connected, "router")
        create(connected, "security_group", name="there")
        yield connected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
attribute = st.sampled_from(
    [
        "name",
        "network_id",
        "subnet_id",
        "cidr",
        "ip_version",
        "fixed_ips",
        "allocation_pools",
        "host_routes",
        "dns_nameservers",
        "gateway_ip",
        "mac_address",
        "security_groups",
        "allowed_address_pairs",
        "tags",
        "external_gateway_info",
        "routes",
        "port_id",
        "floating_network_id",
        "direction",
        "protocol",
        "mtu",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
        "remote_group_id",
        "security_group_id",
        "provider:network_type",
        "provider:segmentation_id",
        "binding:host_id",
        "binding:profile",
        "extra_dhcp_opts",
        "project_id",
        "tenant_id",
        "admin_state_up",
        "shared",
        "router:external",
    ]
)
telling = st.sampled_from(
    [
        "10.0.0.0/24",
        "10.0.0.5",
        "tcp",
        "ingress",
        "\x00",
        "x" * 3000,
        -1,
        2**70,
        1e300,
        [],
        {},
        [[]],
        [{}],
        "💥",
        [{"ip_address": None}],
        [{"subnet_id": []}],
        [{"start": 1, "end": {}}],
        [{"destination": 5}],
        [None],
        {"network_id": []},
        {"network_id": UNKNOWN, "external_fixed_ips": [{"ip_address": {}}]},
        UNKNOWN,
    ]
)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(
    collection=st.sampled_from(sorted(COLLECTIONS)),
    attributes=st.dictionaries(attribute, values | telling | telling, max_size=4),
    method=st.sampled_from(["POST", "POST", "PUT", "PUT"]),
    whole=st.one_of(st.none(), st.none(), st.none(), values, st.binary(max_size=30)),
)
def test_malformed_bodies_are_never_a_500(
    client: httpx.Client, collection: str, attributes: dict[str, Any], method: str, whole: Any
) -> None:
    there = client.get(collection, params={"fields": "id"}).json()
    objects = next(iter(there.values()))
    path = collection
    if method == "PUT":
        path = f"{collection}/{objects[0]['id'] if objects else UNKNOWN}"
    if attributes and method == "POST":
        networks = client.get("networks", params={"fields": "id", "name": "there"}).json()[
            "networks"
        ]
        if networks:
            attributes.setdefault("network_id", networks[0]["id"])
    body: Any = {COLLECTIONS[collection]: attributes}
    if whole is not None:
        body = whole
    content = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    answer = client.request(method, path, content=content)
    assert answer.status_code < 500, (method, path, content, answer.text)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    path=st.one_of(
        st.sampled_from(
            [
                "identity/v3/auth/tokens",
                "identity/v3/users",
                "image/v2/images",
                "compute/v2.1/servers",
            ]
        ),
        st.sampled_from(
            ["compute/v2.1/os-keypairs", "identity/v3/projects", "compute/v2.1/flavors"]
        ),
        st.text(max_size=12).map(lambda text: "networking/v2.0/" + text),
        st.text(max_size=12),
    ),
    body=values,
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    query=st.dictionaries(
        st.sampled_from(["limit", "marker", "sort_key", "fields", "name"]), st.text(max_size=5)
    ),
)
def test_odd_requests_to_every_service_are_never_a_500(
    server: Serving, path: str, body: Any, method: str, query: dict[str, str]
) -> None:
    with httpx.Client(headers=ADMIN, timeout=20) as client:
        try:
            request = client.build_request(
                method,
                httpx.URL(server.url).copy_with(path="/" + path, params=query),
                content=json.dumps(body).encode("utf-8", "surrogatepass"),
                headers={"Content-Type": "application/json"},
            )
        except (httpx.InvalidURL, UnicodeEncodeError):
            return
        answer = client.send(request)
    assert answer.status_code < 500 or answer.status_code == 501, (method, path, body, answer.text)
