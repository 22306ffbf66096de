"""A client on the wire: slow, endless, ambiguous or lying about where it asks."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from netloom.api.hosts.presence import MOST_STREAMS, Presence
from netloom.model.errors import Conflict
from netloom.server import patience
from tests.support.cloud import Cloud, running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("wire")) as there:
        yield there


def connect(cloud: Cloud) -> socket.socket:
    host, port = cloud.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 30)


def ask(cloud: Cloud, sent: bytes) -> bytes:
    """Send raw bytes; everything that comes until the server closes, or has answered and says no more."""
    with connect(cloud) as connection:
        got = b""
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65536):
                got += chunk
                connection.settimeout(0.3)
        except (ConnectionError, TimeoutError):
            pass
        return got


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("where", ["a token", "an image"])
def test_a_body_that_comes_byte_by_byte_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.4)
    with running(tmp_path) as cloud:
        begin = head("POST /identity/v3/auth/tokens HTTP/1.1", "Host: x", "Content-Length: 100000")
        if where == "an image":
            with cloud.client() as client:
                image = client.post(
                    "/image/v2/images", json={"disk_format": "raw", "container_format": "bare"}
                ).json()["id"]
                token = client.headers["x-auth-token"]
            begin = head(
                f"PUT /image/v2/images/{image}/file HTTP/1.1", "Host: x", "Content-Length: 100000",
                "Content-Type: application/octet-stream", f"X-Auth-Token: {token}",
            )  # fmt: skip
        with connect(cloud) as connection:
            connection.sendall(begin)
            connection.settimeout(0.05)
            # Never silent for as long as the server waits, and yet never done.
            for _ in range(400):
                try:
                    connection.sendall(b"x")
                    if not connection.recv(4096):
                        return
                except TimeoutError:
                    continue
                except ConnectionError:
                    return
    pytest.fail("it is still there")


def test_a_body_that_comes_fast_enough_is_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 1.0)
    with running(tmp_path) as cloud, connect(cloud) as connection:
        connection.sendall(
            head("POST /identity/v3/auth/tokens HTTP/1.1", "Host: x", "Content-Length: 100000")
        )
        for _ in range(20):
            connection.sendall(b" " * 5000)
            time.sleep(0.1)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_does_not_read_its_answer_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.4)
    with (
        running(tmp_path) as cloud,
        cloud.client("admin", "admin") as client,
        connect(cloud) as rude,
    ):
        for _ in range(10):
            networks = [{"name": "x" * 250, "description": "y" * 250}] * 10
            made = client.post("/networking/v2.0/networks", json={"networks": networks})
            assert made.status_code == 201, made.text
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one = head(
            "GET /networking/v2.0/networks HTTP/1.1", "Host: x",
            f"X-Auth-Token: {client.headers['x-auth-token']}",
        )  # fmt: skip
        rude.settimeout(60)
        try:
            for _ in range(2000):
                rude.sendall(one * 20)
        except (ConnectionError, TimeoutError) as error:
            assert isinstance(error, ConnectionError), "it is still there"
            return
    pytest.fail("it is still there")


def test_a_body_that_nobody_wants_is_not_read(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token: the answer comes before the body, and the rest of the body is not taken."""
    monkeypatch.setattr(patience, "LINGER_BYTES", 1024**2)
    with connect(cloud) as connection:
        connection.sendall(
            head("POST /networking/v2.0/networks HTTP/1.1", "Host: x", f"Content-Length: {10**9}")
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 50 * 1024**2:
                connection.sendall(b"x" * 65536)
                sent += 65536


def test_an_unwanted_body_that_just_stays_open_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LINGER_SECONDS", 0.2)
    with running(tmp_path) as cloud, connect(cloud) as connection:
        connection.sendall(
            head("POST /networking/v2.0/networks HTTP/1.1", "Host: x", "Content-Length: 1000")
        )
        got = b""
        while chunk := connection.recv(4096):
            got += chunk
        assert got.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "lines",
    [
        [f"x-{n}: y" for n in range(200)],
        ["x: " + "y" * 100_000],
        [f"x-{n}: " + "y" * 2000 for n in range(50)],
        ["Host: x", "Host: y"],
        ["X-Auth-Token: a", "X-Auth-Token: b"],
        ["x-auth-token: a", "X-AUTH-TOKEN: a"],
        ["X-Service-Token: a", "X-Service-Token: b"],
        ["Content-Length: 0", "Content-Length: 5"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: xchunked"],
        ["Content-Length: +5"],
        ["Content-Length: -5"],
        ["Content-Length: 5, 5"],
        ["Content-Length : 5"],
        ["X-Auth-Token : a"],
        ["X: a\0b"],
        ["X: a\x01b"],
        ["X Y: a"],
    ],
    ids=lambda lines: lines[0][:24] + "…",
)
def test_an_ambiguous_or_oversized_head_is_a_400(cloud: Cloud, lines: list[str]) -> None:
    answer = ask(
        cloud, head("POST / HTTP/1.1", *lines) + b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing after it is a request"


def test_a_long_target_is_a_414(cloud: Cloud) -> None:
    for target in ("/" + "x" * 17_000, "/?x=" + "y" * 17_000):
        assert ask(
            cloud, head(f"GET {target} HTTP/1.1", "Host: x", "Connection: close")
        ).startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize(
    "host", ["[", "a[b", "evil.example", "a b", "", "x" * 5000, "[::1", "\xff"]
)
@pytest.mark.parametrize(
    "path",
    [
        "/", "/networking/", "/networking/v2.0/", "/networking/v2.0/networks?limit=1", "/identity/v3",
        "/identity/v3/users?limit=1", "/identity/v3/auth/system", "/identity/v3/auth/projects",
        "/image/versions", "/image/v2/images", "/compute/", "/compute/v2.1/", "/compute/v2.1/servers?limit=1",
        "/compute/v2.1/flavors?limit=1", "/compute/v2.1/os-quota-sets/p/detail",
    ],
)  # fmt: skip
def test_links_never_come_from_the_host_header(cloud: Cloud, path: str, host: str) -> None:
    token = _admin_token(cloud)
    lines = [f"Host: {host}", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https"]
    lines += ["Forwarded: host=evil.example", "X-Forwarded-Prefix: /evil", f"X-Auth-Token: {token}"]
    text = "\r\n".join([f"GET {path} HTTP/1.1", *lines, "Connection: close", "", ""])
    answer = ask(cloud, text.encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 "), answer
    assert not answer.startswith(b"HTTP/1.1 500"), answer
    assert b"evil" not in answer and b"https://" not in answer.partition(b"\r\n\r\n")[2]


_TOKENS: dict[str, str] = {}


def _admin_token(cloud: Cloud) -> str:
    if cloud.url not in _TOKENS:
        with cloud.client("admin", "admin") as client:
            _TOKENS[cloud.url] = client.headers["x-auth-token"]
            for name in ("a", "b"):
                client.post("/networking/v2.0/networks", json={"network": {"name": name}})
    return _TOKENS[cloud.url]


def test_a_trusted_proxy_says_where_it_was_asked(tmp_path: Path) -> None:
    with running(tmp_path, server={"trusted_proxies": ["127.0.0.0/8"]}) as cloud:
        headers = {"X-Forwarded-Host": "cloud.example:8443", "X-Forwarded-Proto": "https"}
        answer = cloud.http.get("/networking/", headers=headers).text
        assert "https://cloud.example:8443/networking/v2.0/" in answer
        for strange in ("a b", "a/b", "x@y", "a\tb", "[", "a:b"):
            answer = cloud.http.get("/networking/", headers={"X-Forwarded-Host": strange}).text
            assert f"{cloud.url}/networking/v2.0/" in answer, strange


def test_public_url_wins(tmp_path: Path) -> None:
    settings = {"public_url": "https://c.example/", "trusted_proxies": ["127.0.0.1"]}
    with running(tmp_path, server=settings) as cloud:
        url = f"http://{cloud.services.settings.server.listen}/networking/"
        answer = httpx.get(url, headers={"X-Forwarded-Host": "other"}).text
        assert '"https://c.example/networking/v2.0/"' in answer


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND", "QUERY"]
)
@pytest.mark.parametrize(
    "path",
    ["/", "/identity/v3", "/identity/v3/auth/tokens", "/networking/v2.0/networks", "/compute/v2.1/servers",
     "/image/v2/images", "/agent/v1/hosts/c1/status", "/explain/v1", "/nowhere"],
)  # fmt: skip
def test_other_methods_are_refused_and_echo_nothing(cloud: Cloud, method: str, path: str) -> None:
    answer = ask(
        cloud,
        head(
            f"{method} {path} HTTP/1.1",
            "Host: x",
            f"X-Auth-Token: {_admin_token(cloud)}",
            "X-Secret: do-not-echo",
            "Connection: close",
        ),
    )
    status = int(answer.split(b" ")[1])
    assert status == 200 or 400 <= status < 500, answer[:300]
    assert b"do-not-echo" not in answer
    if method in ("TRACE", "CONNECT"):
        assert status in (400, 404, 405)


def test_an_agent_has_four_streams_at_most() -> None:
    presence = Presence(5.0)
    for _ in range(MOST_STREAMS):
        presence.begun("c1", "one")
    with pytest.raises(Conflict):
        presence.begun("c1", "one")
    presence.begun("c2", "one")
    presence.ended("c1", "one")
    presence.begun("c1", "one")
