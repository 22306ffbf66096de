"""RBAC policies: who else may use a network or a QoS policy, and when that may change or end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.contract.port_errors import NeutronDbObjectDuplicateEntry
from netloom.contract.qos_errors import policy_not_found
from netloom.contract.rbac import DuplicateRbacPolicy, InvalidActionForType, RbacPolicyInUse
from netloom.model import Context, Network, Port, QosPolicy, RbacPolicy, Router, to_doc
from netloom.network import access, grants, networks, qos_policies, quotas
from netloom.network.access import EVERYONE, EXTERNAL, SHARED
from netloom.store import Filter, Page, Reader, Writer

ACTIONS: dict[str, tuple[str, ...]] = {
    Network.KIND: (SHARED, EXTERNAL),
    QosPolicy.KIND: (SHARED,),
}
"""Type of object → what can be granted on it."""


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> RbacPolicy:
    """Grant something. A network that a policy opens for gateways becomes an external one."""
    quotas.check(w, ctx, attrs["project_id"], RbacPolicy.KIND)
    action, target = attrs["action"], attrs["target_tenant"]
    valid = ACTIONS[attrs["object_type"]]
    if action not in valid:
        raise InvalidActionForType(
            action=action, object_type=attrs["object_type"], valid_actions=valid
        )
    if attrs["object_type"] == QosPolicy.KIND:
        return _share_policy(w, ctx, attrs)
    network = access.find(w, ctx, Network, attrs["object_id"])
    if network is None:
        raise lib.InvalidInput(error_message=f"Network {attrs['object_id']} could not be found.")
    if not _may_grant(ctx, network):
        raise lib.InvalidInput(
            error_message="Only admins can manipulate policies on networks they do not own"
        )
    if target in grants.of(w, network.id, action):
        raise DuplicateRbacPolicy
    made = grants.grant(w, network, target, action, attrs["project_id"])
    if action == EXTERNAL and not network.external:
        w.update(replace(network, external=True))
    else:
        w.bump(Network, network.id)
    return made


def _share_policy(w: Writer, ctx: Context, attrs: dict[str, Any]) -> RbacPolicy:
    """Let others use a QoS policy."""
    policy, target = access.find(w, ctx, QosPolicy, attrs["object_id"]), attrs["target_tenant"]
    if policy is None:
        raise policy_not_found(attrs["object_id"])
    if not _may_grant(ctx, policy):
        raise lib.InvalidInput(
            error_message="Only admins can manipulate policies on objects they do not own."
        )
    if target in grants.of(w, policy.id, SHARED):
        raise DuplicateRbacPolicy
    made = grants.grant(w, policy, target, SHARED, attrs["project_id"])
    w.bump(QosPolicy, policy.id)
    return made


def _policy(r: Reader, id: str) -> QosPolicy:
    policy = r.get(QosPolicy, id)
    if policy is None:
        raise policy_not_found(id)
    return policy


def update(w: Writer, ctx: Context, old: RbacPolicy, attrs: dict[str, Any]) -> RbacPolicy:
    """Grant the same to another project instead."""
    target = attrs.get("target_tenant", old.target_tenant)
    if target == old.target_tenant:
        return old
    of_policy = old.object_type == QosPolicy.KIND
    obj = _policy(w, old.object_id) if of_policy else networks.get(w, old.object_id)
    if not _may_grant(ctx, obj):
        raise _in_use(obj, "only its owner and administrators can change it.")
    if isinstance(obj, QosPolicy):
        _check_policy_unused(w, obj, old, target)
    else:
        _check_unused(w, obj, old, target)
    if target in grants.of(w, obj.id, old.action):
        attributes = ["target_project", "object_id", "action"]
        table = "QosPolicyRBAC" if of_policy else "NetworkRBAC"
        raise NeutronDbObjectDuplicateEntry(object_type=table, attributes=attributes, values=None)
    w.revoke(obj.id, old.target_tenant, old.action)
    w.grant(obj.id, target, old.action)
    w.bump(type(obj), obj.id)
    return w.update(replace(old, target_tenant=target))


def delete(w: Writer, ctx: Context, old: RbacPolicy) -> None:
    """Take a grant back. With the last that opens it for gateways a network is no external one any more."""
    if old.object_type == QosPolicy.KIND:
        policy = _policy(w, old.object_id)
        _check_policy_unused(w, policy, old, None)
        grants.revoke(w, old)
        w.bump(QosPolicy, policy.id)
        return
    network = networks.get(w, old.object_id)
    _check_unused(w, network, old, None)
    grants.revoke(w, old)
    if old.action == EXTERNAL and network.external and not grants.of(w, network.id, EXTERNAL):
        closed = replace(network, external=False, is_default=False)
        networks.set_external(w, closed)
        w.update(closed)
    else:
        w.bump(Network, network.id)


def show(r: Reader, ctx: Context, objs: Sequence[RbacPolicy]) -> list[dict[str, Any]]:
    """Return policies as the API shows them."""
    return [to_doc(policy) | {"tenant_id": policy.project_id} for policy in objs]


def _may_grant(ctx: Context, obj: Network | QosPolicy) -> bool:
    return ctx.caller.is_admin or obj.project_id == ctx.caller.project_id


def _check_policy_unused(
    r: Reader, policy: QosPolicy, grant: RbacPolicy, target: str | None
) -> None:
    """Raise RbacPolicyInUse where a project uses the QoS policy by this grant alone. `target`: who gets it instead."""
    others = set(grants.of(r, policy.id, grant.action)) - {grant.target_tenant}
    others |= {target} if target else set()
    qos_policies.check_unshared(r, policy, grant.target_tenant, others)


def _check_unused(r: Reader, network: Network, policy: RbacPolicy, target: str | None) -> None:
    """Raise RbacPolicyInUse where a project uses the network by this policy alone. `target`: who gets it instead."""
    lost = policy.target_tenant
    others = set(grants.of(r, network.id, policy.action)) - {lost}
    if EVERYONE in others:
        return
    if policy.action == SHARED:
        if lost == network.project_id or not _has_ports(r, network, lost, others):
            return
        raise _in_use(
            network,
            f"Unable to reconfigure sharing settings for network {network.id}. "
            "Multiple projects are using it.",
        )
    if lost == EVERYONE and network.is_default:
        raise _in_use(network, "Default external networks must be shared to everyone.")
    users = {router.project_id for router in r.list(Router, network_id=network.id)}
    allowed = others | ({target} if target else set())
    if users - allowed if lost == EVERYONE else lost in users:
        raise _in_use(
            network,
            "There are routers attached to this network that depend on this policy for access.",
        )


def _has_ports(r: Reader, network: Network, lost: str, others: set[str]) -> bool:
    """Tell whether a project that loses access has a port on the network."""
    if lost == EVERYONE:
        # What serves the network itself belongs to no project.
        whose = Filter("project_id", (*others, network.project_id, ""), "none")
    else:
        whose = Filter("project_id", (lost,))
    on_network = Filter("network_id", (network.id,))
    return bool(r.search(Port, [(on_network, whose)], Page(limit=1)))


def _in_use(obj: Network | QosPolicy, details: str) -> RbacPolicyInUse:
    return RbacPolicyInUse(object_id=obj.id, details=details)
