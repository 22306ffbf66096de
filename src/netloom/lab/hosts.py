"""Starting the hosts of a lab and the programs in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import netloom
from netloom.lab.processes import TAG, Process, describe
from netloom.lab.state import Lab, LabState, write
from netloom.lab.topology import FABRIC, OUTSIDE, WEB, Node
from netloom.model.errors import UserError

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
SOCKET_IN_HOST = "/run/netloom/server/api.sock"
"""Where a host's agent finds the API server, and no other host's agent does."""

Service = dict[str, Any]


def environment(lab: Lab) -> dict[str, str]:
    """Of every process of the lab: its tag, this very Netloom, and no proxy between the lab's parts."""
    kept = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    source = str(Path(netloom.__file__).parents[1])
    return {**kept, TAG: str(lab.directory), "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}


def openvswitch_services(host: str) -> list[Service]:
    """The two daemons of Open vSwitch, in the foreground: PID 1 starts them again when they end."""
    database = "/etc/openvswitch/conf.db"
    server = (
        f"[ -e {database} ] || ovsdb-tool create {database} {_SCHEMA}; "
        f"exec ovsdb-server {database} --remote=punix:/run/openvswitch/db.sock "
        "--pidfile=/run/openvswitch/ovsdb-server.pid -vconsole:warn -vsyslog:off"
    )
    switch = (
        "while ! [ -S /run/openvswitch/db.sock ]; do sleep 0.02; done; "
        # --no-wait: these rows must be there before the switch daemon reads them.
        f"ovs-vsctl --no-wait --timeout=20 -- init -- set Open_vSwitch . external_ids:system-id={host} "
        f"external_ids:hostname={host}; "
        "exec ovs-vswitchd unix:/run/openvswitch/db.sock "
        "--pidfile=/run/openvswitch/ovs-vswitchd.pid -vconsole:warn -vsyslog:off"
    )
    return [
        {"name": "ovsdb-server", "command": ["sh", "-ec", server]},
        {"name": "ovs-vswitchd", "command": ["sh", "-ec", switch]},
    ]


def switch_services(node: Node) -> list[Service]:
    """What carries networks on a host beside its kernel."""
    return openvswitch_services(node.name) if node.backend == "ovs" else []


def agent_service(lab: Lab, node: Node) -> Service:
    """The agent: the same program with the same kind of settings file as on a real host."""
    config = str(lab.host(node.name) / "agent.toml")
    return {
        "name": "agent",
        "command": [sys.executable, "-m", "netloom", "agent", "--config", config],
    }


def outside_services(lab: Lab) -> list[Service]:
    """A web server that tells the visitor's address, and a name server that knows `www.example.net`."""
    site = lab.host(OUTSIDE) / "www"
    program = site / "cgi-bin/address"
    program.parent.mkdir(parents=True, exist_ok=True)
    write(
        program,
        '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n%s\\n" "$REMOTE_ADDR"\n',
        mode=0o700,
    )
    write(site / "index.html", "the web server outside\n", mode=0o644)
    return [
        {"name": "httpd", "command": ["busybox", "httpd", "-f", "-p", "80", "-h", str(site)]},
        {
            "name": "dns",
            "command": [
                *(
                    "dnsmasq",
                    "--keep-in-foreground",
                    "--conf-file=/dev/null",
                    "--pid-file=",
                    "--user=root",
                ),
                *("--no-hosts", "--no-resolv", f"--address=/www.example.net/{WEB}"),
            ],
        },
    ]


def write_init(lab: Lab, host: str, services: Sequence[Service]) -> Path:
    """Write what PID 1 of the host reads; returns the file."""
    directory = lab.host(host)
    for folder in (
        *(directory / name for name in ("logs", "state", "services")),
        lab.socket(host).parent,
    ):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = {
        "name": host,
        "cgroup": f"{lab.group}/{host}",
        "pid_file": str(directory / "pid"),
        "logs": str(directory / "logs"),
        "service_pids": str(directory / "services"),
        "binds": [[str(lab.socket(host).parent), str(Path(SOCKET_IN_HOST).parent)]],
        "services": list(services),
    }
    path = directory / "init.json"
    write(path, msgspec.json.encode(config).decode())
    return path


def start(lab: Lab, services: Mapping[str, Sequence[Service]]) -> dict[str, Process]:
    """Start hosts side by side and wait until each has its namespaces and mounts."""
    variables = environment(lab)
    started: dict[str, subprocess.Popen[str]] = {}
    for host, wanted in services.items():
        path = write_init(lab, host, wanted)
        started[host] = subprocess.Popen(
            [sys.executable, "-m", "netloom.lab.init", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
            cwd="/",
        )
    processes: dict[str, Process] = {}
    for host, starter in started.items():
        # Not communicate(): the host's PID 1 inherited the pipe until it has come up.
        code = starter.wait()
        words = starter.stderr.read() if starter.stderr is not None and code else ""
        if code:
            raise UserError(f"host {host} did not start: {_last_line(words) or 'see its logs'}")
        pid, ticks = (lab.host(host) / "pid").read_text().split()
        processes[host] = Process(int(pid), int(ticks))
    return processes


def set_services(lab: Lab, host: str, process: Process, services: Sequence[Service]) -> None:
    """Change which programs run in a host."""
    write_init(lab, host, services)
    current = describe(process.pid)
    if current != process:
        raise UserError(f"host {host} is not running")
    os.kill(process.pid, 1)  # SIGHUP: read the file again


def switch_service(
    lab: Lab, host: str, process: Process, name: str, on: bool, kill: bool = False
) -> None:
    """Stop or start one program of a host, as an operator or a fault would; `kill` without asking it first."""
    config = msgspec.json.decode((lab.host(host) / "init.json").read_bytes())
    services: list[Service] = config["services"]
    for service in services:
        if service["name"] == name:
            service["off"] = not on
            service["kill"] = kill
            break
    else:
        raise UserError(f"host {host} has no service {name!r}")
    set_services(lab, host, process, services)


def infrastructure(lab: Lab, nodes: Sequence[Node]) -> dict[str, list[Service]]:
    """Every host with what runs in it before there is an agent."""
    services: dict[str, list[Service]] = {FABRIC: [], OUTSIDE: outside_services(lab)}
    for node in nodes:
        services[node.name] = switch_services(node)
    return services


def find(state: LabState, host: str) -> Process:
    """PID 1 of a host of a running lab; `server` is no host."""
    known = sorted(set(state.processes) - {"server", "simulated"})
    if host not in known:
        raise UserError(
            f"there is no host {host!r} in lab {state.name!r}; there are {', '.join(known)}"
        )
    if not state.processes[host].alive:
        raise UserError(f"host {host} is not running any more")
    return state.processes[host]


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""
