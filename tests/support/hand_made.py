"""Apply a hand-made HostState: one device in a namespace, joined to another host by a tunnel."""

from __future__ import annotations

import sys

from netloom.agent.loop import Agent
from netloom.agent.settings import AgentSettings, Settings
from netloom.model.hosts import HostFacts
from netloom.model.hoststate import (
    Address,
    Bridge,
    Bucket,
    Device,
    Flow,
    Group,
    HostState,
    Interface,
    Namespace,
    Zone,
)
from netloom.model.openflow import Ct, Goto, Load, Match, Output, SetTunnel, ToGroup
from netloom.model.origin import Origin


def state(number: int, other: int) -> HostState:
    """10.0.0.<number> in qdhcp-net, everything else by tunnel to 172.31.0.<other>."""
    origin = (Origin("network", "net"),)
    device, tunnel = "tapone", "vxlan-tun"
    options = {"remote_ip": "flow", "key": "flow", "local_ip": f"172.31.0.{number}"}
    return HostState.of(
        [
            Bridge(name="br-int", origin=origin),
            Interface(bridge="br-int", name=device, type="internal", origin=origin),
            Interface(bridge="br-int", name=tunnel, type="vxlan", options=options, origin=origin),
            Zone(name="net", origin=origin),
            Namespace(name="qdhcp-net", forward=True, origin=origin),
            Device(
                namespace="qdhcp-net",
                name=device,
                mac=f"fa:16:3e:00:00:0{number}",
                mtu=1450,
                addresses=(Address(f"10.0.0.{number}/24"),),
                announce=True,
                origin=origin,
            ),
            Flow(
                bridge="br-int",
                table=0,
                priority=10,
                match=Match(in_port=device),
                actions=(Load("net", 7), Load("src_port", 5), ToGroup(9)),
                origin=origin,
            ),
            Flow(
                bridge="br-int",
                table=0,
                priority=10,
                match=Match(in_port=tunnel, tun_id=7, eth_type="ip"),
                actions=(Ct(zone="net", table=1),),
                origin=origin,
            ),
            Flow(
                bridge="br-int",
                table=0,
                priority=9,
                match=Match(in_port=tunnel, tun_id=7),
                actions=(Goto(1),),
                origin=origin,
            ),
            Group(bridge="br-int", group=9, origin=origin),
            Bucket(bridge="br-int", group=9, bucket=1, actions=(SetTunnel(7, f"172.31.0.{other}"), Load("dst_port", 6), Goto(2)), origin=origin),
            Flow(bridge="br-int", table=2, priority=0, match=Match(dst_port=6), actions=(Output(tunnel),), origin=origin),
            Flow(bridge="br-int", table=1, priority=0, match=Match(), actions=(Output(device),), origin=origin),
        ]
    )  # fmt: skip


def main() -> None:
    number, other, *rest = (int(word) for word in sys.argv[1:])
    settings = AgentSettings(
        host="a", server="unix:///none", secret_file="/none", state_dir="/run/state"
    )
    facts = HostFacts(host="a", capabilities={"datapath_type": "netdev"})
    tracker = Agent(Settings(agent=settings), facts).tracker
    wanted = HostState() if rest else state(number, other)
    tracker.read(wanted)
    tracker.reconcile(wanted)
    for key, trouble in tracker.trouble.items():
        print("trouble", key, trouble)
    print("changes", tracker.changes)


if __name__ == "__main__":
    main()
