"""What an agent may do over HTTP, and what it may not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from netloom.model import Flavor, HostFacts, Image, Network, Port, Server, Status, ViewDelta
from netloom.model.credentials import secret_hash
from netloom.store import Store
from tests.support.serving import Serving, serving

SERVER_ID = "5c2f6d6e-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("agents")
    sockets = f'agent_sockets = {{ c1 = "{folder}/c1.sock", c2 = "{folder}/c2.sock" }}'
    with serving(folder, sockets) as running:
        for name in ("c1", "c2"):
            made = running.netloom(
                *("host", "add", name, "--config", str(running.config)),
                *("--secret-file", str(folder / name)),
            )
            assert made.returncode == 0, made.stderr
        yield running


def agent(server: Serving, host: str, socket: str = "") -> httpx.Client:
    folder = server.config.parent
    transport = httpx.HTTPTransport(uds=f"{folder}/{socket}.sock") if socket else None
    secret = (folder / host).read_text().strip()
    return httpx.Client(
        base_url=server.url if not socket else "http://server",
        transport=transport,
        headers={"Authorization": f"Bearer {secret}"},
        timeout=10,
    )


def store_of(server: Serving) -> Store:
    return Store.open(f"sqlite:///{server.state}/netloom.db")


def read_steps(client: httpx.Client, path: str, count: int) -> tuple[list[dict[str, object]], str]:
    found: list[dict[str, object]] = []
    with client.stream("GET", path) as response:
        assert response.status_code == 200, response.read()
        for line in response.iter_lines():
            found.append(json.loads(line))
            if len(found) == count:
                break
        return found, response.headers["x-netloom-epoch"]


def test_the_secret_is_private_and_only_its_hash_is_kept(server: Serving) -> None:
    file = server.config.parent / "c1"
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text().strip()
    assert secret.encode() not in b"".join(p.read_bytes() for p in server.state.glob("netloom.db*"))
    store = store_of(server)
    with store.reader() as reader:
        assert reader.hosts()["c1"].secret_hash == secret_hash(secret)
    store.close()


def test_no_secret_a_wrong_one_and_another_hosts(server: Serving) -> None:
    path = "/agent/v1/hosts/c1/stream"
    assert httpx.get(server.url + path).status_code == 401
    assert httpx.get(server.url + path, headers={"Authorization": "Bearer x"}).status_code == 401
    assert agent(server, "c2").get(path).status_code == 401
    unknown = httpx.get(
        server.url + path.replace("c1", "nobody"), headers={"Authorization": "Bearer x"}
    )
    assert unknown.status_code == 401
    for method, tail in (
        ("PUT", "facts"),
        ("POST", "status"),
        ("GET", "images/x"),
        ("PUT", "console/x"),
    ):
        assert agent(server, "c2").request(method, f"/agent/v1/hosts/c1/{tail}").status_code == 401


def test_a_stolen_secret_is_of_no_use_on_another_hosts_socket(server: Serving) -> None:
    facts = msgspec.json.encode(HostFacts(host="c1"))
    assert (
        agent(server, "c1", "c2").put("/agent/v1/hosts/c1/facts", content=facts).status_code == 403
    )
    assert (
        agent(server, "c1", "c1").put("/agent/v1/hosts/c1/facts", content=facts).status_code == 204
    )


def test_a_tunnel_address_of_the_other_ip_version_is_refused(server: Serving) -> None:
    client = agent(server, "c1", "c1")
    facts = msgspec.json.encode(HostFacts(host="c1", tunnel_ip="fd00::1"))
    refused = client.put("/agent/v1/hosts/c1/facts", content=facts)
    assert refused.status_code == 409
    assert "fd00::1 is no IPv4 address, and this cloud's tunnels go over IPv4" in refused.text


def test_facts_of_another_host_and_nonsense_are_refused(server: Serving) -> None:
    client = agent(server, "c1")
    wrong = msgspec.json.encode(HostFacts(host="c2"))
    assert client.put("/agent/v1/hosts/c1/facts", content=wrong).status_code == 400
    for nonsense in (b"", b"{", b"[]", b'{"host": 5}', b"\xff"):
        assert client.put("/agent/v1/hosts/c1/facts", content=nonsense).status_code == 400
        assert client.post("/agent/v1/hosts/c1/status", content=nonsense).status_code == 400


def test_the_stream_gives_a_snapshot_then_the_steps_of_this_host_only(server: Serving) -> None:
    store = store_of(server)
    for name in ("c1", "c2"):
        facts = msgspec.json.encode(HostFacts(host=name, tunnel_ip=f"192.0.2.{name[1:]}"))
        assert (
            agent(server, name).put(f"/agent/v1/hosts/{name}/facts", content=facts).status_code
            == 204
        )
    with store.writer(request_id="req-1") as w:
        w.insert(Network(id="net", key=7))
        w.insert(Port(id="p1", network_id="net", mac_address="fa:16:3e:00:00:01", host="c1"))
    (first,), epoch = read_steps(agent(server, "c1"), "/agent/v1/hosts/c1/stream", 1)
    snapshot = msgspec.convert(first, ViewDelta)
    assert snapshot.snapshot and [row["id"] for row in snapshot.upsert["networks"]] == ["net"]

    with store.writer(request_id="req-2") as w:
        w.insert(Network(id="other", key=8))
        w.insert(Port(id="p2", network_id="other", mac_address="fa:16:3e:00:00:02", host="c2"))
        w.insert(Port(id="p3", network_id="net", mac_address="fa:16:3e:00:00:03", host="c1"))
    path = f"/agent/v1/hosts/c1/stream?after={snapshot.seq}&epoch={epoch}"
    (step,), _ = read_steps(agent(server, "c1"), path, 1)
    assert "req-2" in str(step["request_ids"]) and not step.get("snapshot")
    assert [row["id"] for row in step["upsert"]["ports"]] == ["p3"]  # type: ignore[index]
    assert "other" not in json.dumps(step)

    # Numbers of another database say nothing: a snapshot.
    (again,), _ = read_steps(agent(server, "c1"), path.replace(epoch, "else"), 1)
    assert again["snapshot"] is True
    store.close()


def test_a_stream_that_has_nothing_to_say_says_that_it_lives(server: Serving) -> None:
    lines, _ = read_steps(agent(server, "c1"), "/agent/v1/hosts/c1/stream", 2)
    assert lines[1]["keepalive"] is True and lines[1]["seq"] == lines[0]["seq"]


def test_what_a_host_reports_becomes_the_status(server: Serving) -> None:
    store = store_of(server)
    with store.writer() as w:
        w.insert(Network(id="net-s", key=9))
        w.insert(Port(id="ps", network_id="net-s", mac_address="fa:16:3e:00:00:09", host="c1"))
    rows = [Status(kind="port", id="ps", aspect="l2", seq=3, state="ok")]
    report = msgspec.json.encode({"applied_seq": 3, "rows": rows})
    # Another host cannot make it so.
    assert agent(server, "c2").post("/agent/v1/hosts/c2/status", content=report).status_code == 204
    with store.reader() as r:
        assert r.api_status("port", ["ps"]).get("ps") != "ACTIVE"
    assert agent(server, "c1").post("/agent/v1/hosts/c1/status", content=report).status_code == 204
    with store.reader() as r:
        assert r.api_status("port", ["ps"]) == {"ps": "ACTIVE"}
        assert r.hosts()["c1"].applied_seq == 3
        assert r.hosts()["c1"].heartbeat_at
    store.close()


def test_trouble_that_is_no_more_leaves_the_status(server: Serving) -> None:
    store = store_of(server)
    with store.writer() as w:
        w.insert(Network(id="net-g", key=12))
        w.insert(Port(id="pg", network_id="net-g", mac_address="fa:16:3e:00:00:12", host="c1"))

    def report(*rows: tuple[str, str, str, str], whole: bool = False) -> dict[tuple[str, str], str]:
        made = [Status(kind=k, id=i, aspect=a, seq=3, state=s, detail="d") for k, i, a, s in rows]
        body = msgspec.json.encode({"applied_seq": 3, "rows": made, "whole": whole})
        assert (
            agent(server, "c1").post("/agent/v1/hosts/c1/status", content=body).status_code == 204
        )
        with store.reader() as r:
            return {
                (row.id, row.aspect): row.state for row in r.status_rows(["net-g", "pg"], host="c1")
            }

    bad = ("port", "pg", "security", "error"), ("network", "net-g", "dhcp", "error")
    assert report(("port", "pg", "l2", "ok"), *bad) == {
        ("pg", "l2"): "ok",
        ("pg", "security"): "error",
        ("net-g", "dhcp"): "error",
    }
    with store.reader() as r:
        assert r.api_status("port", ["pg"]) == {"pg": "ERROR"}
    assert report(("port", "pg", "security", "gone")) == {
        ("pg", "l2"): "ok",
        ("net-g", "dhcp"): "error",
    }
    with store.reader() as r:
        assert r.api_status("port", ["pg"]) == {"pg": "ACTIVE"}
    # An agent that was started anew says all there is: of the rest nothing is wrong any more.
    assert report(whole=True) == {("pg", "l2"): "ok"}
    assert report(bad[1], whole=True) == {("pg", "l2"): "ok", ("net-g", "dhcp"): "error"}
    store.close()


def test_images_and_consoles_of_the_hosts_own_instances_only(server: Serving) -> None:
    image_id = "0fc2e1ab-0000-4000-8000-000000000001"
    store = store_of(server)
    with store.writer() as w:
        w.insert(Image(id=image_id, status="active", os_hash_value="abc"))
        w.insert(
            Server(
                id=SERVER_ID,
                user_id="u",
                image_id=image_id,
                flavor=Flavor(id="f"),
                host="c1",
                port_ids=(),
            )
        )
    store.close()
    file = server.state / "images" / image_id
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"data")
    got = agent(server, "c1").get(f"/agent/v1/hosts/c1/images/{image_id}")
    assert (got.status_code, got.content, got.headers["x-image-sha512"]) == (200, b"data", "abc")
    assert agent(server, "c2").get(f"/agent/v1/hosts/c2/images/{image_id}").status_code == 404
    console = f"/console/{SERVER_ID}"
    assert agent(server, "c2").put(f"/agent/v1/hosts/c2{console}", content=b"x").status_code == 404
    assert (
        agent(server, "c1").put("/agent/v1/hosts/c1/console/x%2Fy", content=b"x").status_code == 404
    )
    long = b"a" * 200_000 + b"end\n"
    assert agent(server, "c1").put(f"/agent/v1/hosts/c1{console}", content=long).status_code == 204
    kept = (server.state / "consoles" / f"{SERVER_ID}.log").read_bytes()
    assert len(kept) == 100 * 1024 and kept.endswith(b"end\n")
