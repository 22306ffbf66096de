"""A HostState as text that a person reads from top to bottom: for golden files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netloom.model.advertising import Advertiser
from netloom.model.family import V6
from netloom.model.filtering import FilterBase
from netloom.model.hoststate import (
    AttachedNetwork,
    Bridge,
    Bucket,
    ConnectionSync,
    Device,
    Dnsmasq,
    FloatingNat,
    Flow,
    Group,
    HostObject,
    HostState,
    Instance,
    Interface,
    Keepalived,
    MetadataListener,
    Namespace,
    Neighbour,
    NeighbourBound,
    NsRoute,
    SourceNat,
    Zone,
)
from netloom.model.meter import Meter
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.plan.ovs.pipeline import OF_LIMITS, PURPOSE, Domain, Stage
from netloom.render.dnsmasq import advertiser_conf, dnsmasq_conf, dnsmasq_hosts, dnsmasq_opts
from netloom.render.ip import ip_commands
from netloom.render.keepalived import conntrackd_conf, keepalived_conf
from netloom.render.nft import nft_ruleset
from netloom.render.openflow import bucket_text, flow_text
from netloom.render.vsctl import interface_command
from tests.support.bridge_text import bridge_lines


def state_text(state: HostState) -> str:
    """All objects of a state, as the commands and files that stand for them, each with its origin."""
    bridged = any(state.each(FilterBase))
    switch = bridge_lines(state) if bridged else _switch(state)
    return "\n".join([*switch, *_namespaces(state), *_instances(state)]) + "\n"


def _with_origin(line: str, item: HostObject) -> str:
    return f"{line}  # {' '.join(map(str, item.origin))}"


def _switch(state: HostState) -> Iterator[str]:
    yield "== Open vSwitch"
    for bridge in state.each(Bridge):
        mode = "secure" if bridge.secure else "standalone"
        yield _with_origin(f"bridge {bridge.name} {bridge.datapath_type} {mode}", bridge)
    for interface in state.each(Interface):
        yield _with_origin(interface_command(interface), interface)
    flows = list(state.each(Flow))
    for stage in Stage:
        here = [f for f in flows if f.bridge == INTEGRATION_BRIDGE and f.table == stage]
        if not here and stage in OF_LIMITS:
            continue
        yield f"-- table {int(stage)} {stage.name}: {PURPOSE[stage]}"
        yield from _flow_lines(here)
    yield "-- groups: broadcast domains"
    for group in sorted(state.each(Group), key=lambda group: group.group):
        domain, net = Domain(group.group >> 28), group.group & 0xFFFFFF
        yield _with_origin(f"group {group.group}: {domain.name} of network {net:#x}", group)
        inside = [b for b in state.each(Bucket) if b.group == group.group]
        for bucket in sorted(inside, key=lambda bucket: bucket.bucket):
            yield _with_origin(f"  {bucket_text(bucket)}", bucket)
    for zone in sorted(state.each(Zone), key=lambda zone: zone.name):
        yield _with_origin(f"conntrack zone {zone.name}", zone)
    for meter in sorted(state.each(Meter), key=lambda meter: meter.name):
        said = f"meter {meter.name}: {meter.rate} {meter.unit}, burst {meter.burst}"
        yield _with_origin(said, meter)
    others = [f for f in flows if f.bridge != INTEGRATION_BRIDGE]
    for bridge in sorted({f.bridge for f in others}):
        yield f"-- {bridge}"
        yield from _flow_lines(f for f in others if f.bridge == bridge)


def _flow_lines(flows: Iterable[Flow]) -> Iterator[str]:
    for flow in sorted(flows, key=lambda f: (-f.priority, flow_text(f))):
        yield _with_origin(flow_text(flow).partition(",")[2], flow)


def _namespaces(state: HostState) -> Iterator[str]:
    for namespace in state.each(Namespace):
        name = namespace.name
        yield f"== {name}"
        everything = (*state.each(Device), *state.each(NsRoute), *state.each(Neighbour))
        inside = [item for item in everything if item.namespace == name]
        for item in (namespace, *inside):
            yield from (_with_origin(line, item) for line in ip_commands(item))
        for server in state.each(Dnsmasq):
            if server.namespace == name:
                yield from _file("dnsmasq.conf", dnsmasq_conf(server, "DIRECTORY"))
                yield from _file("hosts", dnsmasq_hosts(server))
                yield from _file("opts", dnsmasq_opts(server))
        for speaks in state.each(Advertiser):
            if speaks.namespace == name:
                yield from _file("advertiser.conf", advertiser_conf(speaks, "DIRECTORY"))
        for listener in state.each(MetadataListener):
            if listener.namespace == name:
                askers = ", ".join(
                    f"{ip} is {port}" for ip, port in sorted(listener.askers.items())
                )
                yield _with_origin(f"metadata: {askers}", listener)
        floating = [nat for nat in state.each(FloatingNat) if nat.namespace == name]
        source = [nat for nat in state.each(SourceNat) if nat.namespace == name]
        networks = [n for n in state.each(AttachedNetwork) if n.namespace == name]
        if floating or source or networks:
            yield from _file("nft", nft_ruleset(floating, source, networks))
        if any(":" in cidr for n in networks for cidr in (*n.connected, *n.others)):
            yield from _file("nft of IPv6", nft_ruleset((), (), networks, V6))
        for replica in state.each(Keepalived):
            if replica.namespace == name:
                yield from _file("keepalived.conf", keepalived_conf(replica, "/DIRECTORY", "/HOME"))
        for sync in state.each(ConnectionSync):
            if sync.namespace == name:
                yield from _file("conntrackd.conf", conntrackd_conf(sync, "/DIRECTORY"))
        for bound in state.each(NeighbourBound):
            if bound.namespace == name:
                line = f"asks for {bound.rate} unknown neighbours a second, {bound.burst} at once"
                line += f"; known: {', '.join(bound.known)}" if bound.known else ""
                yield _with_origin(line, bound)


def _file(title: str, text: str) -> Iterator[str]:
    yield f"-- {title}"
    yield from text.splitlines()


def _instances(state: HostState) -> Iterator[str]:
    instances = list(state.each(Instance))
    if instances:
        yield "== instances"
    for item in instances:
        nics = ", ".join(f"{n.name} {n.mac} by {n.device} mtu {n.mtu}" for n in item.nics)
        yield _with_origin(f"{item.server_id} ({item.type}, image {item.image_id}): {nics}", item)
