"""QoS: which policy counts for what, and what its rules come to on this host."""

from __future__ import annotations

from math import ceil
from typing import Literal

from msgspec import Struct

from netloom.model.hoststate import Refusal
from netloom.model.networking import FloatingIP, Network, Port, Router
from netloom.model.origin import Origin
from netloom.model.qos import (
    BANDWIDTH_LIMIT,
    BURST_SHARE,
    DSCP_MARKING,
    MINIMUM_BANDWIDTH,
    MINIMUM_PACKET_RATE,
    PACKET_RATE_LIMIT,
    QosPolicy,
)
from netloom.plan.index import Index, origin

Way = Literal["ingress", "egress"]
"""As the instance sees it."""

_OF_THE_CLOUD = ("network:", "neutron:")
"""How owners of ports begin that are not for a network's policy."""

_HEADER = 18
"""Bytes of a frame beside its MTU: addresses, type, tag."""
_LARGEST_SEGMENT = 64 * 1024
"""Bytes that the kernel's datapath may look at as one packet (segmentation offload)."""


class Limit(Struct, frozen=True):
    """`rate` a second and `burst` at once, of 1000 bits (`kbps`) or packets (`pktps`)."""

    unit: Literal["kbps", "pktps"]
    rate: int
    burst: int


class Limits(Struct, frozen=True):
    """What a policy says of one direction; `why`: the policy as an origin."""

    bits: Limit | None = None
    packets: Limit | None = None
    mark: int | None = None
    why: tuple[Origin, ...] = ()

    def __bool__(self) -> bool:
        return self.bits is not None or self.packets is not None or self.mark is not None


NO_LIMITS = Limits()


def of_port(index: Index, network: Network, port: Port) -> QosPolicy | None:
    """A port's own policy; its network's where it has none, and is no part of the cloud itself."""
    found = port.qos_policy_id
    if found is None and not port.device_owner.startswith(_OF_THE_CLOUD):
        found = network.qos_policy_id
    return _policy(index, found)


def of_floating_ip(index: Index, network: Network, fip: FloatingIP) -> QosPolicy | None:
    """A floating IP's own policy, or its network's."""
    return _policy(index, fip.qos_policy_id or network.qos_policy_id)


def of_gateway(index: Index, network: Network, router: Router) -> QosPolicy | None:
    """The policy of a router's own addresses outside: the gateway's, or its network's."""
    gateway = router.external_gateway_info
    own = gateway.qos_policy_id if gateway is not None else None
    return _policy(index, own or network.qos_policy_id)


def _policy(index: Index, id: str | None) -> QosPolicy | None:
    return index.row("qos_policies", id) if id else None


def limits(index: Index, network: Network, policy: QosPolicy | None, way: Way) -> Limits:
    """What a policy comes to in one direction. Marks are for what an instance sends."""
    if policy is None:
        return NO_LIMITS
    bits = packets = mark = None
    if (rule := policy.rule(BANDWIDTH_LIMIT, way)) is not None and rule.max_kbps:
        burst = max(_burst(rule.max_burst_kbps, rule.max_kbps), _least_burst(index, network))
        bits = Limit("kbps", rule.max_kbps, burst)
    if (rule := policy.rule(PACKET_RATE_LIMIT, way)) is not None and rule.max_kpps:
        burst = _burst((rule.max_burst_kpps or 0) * 1000, rule.max_kpps * 1000)
        packets = Limit("pktps", rule.max_kpps * 1000, burst)
    if way == "egress" and (rule := policy.rule(DSCP_MARKING)) is not None:
        mark = rule.dscp_mark
    return Limits(bits, packets, mark, (Origin.of(policy),))


def _burst(asked: int | None, rate: int) -> int:
    return asked or ceil(rate * BURST_SHARE)


def _least_burst(index: Index, network: Network) -> int:
    """Of 1000 bits: a meter lets nothing through that is larger than its burst, so two of the largest packets fit in it."""
    userspace = index.facts.capabilities.get("datapath_type", "netdev") == "netdev"
    largest = network.mtu + _HEADER
    return ceil((2 * largest if userspace else max(2 * largest, _LARGEST_SEGMENT)) * 8 / 1000)


def not_kept(port: Port, policy: QosPolicy | None) -> Refusal | None:
    """What no host keeps free for anybody is said of the port: whoever looks for the cause of slow packets finds it."""
    promised = [
        rule.type
        for rule in (policy.rules if policy is not None else ())
        if rule.type in (MINIMUM_BANDWIDTH, MINIMUM_PACKET_RATE)
    ]
    if not promised or policy is None:
        return None
    said = " and ".join(dict.fromkeys(promised)).replace("_", " ")
    return Refusal(
        detail=f"{said} of QoS policy {policy.id}: no host keeps anything free for a port",
        origin=origin(port),
        aspect="qos",
    )
