"""Rules of QoS policies: which go together in one policy, and which those can carry out that have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from netloom.contract import qos_errors
from netloom.model import Context, QosPolicy, QosRule
from netloom.model.qos import (
    BANDWIDTH_LIMIT,
    DSCP_MARKING,
    MINIMUM_BANDWIDTH,
    MINIMUM_PACKET_RATE,
    RULE_FIELDS,
    PolicyRule,
)
from netloom.network import qos, qos_policies
from netloom.store import Reader, Writer

BY_PLACEMENT = frozenset({MINIMUM_BANDWIDTH, MINIMUM_PACKET_RATE})
"""Types that are for whoever places instances: they cannot change under one."""


class Rules(Struct, frozen=True):
    """The rules of one type."""

    kind: type[QosRule]

    def create(self, w: Writer, ctx: Context, attrs: dict[str, Any]) -> QosRule:
        """Add a rule to a policy."""
        policy = qos.find(w, ctx, attrs["qos_policy_id"])
        _check_values(policy, attrs)
        rule = self.kind(
            id=str(uuid4()),
            project_id=policy.project_id,
            qos_policy_id=policy.id,
            revision_number=1,
            **{name: attrs[name] for name in RULE_FIELDS if name in attrs},
        )
        _check_together(policy, rule)
        made = w.insert(rule)
        _carried_out(w, policy, rule.TYPE)
        return made

    def update(self, w: Writer, ctx: Context, old: QosRule, attrs: dict[str, Any]) -> QosRule:
        """Change a rule's values."""
        policy = qos.find(w, ctx, old.qos_policy_id)
        _check_values(policy, attrs)
        new = replace(old, **{name: attrs[name] for name in RULE_FIELDS if name in attrs})
        _check_together(policy, new)
        changed = w.update(new)
        _carried_out(w, policy, old.TYPE)
        return changed

    def delete(self, w: Writer, ctx: Context, old: QosRule) -> None:
        """Take a rule out of its policy."""
        policy = qos.find(w, ctx, old.qos_policy_id)
        w.delete(self.kind, old.id)
        _carried_out(w, policy, old.TYPE)

    def show(self, r: Reader, ctx: Context, objs: Sequence[QosRule]) -> list[dict[str, Any]]:
        """Return rules as the API shows them."""
        names = ("id", "qos_policy_id", *RULE_FIELDS)
        return [{name: getattr(rule, name) for name in names} for rule in objs]


def _carried_out(w: Writer, policy: QosPolicy, type: str) -> None:
    """Write a policy's rules into it, where all that have the policy can do what they say."""
    new = qos_policies.refreshed(w, policy)
    for port in qos.ports_with(w, policy.id):
        qos.check_port(new, port)
        if type in BY_PLACEMENT and port.device_owner.startswith(qos.COMPUTE):
            raise qos_errors.NotImplementedError


def _check_values(policy: QosPolicy, attrs: dict[str, Any]) -> None:
    """Raise QoSRuleParameterConflict where a limit would be below what is promised, as Neutron looks at it."""
    direction = attrs.get("direction")
    for rule in policy.rules:
        if rule.type == DSCP_MARKING or (direction and rule.direction != direction):
            continue
        if rule.type == MINIMUM_BANDWIDTH and "max_kbps" in attrs:
            _check(policy, rule, attrs["max_kbps"], rule.min_kbps, attrs["max_kbps"])
        if rule.type == BANDWIDTH_LIMIT and "min_kbps" in attrs:
            _check(policy, rule, rule.max_kbps, attrs["min_kbps"], attrs["min_kbps"])


def _check(
    policy: QosPolicy, rule: PolicyRule, most: int | None, least: int | None, asked: int
) -> None:
    if (least or 0) > (most or 0):
        has = rule.min_kbps if rule.type == MINIMUM_BANDWIDTH else rule.max_kbps
        raise qos_errors.against(policy, asked, rule.type, has)


def _check_together(policy: QosPolicy, new: QosRule) -> None:
    """Raise QoSRulesConflict for a second rule of a type and direction, QoSRuleParameterConflict for two sorts of directions."""
    others = [rule for rule in policy.rules if rule.type == new.TYPE and rule.id != new.id]
    for rule in others:
        if new.TYPE == MINIMUM_PACKET_RATE and (rule.direction == "any") != (
            new.direction == "any"
        ):
            raise qos_errors.against(policy, new.direction, rule.type, rule.direction)
    for rule in others:
        if rule.direction == new.direction:
            raise qos_errors.conflict(new, rule.id)
