"""QoS policies: made, shared, made the default of a project, and deleted where nothing has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.contract import qos_errors
from netloom.model import (
    QOS_RULES,
    Context,
    FloatingIP,
    Network,
    Port,
    QosPolicy,
    Resource,
    Router,
    to_doc,
)
from netloom.network import grants, qos
from netloom.network.access import EVERYONE, SHARED
from netloom.store import Reader, Writer

_PLAIN = ("name", "description", "is_default")

USERS: tuple[tuple[str, type[Resource]], ...] = (
    ("port", Port),
    ("network", Network),
    ("fip", FloatingIP),
    ("router", Router),
)
"""What a policy is put on, as errors call it, in the order in which it is looked for."""


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> QosPolicy:
    """Make a policy without rules."""
    if not attrs["project_id"]:
        raise lib.BadRequest(resource="QoS policy", msg='Must have "policy_id"')
    policy = QosPolicy(
        id=str(uuid4()),
        project_id=attrs["project_id"],
        revision_number=1,
        **{name: attrs[name] for name in _PLAIN},
    )
    _check_default(w, policy)
    policy = w.insert(policy)
    if attrs["shared"]:
        grants.grant(w, policy, EVERYONE, SHARED)
    return policy


def update(w: Writer, ctx: Context, old: QosPolicy, attrs: dict[str, Any]) -> QosPolicy:
    """Change what a policy is called, whether it is its project's default, and whether everybody may use it."""
    new = replace(old, **{name: attrs[name] for name in _PLAIN if name in attrs})
    if new.is_default and not old.is_default:
        _check_default(w, new)
    policy = w.update(new)
    if "shared" in attrs and grants.set_shared(
        w,
        old,
        attrs["shared"],
        lambda others: grants.check_unshared(old, users(w, old), EVERYONE, others),
    ):
        if policy.revision_number == old.revision_number:
            w.bump(QosPolicy, old.id)
        return qos.find(w, ctx, old.id)
    return policy


def delete(w: Writer, ctx: Context, old: QosPolicy) -> None:
    """Delete a policy that nothing has, with its rules. Raises QosPolicyInUse."""
    for name, kind in USERS:
        users = w.list(kind, qos_policy_id=old.id)
        if users:
            raise qos_errors.PolicyInUse(policy_id=old.id, object_type=name, object_id=users[0].id)
    for kind in QOS_RULES:
        for rule in w.list(kind, qos_policy_id=old.id):
            w.delete(kind, rule.id)
    w.delete(QosPolicy, old.id)


def show(r: Reader, ctx: Context, objs: Sequence[QosPolicy]) -> list[dict[str, Any]]:
    """Return policies as the API shows them to this caller."""
    shared = r.accessible(ctx.caller.project_id, SHARED)
    docs: list[dict[str, Any]] = []
    for policy in objs:
        doc = to_doc(policy)
        doc["tenant_id"] = policy.project_id
        doc["shared"] = policy.id in shared
        doc["rules"] = [to_doc(rule) | {"qos_policy_id": policy.id} for rule in policy.rules]
        docs.append(doc)
    return docs


def users(r: Reader, policy: QosPolicy) -> set[str]:
    """Return the projects that have put a policy on something."""
    return {user.project_id for _, kind in USERS for user in r.list(kind, qos_policy_id=policy.id)}


def _check_default(r: Reader, policy: QosPolicy) -> None:
    """Raise QoSPolicyDefaultAlreadyExists for a second default of a project."""
    there = qos.default_of(r, policy.project_id) if policy.is_default else None
    if there not in (None, policy.id):
        raise qos_errors.DefaultAlreadyExists(project_id=policy.project_id)


def refreshed(w: Writer, policy: QosPolicy) -> QosPolicy:
    """Write the rules that name a policy into it, by type and age; return it as it is now."""
    places = {rule.id: place for place, rule in enumerate(policy.rules)}
    rules = [
        rule
        for kind in QOS_RULES
        for rule in sorted(
            w.list(kind, qos_policy_id=policy.id), key=lambda r: places.get(r.id, len(places))
        )
    ]
    return w.update(replace(policy, rules=tuple(rule.as_shown for rule in rules)))
