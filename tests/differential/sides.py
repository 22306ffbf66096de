"""The two sides: real Neutron (the reference) and Netloom, each a process of its own, asked by the same words."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.serving import free_port

REPOSITORY = Path(__file__).parents[2]

NETLOOM_TOML = """
[server]
listen = "127.0.0.1:{port}"
state_dir = "{state}"
auth = "trusted-headers"
log_level = "WARNING"
[network]
vni_ranges = [[1, 1000]]
tunnel_id_ranges = [[1, 1000]]
flat_networks = ["extnet", "physnet1", "public"]
[network.vlan_ranges]
physnet1 = [[100, 110]]
physnet2 = []
"""
"""What neutron_oracle.py's configuration says, in Netloom's words."""


def oracle_python() -> tuple[Path, Path]:
    """Return (a Python with Neutron, the folder of neutron_oracle.py); raises LookupError that says what to do."""
    python = Path(
        os.environ.get("NETLOOM_ORACLE_PYTHON", REPOSITORY / ".state/oracle-venv/bin/python")
    )
    folder = Path(os.environ.get("NETLOOM_ORACLE", REPOSITORY.parent / "shared" / "oracle"))
    if not (folder / "neutron_oracle.py").is_file():
        raise LookupError(f"no neutron_oracle.py in {folder}: set NETLOOM_ORACLE to its folder")
    if not python.exists():
        raise LookupError(
            f"no Neutron at {python}: `make oracle` makes it, or set NETLOOM_ORACLE_PYTHON"
        )
    return python, folder


@dataclass(frozen=True)
class Identity:
    """Who asks; both sides believe the headers."""

    name: str
    project: str
    roles: str

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-Project-Id": self.project,
            "X-User-Id": f"u-{self.name}-{self.project}",
            "X-Roles": self.roles,
        }


@dataclass(frozen=True)
class Answer:
    """What a side said."""

    status: int
    body: Any
    text: str = field(repr=False, default="")

    @property
    def error(self) -> str:
        """Type of the error, empty where it is none."""
        error = self.body.get("NeutronError") if isinstance(self.body, dict) else None
        return str(error.get("type", "")) if isinstance(error, dict) else ""


class Side:
    """One server and the connection to it."""

    def __init__(self, name: str, root: str) -> None:
        self.name = name
        # Neutron tries what its database refused again for more than two minutes before it answers.
        self._client = httpx.Client(base_url=root, timeout=400)

    def ask(
        self, who: Identity, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> Answer:
        """Send one request. `body`: JSON values, raw bytes, or None for no body."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            response = self._client.request(
                method,
                path,
                content=content,
                headers={"Content-Type": "application/json", **who.headers, **headers},
            )
        except httpx.TimeoutException as late:
            raise TimeoutError(f"{self.name} did not answer {method} {path} {body}") from late
        try:
            decoded = response.json() if response.content else None
        except ValueError:
            decoded = response.text
        return Answer(response.status_code, decoded, response.text)

    def close(self) -> None:
        self._client.close()


@contextmanager
def neutron(state: Path) -> Iterator[Side]:
    """Start the reference; raises LookupError where there is none."""
    python, folder = oracle_python()
    port = free_port()
    script = Path(__file__).parent / "serve_oracle.py"
    with running(
        [str(python), str(script), str(folder), str(port), str(state)], port, state / "log"
    ):
        side = Side("Neutron", f"http://127.0.0.1:{port}/v2.0/")
        yield side
        side.close()


@contextmanager
def netloom(state: Path, settings: str = NETLOOM_TOML) -> Iterator[Side]:
    """Start Netloom with the reference's settings."""
    port = free_port()
    config = state / "server.toml"
    config.write_text(settings.format(port=port, state=state / "data"))
    with running(
        [sys.executable, "-m", "netloom", "server", "--config", str(config)], port, state / "log"
    ):
        side = Side("Netloom", f"http://127.0.0.1:{port}/networking/v2.0/")
        yield side
        side.close()


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until it is not needed any more; it is there when its port answers."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # Neutron's Python must not meet this one's modules.
        theirs = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment = os.environ if command[0] == sys.executable else theirs
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None:
                        raise RuntimeError(log.read_text()[-3000:]) from None
                    time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
