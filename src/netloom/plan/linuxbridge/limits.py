"""Limits and marks of QoS policies, which a host with Linux bridges has not: each object that has a policy with some says so."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.hoststate import HostObject, Refusal
from netloom.model.networking import Network, Port, Router
from netloom.model.origin import Origin
from netloom.model.qos import QosPolicy
from netloom.plan import qos
from netloom.plan.index import Index, origin
from netloom.plan.l3 import gateway_of


def plan_port(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    """What of a port's policy is left out."""
    yield from _left_out(index, network, qos.of_port(index, network, port), origin(port))


def plan_router(index: Index, router: Router) -> Iterator[HostObject]:
    """What of the policies of a router's gateway and floating IPs is left out."""
    gateway = gateway_of(index, router)
    network = index.network(gateway.network_id) if gateway is not None else None
    if network is None:
        return
    yield from _left_out(index, network, qos.of_gateway(index, network, router), origin(router))
    for fip in (*index.floating_of(router.id), *index.forwarding_of(router.id)):
        policy = qos.of_floating_ip(index, network, fip)
        yield from _left_out(index, network, policy, origin(fip))


def _left_out(
    index: Index, network: Network, policy: QosPolicy | None, why: tuple[Origin, ...]
) -> Iterator[HostObject]:
    asked = [qos.limits(index, network, policy, way) for way in ("ingress", "egress")]
    if policy is not None and any(asked):
        detail = f"QoS policy {policy.id}: a host with Linux bridges has no limits and no marks"
        yield Refusal(detail=detail, origin=why, aspect="qos")
