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
from netloom.network import access, grants, networks, qos, qos_policies, quotas
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
    obj = _asked(w, ctx, attrs["object_type"], attrs["object_id"])
    if not _may_grant(ctx, obj):
        raise lib.InvalidInput(
            error_message=f"Only admins can manipulate policies on {_NOT_OWNED[obj.KIND]}"
        )
    if target in grants.of(w, obj.id, action):
        raise DuplicateRbacPolicy
    made = grants.grant(w, obj, target, action, attrs["project_id"])
    if isinstance(obj, Network) and action == EXTERNAL and not obj.external:
        w.update(replace(obj, external=True))
    else:
        w.bump(type(obj), obj.id)
    return made


_NOT_OWNED = {
    Network.KIND: "networks they do not own",
    QosPolicy.KIND: "objects they do not own.",
}
"""How Neutron's words end for whoever may not grant something."""


def _asked(r: Reader, ctx: Context, kind: str, id: str) -> Network | QosPolicy:
    """Return what a caller wants to grant, or raise the error of one that he does not see."""
    if kind == QosPolicy.KIND:
        return qos.find(r, ctx, id)
    network = access.find(r, ctx, Network, id)
    if network is None:
        raise lib.InvalidInput(error_message=f"Network {id} could not be found.")
    return network


def _granted(r: Reader, grant: RbacPolicy) -> Network | QosPolicy:
    """Return what a policy grants."""
    if grant.object_type == Network.KIND:
        return networks.get(r, grant.object_id)
    policy = r.get(QosPolicy, grant.object_id)
    if policy is None:
        raise policy_not_found(grant.object_id)
    return policy


def update(w: Writer, ctx: Context, old: RbacPolicy, attrs: dict[str, Any]) -> RbacPolicy:
    """Grant the same to another project instead."""
    target = attrs.get("target_tenant", old.target_tenant)
    if target == old.target_tenant:
        return old
    obj = _granted(w, old)
    if not _may_grant(ctx, obj):
        raise _in_use(obj, "only its owner and administrators can change it.")
    _check_unused(w, obj, old, target)
    if target in grants.of(w, obj.id, old.action):
        attributes = ["target_project", "object_id", "action"]
        table = f"{type(obj).__name__}RBAC"
        raise NeutronDbObjectDuplicateEntry(object_type=table, attributes=attributes, values=None)
    w.revoke(obj.id, old.target_tenant, old.action)
    w.grant(obj.id, target, old.action)
    w.bump(type(obj), obj.id)
    return w.update(replace(old, target_tenant=target))


def delete(w: Writer, ctx: Context, old: RbacPolicy) -> None:
    """Take a grant back. With the last that opens it for gateways a network is no external one any more."""
    obj = _granted(w, old)
    _check_unused(w, obj, old, None)
    grants.revoke(w, old)
    if (
        isinstance(obj, Network)
        and (old.action, obj.external) == (EXTERNAL, True)
        and not grants.of(w, obj.id, EXTERNAL)
    ):
        closed = replace(obj, external=False, is_default=False)
        networks.set_external(w, closed)
        w.update(closed)
    else:
        w.bump(type(obj), obj.id)


def show(r: Reader, ctx: Context, objs: Sequence[RbacPolicy]) -> list[dict[str, Any]]:
    """Return policies as the API shows them."""
    return [to_doc(policy) | {"tenant_id": policy.project_id} for policy in objs]


def _may_grant(ctx: Context, obj: Network | QosPolicy) -> bool:
    return ctx.caller.is_admin or obj.project_id == ctx.caller.project_id


def _check_unused(
    r: Reader, obj: Network | QosPolicy, grant: RbacPolicy, target: str | None
) -> None:
    """Raise RbacPolicyInUse where a project uses the object by this grant alone. `target`: who gets it instead."""
    lost = grant.target_tenant
    others = set(grants.of(r, obj.id, grant.action)) - {lost}
    instead = {target} if target else set[str]()
    if isinstance(obj, QosPolicy):
        qos_policies.check_unshared(r, obj, lost, others | instead)
    else:
        _check_network_unused(r, obj, grant, others, instead)


def _check_network_unused(
    r: Reader, network: Network, grant: RbacPolicy, others: set[str], instead: set[str]
) -> None:
    """The same of a network. `others`: who keeps it by another grant, `instead`: who gets it by this one."""
    lost = grant.target_tenant
    if EVERYONE in others:
        return
    if grant.action == SHARED:
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
    if users - others - instead if lost == EVERYONE else lost in users:
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
