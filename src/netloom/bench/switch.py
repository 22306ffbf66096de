"""Hosts with Open vSwitch: how fast, beside a bare bridge of the same switches.

The bare one is a bridge that does as switches do (NORMAL), with a VXLAN port to the other host, in the very same two processes of
Open vSwitch and over the same underlay: what differs is what Netloom's flows ask of a packet.
"""

from __future__ import annotations

from typing import Any

from netloom.bench.api import Endpoint
from netloom.bench.bridge import ENDS, Say, Way, between, compared, run, until_answered
from netloom.bench.lab import endpoint, inside, plug
from netloom.lab import hosts, wiring
from netloom.lab.state import Lab, LabState
from netloom.lab.topology import nodes

VNI = 7777777
"""Of the bare bridge: no network of a lab comes that far."""


def measure(lab: Lab, state: LabState, say: Say) -> dict[str, float]:
    """Gb/s and microseconds of both ways, in turns, and the ratios of their medians."""
    api = endpoint(state, lab)
    found = compared([ours(api, state), bare(state)], say)
    api.close()
    return found


def ours(api: Endpoint, state: LabState) -> Way:
    """Ports that are plugged as os-vif does it."""

    def plugged(host: str, network: Any) -> tuple[Any, list[str]]:
        compute = hosts.find(state, host)
        (port,) = plug(api, compute, network, host=host)
        return port, wiring.inside(compute, ["ip", "netns", "exec", inside(port)])

    return between(api, "Open vSwitch with security groups, VXLAN", plugged)


def bare(state: LabState) -> Way:
    """The same with a bridge that has one flow, NORMAL, beside br-int."""
    made = nodes(state.computes, networks=state.networks)
    ends = {node.name: node.tunnel_ip for node in made}
    lines: list[list[str]] = []
    for number, host in enumerate(ENDS, 1):
        compute = hosts.find(state, host)
        far = ends[ENDS[2 - number]]
        script = (
            "kind=$(ovs-vsctl get bridge br-int datapath_type); "
            "ovs-vsctl add-br br-bare -- set bridge br-bare datapath_type=$kind -- "
            "add-port br-bare bare0 -- set interface bare0 type=vxlan "
            f"options:remote_ip={far} options:key={VNI}; "
            "ip netns add bare; ip link add tapbare type veth peer name eth0 netns bare; "
            f"ip -n bare link set eth0 mtu 1450 up; ip -n bare addr add 10.79.0.{number}/24 dev eth0; "
            "ip netns exec bare ethtool -K eth0 tx off >/dev/null; ip link set tapbare up; "
            "ovs-vsctl add-port br-bare tapbare"
        )
        run(wiring.inside(compute, ["sh", "-ec", script]))
        lines.append(wiring.inside(compute, ["ip", "netns", "exec", "bare"]))
    until_answered(lines[0], "10.79.0.2")
    return Way("bare Open vSwitch (NORMAL), VXLAN", lines[0], lines[1], "10.79.0.2")
