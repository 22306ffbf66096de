"""What `netloom bench scale` measures: a real server process, simulated hosts in processes of their own, and their CPU time."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from netloom.bench.api import BULK, Endpoint
from netloom.bench.starting import free_port, token, wait
from netloom.model import HostFacts
from netloom.model.credentials import secret_hash
from netloom.model.errors import UserError
from netloom.model.files import write_whole
from netloom.store import Store

FIRST_TUNNEL_IP = IPv4Address("10.255.0.1")
SECONDS = 300.0
"""How long anything may take until the bench gives up."""


class Counts(Struct):
    """As a process of simulated hosts prints them (`netloom.agent.simulated`)."""

    steps: int
    plans: int
    posts: int
    heartbeats: int
    added: int
    altered: int
    removed: int
    flows: int

    @property
    def changes(self) -> int:
        """Objects of hosts that were added, altered or removed."""
        return self.added + self.altered + self.removed


class Said(Struct):
    """One answer of such a process."""

    cpu_seconds: float
    total: Counts
    hosts: dict[str, Counts]


class Simulated:
    """A process of simulated hosts."""

    def __init__(self, process: subprocess.Popen[str], hosts: Sequence[str], log: Path) -> None:
        self.process = process
        self.hosts = tuple(hosts)
        self._log = log

    def ask(self, words: str) -> Said:
        """Ask for something and wait for the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            said = self._log.read_text().strip().splitlines()
            raise UserError(
                f"the simulated hosts ended: {said[-1] if said else 'they said nothing'}"
            )
        return msgspec.json.decode(line, type=Said)

    def end(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


class ScaleWorld:
    """A server, its API, and the hosts that were registered."""

    def __init__(
        self,
        folder: Path,
        server: subprocess.Popen[bytes],
        endpoint: Endpoint,
        port: int,
        started_in: float,
    ):
        self.folder = folder
        self.server = server
        self.endpoint = endpoint
        self.port = port
        self.started_in = started_in
        """Seconds until the server answered."""
        self._started: list[Simulated] = []
        self._names = hosts_of(folder)

    def cpu(self) -> float:
        """CPU seconds of the server process until now."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self, seconds: float = 300.0) -> None:
        """Wait until the server has nothing more to do of what it does after its start, for so long at most."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            before = self.cpu()
            time.sleep(2)
            if self.cpu() - before < 0.4:
                return

    def memory(self) -> float:
        """MiB of memory that the server holds."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def introduce(self, names: Sequence[str]) -> None:
        """Register hosts and say their facts for them: ports can be bound there, though no agent runs yet."""
        store = Store.open(f"sqlite:///{self.folder}/state/netloom.db")
        words = credentials(self.folder, names)
        with store.writer(actor="netloom bench") as w:
            for name, word in words.items():
                w.put_host(name, secret_hash=secret_hash(word))
        store.close()
        transport = httpx.HTTPTransport(uds=str(self.folder / "hosts.sock"))
        with httpx.Client(transport=transport, base_url="http://server", timeout=60) as client:
            for name, word in words.items():
                facts = HostFacts(host=name, tunnel_ip=str(self.tunnel_ip(name)))
                client.put(
                    f"/agent/v1/hosts/{name}/facts",
                    content=msgspec.json.encode(facts),
                    headers={"Authorization": f"Bearer {word}"},
                ).raise_for_status()

    def tunnel_ip(self, name: str) -> IPv4Address:
        """The end of a host's tunnels."""
        return FIRST_TUNNEL_IP + self._names.index(name)

    def start(self, names: Sequence[str]) -> Simulated:
        """Start one process that is these hosts, which were introduced; returns when each has planned its snapshot."""
        number = len(self._started)
        file, log = self.folder / f"hosts-{number}.toml", self.folder / f"hosts-{number}.log"
        file.write_text(
            f'[simulated]\nserver = "unix://{self.folder}/hosts.sock"\nsecrets = "{self.folder}/secrets"\n'
            f'hosts = {json.dumps(list(names))}\nfirst_tunnel_ip = "{self.tunnel_ip(names[0])}"\n'
        )
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "netloom", "agent", "--simulated", str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        made = Simulated(process, names, log)
        self._started.append(made)
        made.ask(f"wait {len(names)}")
        return made

    def ports(self, network: Any, hosts: Sequence[str], count: int, **more: Any) -> list[Any]:
        """Make ports, bound to these hosts in turn."""
        made: list[Any] = []
        while len(made) < count:
            bodies = [
                {
                    "network_id": network["id"],
                    "name": self.endpoint.prefix,
                    "binding:host_id": hosts[(len(made) + number) % len(hosts)],
                    **more,
                }
                for number in range(min(BULK, count - len(made)))
            ]
            made += self.endpoint.ask("POST", "ports", {"ports": bodies})["ports"]
        return made

    def network(self, cidr: str) -> Any:
        """Make a network with a subnet."""
        made = self.endpoint.create("network")
        self.endpoint.create("subnet", network_id=made["id"], ip_version=4, cidr=cidr)
        return made

    def explain(self, source: str, destination: str) -> None:
        """Ask why a packet from one port does not reach another."""
        self.endpoint.ask(
            "GET",
            f"http://127.0.0.1:{self.port}/explain/v1?source={source}&destination={destination}",
        )

    def end(self) -> None:
        """End all processes of hosts."""
        for each in self._started:
            each.end()


def hosts_of(folder: Path) -> list[str]:
    """Names of all hosts that a server of the bench lets in."""
    return json.loads((folder / "hosts.json").read_text())


def credentials(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Draw a credential for each of these hosts, and put it where its agent finds it."""
    words = {name: secrets.token_urlsafe(16) for name in names}
    for name, word in words.items():
        write_whole(folder / "secrets" / name, f"{word}\n".encode())
    return words


@contextmanager
def scale_world(
    names: Sequence[str], fill: Callable[[Path], object] | None = None
) -> Generator[ScaleWorld]:
    """Run a server that lets these hosts in over one socket.

    Its database is empty, or has what `fill` put there: it is called with the folder, before the server starts.
    """
    folder = Path(tempfile.mkdtemp(prefix="netloom-scale-"))
    (folder / "secrets").mkdir()
    (folder / "hosts.json").write_text(json.dumps(list(names)))
    port = free_port()
    sockets = "\n".join(f'"{name}" = "{folder}/hosts.sock"' for name in names)
    config = folder / "server.toml"
    # Most hosts are introduced and never run: they must count as alive all the same.
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nstate_dir = "{folder}/state"\n'
        f"[server.agent_sockets]\n{sockets}\n[network]\nagent_down_seconds = 86400.0\n"
    )
    log = folder / "log"
    if fill is not None:
        (folder / "state").mkdir(mode=0o700)
        fill(folder)
    begun = time.perf_counter()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "netloom", "server", "--config", str(config)],
            stdout=output,
            stderr=output,
        )
    world: ScaleWorld | None = None
    try:
        wait(server, port, folder / "state", log)
        started_in = time.perf_counter() - begun
        headers = {"X-Auth-Token": token(port, folder / "state")}
        endpoint = Endpoint(f"http://127.0.0.1:{port}/networking", headers)
        world = ScaleWorld(folder, server, endpoint, port, started_in)
        project = endpoint.create("network")
        quota = dict.fromkeys(("network", "subnet", "port", "security_group_rule"), -1)
        endpoint.ask("PUT", f"quotas/{project['project_id']}", {"quota": quota})
        yield world
        endpoint.close()
    finally:
        if world is not None:
            world.end()
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
