"""Limits of single addresses of a router's gateway: its own, and floating IPs.

All these share the gateway's device, so packets are told apart by the address: behind the device on their way out, before it on
their way in, where NAT has already given them the address, or not yet taken it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netloom.model.family import ADDRESSED, of
from netloom.model.hoststate import HostObject
from netloom.model.networking import Network, Port, Router
from netloom.model.openflow import Goto, Load, Match
from netloom.model.origin import Origin
from netloom.model.qos import QosPolicy
from netloom.plan import distributed, l3, qos
from netloom.plan.index import Index, device_of, origin
from netloom.plan.ovs import limits
from netloom.plan.ovs.bridges import flow
from netloom.plan.ovs.pipeline import Priority, Stage
from netloom.plan.ovs.ports import way_out


class _Limited(NamedTuple):
    name: str
    address: str
    policy: QosPolicy | None
    why: tuple[Origin, ...]


def plan_router(index: Index, router: Router) -> Iterator[HostObject]:
    """The limits of a router with a replica on this host."""
    gateway = l3.gateway_of(index, router)
    network = index.network(gateway.network_id) if gateway is not None else None
    if gateway is None or network is None or not gateway.key:
        return
    if not index.is_here(gateway) or not index.is_up(gateway):
        return
    for each in _addresses(index, network, router, gateway):
        yield from _limited(index, network, gateway, each)


def plan_spread(index: Index, router: Router) -> Iterator[HostObject]:
    """The limits of a distributed router's floating IPs that enter on this host, each with a device of its own."""
    for fip, port in distributed.entries(index, router):
        network = index.network(port.network_id)
        if network is not None and index.is_up(port):
            policy = qos.of_floating_ip(index, network, fip)
            each = _Limited(fip.id, fip.floating_ip_address, policy, origin(fip, router))
            yield from _limited(index, network, port, each)


def _limited(index: Index, network: Network, port: Port, each: _Limited) -> Iterator[HostObject]:
    if of(each.address) in ADDRESSED:
        yield from _sent(index, network, port, each)
        yield from _received(index, network, port, each)


def _addresses(index: Index, network: Network, router: Router, gateway: Port) -> Iterator[_Limited]:
    policy = qos.of_gateway(index, network, router)
    for fixed in gateway.fixed_ips:
        name = f"{gateway.id}/{fixed.ip_address}"
        yield _Limited(name, fixed.ip_address, policy, origin(router, gateway))
    for fip in (*l3.central(index, router), *index.forwarding_of(router.id)):
        own = qos.of_floating_ip(index, network, fip)
        yield _Limited(fip.id, fip.floating_ip_address, own, origin(fip, router))


def _sent(index: Index, network: Network, gateway: Port, each: _Limited) -> Iterator[HostObject]:
    found = qos.limits(index, network, each.policy, "egress")
    if not found:
        return
    kind = of(each.address).eth_type
    own, _ = limits.sent(index, network, gateway, (Goto(int(Stage.LOCAL)),))
    match = {"src_port": gateway.key, "eth_type": kind, "ip_src": each.address}
    name = f"{each.name}/egress"
    way, objects = limits.chain(limits.SENT_BY_ADDRESS, name, found, match, own, each.why)
    yield flow(
        Stage.CLASSIFY,
        Priority.NORMAL + 1,
        Match(in_port=device_of(gateway), vlan=0, eth_type=kind, ip_src=each.address),
        Load("net", network.key),
        Load("src_port", gateway.key),
        *way,
        origin=each.why + found.why,
    )
    yield from objects


def _received(
    index: Index, network: Network, gateway: Port, each: _Limited
) -> Iterator[HostObject]:
    found = qos.limits(index, network, each.policy, "ingress")
    if not found:
        return
    kind = of(each.address).eth_type
    own, _ = limits.received(index, network, gateway, way_out(gateway))
    match = {"dst_port": gateway.key, "eth_type": kind, "ip_dst": each.address}
    name = f"{each.name}/ingress"
    way, objects = limits.chain(limits.RECEIVED_BY_ADDRESS, name, found, match, own, each.why)
    only = Match(dst_port=gateway.key, eth_dst=limits.UNICAST, eth_type=kind, ip_dst=each.address)
    yield flow(Stage.OUTPUT, Priority.NORMAL + 2, only, *way, origin=each.why + found.why)
    yield from objects
