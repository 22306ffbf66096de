"""Security groups: named sets of rules, among them the `default` group that every project has.

What a new group begins with is in `default_rules`: unless somebody changed it, it lets everything out, and the default group
lets in what comes from its own members. That is made when the project first asks for a network, a port or its groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib.exceptions.security_group import SecurityGroupDefaultAlreadyExists

from netloom.contract.security_group_errors import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupConflict,
    SecurityGroupInUse,
)
from netloom.model import Context, Port, SecurityGroup, SecurityGroupRule, to_doc
from netloom.network import default_rules, quotas, security_group_rules
from netloom.network.access import SHARED
from netloom.store import Reader, Writer

DEFAULT = "default"


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> SecurityGroup:
    """Make a group with the rules that new groups begin with; they count for the quota of rules."""
    project_id = attrs["project_id"]
    ensure_default(w, ctx, project_id)
    if attrs["name"].lower() == DEFAULT:
        raise SecurityGroupDefaultAlreadyExists()
    quotas.check(w, ctx, project_id, SecurityGroup.KIND)
    group = SecurityGroup(
        id=str(uuid4()),
        project_id=project_id,
        name=attrs["name"],
        description=attrs["description"],
        stateful=attrs["stateful"],
        revision_number=1,
    )
    rules = default_rules.begin(w, group)
    quotas.check(w, ctx, project_id, SecurityGroupRule.KIND, len(rules))
    return _insert(w, group, rules)


def ensure_default(w: Writer, ctx: Context, project_id: str) -> SecurityGroup | None:
    """Return the project's default group, made now if need be; None for objects without a project."""
    if not project_id:
        return None
    found = default_of(w, project_id)
    if found is not None:
        return found
    group = SecurityGroup(
        id=str(uuid4()),
        project_id=project_id,
        name=DEFAULT,
        description="Default security group",
        is_default=True,
        revision_number=1,
    )
    return _insert(w, group, default_rules.begin(w, group))


def default_of(r: Reader, project_id: str) -> SecurityGroup | None:
    """Return the project's default group, or None where it is not made yet."""
    groups = r.list(SecurityGroup, project_id=project_id, name=DEFAULT)
    return next((group for group in groups if group.is_default), None)


def _insert(w: Writer, group: SecurityGroup, rules: Sequence[SecurityGroupRule]) -> SecurityGroup:
    group = w.insert(group)
    for rule in rules:
        w.insert(rule)
    return group


def update(w: Writer, ctx: Context, old: SecurityGroup, attrs: dict[str, Any]) -> SecurityGroup:
    """Change name, description or `stateful`; the last only while no port uses the group."""
    name = attrs.get("name", old.name)
    if name != old.name:
        if old.is_default:
            raise SecurityGroupCannotUpdateDefault()
        if name.lower() == DEFAULT:
            raise SecurityGroupDefaultAlreadyExists()
    stateful = attrs.get("stateful", old.stateful)
    if stateful != old.stateful and in_use(w, old):
        raise SecurityGroupInUse(id=old.id)
    return w.update(
        replace(
            old, name=name, stateful=stateful, description=attrs.get("description", old.description)
        )
    )


def delete(w: Writer, ctx: Context, old: SecurityGroup) -> None:
    """Delete a group that no port uses, with its rules and those of others that name it as remote."""
    if old.is_default and not ctx.caller.is_admin:
        raise SecurityGroupCannotRemoveDefault()
    if in_use(w, old):
        raise SecurityGroupInUse(id=old.id)
    default_rules.forget_remote(w, old.id)
    w.delete(SecurityGroup, old.id)


def in_use(r: Reader, group: SecurityGroup) -> bool:
    """True while a port has the group."""
    return bool(r.sources(group.id, "port.security_group_id"))


def users(r: Reader, group: SecurityGroup) -> set[str]:
    """Return the projects whose ports have a group."""
    return {port.project_id for port in r.list(Port, security_group_id=group.id)}


def check_together(groups: Sequence[SecurityGroup]) -> None:
    """Raise SecurityGroupConflict for groups that cannot be on one port: stateful beside stateless."""
    if len({group.stateful for group in groups}) > 1:
        raise SecurityGroupConflict(
            reason="Cannot apply both stateful and stateless security groups on the same port at the same time"
        )


def show(r: Reader, ctx: Context, objs: Sequence[SecurityGroup]) -> list[dict[str, Any]]:
    """Return groups as the API shows them, each with its rules."""
    rules: dict[str, list[SecurityGroupRule]] = {group.id: [] for group in objs}
    for rule in r.list(SecurityGroupRule, security_group_id=list(rules)):
        rules[rule.security_group_id].append(rule)
    shared = r.accessible(ctx.caller.project_id, SHARED)
    shown: list[dict[str, Any]] = []
    for group in objs:
        doc = to_doc(group)
        del doc["is_default"]
        doc["tenant_id"] = group.project_id
        doc["shared"] = group.id in shared
        doc["security_group_rules"] = security_group_rules.show(r, ctx, rules[group.id])
        shown.append(doc)
    return shown
