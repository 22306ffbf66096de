"""QoS policies and rules as the Networking API has them: attributes, from neutron-lib, and what differs for one rule.

A rule is reached behind its policy (`bandwidth_limit_rules`) and, to be read, changed or deleted, without it
(`alias_bandwidth_limit_rules`): the attributes are the same.
"""

from __future__ import annotations

from typing import Any

from neutron_lib.api.definitions import (
    qos,
    qos_bw_limit_direction,
    qos_bw_minimum_ingress,
    qos_default,
    qos_pps_minimum_rule,
    qos_pps_minimum_rule_alias,
    qos_pps_rule,
    qos_rules_alias,
)

from netloom.model.qos import QOS_RULES, QosRule

Attributes = dict[str, dict[str, Any]]

ALIAS = "alias_"

QOS_POLICIES: tuple[Any, ...] = (
    qos.RESOURCE_ATTRIBUTE_MAP[qos.POLICIES],
    qos_default.RESOURCE_ATTRIBUTE_MAP[qos.POLICIES],
)


def singular_of(kind: type[QosRule]) -> str:
    """Return what one rule is called in a body."""
    return f"{kind.TYPE}_rule"


def _behind_policy(collection: str) -> Attributes:
    """Return the attributes of a collection of rules, as the extensions of Neutron add up to."""
    attributes: Attributes = {}
    for definition in (qos, qos_pps_minimum_rule, qos_pps_rule, qos_bw_limit_direction):
        maps: dict[str, Any] = definition.SUB_RESOURCE_ATTRIBUTE_MAP
        attributes |= maps.get(collection, {}).get("parameters", {})
    if collection == qos.MIN_BANDWIDTH_RULES:
        ingress: dict[str, Any] = qos_bw_minimum_ingress.SUB_RESOURCE_ATTRIBUTE_MAP
        attributes |= ingress[collection]["parameters"]
    if collection == qos.BANDWIDTH_LIMIT_RULES:
        # In Neutron nobody told the list of the attribute that another extension adds.
        attributes["direction"] = attributes["direction"] | {"is_filter": False}
    return attributes


_ALIASES: dict[str, Any] = (
    qos_rules_alias.RESOURCE_ATTRIBUTE_MAP | qos_pps_minimum_rule_alias.RESOURCE_ATTRIBUTE_MAP
)

RULE_MAPS: dict[str, Attributes] = {
    f"{singular_of(kind)}s": _behind_policy(f"{singular_of(kind)}s") for kind in QOS_RULES
} | _ALIASES
"""Collection of rules → attributes."""

RULE_SINGULARS: dict[str, str] = {collection: collection[:-1] for collection in RULE_MAPS}

RULE_OF: dict[str, type[QosRule]] = {f"{singular_of(kind)}s": kind for kind in QOS_RULES}
"""Collection behind a policy → what is in it."""

ALIASED: dict[str, type[QosRule]] = {
    collection: RULE_OF[collection.removeprefix(ALIAS)] for collection in _ALIASES
}
"""Collection without a policy in the path → what is in it."""
