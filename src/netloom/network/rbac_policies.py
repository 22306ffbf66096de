"""RBAC policies: who else may use a network, a QoS policy or a group, and when that may change or end."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from neutron_lib import exceptions as lib
from neutron_lib.exceptions.address_group import AddressGroupNotFound

from netloom.contract.port_errors import NeutronDbObjectDuplicateEntry
from netloom.contract.qos_errors import policy_not_found
from netloom.contract.rbac import DuplicateRbacPolicy, InvalidActionForType, RbacPolicyInUse
from netloom.contract.security_group_errors import SecurityGroupNotFound
from netloom.model import (
    AddressGroup,
    Context,
    Network,
    Port,
    QosPolicy,
    RbacPolicy,
    Router,
    SecurityGroup,
    to_doc,
)
from netloom.network import (
    access,
    address_groups,
    grants,
    networks,
    qos_policies,
    quotas,
    security_groups,
)
from netloom.network.access import EVERYONE, EXTERNAL, SHARED
from netloom.network.grants import Granted
from netloom.store import Filter, Page, Reader, Writer


class Grantable(Struct, frozen=True):
    """A type of object that can be granted.

    `missing`: the error for one that is not there. `hidden`: the same, of who asks to grant one that he does not see. `users`: the
    projects that use one. `actions`: what can be granted on it.
    """

    kind: type[Granted]
    missing: Callable[[str], Exception]
    hidden: Callable[[str], Exception]
    users: Callable[[Reader, Any], Set[str]]
    actions: tuple[str, ...] = (SHARED,)
    not_owned: str = "objects they do not own."


def _network_not_found(id: str) -> Exception:
    return lib.InvalidInput(error_message=f"Network {id} could not be found.")


def _group_not_found(id: str) -> Exception:
    # Neutron's callback fails over what is not there and says so in Python's words.
    return lib.InvalidInput(error_message=f"{id} could not be found.")


GRANTABLE: dict[str, Grantable] = {
    each.kind.KIND: each
    for each in (
        Grantable(
            Network,
            lambda id: lib.NetworkNotFound(net_id=id),
            _network_not_found,
            lambda r, network: set(),
            (SHARED, EXTERNAL),
            "networks they do not own",
        ),
        Grantable(QosPolicy, policy_not_found, policy_not_found, qos_policies.users),
        Grantable(
            SecurityGroup,
            lambda id: SecurityGroupNotFound(id=id),
            _group_not_found,
            security_groups.users,
        ),
        Grantable(
            AddressGroup,
            lambda id: AddressGroupNotFound(address_group_id=id),
            _group_not_found,
            address_groups.users,
        ),
    )
}
"""Type of object → how it is granted."""


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> RbacPolicy:
    """Grant something. A network that a policy opens for gateways becomes an external one."""
    quotas.check(w, ctx, attrs["project_id"], RbacPolicy.KIND)
    action, target = attrs["action"], attrs["target_tenant"]
    asked = GRANTABLE[attrs["object_type"]]
    if action not in asked.actions:
        raise InvalidActionForType(
            action=action, object_type=attrs["object_type"], valid_actions=asked.actions
        )
    obj = access.find(w, ctx, asked.kind, attrs["object_id"])
    if obj is None:
        raise asked.hidden(attrs["object_id"])
    if not _may_grant(ctx, obj):
        raise lib.InvalidInput(
            error_message=f"Only admins can manipulate policies on {asked.not_owned}"
        )
    if target in grants.of(w, obj.id, action):
        raise DuplicateRbacPolicy
    made = grants.grant(w, obj, target, action, attrs["project_id"])
    if isinstance(obj, Network) and action == EXTERNAL and not obj.external:
        w.update(replace(obj, external=True))
    else:
        _bump(w, obj)
    return made


def _granted(r: Reader, grant: RbacPolicy) -> Granted:
    """Return what a policy grants."""
    of = GRANTABLE[grant.object_type]
    obj = r.get(of.kind, grant.object_id)
    if obj is None:
        raise of.missing(grant.object_id)
    return obj


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
    _bump(w, obj)
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
        _bump(w, obj)


def _bump(w: Writer, obj: Granted) -> None:
    """Count a change of who may use an object; groups do not count it."""
    if isinstance(obj, Network | QosPolicy):
        w.bump(type(obj), obj.id)


def show(r: Reader, ctx: Context, objs: Sequence[RbacPolicy]) -> list[dict[str, Any]]:
    """Return policies as the API shows them."""
    return [to_doc(policy) | {"tenant_id": policy.project_id} for policy in objs]


def _may_grant(ctx: Context, obj: Granted) -> bool:
    return ctx.caller.is_admin or obj.project_id == ctx.caller.project_id


def _check_unused(r: Reader, obj: Granted, grant: RbacPolicy, target: str | None) -> None:
    """Raise RbacPolicyInUse where a project uses the object by this grant alone. `target`: who gets it instead."""
    lost = grant.target_tenant
    others = set(grants.of(r, obj.id, grant.action)) - {lost}
    instead = {target} if target else set[str]()
    if isinstance(obj, Network):
        _check_network_unused(r, obj, grant, others, instead)
    else:
        users = GRANTABLE[obj.KIND].users(r, obj)
        grants.check_unshared(obj, users, lost, others | instead)


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


def _in_use(obj: Granted, details: str) -> RbacPolicyInUse:
    return RbacPolicyInUse(object_id=obj.id, details=details)
