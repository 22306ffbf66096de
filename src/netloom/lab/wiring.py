"""The cables and switches of a lab: all made inside its namespaces, never seen in the machine's own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from netloom.lab.processes import Process
from netloom.lab.topology import (
    FABRIC,
    GATEWAYS,
    OUTSIDE,
    OVERLAYS,
    PHYSICAL_NETWORKS,
    SIMULATED_RANGE,
    UNDERLAY,
    WEB,
    Node,
    overlay_of,
)
from netloom.model.errors import UserError
from netloom.model.sysctls import MACHINE, settings


def inside(process: Process, command: Sequence[str], *, network_only: bool = False) -> list[str]:
    """The command line that runs `command` in a host, given its PID 1.

    `network_only` stays in the machine's own PID and mount namespaces, where other hosts' ids mean something.
    """
    where = (
        ["--net"]
        if network_only
        else ["--root", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    )
    return ["nsenter", "--target", str(process.pid), *where, "--", *command]


def run(command: Sequence[str], stdin: str = "") -> str:
    """Run a tool; its last words become the UserError's text when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (
            done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        ).splitlines()
        raise UserError(
            f"the lab's network could not be made: {' '.join(command[-6:])}: {words[-1]}"
        )
    return done.stdout


def make_fabric(processes: dict[str, Process], nodes: Sequence[Node]) -> None:
    """Make the bridges and every cable, in one batch."""
    lines = ["link set lo up"]
    for network in (UNDERLAY, *PHYSICAL_NETWORKS):
        lines += [
            f"link add {network} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {network} up",
        ]
    for node in nodes:
        for network in (UNDERLAY, *PHYSICAL_NETWORKS):
            lines += _cable(network, node.plug(network), node.nic(network), processes[node.name])
    # The fabric itself answers pings to the ends of simulated hosts' tunnels: it takes the whole range for its own.
    lines += [
        f"addr add {overlay.fabric} dev {UNDERLAY}{_at_once(overlay.fabric)}"
        for overlay in OVERLAYS.values()
    ]
    lines.append(f"route add local {SIMULATED_RANGE} dev lo")
    for network in PHYSICAL_NETWORKS:
        lines += _cable(network, f"{network[0]}-{OUTSIDE}", f"eth-{network}", processes[OUTSIDE])
    for name in (*(node.name for node in nodes), OUTSIDE):
        run(inside(processes[name], ["sh", "-e"]), _settle("1" if name == OUTSIDE else "0"))
    script = f"{_settle()}ip -batch -"
    batch = "\n".join(lines) + "\n"
    run(inside(processes[FABRIC], ["sh", "-c", script], network_only=True), batch)


def _at_once(address: str) -> str:
    """Further words for `ip addr add`: an IPv6 address is not asked for first, nobody else in the lab has it."""
    return " nodad" if ":" in address else ""


def _settle(forward: str = "0") -> str:
    """A script that gives a host the settings that it has on every machine; its cards come later and take them over."""
    lines = [
        f"f={key.replace('.', '/')}; [ ! -e /proc/sys/net/$f ] || echo {value} >/proc/sys/net/$f"
        for key, value in settings(MACHINE, forward).items()
    ]
    return "\n".join(lines) + "\n"


def _cable(bridge: str, plug: str, nic: str, host: Process) -> list[str]:
    """A veth pair from a bridge to a host, whose end is made in the host's namespace at once."""
    return [
        f"link add {plug} type veth peer name {nic} netns {host.pid}",
        f"link set {plug} master {bridge} up",
    ]


def set_up_outside(process: Process) -> None:
    """Give `outside` its addresses; it forwards (`make_fabric`) between the physical networks, as the internet does."""
    lines = ["link set lo up", f"addr add {WEB}/32 dev lo"]
    for network in PHYSICAL_NETWORKS:
        lines += [
            f"addr add {GATEWAYS[network]}/24 dev eth-{network}",
            f"link set eth-{network} up",
        ]
    # Frames to the userspace datapath must carry whole checksums: it delivers them as they are.
    offload = "; ".join(
        f"ethtool -K eth-{network} tx off >/dev/null" for network in PHYSICAL_NETWORKS
    )
    script = f"ip -batch - && {offload}"
    run(inside(process, ["sh", "-ec", script]), "\n".join(lines) + "\n")


def set_up_host(process: Process, node: Node, kernel_datapath: bool, mixed: bool = True) -> None:
    """Bring up a host's network cards and its tunnel address. `mixed`: another host has Open vSwitch.

    The userspace datapath routes its tunnels itself and only out of one of its own bridges: so the underlay
    card goes into `br-phy`, and the address onto that.
    """
    underlay = node.nic(UNDERLAY)
    kernel_datapath = kernel_datapath or node.backend != "ovs"
    owner = underlay if kernel_datapath else "br-phy"
    lines = [
        "link set lo up",
        *(f"link set {node.nic(n)} up" for n in (UNDERLAY, *PHYSICAL_NETWORKS)),
    ]
    offload = (
        "; ".join(
            f"ethtool -K {node.nic(network)} tx off >/dev/null"
            for network in (UNDERLAY, *PHYSICAL_NETWORKS)
            # Between kernels a packet may stay as large as it was sent.
            if mixed
        )
        or ":"
    )
    bridge = (
        ""
        if kernel_datapath
        else (
            "ovs-vsctl --retry --timeout=20 -- --may-exist add-br br-phy -- set bridge br-phy datapath_type=netdev "
            f"-- --may-exist add-port br-phy {underlay}; "
        )
    )
    end = f"{node.tunnel_ip}/{overlay_of(node).prefix_length}"
    address = f"ip addr add {end} dev {owner}{_at_once(end)}; ip link set {owner} up"
    run(
        inside(process, ["sh", "-ec", f"ip -batch -; {offload}; {bridge}{address}"]),
        "\n".join(lines) + "\n",
    )
