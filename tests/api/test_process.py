"""The server as a process: what it makes, what it refuses in one line, and how it ends."""

from __future__ import annotations

import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from netloom.store import Store
from tests.support.serving import free_port, netloom, serving

pytestmark = pytest.mark.slow


def start(config: Path) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to refuse."""
    return netloom("server", "--config", str(config))


def test_first_start_and_orderly_end(tmp_path: Path) -> None:
    with serving(tmp_path, f'agent_sockets = {{ c1 = "{tmp_path}/c1.sock" }}') as server:
        for name in ("netloom.db", "token.key", "first-passwords.json"):
            assert (server.state / name).stat().st_mode & 0o077 == 0, name
        answer = httpx.get(server.url)
        ident = answer.headers["x-openstack-request-id"]
        assert re.fullmatch(r"req-[0-9a-f-]{36}", ident)
        assert server.says(rf"{ident} .* GET / 200 [\d.]+ ms")
        key = (server.state / "token.key").read_bytes()
        server.process.terminate()
        assert server.process.wait(10) == 0
    assert not (tmp_path / "c1.sock").exists()
    with serving(tmp_path) as server:
        assert (server.state / "token.key").read_bytes() == key


def test_sigterm_ends_streams_and_lets_go(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        made = server.netloom("host", "add", "c1", "--config", str(server.config))
        secret = made.stdout.strip()
        lines: list[str] = []

        def follow() -> None:
            headers = {"Authorization": f"Bearer {secret}"}
            url = f"{server.url}/agent/v1/hosts/c1/stream"
            with httpx.stream("GET", url, headers=headers, timeout=30) as response:
                lines.extend(response.iter_lines())

        thread = threading.Thread(target=follow)
        thread.start()
        deadline = time.monotonic() + 30
        while not lines and time.monotonic() < deadline:
            time.sleep(0.05)
        server.process.terminate()
        assert server.process.wait(30) == 0
        thread.join(30)
        assert lines and not thread.is_alive()


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        refused = start(server.config)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "another process has it" in refused.stderr


def test_an_old_database_is_not_upgraded_silently(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        config, database = server.config, server.state / "netloom.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    refused = start(config)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "netloom db upgrade" in refused.stderr


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ('listen = "0.0.0.0:{port}"', "tls_certificate"),
        ('listen = "192.0.2.1:{port}"\nplain_http_anywhere = true', "no such address"),
        (
            'listen = "0.0.0.0:{port}"\nplain_http_anywhere = true\nauth = "trusted-headers"',
            "anybody",
        ),
        (
            'listen = "127.0.0.1:{port}"\nagent_sockets = {{ c1 = "/' + "x" * 120 + '" }}',
            "too long a path",
        ),
        ('listen = "127.0.0.1:{port}"\ndatabase = "mysql://x/y"', "only sqlite"),
        ('listen = "127.0.0.1:{port}"\ntls_certificate = "a"\ntls_key = "b"', "cannot read"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path: Path, settings: str, complaint: str) -> None:
    config = tmp_path / "s.toml"
    state = f'[server]\nstate_dir = "{tmp_path}/state"\n'
    config.write_text(state + settings.format(port=free_port()))
    refused = start(config)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.count("\n") == 1 and complaint in refused.stderr


def test_a_dead_servers_socket_is_taken_over_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c1.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    config = tmp_path / "s.toml"
    with serving(tmp_path, f'agent_sockets = {{ c1 = "{path}" }}'):
        config.write_text(
            f'[server]\nlisten = "127.0.0.1:{free_port()}"\nstate_dir = "{tmp_path}/other"\n'
            f'agent_sockets = {{ c1 = "{path}" }}\n'
        )
        refused = start(config)
        assert refused.returncode == 2 and "another server answers" in refused.stderr
        assert path.exists()


def test_a_database_made_beforehand_is_used(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    store = Store.open(f"sqlite:///{tmp_path}/state/netloom.db")
    store.upgrade()
    epoch = store.epoch
    store.close()
    with serving(tmp_path) as server:
        store = Store.open(f"sqlite:///{server.state}/netloom.db")
        assert store.epoch == epoch
        store.close()


def test_tls_is_served_where_a_certificate_is_given(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]
    words += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run(
        [*words, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True
    )
    port = free_port()
    config = tmp_path / "s.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nstate_dir = "{tmp_path}/state"\n'
        f'tls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    )
    command = [sys.executable, "-m", "netloom", "server", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(verify=context, trust_env=False) as client:
            for _ in range(200):
                try:
                    answer = client.get(f"https://127.0.0.1:{port}/")
                    break
                except httpx.TransportError:
                    assert process.poll() is None
                    time.sleep(0.1)
            else:
                raise AssertionError("the server did not answer")
        links = answer.json()["services"][0]["links"]
        assert links[0]["href"].startswith(f"https://127.0.0.1:{port}/")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
    finally:
        process.terminate()
        assert process.wait(20) == 0
