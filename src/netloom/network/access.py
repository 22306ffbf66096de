"""What a caller may see: the one way in which every noun is listed and looked up.

A caller sees what its project owns and what is granted to it (`store.access`: networks that are shared or
external, with their subnets); a network's owner also sees the ports that others put on it, but not the subnets:
so Neutron has it. Administrators and services see everything. Whether a caller may *do* something is policy's
question, asked in `api`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from netloom.model import Context, Network, Port, Resource, SecurityGroup, SecurityGroupRule, Subnet
from netloom.store import Reader

T = TypeVar("T", bound=Resource)

SHARED = "access_as_shared"
EXTERNAL = "access_as_external"
EVERYONE = "*"

Filters = dict[str, Any]


def sees_everything(ctx: Context) -> bool:
    """Tell whether no project limits what the caller sees."""
    return not ctx.caller.roles.isdisjoint({"admin", "service", "advsvc"})


def granted_networks(r: Reader, ctx: Context) -> set[str]:
    """Return ids of networks that are shared with the caller's project, or external."""
    project = ctx.caller.project_id
    return r.accessible(project, SHARED) | r.accessible(project, EXTERNAL)


def is_granted(r: Reader, ctx: Context, id: str, *actions: str) -> bool:
    """Tell whether an object is granted to the caller's project, or to everyone, for one of the actions."""
    targets = (EVERYONE, ctx.caller.project_id)
    return any(grant.target in targets and grant.action in actions for grant in r.access(id))


def own_ids(r: Reader, ctx: Context, kind: type[Resource]) -> set[str]:
    """Return ids of the objects that the caller's project owns."""
    return {obj.id for obj in r.list(kind, project_id=ctx.caller.project_id)}


def visible(r: Reader, ctx: Context, kind: type[Resource]) -> list[Filters]:
    """Return filters of which an object that the caller may see meets at least one."""
    if sees_everything(ctx):
        return [{}]
    if not ctx.caller.project_id:
        return []
    filters: list[Filters] = [{"project_id": ctx.caller.project_id}]
    if kind is Network:
        filters.append({"id": granted_networks(r, ctx)})
    elif kind is Subnet:
        filters.append({"network_id": granted_networks(r, ctx)})
    elif kind is Port:
        filters.append({"network_id": own_ids(r, ctx, Network)})
    elif kind is SecurityGroupRule:
        filters.append({"security_group_id": own_ids(r, ctx, SecurityGroup)})
    return filters


def find_all(r: Reader, ctx: Context, kind: type[T], **where: Any) -> list[T]:
    """Return the visible objects that meet every filter of `where`, by id, in few statements."""
    found: dict[str, T] = {}
    alternatives = visible(r, ctx, kind)
    for alternative in alternatives:
        found.update((obj.id, obj) for obj in r.list(kind, **_both(alternative, where)))
    return list(found.values()) if len(alternatives) < 2 else [found[id] for id in sorted(found)]


def find(r: Reader, ctx: Context, kind: type[T], id: str) -> T | None:
    """Return one object, or None where it is not there or the caller may not see it."""
    obj = r.get(kind, id)
    if obj is None or sees_everything(ctx):
        return obj
    mine = ctx.caller.project_id
    if not mine:
        return None
    if obj.project_id == mine or _granted(r, ctx, obj):
        return obj
    return None


def _granted(r: Reader, ctx: Context, obj: Resource) -> bool:
    """Tell whether the caller sees an object that is not its own."""
    mine = ctx.caller.project_id
    if isinstance(obj, Network):
        return is_granted(r, ctx, obj.id, SHARED, EXTERNAL)
    if isinstance(obj, Subnet):
        return is_granted(r, ctx, obj.network_id, SHARED, EXTERNAL)
    if isinstance(obj, Port):
        network = r.get(Network, obj.network_id)
        return network is not None and network.project_id == mine
    if isinstance(obj, SecurityGroupRule):
        group = r.get(SecurityGroup, obj.security_group_id)
        return group is not None and group.project_id == mine
    return False


def _both(first: Filters, second: Filters) -> Filters:
    """Return filters that hold where both do; a field that both name takes the values they share."""
    joined = first | second
    for field in first.keys() & second.keys():
        joined[field] = _values(first[field]) & _values(second[field])
    return joined


def _values(value: Any) -> set[Any]:
    return set(value) if isinstance(value, Collection) and not isinstance(value, str) else {value}
