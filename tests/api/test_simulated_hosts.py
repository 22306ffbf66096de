"""Simulated hosts with a real server: what they are told, what they do, and what they do not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from netloom.agent.simulated import SimulatedSettings, Simulation
from netloom.model import Network, Port, Subnet
from netloom.model.credentials import secret_hash
from netloom.store import Store
from tests.support.serving import Serving, serving

HOSTS = 20
ADMIN = {"X-Roles": "admin,member,reader", "X-Project-Id": "a" * 32}


@contextmanager
def simulating(folder: Path, hosts: int) -> Iterator[tuple[Serving, Simulation]]:
    """A server, and hosts sim-1 to sim-N that stream from it."""
    names = tuple(f"sim-{number + 1}" for number in range(hosts))
    path = folder / "hosts.sock"
    sockets = ", ".join(f'"{name}" = "{path}"' for name in names)
    with serving(folder, f'auth = "trusted-headers"\nagent_sockets = {{ {sockets} }}') as server:
        (folder / "secrets").mkdir()
        store = Store.open(f"sqlite:///{server.state}/netloom.db")
        with store.writer() as w:
            for name in names:
                file = folder / "secrets" / name
                file.write_text(f"secret of {name}\n".replace(" ", "-"))
                file.chmod(0o600)
                w.put_host(name, secret_hash=secret_hash(file.read_text().strip()))
        store.close()
        settings = SimulatedSettings(
            server=f"unix://{path}",
            secrets=str(folder / "secrets"),
            hosts=names,
            first_tunnel_ip="10.255.128.1",
        )
        simulation = Simulation.of(settings)
        thread = threading.Thread(target=simulation.run)
        thread.start()
        try:
            until(lambda: all(h.counted().plans for h in simulation.hosts.values()), "no snapshots")
            yield server, simulation
        finally:
            simulation.stop()
            thread.join(20)


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def put(server: Serving, *objects: Network | Subnet | Port) -> None:
    store = Store.open(f"sqlite:///{server.state}/netloom.db")
    with store.writer() as w:
        for each in objects:
            w.insert(each)
    store.close()


def port(name: str, host: str, network: str = "n") -> Port:
    number = int(name.removeprefix("p"))
    mac = f"fa:16:3e:00:00:{number:02x}"
    return Port(id=name, network_id=network, mac_address=mac, host=host, key=number)


def test_only_the_host_of_a_port_has_anything_to_do(tmp_path: Path) -> None:
    with simulating(tmp_path, HOSTS) as (server, simulation):
        put(server, Network(id="n", key=7), Network(id="other", key=8))
        put(server, port("p1", "sim-1"))
        first = simulation.hosts["sim-1"]
        until(lambda: first.counted().steps == 2, "it is not told of its port")
        until(lambda: first.counted().posts >= 2, "it does not report")
        before = {n: (h.counted().plans, h.counted().posts) for n, h in simulation.hosts.items()}
        for number in range(2, 12):
            put(server, port(f"p{number}", "sim-1"))
        until(lambda: first.counted().plans > before["sim-1"][0], "it does not plan")
        answer = httpx.post(
            f"{server.url}/networking/v2.0/networks", json={"network": {}}, headers=ADMIN
        )
        assert answer.status_code == 201
        # Everybody hears of the newest change in time, and says so with a heartbeat.
        until(lambda: len({h.reached for h in simulation.hosts.values()}) == 1, "not all are here")
        for name, host in simulation.hosts.items():
            if name != "sim-1":
                counts = host.counted()
                assert (counts.plans, counts.posts) == before[name], name
                assert counts.flows == simulation.hosts["sim-2"].counted().flows

        def active() -> bool:
            ports = httpx.get(f"{server.url}/networking/v2.0/ports", headers=ADMIN).json()["ports"]
            return {p["status"] for p in ports if p["binding:host_id"] == "sim-1"} == {"ACTIVE"}

        until(active, "its ports are not ACTIVE")


def test_an_agent_that_begins_anew_changes_nothing(tmp_path: Path) -> None:
    with simulating(tmp_path, 2) as (server, simulation):
        put(server, Network(id="n", key=7), port("p1", "sim-1"), port("p2", "sim-2"))
        until(lambda: all(h.counted().steps == 2 for h in simulation.hosts.values()), "not told")
        until(lambda: len({h.reached for h in simulation.hosts.values()}) == 1, "not all are here")
        assert simulation.hosts["sim-1"].there.objects
        simulation.answer(["restart sim-1", "nonsense"], out := Lines())
        until(lambda: len(out.said) == 2, "no answer")
        assert "say counts" in out.said[1]
        until(lambda: bool(simulation.hosts["sim-1"].counted().posts), "no report")
        counts = simulation.hosts["sim-1"].counted()
        assert (counts.added, counts.altered, counts.removed, counts.flows) == (0, 0, 0, 0)


class Lines:
    """What is printed."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def write(self, text: str) -> int:
        if text.strip():
            self.said.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


@pytest.mark.slow
def test_it_runs_no_instances_and_is_an_agent_of_the_api(tmp_path: Path) -> None:
    with simulating(tmp_path, 1) as (server, _):
        agents = httpx.get(f"{server.url}/networking/v2.0/agents", headers=ADMIN).json()["agents"]
        assert {a["host"] for a in agents} == {"sim-1"} and all(a["alive"] for a in agents)
        store = Store.open(f"sqlite:///{server.state}/netloom.db")
        with store.reader() as reader:
            row = reader.host("sim-1")
        store.close()
        assert row is not None and row.facts is not None
        assert row.facts.instance_types == () and row.facts.backend == "none"
