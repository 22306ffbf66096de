"""Quality of service: policies of the Networking API, and the rules in them."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from netloom.model.base import Resource

Direction = Literal["ingress", "egress", "any"]
"""As an instance sees it: `egress` is what it sends."""

BURST_SHARE = 0.8
"""Seconds at the full rate that may come at once where a rule names no burst, as in Neutron."""


class PolicyRule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule as its policy shows it; `type` says which of the values it has (`max_kbps`, `dscp_mark`, …).

    kbps are 1000 bits a second, kpps 1000 packets a second. A `max_kbps` or `max_kpps` of 0 limits nothing. A burst of 0
    stands for BURST_SHARE.
    """

    id: str
    type: str
    direction: str | None = None
    max_kbps: int | None = None
    max_burst_kbps: int | None = None
    max_kpps: int | None = None
    max_burst_kpps: int | None = None
    min_kbps: int | None = None
    min_kpps: int | None = None
    dscp_mark: int | None = None


class QosPolicy(Resource, frozen=True, kw_only=True):
    """Limits and marks for what it is put on: ports, networks, floating IPs, gateways of routers.

    `is_default`: new networks of the project get it. `rules`: copies of the rules that name it, so that who reads the policy
    has them.
    """

    KIND: ClassVar[str] = "qos_policy"
    GRANTED_BY: ClassVar[str] = "id"

    is_default: bool = False
    rules: tuple[PolicyRule, ...] = ()

    def rule(self, type: str, direction: str | None = None) -> PolicyRule | None:
        """The rule of a type and direction; there is one at most."""
        found = (r for r in self.rules if r.type == type and r.direction in (direction, "any"))
        return next(found, None)


class QosRule(Resource, frozen=True, kw_only=True):
    """What a policy says of one thing, in one direction. `TYPE`: as the API calls it. Fields of other types are None."""

    TYPE: ClassVar[str]
    GRANTED_BY: ClassVar[str] = "qos_policy_id"

    qos_policy_id: str
    direction: str | None = None
    max_kbps: int | None = None
    max_burst_kbps: int | None = None
    max_kpps: int | None = None
    max_burst_kpps: int | None = None
    min_kbps: int | None = None
    min_kpps: int | None = None
    dscp_mark: int | None = None

    @property
    def as_shown(self) -> PolicyRule:
        """The copy of it in its policy."""
        fields = {name: getattr(self, name) for name in RULE_FIELDS}
        return PolicyRule(id=self.id, type=self.TYPE, **fields)


RULE_FIELDS = tuple(name for name in PolicyRule.__struct_fields__ if name not in ("id", "type"))


class QosBandwidthLimitRule(QosRule, frozen=True, kw_only=True):
    """At most `max_kbps`, with bursts of `max_burst_kbps` (1000 bits)."""

    KIND: ClassVar[str] = "qos_bandwidth_limit_rule"
    TYPE: ClassVar[str] = "bandwidth_limit"


class QosDscpMarkingRule(QosRule, frozen=True, kw_only=True):
    """What is sent carries `dscp_mark` in its IP header."""

    KIND: ClassVar[str] = "qos_dscp_marking_rule"
    TYPE: ClassVar[str] = "dscp_marking"


class QosMinimumBandwidthRule(QosRule, frozen=True, kw_only=True):
    """At least `min_kbps`: for whoever places instances; no host keeps bandwidth free for it."""

    KIND: ClassVar[str] = "qos_minimum_bandwidth_rule"
    TYPE: ClassVar[str] = "minimum_bandwidth"


class QosMinimumPacketRateRule(QosRule, frozen=True, kw_only=True):
    """At least `min_kpps`: for whoever places instances; no host keeps anything free for it."""

    KIND: ClassVar[str] = "qos_minimum_packet_rate_rule"
    TYPE: ClassVar[str] = "minimum_packet_rate"


class QosPacketRateLimitRule(QosRule, frozen=True, kw_only=True):
    """At most `max_kpps`, with bursts of `max_burst_kpps` (1000 packets)."""

    KIND: ClassVar[str] = "qos_packet_rate_limit_rule"
    TYPE: ClassVar[str] = "packet_rate_limit"


QOS_RULES: tuple[type[QosRule], ...] = (
    QosBandwidthLimitRule,
    QosDscpMarkingRule,
    QosMinimumBandwidthRule,
    QosMinimumPacketRateRule,
    QosPacketRateLimitRule,
)
"""All types, in the order in which a policy shows them."""

BANDWIDTH_LIMIT = QosBandwidthLimitRule.TYPE
DSCP_MARKING = QosDscpMarkingRule.TYPE
MINIMUM_BANDWIDTH = QosMinimumBandwidthRule.TYPE
MINIMUM_PACKET_RATE = QosMinimumPacketRateRule.TYPE
PACKET_RATE_LIMIT = QosPacketRateLimitRule.TYPE
