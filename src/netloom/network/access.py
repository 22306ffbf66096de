"""What a caller may see: the one way in which every noun is listed and looked up.

A caller sees what its project owns and what is granted to it. Three things grant: rows of `store.access` on the object
itself or on the one that its kind's GRANTED_BY names (networks that are shared or external, with their
subnets); being on something that the project owns (`store.links`, `owner_sees`: the ports that others put on a
network, but not the subnets: so Neutron has it). Administrators and services see everything. Whether a caller may *do* something is
policy's question, asked in `api`. No kind is known here by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from netloom.model import Context, Resource
from netloom.store import SEEN_BY, Filter, Found, Page, Reader, filters, is_seen_by_owners

T = TypeVar("T", bound=Resource)

SHARED = "access_as_shared"
EXTERNAL = "access_as_external"
EVERYONE = "*"


def sees_everything(ctx: Context) -> bool:
    """Tell whether no project limits what the caller sees."""
    return not ctx.caller.roles.isdisjoint({"admin", "service", "advsvc"})


def is_granted(r: Reader, ctx: Context, id: str, *actions: str) -> bool:
    """Tell whether an object is granted to the caller's project, or to everyone, for one of the actions."""
    targets = (EVERYONE, ctx.caller.project_id)
    return any(grant.target in targets and grant.action in actions for grant in r.access(id))


def visible(r: Reader, ctx: Context, kind: type[Resource]) -> list[tuple[Filter, ...]]:
    """Return alternatives of filters: an object that the caller may see meets all filters of at least one."""
    if sees_everything(ctx) or kind.EVERYBODYS:
        return [()]
    project = ctx.caller.project_id
    if not project:
        return []
    found = [(Filter("project_id", (project,)),)]
    if kind.GRANTED_BY:
        granted = r.accessible(project, SHARED) | r.accessible(project, EXTERNAL)
        found.append((Filter(kind.GRANTED_BY, tuple(granted)),))
    if is_seen_by_owners(kind):
        found.append((Filter(SEEN_BY, (project,)),))
    return found


def find_page(
    r: Reader,
    ctx: Context,
    kind: type[T],
    asked: Sequence[Filter],
    page: Page,
    shape: type[Any] | None = None,
) -> list[Found[T]]:
    """Return a page of the visible objects that meet every filter, each with the API's status.

    `shape`: see `Reader.search`.
    """
    alternatives = [(*alternative, *asked) for alternative in visible(r, ctx, kind)]
    return r.search(kind, alternatives, page, shape) if alternatives else []


def find_all(r: Reader, ctx: Context, kind: type[T], **where: Any) -> list[T]:
    """Return the visible objects that meet every filter of `where`, by id, in few statements."""
    return [found.obj for found in find_page(r, ctx, kind, filters(where), Page())]


def seen(r: Reader, ctx: Context, objs: Sequence[T]) -> list[T]:
    """Return those of some objects at hand that the caller may see."""
    if sees_everything(ctx):
        return list(objs)
    mine = ctx.caller.project_id
    return [obj for obj in objs if mine and (obj.project_id == mine or _granted(r, ctx, obj))]


def find(r: Reader, ctx: Context, kind: type[T], id: str) -> T | None:
    """Return one object, or None where it is not there or the caller may not see it."""
    obj = r.get(kind, id)
    if obj is None or kind.EVERYBODYS or sees_everything(ctx):
        return obj
    mine = ctx.caller.project_id
    if not mine:
        return None
    if obj.project_id == mine or _granted(r, ctx, obj):
        return obj
    return None


def _granted(r: Reader, ctx: Context, obj: Resource) -> bool:
    """Tell whether the caller sees an object that is not its own."""
    if obj.GRANTED_BY and is_granted(r, ctx, getattr(obj, obj.GRANTED_BY), SHARED, EXTERNAL):
        return True
    seen_by = {SEEN_BY: ctx.caller.project_id}
    return is_seen_by_owners(type(obj)) and r.count(obj.KIND, id=obj.id, **seen_by) > 0
