"""Bridges, tunnel ports and the pairs that join physical networks: what a host has before any port."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.hosts import Aspect
from netloom.model.hoststate import Bridge, Bucket, Flow, HostObject, Interface
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import Network
from netloom.model.openflow import FIRST_OF_HOST, Action, Goto, Load, Match, Normal, Output
from netloom.model.origin import Origin
from netloom.plan.index import TUNNELS, Index, of_host
from netloom.plan.ovs.pipeline import OF_LIMITS, RESERVED_GROUPS, Domain, Priority, Stage


def integration_patch(bridge: str) -> str:
    """Our end, on br-int, of the pair to a physical network's bridge."""
    return f"int-{bridge}"


def physical_patch(bridge: str) -> str:
    """The other end, on the physical network's bridge."""
    return f"phy-{bridge}"


def tunnel_port(network_type: str) -> str:
    """The tunnel port of br-int for a network type."""
    return f"{network_type}0"


def out_of(key: int) -> tuple[Load, Goto]:
    """Send a copy out of what has this key; without being asked by any rules."""
    return (Load("dst_port", key), Goto(int(Stage.OUTPUT)))


def out_by_tunnel(network_type: str) -> tuple[Load, Goto]:
    """Send a copy out of the tunnel port of a network type."""
    return out_of(FIRST_OF_HOST + sorted(TUNNELS).index(network_type))


def out_by_wire(index: Index, bridge: str) -> tuple[Load, Goto]:
    """Send a copy to a physical network by its bridge."""
    bridges = sorted(index.facts.bridge_mappings.values())
    return out_of(FIRST_OF_HOST + len(TUNNELS) + bridges.index(bridge))


def output(key: int, device: str, origin: tuple[Origin, ...]) -> Flow:
    """OUTPUT: which device a key stands for."""
    match = Match(dst_port=key)
    return flow(Stage.OUTPUT, Priority.NORMAL, match, Output(device), origin=origin)


def bucket(
    domain: Domain,
    network: Network,
    shards: int,
    number: int,
    *actions: Action,
    origin: tuple[Origin, ...],
) -> Bucket:
    """A receiver in a broadcast domain of a network."""
    return Bucket(
        bridge=INTEGRATION_BRIDGE,
        group=domain.of(network, number % shards),
        bucket=number,
        actions=actions,
        origin=origin,
    )


def flow(
    stage: Stage,
    priority: int,
    match: Match,
    *actions: Action,
    origin: tuple[Origin, ...],
    aspect: Aspect = "l2",
) -> Flow:
    """A flow of br-int."""
    return Flow(
        bridge=INTEGRATION_BRIDGE,
        table=int(stage),
        priority=priority,
        match=match,
        actions=actions,
        origin=origin,
        aspect=aspect,
    )


_GO_ON = (
    Stage.LOCAL,
    Stage.EGRESS_ACCEPT,
    Stage.ROUTE,
    Stage.NEIGHBOUR,
    Stage.INGRESS_ACCEPT,
)
"""Stages that do not drop what they do not know."""


def plan_bridges(index: Index) -> Iterator[HostObject]:
    """All that exists on a host before it has a single port; its origin is the host itself."""
    facts = index.facts
    host = of_host(facts.host)
    datapath = facts.capabilities.get("datapath_type", "netdev")
    yield Bridge(name=INTEGRATION_BRIDGE, datapath_type=datapath, secure=True, origin=host)
    if facts.tunnel_ip:
        for network_type in sorted(TUNNELS & set(facts.tunnel_types)):
            yield Interface(
                bridge=INTEGRATION_BRIDGE,
                name=tunnel_port(network_type),
                type=network_type,
                options={"key": "flow", "remote_ip": "flow"},
                origin=host,
            )
            load, _ = out_by_tunnel(network_type)
            yield output(load.value, tunnel_port(network_type), host)
    for _, bridge in sorted(facts.bridge_mappings.items()):
        uplink = facts.physical_interfaces.get(bridge)
        members = facts.bonds.get(uplink or "", ())
        yield from _physical_bridge(bridge, uplink, members, datapath, host)
        load, _ = out_by_wire(index, bridge)
        yield output(load.value, integration_patch(bridge), host)
    for stage in Stage:
        if stage in OF_LIMITS:
            continue  # a host without any has no flow for them
        if stage not in _GO_ON:
            yield flow(stage, Priority.DEFAULT, Match(), origin=host)
    for stage, following in (
        (Stage.LOCAL, Stage.EGRESS),
        (Stage.EGRESS_ACCEPT, Stage.L2),
        (Stage.INGRESS_ACCEPT, Stage.OUTPUT),
    ):
        yield flow(stage, Priority.DEFAULT, Match(), Goto(int(following)), origin=host)
    # Of the cloud's switches and of physical ones alike: what an instance says in them is for no switch to hear.
    reserved = Match(eth_dst=RESERVED_GROUPS)
    yield flow(Stage.CLASSIFY, Priority.REFUSE, reserved, origin=host)


def _physical_bridge(
    bridge: str,
    uplink: str | None,
    members: tuple[str, ...],
    datapath: str,
    host: tuple[Origin, ...],
) -> Iterator[HostObject]:
    yield Bridge(name=bridge, datapath_type=datapath, secure=False, origin=host)
    if uplink:
        kind = "bond" if members else "system"
        yield Interface(bridge=bridge, name=uplink, type=kind, members=members, origin=host)
    ours, theirs = integration_patch(bridge), physical_patch(bridge)
    yield Interface(
        bridge=INTEGRATION_BRIDGE, name=ours, type="patch", options={"peer": theirs}, origin=host
    )
    yield Interface(bridge=bridge, name=theirs, type="patch", options={"peer": ours}, origin=host)
    yield Flow(bridge=bridge, table=0, priority=0, match=Match(), actions=(Normal(),), origin=host)
