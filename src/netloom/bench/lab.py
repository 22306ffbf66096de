"""The lab's part of `netloom bench`: from a request to packets that pass, on a lab of its own.

A port is «plugged» as os-vif does it: a device on br-int that carries the port's id. Behind it is a namespace
with a DHCP client, which is all that an instance needs to be for this.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netloom.bench.api import Endpoint
from netloom.lab import hosts, settings, wiring
from netloom.lab.client import Client
from netloom.lab.processes import Process
from netloom.lab.state import Lab, LabState
from netloom.model import names
from netloom.model.errors import UserError
from netloom.model.server_settings import load
from netloom.store import Store

HOST = "compute1"
MANY = 50
PATIENCE = 60.0
"""Seconds until something that should happen counts as failed."""

Say = Callable[[str], None]


def endpoint(state: LabState, lab: Lab) -> Endpoint:
    """Return the lab's Networking API, as its administrator."""
    with Client(state.port, "admin", settings.passwords(lab)["admin"]) as client:
        token = client.token
    return Endpoint(f"http://127.0.0.1:{state.port}/networking", {"X-Auth-Token": token})


def measure(lab: Lab, state: LabState, api: Endpoint, say: Say) -> dict[str, float]:
    """Return each work's milliseconds (and MiB of memory)."""
    found: dict[str, float] = {}

    def note(name: str, value: float, unit: str = "ms") -> None:
        found[name] = value
        say(f"  {name}: {value:.0f} {unit}")

    compute = hosts.find(state, HOST)
    network = api.create("network")
    subnet = api.create("subnet", network_id=network["id"], ip_version=4, cidr="10.77.0.0/24")

    begun = time.perf_counter()
    (port,) = plug(api, compute, network)
    until_active(api, port)
    note("port create → ACTIVE", _since(begun))
    lease(compute, port)
    note("port create → DHCP lease", _since(begun))

    router = api.create("router")
    api.ask("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    external = public(api)
    gateway = {"router": {"external_gateway_info": {"network_id": external["id"]}}}
    api.ask("PUT", f"routers/{router['id']}", gateway)
    let_ping_in(api, port)
    # What is timed is the floating IP, not the router that it goes through.
    until(lambda: _router_is_made(api, router), f"router {router['id']} is not made")
    begun = time.perf_counter()
    floating = api.create("floatingip", floating_network_id=external["id"], port_id=port["id"])
    outside = hosts.find(state, "outside")
    address = floating["floating_ip_address"]
    until(lambda: _ping(outside, address), f"{address} does not answer")
    note("floating IP → ping", _since(begun))

    begun = time.perf_counter()
    wanted = {each["id"] for each in plug(api, compute, network, MANY)}
    until(lambda: not wanted - _active(api, network), f"{MANY} ports are not all ACTIVE")
    note(f"{MANY} ports → all ACTIVE", _since(begun))

    note(f"agent restart with {MANY} ports → reported", _restart_agent(lab, compute, wanted))
    note("memory of the server", _memory(state.processes["server"].pid), "MiB")
    note("memory of the agent", _agent_memory(compute), "MiB")
    return found


def plug(
    api: Endpoint, compute: Process, network: Any, count: int = 1, host: str = HOST, mtu: int = 1450
) -> list[Any]:
    """Create ports bound to the host, in one request, and plug a device for each at once, in one transaction."""
    body = {
        "network_id": network["id"],
        "name": api.prefix,
        "device_owner": "compute:nova",
        "binding:host_id": host,
    }
    ports = api.ask("POST", "ports", {"ports": [body] * count})["ports"]
    script, switch = "set -e\n", "ovs-vsctl"
    for port in ports:
        device, where = names.tap(port["id"]), inside(port)
        script += (
            f"ip netns add {where}\n"
            f"ip link add {device} type veth peer name eth0 netns {where}\n"
            f"ip -n {where} link set eth0 address {port['mac_address']} mtu {mtu} up\n"
            # Userspace datapath: checksums must be whole on the wire (docs/rooms/dataplane.md).
            f"ip netns exec {where} ethtool -K eth0 tx off >/dev/null\n"
            f"ip link set {device} up\n"
        )
        switch += (
            f" -- add-port br-int {device} -- set Interface {device} external_ids:iface-id={port['id']} "
            f"external_ids:attached-mac={port['mac_address']}"
        )
    _in(compute, "sh", "-c", script + switch)
    return ports


def public(api: Endpoint) -> Any:
    """Return the lab's external network; UserError where it has none."""
    found = api.ask("GET", "networks?router:external=True&name=public")["networks"]
    if not found:
        raise UserError("the lab has no network `public` to take floating IPs from")
    return found[0]


def lease(compute: Process, port: Any) -> None:
    """Get an address by DHCP and use it; UserError where none comes."""
    hook = '[ "$1" = bound ] && ip address add $ip/$mask dev $interface && ip route add default via $router'
    script = (
        f"printf '#!/bin/sh\\n%s\\n' '{hook}' >/run/bench-udhcpc && chmod +x /run/bench-udhcpc && "
        f"ip netns exec {inside(port)} busybox udhcpc -i eth0 -q -n -f -T 1 -t 30 -s /run/bench-udhcpc"
    )
    _in(compute, "sh", "-c", script)


def _in(compute: Process, *command: str) -> None:
    done = subprocess.run(
        wiring.inside(compute, command), capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = (
            done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        ).splitlines()
        raise UserError(f"on {HOST}, {command[0]} failed: {words[-1]}")


def inside(port: Any) -> str:
    """Return the namespace behind a port that was plugged."""
    return f"bench-{port['id'][:11]}"


def until_active(api: Endpoint, port: Any) -> None:
    """Wait until a port is ACTIVE."""
    path = f"ports/{port['id']}"
    until(
        lambda: api.ask("GET", path)["port"]["status"] == "ACTIVE",
        f"port {port['id']} is not ACTIVE",
    )


def _router_is_made(api: Endpoint, router: Any) -> bool:
    ports = api.ask("GET", f"ports?device_id={router['id']}")["ports"]
    return len(ports) == 2 and all(port["status"] == "ACTIVE" for port in ports)


def _active(api: Endpoint, network: Any) -> set[str]:
    found = api.ask("GET", f"ports?network_id={network['id']}&status=ACTIVE&fields=id")["ports"]
    return {each["id"] for each in found}


def let_ping_in(api: Endpoint, port: Any) -> None:
    """Let pings from anywhere in to a port."""
    rule = {
        "security_group_id": port["security_groups"][0],
        "direction": "ingress",
        "protocol": "icmp",
    }
    api.ask("POST", "security-group-rules", {"security_group_rule": rule})


def _ping(outside: Process, address: str) -> bool:
    command = wiring.inside(outside, ["ping", "-c1", "-W1", address])
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _restart_agent(lab: Lab, compute: Process, ports: set[str]) -> float:
    """Kill the agent; milliseconds until its successor has carried out the view and told of every port.

    The host's heartbeat and the change it is at would not do: a new agent sends a first heartbeat, and its facts,
    before it has looked at the switch at all.
    """
    store = Store.open(load(settings.server_file(lab)).server.database_url)
    try:
        # Rows are dated in whole seconds: the successor's are to have another date than the killed agent's.
        time.sleep(1.1)
        second = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        begun = time.perf_counter()
        _in(compute, "kill", "-9", str(_agent_pid(compute)))

        def told() -> bool:
            with store.reader() as reader:
                rows = reader.status_rows(ports)
            wired = (
                row for row in rows if row.host == HOST and row.aspect == "l2" and row.state == "ok"
            )
            return ports <= {row.id for row in wired if row.at >= second}

        until(told, "the agent did not come back")
        return _since(begun)
    finally:
        store.close()


def _agent_pid(compute: Process) -> int:
    pid = _running(compute)
    if not pid:
        raise UserError(f"no agent runs on {HOST}")
    return pid


def _running(compute: Process) -> int:
    """Return the agent's PID as the host sees it; 0 where there is none."""
    command = wiring.inside(compute, ["pgrep", "-o", "-f", "netloom agent"])
    words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return int(words[0]) if words else 0


def _agent_memory(compute: Process) -> float:
    """Ask inside the host, where the agent's PID means something."""
    command = wiring.inside(compute, ["cat", f"/proc/{_agent_pid(compute)}/smaps_rollup"])
    return _pss(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


def _memory(pid: int) -> float:
    """Return the proportional set size of a process in MiB."""
    return _pss(Path(f"/proc/{pid}/smaps_rollup").read_text())


def _pss(text: str) -> float:
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def until(test: Callable[[], bool], complaint: str, patience: float = PATIENCE) -> None:
    """Wait until something is true; a UserError with the complaint where that takes more than `patience` seconds."""
    deadline = time.monotonic() + patience
    while not test():
        if time.monotonic() > deadline:
            raise UserError(f"{complaint} after {patience:.0f} s")
        time.sleep(0.02)


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
