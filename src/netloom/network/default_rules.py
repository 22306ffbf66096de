"""The rules that new security groups begin with, the default ones and all others: templates that administrators keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from netloom.contract.default_rules import DefaultSecurityGroupRuleExists
from netloom.contract.errors import HTTPBadRequest
from netloom.model import (
    Context,
    DefaultSecurityGroupRule,
    SecurityGroup,
    SecurityGroupRule,
    to_doc,
)
from netloom.network import lookup, security_group_rules
from netloom.store import Reader, Writer

PARENT = "PARENT"
"""The remote group of a rule that is to name its own group."""

_NOBODYS = SecurityGroup(id=PARENT)


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> DefaultSecurityGroupRule:
    """Add a rule for new groups; those that are there stay as they are."""
    attrs = security_group_rules.normal(attrs)
    security_group_rules.validate(attrs)
    remote, listed = attrs["remote_group_id"] or None, attrs["remote_address_group_id"] or None
    if remote not in (None, PARENT):
        lookup.security_group(w, ctx, remote)
    if listed is not None:
        lookup.address_group(w, ctx, listed)
    made = DefaultSecurityGroupRule(
        id=str(uuid4()),
        description=attrs["description"],
        direction=attrs["direction"],
        ethertype=attrs["ethertype"],
        protocol=attrs["protocol"],
        port_range_min=attrs["port_range_min"],
        port_range_max=attrs["port_range_max"],
        remote_ip_prefix=attrs["remote_ip_prefix"] or None,
        remote_group_id=remote,
        remote_address_group_id=listed,
        used_in_default_sg=attrs["used_in_default_sg"],
        used_in_non_default_sg=attrs["used_in_non_default_sg"],
    )
    says = _meaning(made)
    for other in w.list(DefaultSecurityGroupRule):
        # As in Neutron, whatever the new one is used in: it is held against those of ordinary groups.
        together = other.used_in_non_default_sg or (
            other.used_in_default_sg and made.used_in_default_sg
        )
        if together and _meaning(other) == says:
            raise DefaultSecurityGroupRuleExists(rule_id=other.id)
    return w.insert(made)


def update(
    w: Writer, ctx: Context, old: DefaultSecurityGroupRule, attrs: dict[str, Any]
) -> DefaultSecurityGroupRule:
    """Refuse any change but of nothing: rules are made and deleted only."""
    for name in attrs:
        raise HTTPBadRequest(f"Cannot update read-only attribute {name}")
    return old


def delete(w: Writer, ctx: Context, old: DefaultSecurityGroupRule) -> None:
    """Delete a rule: groups that began with it keep theirs."""
    w.delete(DefaultSecurityGroupRule, old.id)


def show(r: Reader, ctx: Context, objs: Sequence[DefaultSecurityGroupRule]) -> list[dict[str, Any]]:
    """Return rules as the API shows them."""
    return [to_doc(rule) for rule in objs]


def begin(r: Reader, group: SecurityGroup) -> list[SecurityGroupRule]:
    """Return the rules that a new group begins with, those for what it sends first."""
    used = "used_in_default_sg" if group.is_default else "used_in_non_default_sg"
    found = [rule for rule in r.list(DefaultSecurityGroupRule) if getattr(rule, used)]
    found.sort(key=lambda rule: (rule.direction, rule.ethertype, rule.id))
    return [_for_group(rule, group) for rule in found]


def forget_remote(w: Writer, id: str) -> None:
    """Delete the rules that name a group which goes."""
    for rule in w.list(DefaultSecurityGroupRule):
        if id in (rule.remote_group_id, rule.remote_address_group_id):
            w.delete(DefaultSecurityGroupRule, rule.id)


def _for_group(template: DefaultSecurityGroupRule, group: SecurityGroup) -> SecurityGroupRule:
    remote = template.remote_group_id
    asked = {
        "project_id": group.project_id,
        "description": "",
        "security_group_id": group.id,
        "direction": template.direction,
        "ethertype": template.ethertype,
        "protocol": template.protocol,
        "port_range_min": template.port_range_min,
        "port_range_max": template.port_range_max,
        "remote_ip_prefix": template.remote_ip_prefix,
        "remote_group_id": group.id if remote == PARENT else remote,
        "remote_address_group_id": template.remote_address_group_id,
    }
    return security_group_rules.made_of(asked, group)


def _meaning(template: DefaultSecurityGroupRule) -> tuple[Any, ...]:
    return security_group_rules.meaning(_for_group(template, _NOBODYS))
