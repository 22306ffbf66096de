"""Which host gets an instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netloom.compute.errors import NoValidHost
from netloom.model import Context, Network
from netloom.model.cloud import Server
from netloom.model.errors import BadRequest
from netloom.network import backends, liveness
from netloom.store import HostRow, Reader

COMPUTE_ROLE = "compute"


def choose(
    reader: Reader,
    ctx: Context,
    networks: Iterable[Network],
    instance_type: str,
    zone: str | None = None,
    host: str | None = None,
) -> HostRow:
    """Return the host with the fewest instances of those that can take this one.

    It must be alive and switched on, of the role compute, allow the instance type and carry every network
    (the physical ones above all). `zone` and `host` narrow it down. Raises NoValidHost, with reasons.
    """
    wanted = list(networks)
    rows = [row for row in reader.hosts().values() if _is_compute(row)]
    refusals = {row.name: _refusal(row, ctx, wanted, instance_type, zone, host) for row in rows}
    fit = [row for row in rows if refusals[row.name] is None]
    if not fit:
        counted = Counter(reason for reason in refusals.values() if reason)
        why = "; ".join(f"{count} host(s): {reason}" for reason, count in sorted(counted.items()))
        raise NoValidHost(f"No valid host was found. {why or 'There is no compute host.'}")
    return min(fit, key=lambda row: (reader.count(Server, host=row.name), row.name))


def check_wish(reader: Reader, zone: str | None, host: str | None) -> None:
    """Raise BadRequest for a zone or a host that is not there, as against one that cannot take the instance."""
    rows = [row for row in reader.hosts().values() if _is_compute(row)]
    if host and host not in {row.name for row in rows}:
        raise BadRequest(f"Compute host {host} could not be found.")
    if zone and zone not in {row.facts.availability_zone for row in rows if row.facts}:
        raise BadRequest(f"The requested availability zone is not available: {zone}")


def _is_compute(row: HostRow) -> bool:
    return row.facts is not None and COMPUTE_ROLE in row.facts.roles


def _refusal(
    row: HostRow,
    ctx: Context,
    networks: Iterable[Network],
    instance_type: str,
    zone: str | None,
    host: str | None,
) -> str | None:
    """Return why the host cannot take the instance, or None where it can."""
    facts = row.facts
    if facts is None or not liveness.alive(row, ctx):
        return "it is down"
    if not row.admin_state_up:
        return "it is disabled"
    if host and row.name != host:
        return "another host is asked for"
    if zone and facts.availability_zone != zone:
        return f"it is not in the availability zone {zone}"
    if instance_type not in facts.instance_types:
        return f"it does not run instances of type {instance_type}"
    for network in networks:
        if lack := backends.lacks(facts, network):
            return f"it has no {lack}"
    return None
