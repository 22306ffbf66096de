"""Grants on networks: each is a row of `store.access`, by which visibility is decided, and the RBAC policy that shows it."""

from __future__ import annotations

from uuid import uuid4

from netloom.model import Network, RbacPolicy
from netloom.store import Reader, Writer


def of(r: Reader, network_id: str, action: str) -> dict[str, RbacPolicy]:
    """Return the policies of one action on a network, by target."""
    found = r.list(RbacPolicy, object_id=network_id)
    return {policy.target_tenant: policy for policy in found if policy.action == action}


def grant(
    w: Writer, network: Network, target: str, action: str, project_id: str | None = None
) -> RbacPolicy:
    """Let a project, or everyone (`*`), use a network. The policy belongs to `project_id` (None: the network's)."""
    w.grant(network.id, target, action)
    return w.insert(
        RbacPolicy(
            id=str(uuid4()),
            project_id=network.project_id if project_id is None else project_id,
            revision_number=1,
            object_type="network",
            object_id=network.id,
            action=action,
            target_tenant=target,
        )
    )


def revoke(w: Writer, policy: RbacPolicy) -> None:
    """Take a grant back, whoever uses it."""
    w.revoke(policy.object_id, policy.target_tenant, policy.action)
    w.delete(RbacPolicy, policy.id)
