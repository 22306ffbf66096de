"""RBAC policies: who else may use a network, and when that may change or end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.contract.port_errors import NeutronDbObjectDuplicateEntry
from netloom.contract.rbac import DuplicateRbacPolicy, InvalidActionForType, RbacPolicyInUse
from netloom.model import Context, Network, Port, RbacPolicy, Router, to_doc
from netloom.network import access, grants, networks, quotas
from netloom.network.access import EVERYONE, EXTERNAL, SHARED
from netloom.store import Filter, Page, Reader, Writer

ACTIONS = (SHARED, EXTERNAL)


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> RbacPolicy:
    """Grant something. A network that a policy opens for gateways becomes an external one."""
    quotas.check(w, ctx, attrs["project_id"], RbacPolicy.KIND)
    action, target = attrs["action"], attrs["target_tenant"]
    if action not in ACTIONS:
        raise InvalidActionForType(
            action=action, object_type=attrs["object_type"], valid_actions=ACTIONS
        )
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


def update(w: Writer, ctx: Context, old: RbacPolicy, attrs: dict[str, Any]) -> RbacPolicy:
    """Grant the same to another project instead."""
    target = attrs.get("target_tenant", old.target_tenant)
    if target == old.target_tenant:
        return old
    network = networks.get(w, old.object_id)
    if not _may_grant(ctx, network):
        raise _in_use(network, "only its owner and administrators can change it.")
    _check_unused(w, network, old, target)
    if target in grants.of(w, network.id, old.action):
        attributes = ["target_project", "object_id", "action"]
        raise NeutronDbObjectDuplicateEntry(
            object_type="NetworkRBAC", attributes=attributes, values=None
        )
    w.revoke(network.id, old.target_tenant, old.action)
    w.grant(network.id, target, old.action)
    w.bump(Network, network.id)
    return w.update(replace(old, target_tenant=target))


def delete(w: Writer, ctx: Context, old: RbacPolicy) -> None:
    """Take a grant back. With the last that opens it for gateways a network is no external one any more."""
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


def _may_grant(ctx: Context, network: Network) -> bool:
    return ctx.caller.is_admin or network.project_id == ctx.caller.project_id


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


def _in_use(network: Network, details: str) -> RbacPolicyInUse:
    return RbacPolicyInUse(object_id=network.id, details=details)
