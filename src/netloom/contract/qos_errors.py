"""Errors of QoS policies and rules, each with Neutron's type and words."""

from __future__ import annotations

from typing import Any

from neutron_lib.exceptions import qos as errors

from netloom.contract.errors import HTTPError
from netloom.model.qos import QosPolicy, QosRule

PolicyInUse = errors.QosPolicyInUse
DefaultAlreadyExists = errors.QoSPolicyDefaultAlreadyExists
NotYours = errors.PolicyRemoveAuthorizationError
NotSupportedByPort = errors.QosRuleNotSupported


class NotImplementedError(HTTPError):
    """What Placement would have to agree to."""

    code = 501

    def __init__(self) -> None:
        super().__init__(
            "Cannot update QoS policies/rules backed by resources tracked in Placement"
        )


def policy_not_found(id: str) -> Exception:
    """Return the error for a policy that is not there."""
    return errors.QosPolicyNotFound(policy_id=id)


def rule_not_found(policy_id: str, id: str) -> Exception:
    """Return the error for a rule that is not there, or not in this policy."""
    return errors.QosRuleNotFound(policy_id=policy_id, rule_id=id)


def conflict(rule: QosRule, other_id: str) -> Exception:
    """Return the error for a second rule of the same type and direction."""
    return errors.QoSRulesConflict(
        new_rule_type=rule.TYPE, rule_id=other_id, policy_id=rule.qos_policy_id
    )


def against(policy: QosPolicy, value: Any, type: str, has: Any) -> Exception:
    """Return the error for a value that cannot be together with what a rule of the policy has."""
    return errors.QoSRuleParameterConflict(
        rule_value=value, policy_id=policy.id, existing_rule=type, existing_value=has
    )
