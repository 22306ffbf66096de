"""Security groups: named sets of rules, among them the `default` group that every project has.

A new group lets everything out. The default group also lets in what comes from its own members. It is made
when the project first asks for a network, a port or its groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace
from neutron_lib.exceptions.security_group import SecurityGroupDefaultAlreadyExists

from netloom.contract.security_group_errors import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupConflict,
    SecurityGroupInUse,
)
from netloom.model import Context, SecurityGroup, SecurityGroupRule, to_doc
from netloom.network import quotas, security_group_rules
from netloom.store import Reader, Writer

DEFAULT = "default"


class Template(Struct, frozen=True):
    """A rule that new groups start with; `own_group`: its remote is the group itself."""

    direction: str
    ethertype: str
    own_group: bool = False


EVERY_GROUP = (Template("egress", "IPv4"), Template("egress", "IPv6"))
DEFAULT_GROUP = (*EVERY_GROUP, Template("ingress", "IPv4", True), Template("ingress", "IPv6", True))


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> SecurityGroup:
    """Make a group with the rules that every group starts with."""
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
    return _insert(w, group, EVERY_GROUP)


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
    return _insert(w, group, DEFAULT_GROUP)


def default_of(r: Reader, project_id: str) -> SecurityGroup | None:
    """Return the project's default group, or None where it is not made yet."""
    groups = r.list(SecurityGroup, project_id=project_id, name=DEFAULT)
    return next((group for group in groups if group.is_default), None)


def _insert(w: Writer, group: SecurityGroup, templates: Sequence[Template]) -> SecurityGroup:
    group = w.insert(group)
    for template in templates:
        w.insert(
            SecurityGroupRule(
                id=str(uuid4()),
                project_id=group.project_id,
                security_group_id=group.id,
                direction=template.direction,
                ethertype=template.ethertype,
                remote_group_id=group.id if template.own_group else None,
                belongs_to_default_sg=group.is_default,
            )
        )
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
    w.delete(SecurityGroup, old.id)


def in_use(r: Reader, group: SecurityGroup) -> bool:
    """True while a port has the group."""
    return bool(r.sources(group.id, "port.security_group_id"))


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
    shown: list[dict[str, Any]] = []
    for group in objs:
        doc = to_doc(group)
        del doc["is_default"]
        doc["tenant_id"] = group.project_id
        doc["security_group_rules"] = security_group_rules.show(r, ctx, rules[group.id])
        shown.append(doc)
    return shown
