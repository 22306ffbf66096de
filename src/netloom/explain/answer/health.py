"""What hosts report: objects on the way that are not there (yet), tunnels, and hosts that are not known to be as planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netloom.explain.answer import fixes
from netloom.explain.answer.ends import is_service
from netloom.explain.answer.resolve import Spot
from netloom.explain.cause import Cause, Reason, capital
from netloom.explain.cloud import Cloud
from netloom.explain.walk.trace import Step
from netloom.model.cloud import Server
from netloom.model.networking import Port
from netloom.model.origin import HOST, Origin
from netloom.store import StatusRow

TUNNEL = "tunnel"
"""The aspect under which a host reports on its tunnel to another."""

BESIDE = frozenset({"dhcp", "metadata"})
"""Aspects that a packet does not need once the instance has its address."""


def of_status(cloud: Cloud, steps: list[Step]) -> Reason | None:
    """Planned well, but a host reports that something on the way is not there (yet)."""
    on_way = {(step.host, origin) for step in steps for origin in step.origin}
    things = {origin for _, origin in on_way}
    for port_id in sorted(thing.id for thing in things if thing.kind == Port.KIND):
        port = cloud.ports.get(port_id)
        if port is not None and port.id in cloud.server_of:
            on_way.add((port.host, Origin(Server.KIND, cloud.server_of[port.id].id)))
    return _not_well(cloud, on_way) or _troubled(cloud, {step.host for step in steps})


def of_ends(cloud: Cloud, *spots: Spot) -> Reason | None:
    """A port at an end that its host has not brought up, which comes before all that its rules would say."""
    ports = [spot.port for spot in spots if spot.port is not None and spot.port.admin_state_up]
    return _not_well(cloud, {(port.host, Origin.of(port)) for port in ports})


def not_reported(cloud: Cloud, *spots: Spot) -> Reason | None:
    """A port at an end whose host has not said that its link is up."""
    ends = [spot.port.id for spot in spots if spot.port is not None]
    up = {
        (row.host, row.id)
        for row in cloud.reports.of(ends)
        if (row.aspect, row.state) == ("l2", "ok")
    }
    for spot in spots:
        port = spot.port
        if port is None or is_service(port) or (port.host, port.id) in up:
            continue
        return Reason(
            f"host {port.host} has not reported that the link of {cloud.name(Origin.of(port))} is up.",
            Origin.of(port),
            fixes.look_at_host(port.host),
            sure=False,
            cause=Cause.NOT_REPORTED,
        )
    return None


def of_tunnels(cloud: Cloud, steps: list[Step]) -> Reason | None:
    """A tunnel on the way whose other end does not answer; there may be a reason why it only does not say so."""
    used = {(step.host, far) for step in steps if step.kind == TUNNEL for far in step.origin}
    far = {origin.id for _, origin in used}
    for row in _broken(cloud.reports.of(far)):
        if (row.host, Origin(row.kind, row.id)) in used:
            facts = cloud.facts.get(row.id)
            address = (facts.tunnel_ip if facts else None) or row.id
            ends = (row.host, row.id)
            count = _broken_at(cloud, ends)
            # Both ends say so of each other: it is for the one whose other tunnels are broken too.
            at_fault = row.host if count[row.host] > count[row.id] else row.id
            return Reason(
                f"host {row.host} gets {row.detail}: the tunnel between them is broken, unless only ping is "
                "filtered there.",
                Origin(HOST, at_fault),
                f"on {row.host}: ping {address}; then look at what is between the two hosts",
                sure=False,
                cause=Cause.TUNNEL,
            )
    return None


def _broken(rows: Iterable[StatusRow]) -> list[StatusRow]:
    return [row for row in rows if row.aspect == TUNNEL and row.state != "ok"]


def _broken_at(cloud: Cloud, hosts: tuple[str, str]) -> Counter[str]:
    """How many broken tunnels end at each of two hosts, as either end of each says."""
    said = [*cloud.reports.of(hosts), *(row for host in hosts for row in cloud.reports.by(host))]
    broken = {(row.host, row.id): row for row in _broken(said)}
    return Counter(host for ends in broken for host in ends)


def _not_well(cloud: Cloud, on_way: set[tuple[str, Origin]]) -> Reason | None:
    """The first of these objects that its host reports as not ready or failed; what surely stops a packet first."""
    rows = [
        row
        for row in cloud.reports.of({thing.id for _, thing in on_way})
        if row.state != "ok"
        and row.kind != "host"
        and (row.host, Origin(row.kind, row.id)) in on_way
    ]
    # A port says more to a person than the objects that wait with it.
    rows.sort(key=lambda row: (row.aspect in BESIDE, row.kind != "port"))
    return _of_row(cloud, rows[0]) if rows else None


def _of_row(cloud: Cloud, row: StatusRow) -> Reason:
    named = capital(cloud.name(Origin(row.kind, row.id)))
    waits = row.state == "pending"
    state = "is not ready" if waits else "has failed"
    detail = f": {row.detail}" if row.detail else ""
    log = f"the agent's log on {row.host} names {row.id}"
    port = cloud.ports.get(row.id) if row.kind == Port.KIND else None
    if not waits or row.aspect != "l2" or port is None or is_service(port):
        fix = f"{fixes.look_at_host(row.host)}; {log}"
    elif port.id in cloud.server_of:
        # The host itself plugs its instances in, and puts its own end of the link up.
        fix = f"in the instance: ip link set DEVICE up, for the card {port.mac_address}; if it is up, {log}"
    else:
        fix = (
            f"on {row.host}: br-int must have a device with external_ids:iface-id={row.id}, "
            "whose link is up at both ends"
        )
    sentence = f"{named} {state} on {row.host} ({row.aspect}){detail}."
    sure = row.aspect not in BESIDE
    if not sure:
        sentence = sentence[0].lower() + sentence[1:]
    return Reason(
        sentence,
        Origin(row.kind, row.id),
        fix,
        sure=sure,
        cause=Cause.NOT_READY if waits else Cause.FAILED,
    )


def _troubled(cloud: Cloud, on_way: set[str]) -> Reason | None:
    """A host on the way that reports that something of itself is wrong (a link, its state folder)."""
    for row in cloud.reports.of(on_way):
        if row.kind == "host" and row.aspect != TUNNEL and row.state != "ok" and row.host in on_way:
            detail = f": {row.detail}" if row.detail else ""
            return Reason(
                f"host {row.host} reports trouble ({row.aspect}){detail}.",
                Origin(HOST, row.host),
                f"netloom lab status, or the agent's log on {row.host}",
                sure=False,
                cause=Cause.HOST_TROUBLE,
            )
    return None


def doubt(cloud: Cloud, hosts: Iterable[str]) -> Reason | None:
    """The first host on the way that is not known to be as planned."""
    for host in dict.fromkeys(hosts):
        health = cloud.health.get(host)
        why = health.doubt if health is not None else None
        if why is not None:
            cause, text = why
            return Reason(
                f"host {host} {text}.", Origin(HOST, host), fixes.look_at_host(host), False, cause
            )
    return None
