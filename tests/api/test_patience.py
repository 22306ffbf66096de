"""What a client cannot do to a server: hold connections for nothing, fill its memory or its log."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from netloom.server import patience
from tests.support.cloud import running
from tests.support.serving import Serving, serving

BODY = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("patience"), 'auth = "trusted-headers"') as there:
        yield there


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 60)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost:", BODY, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n"],
    ids=["nothing", "half a head", "half a body", "an empty line after a request"],
)
def test_a_silent_client_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    with running(tmp_path) as cloud, connect(cloud.url) as connection:
        connection.sendall(sent)
        while connection.recv(4096):
            pass


def test_a_head_that_comes_drop_by_drop_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    with running(tmp_path) as cloud, connect(cloud.url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        connection.settimeout(0.05)
        for _ in range(1000):
            try:
                connection.sendall(b"x: y\r\n")
                if not connection.recv(4096):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("it is still there")


def test_a_head_without_end_is_refused(server: Serving) -> None:
    with connect(server.url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for _ in range(1000):
                connection.sendall(b"x: " + b"y" * 1000 + b"\r\n")
            answer = connection.recv(4096)
        except ConnectionError:
            return  # closed while we were sending
        assert answer.startswith(b"HTTP/1.1 400"), answer


def test_a_large_head_is_fine(server: Serving) -> None:
    assert httpx.get(server.url, headers={"x-token": "y" * 32_000}).status_code == 200


def test_a_request_is_one_line_of_the_log(server: Serving) -> None:
    httpx.get(f"{server.url}/networking/v2.0/first%0A2026-01-01 second%1B[2J")
    assert server.says(re.escape("GET /networking/v2.0/first\\n2026-01-01 second\\x1b[2J 404"))


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/networking/v2.0/networks?limit=" + "9" * 5000, {}, 400),
        ("/compute/v2.1/servers", {"openstack-api-version": "compute 2." + "9" * 5000}, 400),
        ("/explain/v1?source=a&destination=b&protocol=tcp&port=" + "9" * 5000, {}, 400),
        ("/explain/v1?source=a&destination=b&protocol=" + "9" * 5000, {}, 400),
    ],
    ids=["limit", "microversion", "port", "protocol"],
)
def test_numbers_that_are_too_long_for_numbers(
    server: Serving, path: str, headers: dict[str, str], code: int
) -> None:
    answer = httpx.get(server.url + path, headers={"x-roles": "admin", **headers})
    assert answer.status_code == code, answer.text
