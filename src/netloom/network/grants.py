"""Grants on networks and QoS policies: each is a row of `store.access`, by which visibility is decided, and the RBAC policy that shows it."""

from __future__ import annotations

from uuid import uuid4

from netloom.model import Network, QosPolicy, RbacPolicy
from netloom.store import Reader, Writer


def of(r: Reader, object_id: str, action: str) -> dict[str, RbacPolicy]:
    """Return the policies of one action on an object, by target."""
    found = r.list(RbacPolicy, object_id=object_id)
    return {policy.target_tenant: policy for policy in found if policy.action == action}


def grant(
    w: Writer, obj: Network | QosPolicy, target: str, action: str, project_id: str | None = None
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


def revoke(w: Writer, policy: RbacPolicy) -> None:
    """Take a grant back, whoever uses it."""
    w.revoke(policy.object_id, policy.target_tenant, policy.action)
    w.delete(RbacPolicy, policy.id)
