"""Quotas of the compute service. −1 is no limit. What is in use is counted when it is asked for."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from netloom.model.cloud import ComputeQuota, Keypair, Server
from netloom.model.errors import BadRequest, Forbidden
from netloom.model.settings import COMPUTE_QUOTAS, ComputeSettings
from netloom.store import Reader, Writer


def limits(reader: Reader, settings: ComputeSettings, project_id: str) -> dict[str, int]:
    """Return the project's limits."""
    own = reader.get(ComputeQuota, project_id)
    return defaults(settings) | (own.limits if own else {})


def defaults(settings: ComputeSettings) -> dict[str, int]:
    """Return the limits of a project that has none of its own."""
    return COMPUTE_QUOTAS | settings.quotas


def used(reader: Reader, project_id: str) -> dict[str, int]:
    """Return how much of each the project uses."""
    servers = reader.list(Server, project_id=project_id)
    return {
        "instances": len(servers),
        "cores": sum(server.flavor.vcpus for server in servers),
        "ram": sum(server.flavor.ram for server in servers),
    }


def fitting(
    reader: Reader,
    settings: ComputeSettings,
    project_id: str,
    vcpus: int,
    ram: int,
    least: int,
    most: int,
) -> int:
    """Return how many servers of that size fit, `most` at most; raises Forbidden for fewer than `least`."""
    allowed, now = limits(reader, settings, project_id), used(reader, project_id)
    each = {"instances": 1, "cores": vcpus, "ram": ram}
    room = most
    for name, size in each.items():
        if allowed[name] >= 0 and size:
            room = min(room, max(0, allowed[name] - now[name]) // size)
    if room >= least:
        return room
    tight = [n for n, size in each.items() if 0 <= allowed[n] < now[n] + size * least]
    raise Forbidden(
        f"Quota exceeded for {', '.join(tight)}: "
        f"Requested {', '.join(str(each[name] * least) for name in tight)}, "
        f"but already used {', '.join(f'{now[name]} of {allowed[name]}' for name in tight)} {', '.join(tight)}"
    )


def check_keypairs(
    reader: Reader, settings: ComputeSettings, project_id: str, user_id: str
) -> None:
    """Raise Forbidden where the user has as many key pairs as allowed."""
    limit = limits(reader, settings, project_id)["key_pairs"]
    if 0 <= limit <= reader.count(Keypair, user_id=user_id):
        raise Forbidden("Quota exceeded, too many key pairs.")


def update(
    w: Writer, settings: ComputeSettings, project_id: str, wanted: dict[str, Any]
) -> dict[str, int]:
    """Set limits of one project; returns all its limits."""
    for name, limit in wanted.items():
        if name not in COMPUTE_QUOTAS:
            raise BadRequest(f"There is no quota of {name} here: {', '.join(COMPUTE_QUOTAS)}.")
        if not isinstance(limit, int) or isinstance(limit, bool) or not -1 <= limit < 2**31:
            raise BadRequest(
                f"Quota limit {limit!r} for {name} must be a whole number of at least -1."
            )
    own = w.get(ComputeQuota, project_id)
    if own is not None:
        w.update(structs.replace(own, limits=own.limits | wanted))
    elif wanted:
        w.insert(ComputeQuota(id=project_id, project_id=project_id, limits=wanted))
    return limits(w, settings, project_id)


def delete(w: Writer, project_id: str) -> None:
    """Take a project's own limits away."""
    if w.get(ComputeQuota, project_id) is not None:
        w.delete(ComputeQuota, project_id)
