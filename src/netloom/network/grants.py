"""Grants on networks, QoS policies and groups: each is a row of `store.access`, by which visibility is decided, and the RBAC policy that shows it."""

from __future__ import annotations

from collections.abc import Callable, Set
from uuid import uuid4

from netloom.contract.rbac import RbacPolicyInUse
from netloom.model import AddressGroup, Network, QosPolicy, RbacPolicy, SecurityGroup
from netloom.network.access import EVERYONE, SHARED
from netloom.store import Reader, Writer

Granted = Network | QosPolicy | SecurityGroup | AddressGroup
"""What can be granted."""


def of(r: Reader, object_id: str, action: str) -> dict[str, RbacPolicy]:
    """Return the policies of one action on an object, by target."""
    found = r.list(RbacPolicy, object_id=object_id)
    return {policy.target_tenant: policy for policy in found if policy.action == action}


def grant(
    w: Writer, obj: Granted, target: str, action: str, project_id: str | None = None
) -> RbacPolicy:
    """Let a project, or everyone (`*`), use an object. The policy belongs to `project_id` (None: the object's)."""
    w.grant(obj.id, target, action)
    return w.insert(
        RbacPolicy(
            id=str(uuid4()),
            project_id=obj.project_id if project_id is None else project_id,
            revision_number=1,
            object_type=obj.KIND,
            object_id=obj.id,
            action=action,
            target_tenant=target,
        )
    )


def set_shared(
    w: Writer, obj: Granted, shared: bool, check_end: Callable[[set[str]], None]
) -> bool:
    """Share an object with every project, or stop; tell whether that differs.

    `check_end`: raises the error where it may not end; it is given the projects that have a grant of their own.
    """
    policies = of(w, obj.id, SHARED)
    if shared == (EVERYONE in policies):
        return False
    if shared:
        grant(w, obj, EVERYONE, SHARED)
    else:
        check_end(policies.keys() - {EVERYONE})
        revoke(w, policies[EVERYONE])
    return True


def check_unshared(obj: Granted, users: Set[str], target: str, others: Set[str]) -> None:
    """Raise RbacPolicyInUse where a project that loses access by this grant alone uses the object.

    `target`: who loses it. `others`: who keeps it by a grant of their own.
    """
    if EVERYONE in others:
        return
    losing = users - others - {obj.project_id}
    if losing if target == EVERYONE else target in losing:
        raise RbacPolicyInUse(object_id=obj.id, details=f"project_id={target}")


def revoke(w: Writer, policy: RbacPolicy) -> None:
    """Take a grant back, whoever uses it."""
    w.revoke(policy.object_id, policy.target_tenant, policy.action)
    w.delete(RbacPolicy, policy.id)
