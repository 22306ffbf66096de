"""A server whose disk is full or whose database somebody else holds: plain words, nothing lost, and it goes on."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from netloom.image import files
from netloom.model.server_settings import ServerSettings
from netloom.server.sockets import listen
from netloom.store import Store
from tests.support.serving import free_port, netloom, serving

TRUSTED = 'auth = "trusted-headers"'
OCTETS = {"Content-Type": "application/octet-stream"}
DISK = bytes(3 << 20)
ADMIN = {"X-Roles": "admin,member,reader", "X-Project-Id": "a" * 32}


def network(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("/networking/v2.0/networks", json={"network": {"name": name}})


def names(client: httpx.Client) -> set[str]:
    return {each["name"] for each in client.get("/networking/v2.0/networks").json()["networks"]}


@dataclass
class Small:
    """A server whose state folder is a disk of 4 MiB, seen from outside through its process."""

    process: subprocess.Popen[bytes]
    state: Path
    log: Path
    client: httpx.Client

    @property
    def filler(self) -> Path:
        return self.state / "filler"

    def fill(self) -> None:
        with self.filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return


@contextmanager
def small(folder: Path) -> Iterator[Small]:
    (folder / "state").mkdir()
    port, config, log = free_port(), folder / "server.toml", folder / "server.log"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nstate_dir = "{folder}/state"\nauth = "trusted-headers"\n'
    )
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -m netloom server --config "$3"'
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        f"{folder}/state",
        sys.executable,
        str(config),
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stderr=stream)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=ADMIN, timeout=30) as client:
            for _ in range(300):
                assert process.poll() is None, log.read_text()
                try:
                    client.get("/")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield Small(process, Path(f"/proc/{process.pid}/root{folder}/state"), log, client)
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.root
@pytest.mark.slow
def test_a_full_disk_is_said_plainly_and_passes(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        assert network(server.client, "before").status_code == 201
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image = server.client.post("/image/v2/images", json=body).json()["id"]
        server.fill()
        for name in ("b", "c"):
            answer = network(server.client, name)
            assert answer.status_code == 503
            assert answer.headers["x-openstack-request-id"] in answer.text
        assert names(server.client) == {"before"}
        data = {"content": bytes(8 << 20), "headers": {"Content-Type": "application/octet-stream"}}
        answer = server.client.put(f"/image/v2/images/{image}/file", **data)
        assert answer.status_code == 503
        said = server.log.read_text()
        assert "the disk is full" in said and "No space left" in said and "Traceback" not in said
        assert [each.name for each in (server.state / "images").iterdir()] == []

        server.filler.unlink()
        assert network(server.client, "after").status_code == 201
        assert names(server.client) == {"before", "after"}


@pytest.mark.root
@pytest.mark.slow
def test_a_database_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Its file system was mounted read-only, as a kernel does that finds it damaged."""
    with serving(tmp_path, TRUSTED) as server:
        config = server.config
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -m netloom server --config "$3"'
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        f"{tmp_path}/state",
        sys.executable,
        str(config),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (
        done.returncode == 2
        and done.stderr.count("\n") == 1
        and "check the folder and its permissions" in done.stderr
    )


@contextmanager
def half_an_upload(client: httpx.Client) -> Iterator[tuple[str, socket.socket]]:
    """An image of which the server has the first half on disk: (id, connection)."""
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image = client.post("/image/v2/images", json=body).json()["id"]
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), 30) as raw:
        head = f"PUT /image/v2/images/{image}/file HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DISK)}\r\n"
        more = "".join(f"{name}: {value}\r\n" for name, value in (ADMIN | OCTETS).items())
        raw.sendall(f"{head}{more}\r\n".encode() + DISK[: len(DISK) // 2])
        yield image, raw


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_amid_an_upload_leaves_none_of_it(tmp_path: Path, number: int) -> None:
    images = tmp_path / "state/images"
    with (
        serving(tmp_path, TRUSTED) as server,
        httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client,
        half_an_upload(client) as (image, raw),
    ):
        until(
            lambda: images.is_dir() and any(f.stat().st_size for f in images.iterdir()),
            "no data arrived",
        )
        server.process.send_signal(number)
        server.process.wait(30)
        assert "Traceback" not in server.log
        try:
            answer = raw.recv(1000)
        except ConnectionResetError:  # what it had not read yet was still in the kernel
            answer = b""
        assert answer == b"" if number == signal.SIGKILL else answer.startswith(b"HTTP/1.1 503")
    with (
        serving(tmp_path, TRUSTED) as server,
        httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client,
    ):
        assert list(images.iterdir()) == []
        assert client.get(f"/image/v2/images/{image}").json()["status"] == "queued"
        put = client.put(f"/image/v2/images/{image}/file", content=DISK, headers=OCTETS)
        assert put.status_code == 204
        assert client.get(f"/image/v2/images/{image}/file").content == DISK


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_amid_a_download_cuts_it(tmp_path: Path, number: int) -> None:
    """A client sees that it has not all of it; one that SIGTERM finds at work may still get it whole."""
    with (
        serving(tmp_path, TRUSTED) as server,
        httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client,
    ):
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image = client.post("/image/v2/images", json=body).json()["id"]
        disk = bytes(64 << 20)
        client.put(f"/image/v2/images/{image}/file", content=disk, headers=OCTETS)
        got = 0
        with client.stream("GET", f"/image/v2/images/{image}/file") as answer:
            blocks = answer.iter_raw(1 << 20)
            got += len(next(blocks))
            server.process.send_signal(number)
            try:
                got += sum(len(block) for block in blocks)
                assert got == len(disk) and number == signal.SIGTERM
            except httpx.TransportError:
                assert got < len(disk)
        server.process.wait(30)
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_data_whose_image_was_never_said_to_be_there_is_swept_away(tmp_path: Path) -> None:
    """Killed between putting the data in its place and the commit."""
    with (
        serving(tmp_path, TRUSTED) as server,
        httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client,
    ):
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image = client.post("/image/v2/images", json=body).json()["id"]
    (tmp_path / "state/images").mkdir(exist_ok=True)
    (tmp_path / "state/images" / image).write_bytes(DISK)
    with serving(tmp_path, TRUSTED):
        assert list((tmp_path / "state/images").iterdir()) == []


def test_data_put_in_place_goes_when_it_cannot_be_said_to_be_there(tmp_path: Path) -> None:
    image = str(uuid.uuid4())
    with pytest.raises(OSError, match="full"), files.Upload(tmp_path, image, len(DISK)) as upload:
        upload.write(DISK)
        upload.finish()
        upload.keep()
        raise OSError("the disk is full")  # as the commit may find it
    assert list(files.folder(tmp_path).iterdir()) == []


@pytest.mark.slow
def test_a_database_that_another_process_holds_is_said_plainly_and_passes(tmp_path: Path) -> None:
    with (
        serving(tmp_path, 'auth = "trusted-headers"') as server,
        httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client,
    ):
        held = sqlite3.connect(server.state / "netloom.db", isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        assert network(client, "n").status_code == 503
        assert names(client) == set()
        held.close()
        assert network(client, "n").status_code == 201
        assert "another process has been writing" in server.log and "Traceback" not in server.log


def refused(config: Path) -> str:
    """Start a server that must refuse with one line; returns that."""
    done = netloom("server", "--config", str(config))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.slow
def test_two_servers_never_share_a_database(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    with serving(tmp_path) as server:
        other.write_text(
            f'[server]\nlisten = "127.0.0.1:{free_port()}"\nstate_dir = "{server.state}"\n'
        )
        assert "another server uses the database" in refused(other)
        os.kill(server.process.pid, 9)
        server.process.wait()
    with serving(tmp_path):
        pass  # one that was killed holds nothing


@pytest.mark.slow
def test_a_database_of_a_newer_netloom_asks_for_that(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        config, database = server.config, server.state / "netloom.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "written by a newer one; use that" in refused(config)


def test_only_the_server_and_upgrade_make_a_database(tmp_path: Path) -> None:
    """SQLite would make an empty one that others can read, and password hashes would go into it later."""
    from netloom.cli.main import main

    secret = tmp_path / "secret"
    secret.write_text("in use")
    url = f"sqlite:///{tmp_path}/netloom.db"
    assert main(["host", "add", "c1", "--database", url, "--secret-file", str(secret)]) == 2
    assert not (tmp_path / "netloom.db").exists()
    assert secret.read_text() == "in use"
    Store.open(url).upgrade()
    assert main(["host", "add", "c1", "--database", url, "--secret-file", str(secret)]) == 0
    assert (tmp_path / "netloom.db").stat().st_mode & 0o077 == 0
    assert secret.stat().st_mode & 0o077 == 0 and secret.read_text() != "in use"


@pytest.mark.slow
def test_what_the_operator_removed_does_not_come_back(tmp_path: Path) -> None:
    def users(client: httpx.Client) -> dict[str, Any]:
        return {
            each["name"]: each["id"] for each in client.get("/identity/v3/users").json()["users"]
        }

    with serving(tmp_path, 'auth = "trusted-headers"') as server:
        with httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client:
            client.delete(f"/identity/v3/users/{users(client)['demo']}").raise_for_status()
        (server.state / "first-passwords.json").unlink()
    with serving(tmp_path, 'auth = "trusted-headers"') as server:
        with httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client:
            assert set(users(client)) == {"admin"}
        assert not (server.state / "first-passwords.json").exists()


def test_a_client_whose_machine_is_gone_is_noticed() -> None:
    """The kernel asks after connections that are silent: they take that over from the socket that listens."""
    port = free_port()
    listening = listen(ServerSettings(listen=f"127.0.0.1:{port}"))[0]
    with listening, socket.create_connection(("127.0.0.1", port)):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
