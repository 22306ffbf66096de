"""A server whose disk is full or whose database somebody else holds: plain words, nothing lost, and it goes on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import free_port, serving

from netloom.store import Store

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
    words = ["unshare", "--mount", "sh", "-c", script, "sh", f"{folder}/state", sys.executable, str(config)]
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
    command = [sys.executable, "-m", "netloom", "server", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.slow
def test_two_servers_never_share_a_database(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    with serving(tmp_path) as server:
        other.write_text(f'[server]\nlisten = "127.0.0.1:{free_port()}"\nstate_dir = "{server.state}"\n')
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
        return {each["name"]: each["id"] for each in client.get("/identity/v3/users").json()["users"]}

    with serving(tmp_path, 'auth = "trusted-headers"') as server:
        with httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client:
            client.delete(f"/identity/v3/users/{users(client)['demo']}").raise_for_status()
        (server.state / "first-passwords.json").unlink()
    with serving(tmp_path, 'auth = "trusted-headers"') as server:
        with httpx.Client(base_url=server.url, headers=ADMIN, timeout=30) as client:
            assert set(users(client)) == {"admin"}
        assert not (server.state / "first-passwords.json").exists()
