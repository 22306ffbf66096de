"""Starting a lab: the server, the hosts beside it, and then what a cloud needs to be used."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, Unpack

import httpx
import msgspec

from netloom.lab import checks, content, down, hosts, image, settings, topology, wiring
from netloom.lab.client import Client
from netloom.lab.processes import Process, boot_id, describe
from netloom.lab.state import Lab, LabState, state_directory, write
from netloom.lab.topology import MOST_SIMULATED, OUTSIDE, Node, nodes
from netloom.model.credentials import secret_hash
from netloom.model.errors import UserError
from netloom.model.hosts import Backend
from netloom.model.server_settings import load
from netloom.store import Store

SERVER = "server"
_START_SECONDS = 60.0
"""How long the server and the agents may take until `up` gives up."""

Say = Callable[[str], None]


class Options(TypedDict, total=False):
    """What a lab may be beside its compute hosts; `LabState` says what each means, and what it is where nobody says so."""

    networks: int
    simulated: int
    bare: bool
    overlay_ip_version: int
    backend: Backend
    backends: dict[str, Backend]


def up(
    lab: Lab,
    computes: int,
    *,
    port: int | None = None,
    say: Say = print,
    **options: Unpack[Options],
) -> LabState:
    """Start a lab and return its state once the cloud can be used.

    What fails half-way is removed again; its logs stay, and the error says where.
    """
    checks.machine()
    asked = LabState(name=lab.name, computes=computes, boot_id=boot_id(), port=0, **options)
    if not 0 <= computes <= 200:
        raise UserError("a lab has 0 to 200 compute hosts")
    if not 1 <= asked.networks <= 20:
        raise UserError("a lab has 1 to 20 network hosts")
    if not 0 <= asked.simulated <= MOST_SIMULATED:
        raise UserError(f"a lab has 0 to {MOST_SIMULATED} simulated hosts")
    if asked.simulated and asked.overlay_ip_version != 4:
        raise UserError(
            "simulated hosts are for tunnels over IPv4: leave one of the two options out"
        )
    known = {node.name for node in nodes(computes, networks=asked.networks)}
    if unknown := sorted(asked.backends.keys() - known):
        raise UserError(f"the lab has no host {unknown[0]!r} whose backend could be chosen")
    with lab.lock(), checks.one_starts() as listens:
        checks.no_earlier_lab(lab)
        asked = msgspec.structs.replace(asked, port=checks.choose_port(port))
        started = time.monotonic()
        lab.directory.mkdir(parents=True, mode=0o700)
        try:
            state = _up(lab, asked, say, listens)
        except BaseException as error:
            logs = _keep_logs(lab)
            down.remove(lab)
            if isinstance(error, UserError) and logs:
                raise UserError(f"{error} (logs: {logs})") from error
            raise
        say(f"ready after {time.monotonic() - started:.1f} s: API on http://127.0.0.1:{state.port}")
        return state


def _up(lab: Lab, state: LabState, say: Say, listens: Callable[[], None]) -> LabState:
    overlay = state.overlay_ip_version
    machines = nodes(state.computes, overlay, state.networks, state.backend, state.backends)
    for node in machines:
        hosts.write_init(lab, node.name, [])
        settings.write_agent(lab, node)
    names = topology.simulated(state.simulated)
    settings.write_server(lab, machines, state.port, names, overlay)
    settings.write_simulated(lab, names)
    say(
        f"starting the API server and {len(machines)} hosts: {', '.join(node.name for node in machines)}"
        + (f", and {len(names)} simulated ones" if names else "")
    )
    server = start_server(lab)
    state = msgspec.structs.replace(state, processes={SERVER: server})
    lab.save(state)
    running = hosts.start(lab, hosts.infrastructure(lab, machines))
    state = msgspec.structs.replace(state, processes={SERVER: server, **running})
    lab.save(state)
    with ThreadPoolExecutor(max_workers=8) as pool:
        built = pool.submit(image.small_image)
        wiring.make_fabric(running, machines)
        kernel = checks.kernel_datapath()
        mixed = any(node.backend == "ovs" for node in machines)
        wired = [
            pool.submit(wiring.set_up_host, running[node.name], node, kernel, mixed)
            for node in machines
        ]
        wired.append(pool.submit(wiring.set_up_outside, running[OUTSIDE]))
        wait_server(lab, server, state.port)
        listens()
        register(lab, machines, names)
        if names:
            started = start(
                lab, settings.SIMULATED, "agent", "--simulated", settings.simulated_file(lab)
            )
            state.processes[settings.SIMULATED] = started
            lab.save(state)
        for done in wired:
            done.result()
        for node in machines:
            services = [*hosts.switch_services(node), hosts.agent_service(lab, node)]
            hosts.set_services(lab, node.name, running[node.name], services)
        settings.write_clouds(lab, state.port)
        built.result()
    say(
        "filling the cloud: flavors, the small image"
        + ("" if state.bare else ", the network public")
    )
    with Client(state.port, "admin", settings.passwords(lab)["admin"]) as client:
        wait_agents(lab, client, [*(node.name for node in machines), *names])
        content.fill(client, state.bare)
    state = msgspec.structs.replace(state, ready=True)
    lab.save(state)
    return state


def start_server(lab: Lab) -> Process:
    """Start the API server; in the machine's own namespaces, on 127.0.0.1."""
    return start(lab, SERVER, "server", "--config", settings.server_file(lab))


def start(lab: Lab, name: str, *command: str | Path) -> Process:
    """Start a command of netloom's beside the hosts, with a log in the lab's folder."""
    descriptor = os.open(
        lab.directory / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
    )
    try:
        started = subprocess.Popen(
            [sys.executable, "-m", "netloom", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=hosts.environment(lab),
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    process = describe(started.pid)
    if process is None:
        raise UserError(f"the process {name} ended at once")
    return process


def wait_server(lab: Lab, server: Process, port: int) -> None:
    """Wait until the API answers."""
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        for _ in _until(lambda: f"the API server did not answer on 127.0.0.1:{port}"):
            try:
                client.get(f"http://127.0.0.1:{port}/identity/v3")
            except httpx.TransportError:
                _reap(server)
                if not server.alive:
                    words = (lab.directory / "server.log").read_text().strip().splitlines()
                    reason = words[-1].removeprefix("netloom: ") if words else "it said nothing"
                    raise UserError(f"the API server ended: {reason}") from None
                continue
            return


def register(lab: Lab, machines: list[Node], simulated: Sequence[str] = ()) -> None:
    """Register every host, as `netloom host add` does, and keep its credential where its agent reads it."""
    lab.host(settings.SIMULATED).mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store.open(load(settings.server_file(lab)).server.database_url)
    try:
        with store.writer(actor="netloom lab up") as writer:
            for node in machines:
                secret = secrets.token_urlsafe(32)
                write(lab.host(node.name) / "secret", secret + "\n")
                writer.put_host(
                    node.name, secret_hash=secret_hash(secret), granted=settings.granted(node)
                )
            for name in simulated:
                secret = secrets.token_urlsafe(32)
                write(lab.host(settings.SIMULATED) / name, secret + "\n")
                writer.put_host(name, secret_hash=secret_hash(secret))
    finally:
        store.close()


def wait_agents(lab: Lab, client: Client, names: Sequence[str]) -> None:
    """Wait until every host's agent has reported."""
    missing = set(names)

    def complaint() -> str:
        return f"the agents of these hosts did not report: {', '.join(sorted(missing))}"

    for _ in _until(complaint):
        agents = client.get("/networking/v2.0/agents")["agents"]
        missing.difference_update(agent["host"] for agent in agents if agent["alive"])
        if not missing:
            return
        for host in missing:
            log = lab.host(host) / "logs/agent.log"
            lines = log.read_text().splitlines() if log.exists() else []
            # PID 1 notes each end. One may be bad luck; an agent that keeps ending will not come up.
            ends = [number for number, line in enumerate(lines) if line.startswith("-- ")]
            if len(ends) >= 3:
                raise UserError(f"the agent of {host} keeps ending: {lines[ends[-1] - 1]}")


def _until(complaint: Callable[[], str]) -> Iterator[None]:
    """Yield every 50 ms; a UserError once the time to start is over."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
    raise UserError(complaint())


def _reap(process: Process) -> None:
    """Take the exit status of our own child, so that it does not stay as a zombie."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return


def _keep_logs(lab: Lab) -> str:
    """Copy the logs of a lab that failed to start; returns the folder, empty where the disk takes no more."""
    target = state_directory() / "failed" / lab.name
    shutil.rmtree(target, ignore_errors=True)
    try:
        target.mkdir(parents=True, mode=0o700)
        for source in [*lab.directory.glob("*.log"), *lab.directory.glob("hosts/*/logs/*.log")]:
            name = (
                "-".join(source.relative_to(lab.directory).parts)
                .replace("hosts-", "")
                .replace("logs-", "")
            )
            shutil.copyfile(source, target / name)
    except OSError:
        return ""
    return str(target)


@contextmanager
def temporary(lab: Lab, computes: int, **options: Unpack[Options]) -> Generator[LabState]:
    """Return a lab that exists for as long as the context lasts (tests)."""
    down.down(lab)
    try:
        yield up(lab, computes, say=lambda _: None, **options)
    finally:
        down.down(lab)
