"""Quotas: how many objects a project may have.

Defaults are Neutron's, the server's settings (`[network] quotas`) change them for everyone, a `Quota` object
changes them for one project. −1 is no limit. What is in use is counted when it is asked for: under the one
writer that is right, whatever happens at the same time.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.contract.errors import HTTPBadRequest
from netloom.model import Context, Quota, Router
from netloom.model.context import NETWORK_QUOTAS
from netloom.store import Reader, Writer

UNLIMITED = -1
LARGEST = 2**31 - 1
_SWITCHES = frozenset({"force", "check_limit"})


def limits(r: Reader, ctx: Context, project_id: str) -> dict[str, int]:
    """Return the project's limits, by resource."""
    own = r.get(Quota, project_id)
    return defaults(ctx) | (own.limits if own else {})


def defaults(ctx: Context) -> dict[str, int]:
    """Return the limits of a project that has none of its own."""
    return NETWORK_QUOTAS | ctx.settings.quotas


def used(r: Reader, project_id: str, resource: str) -> int:
    """Return how many of a resource the project has; of `router_route`, the most that one router has."""
    if resource == "router_route":
        return max(
            (len(router.routes) for router in r.list(Router, project_id=project_id)), default=0
        )
    return r.tally(resource, project_id)


def check(r: Reader, ctx: Context, project_id: str, kind: str, more: int = 1) -> None:
    """Raise OverQuota where so many more objects of this kind would be too many for the project."""
    limit = limits(r, ctx, project_id)[kind]
    if limit != UNLIMITED and used(r, project_id, kind) + more > limit:
        raise over(kind)


def over(kind: str) -> lib.OverQuota:
    """Return the error for too many of a kind."""
    return lib.OverQuota(overs=[kind])


def details(r: Reader, ctx: Context, project_id: str) -> dict[str, dict[str, int]]:
    """Return limit, used and reserved by resource. Nothing is ever reserved: the writer counts at once."""
    return {
        name: {"limit": limit, "used": used(r, project_id, name), "reserved": 0}
        for name, limit in limits(r, ctx, project_id).items()
    }


def list_own(r: Reader, ctx: Context) -> list[dict[str, Any]]:
    """Return the limits of every project that has some of its own."""
    base = defaults(ctx)
    return [
        base | quota.limits | {"project_id": quota.id, "tenant_id": quota.id}
        for quota in r.list(Quota)
    ]


def update(w: Writer, ctx: Context, project_id: str, attrs: dict[str, Any]) -> dict[str, int]:
    """Set limits of a project; below what is in use only with `force`. Returns all of its limits."""
    unknown = [name for name in attrs if name not in NETWORK_QUOTAS and name not in _SWITCHES]
    if unknown:
        raise HTTPBadRequest(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    wanted = {name: _limit(name, value) for name, value in attrs.items() if name not in _SWITCHES}
    # Only the truth itself forces, as in Neutron; `check_limit` is what happens anyway.
    if attrs.get("force") is not True:
        for name, limit in wanted.items():
            now = used(w, project_id, name)
            if limit != UNLIMITED and now > limit:
                raise HTTPBadRequest(
                    f"Quota limit {limit} for {name} must be greater than or equal to already used {now}"
                )
    own = w.get(Quota, project_id)
    if own is not None:
        w.update(replace(own, limits=own.limits | wanted))
    elif wanted:
        w.insert(Quota(id=project_id, project_id=project_id, limits=wanted))
    return limits(w, ctx, project_id)


def delete(w: Writer, ctx: Context, project_id: str) -> None:
    """Take a project's own limits away; raises TenantQuotaNotFound where it has none."""
    if w.get(Quota, project_id) is None:
        raise lib.TenantQuotaNotFound(tenant_id=project_id)
    w.delete(Quota, project_id)


def _limit(name: str, value: Any) -> int:
    try:
        limit = int(value)
    except (TypeError, ValueError, OverflowError):
        raise lib.InvalidInput(error_message=f"'{value}' is not an integer") from None
    if limit < UNLIMITED:
        raise HTTPBadRequest(
            f"Invalid input for {name}. Reason: '{value}' is too small - must be at least '-1'."
        )
    if limit > LARGEST:
        raise HTTPBadRequest(
            f"Invalid input for {name}. Reason: '{value}' is too large - must be no larger than '{LARGEST}'."
        )
    return limit
