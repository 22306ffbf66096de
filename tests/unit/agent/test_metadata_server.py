"""The metadata listener's answers to what instances send, well-formed and not."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from netloom.metadata.listener import CONNECTIONS_PER_ASKER, LONGEST_REQUEST, MetadataServer


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """A listener on loopback; 127.0.0.1 stands for the port `asker`."""
    server = MetadataServer(
        lambda port, path: ("text/plain", f"{port} {path}".encode()) if path == "/x" else None
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server.listen("net", listener, 0, {"127.0.0.1": "asker"})
    yield listener.getsockname()
    server.remove("net")


def talk(address: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(address, timeout=5) as link:
        link.sendall(request)
        out = b""
        while data := link.recv(4096):
            out += data
        return out


@pytest.mark.parametrize(
    ("request_", "start"),
    [
        (
            b"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.9\r\nX-Instance-ID: other\r\n\r\n",
            b"HTTP/1.1 200",
        ),
        (b"GET /y HTTP/1.1\r\n\r\n", b"HTTP/1.1 404"),
        (b"POST /x HTTP/1.1\r\n\r\n", b"HTTP/1.1 405"),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET /x HTTP/1.1\r\nA: " + b"a" * LONGEST_REQUEST, b"HTTP/1.1 400"),
    ],
)
def test_requests(address: tuple[str, int], request_: bytes, start: bytes) -> None:
    assert talk(address, request_).startswith(start)


def test_who_asks_is_known_from_the_address_alone(address: tuple[str, int]) -> None:
    answer = talk(address, b"GET /x HTTP/1.0\r\nX-Forwarded-For: 10.0.0.9\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nasker /x")


def test_one_asker_cannot_take_all_connections(address: tuple[str, int]) -> None:
    idle = [socket.create_connection(address, timeout=5) for _ in range(CONNECTIONS_PER_ASKER)]
    try:
        for link in idle:
            link.sendall(b"GET")
        with socket.create_connection(address, timeout=5) as one_more:
            one_more.settimeout(5)
            assert one_more.recv(10) == b""  # closed at once
    finally:
        for link in idle:
            link.close()
