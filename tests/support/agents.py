"""Agents on private hosts: their settings, and instances that somebody else plugs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from netloom.model import HostView, Port
from netloom.model.names import tap
from tests.support.host import Host

UDHCPC = """#!/bin/sh
case "$1" in
bound)
    ip addr flush dev "$interface"
    ip addr add "$ip/$mask" dev "$interface"
    ip link set "$interface" mtu "${mtu:-1500}"
    set -- $staticroutes
    while [ $# -ge 2 ]; do
        case "$2" in 0.0.0.0) ip route add "$1" dev "$interface";; *) ip route add "$1" via "$2";; esac
        shift 2
    done
    env | grep -E '^(ip|mask|router|dns|mtu|staticroutes|hostname|domain)=' ;;
esac
"""


def settings(
    host: str,
    directory: Path,
    number: int,
    server: str = "unix:///nowhere",
    physical: dict[str, str] | None = None,
    **more: str,
) -> Path:
    """Write an agent's settings file and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711)
    (directory / "secret").write_text("secret")
    (directory / "secret").chmod(0o600)
    path = directory / "agent.toml"
    values = {
        "host": host,
        "server": server,
        "secret_file": str(directory / "secret"),
        "state_dir": str(directory / "state"),
        "tunnel_ip": f"172.31.0.{number}",
        "network_namespace": "own",
        **more,
    }
    lines = [
        f"{key} = {value if value.startswith('[') or value.isdecimal() else repr(value)}"
        for key, value in values.items()
    ]
    nics = [f"{name} = {nic!r}" for name, nic in (physical or {}).items()]
    path.write_text("\n".join(["[agent]", *lines, "[physical_networks]", *nics, ""]))
    return path


def apply_view(host: Host, config: Path, view: HostView, check: bool = True) -> str:
    """Bring a host to a view, once."""
    file = config.parent / "view.json"
    file.write_bytes(msgspec.json.encode(view))
    words = ("agent", "--config", str(config), "--view", str(file))
    return host.run(sys.executable, "-m", "netloom", *words, check=check, timeout=60)


def plug(host: Host, port: Port) -> str:
    """Make an instance of somebody else's: a namespace with eth0 on br-int, as os-vif does it."""
    name, device = f"vm-{port.id}", tap(port.id)
    host.sh(
        f"ip netns add {name}; ip link add {device} type veth peer name eth0 netns {name}\n"
        f"ip -n {name} link set eth0 address {port.mac_address}\n"
        f"ethtool -K {device} tx off >/dev/null; ip netns exec {name} ethtool -K eth0 tx off >/dev/null\n"
        f"ip link set {device} up; ip -n {name} link set eth0 up; ip -n {name} link set lo up\n"
        f"ovs-vsctl add-port br-int {device} -- set interface {device}"
        f" external_ids:iface-id={port.id} external_ids:attached-mac={port.mac_address}"
    )
    return name


def lease(host: Host, namespace: str) -> dict[str, str]:
    """Ask for an address in an instance's namespace; returns what DHCP said."""
    script = "/run/udhcpc.script"
    host.run("sh", "-c", f"cat > {script}; chmod 755 {script}", stdin=UDHCPC)
    command = f"ip netns exec {namespace} busybox udhcpc -i eth0 -s {script} -O staticroutes -O mtu -q -n -t 5 -T 1"
    lines = host.sh(command).splitlines()
    return dict(
        line.split("=", 1) for line in lines if "=" in line and " " not in line.split("=")[0]
    )
