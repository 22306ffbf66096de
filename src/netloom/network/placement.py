"""Placement of routers: which hosts can carry a network, and which host carries a router."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from netloom.model import Context, Network, Port, Replica, Router
from netloom.model.names import ROUTER_OWNERS
from netloom.model.placement import places
from netloom.network import backends, dhcp, ha, liveness
from netloom.network.liveness import alive, usable
from netloom.store import HostRow, Reader, Writer

NETWORK_ROLE = "network"


def networks_of(r: Reader, router: Router) -> list[Network]:
    """Return every network that the router has an interface or its gateway in."""
    # Only its own ports: anybody may write a router's id into a port of some network that no host carries.
    ports = r.list(Port, device_id=router.id)
    ids = {port.network_id for port in ports if port.device_owner in ROUTER_OWNERS}
    if router.external_gateway_info is not None:
        ids.add(router.external_gateway_info.network_id)
    return list(r.get_many(Network, ids).values())


def candidates(
    r: Reader, ctx: Context, networks: Iterable[Network], zones: Iterable[str] = ()
) -> list[str]:
    """Return hosts that may carry a router of these networks, the one with fewest routers first."""
    needed, wanted = list(networks), set(zones)
    fit = [
        row.name
        for row in r.hosts().values()
        if _fits(row, needed)
        and alive(row, ctx)
        and (not wanted or (row.facts and row.facts.availability_zone in wanted))
    ]
    return sorted(fit, key=lambda name: (r.count(Router, host=name), name))


def _fits(row: HostRow, networks: Iterable[Network]) -> bool:
    """Whether a host carries routers of these networks, alive or not."""
    facts = row.facts
    return (
        facts is not None
        and row.admin_state_up
        and NETWORK_ROLE in facts.roles
        and all(backends.carries(facts, network) for network in networks)
    )


def may_carry(r: Reader, router: Router, row: HostRow) -> bool:
    """Whether an operator may give this host the router."""
    return _fits(row, _needed(r, router))


def _needed(r: Reader, router: Router) -> list[Network]:
    """The router's networks, with the one between the replicas of an HA router."""
    between = ha.network_of(r, router) if router.ha else None
    found = {each.id: each for each in networks_of(r, router)}
    return [*found.values(), *([between] if between else [])]


def put(w: Writer, ctx: Context, router: Router, host: str) -> None:
    """Have a host carry the router, beside those that do."""
    replicas = ha.ranked(router, router.replicas, [host]) if router.ha else (Replica(host),)
    _carried_by(w, ctx, replace(router, replicas=replicas, held=False))


def take(w: Writer, ctx: Context, router: Router, host: str) -> None:
    """Have a host carry the router no more. One without any host is not placed by the keeper."""
    left = tuple(each for each in router.replicas if each.host != host)
    _carried_by(w, ctx, replace(router, replicas=left, held=not left))


def forget(w: Writer, host: str) -> None:
    """Have a host that is forgotten carry no router any more; those that it alone carried wait for another one."""
    for router in w.list(Router, host=host):
        left = tuple(each for each in router.replicas if each.host != host)
        w.update(replace(router, replicas=left))
        ha.forget(w, router, host)


def _carried_by(w: Writer, ctx: Context, router: Router) -> None:
    router = w.update(router)
    if router.ha and (between := ha.network_of(w, router)) is not None:
        ha.follow(w, ctx, router, between)
    _serve(w, ctx, router, networks_of(w, router))


def has_candidate(r: Reader, ctx: Context, router: Router) -> bool:
    """Whether a host may carry the router now."""
    return bool(candidates(r, ctx, networks_of(r, router), router.availability_zone_hints))


def place(w: Writer, ctx: Context, router: Router) -> Router:
    """Give the router a host that carries all its networks; it keeps its own while that one still fits.

    A router without interface and gateway needs none. Where no host fits, it stays where it is, or without
    one until a host appears (`place_unplaced`).
    """
    if router.held:
        router = w.update(replace(router, held=False))
    if router.ha:
        return _place_replicas(w, ctx, router)
    networks = networks_of(w, router) if _has_middle(router) else []
    if not networks:
        return w.update(replace(router, replicas=())) if router.replicas else router
    # A host that is switched off keeps what it carries: only new routers go elsewhere.
    stays = bool(router.replicas) and all(
        _can_carry(w, ctx, replica.host, networks) for replica in router.replicas
    )
    if not stays and (fit := candidates(w, ctx, networks, router.availability_zone_hints)):
        router = w.update(replace(router, replicas=(Replica(fit[0]),)))
    _serve(w, ctx, router, networks)
    return router


def _has_middle(router: Router) -> bool:
    """Say whether a network host has work for a router: of a distributed one only its SNAT is there."""
    return not router.distributed or router.external_gateway_info is not None


def _serve(w: Writer, ctx: Context, router: Router, networks: Iterable[Network]) -> None:
    if places(router):
        for network in networks:
            if not network.external:
                dhcp.ensure_dhcp_port(w, ctx, network)


def _place_replicas(w: Writer, ctx: Context, router: Router) -> Router:
    """Give an HA router a replica on as many hosts as the setting allows; those that it has stay where they fit.

    A host that is dead keeps its replica, as in Neutron: it may come back, and the others do its work meanwhile.
    """
    between = ha.network_of(w, router)
    if between is None or not router.vrid:
        return router
    if not _has_middle(router):
        router = w.update(replace(router, replicas=())) if router.replicas else router
        ha.follow(w, ctx, router, between)
        return router
    networks = networks_of(w, router)
    needed = list({each.id: each for each in (*networks, between)}.values())
    rows = w.hosts({replica.host for replica in router.replicas}) if router.replicas else {}
    kept = [
        replica
        for replica in router.replicas
        if (row := rows.get(replica.host)) is not None
        and (row.facts is None or all(backends.carries(row.facts, each) for each in needed))
    ]
    there = {replica.host for replica in kept}
    fit = candidates(w, ctx, needed, router.availability_zone_hints)
    fresh = [host for host in fit if host not in there]
    if most := ctx.settings.max_l3_agents_per_router:
        fresh = fresh[: max(0, most - len(kept))]
    if kept or fresh:  # else it stays where it is until a host fits
        replicas = ha.ranked(router, kept, fresh)
        if replicas != router.replicas:
            router = w.update(replace(router, replicas=replicas))
        ha.follow(w, ctx, router, between)
    _serve(w, ctx, router, networks)
    return router


def short(r: Reader, ctx: Context) -> list[Router]:
    """Return the HA routers that may have more replicas than they have."""
    most = ctx.settings.max_l3_agents_per_router
    return [router for router in r.list(Router, ha=True) if not most or len(router.replicas) < most]


def fill_up(w: Writer, ctx: Context) -> list[Router]:
    """Give HA routers that are `short` a replica on hosts that came; returns those that got one. For the keeper."""
    filled: list[Router] = []
    for router in short(w, ctx):
        placed = _place_replicas(w, ctx, router)
        if placed.replicas != router.replicas:
            filled.append(placed)
    return filled


def stranded(r: Reader, ctx: Context, now: float) -> list[Router]:
    """Return the ordinary routers of hosts that are dead: neither reports nor, over any tunnel, answers.

    A host that is only cut off from the server goes on forwarding: another one beside it would have the same addresses.
    """
    if not ctx.settings.allow_automatic_l3agent_failover:
        return []
    living = liveness.all_alive(r, ctx, now)
    silent = [host for host in r.heartbeats() if host not in living]
    carrying = [host for host in silent if r.count(Router, host=host, ha=False)]
    lost = set(carrying) - liveness.answering(r, carrying, living)
    return [router for host in sorted(lost) for router in r.list(Router, host=host, ha=False)]


def move_stranded(w: Writer, ctx: Context, ids: Iterable[str], now: float) -> list[Router]:
    """Place those of these routers that are still `stranded` on hosts that fit; returns those that got one. For the keeper."""
    wanted = set(ids)
    moved: list[Router] = []
    for router in stranded(w, ctx, now):
        if router.id in wanted and places(placed := place(w, ctx, router)) != places(router):
            moved.append(placed)
    return moved


def _can_carry(r: Reader, ctx: Context, host: str, networks: Iterable[Network]) -> bool:
    facts = usable(r, ctx, host)
    return facts is not None and all(backends.carries(facts, network) for network in networks)


def waiting(r: Reader) -> list[Router]:
    """Return the routers that wait for a host; not those that an operator took from theirs."""
    return [router for router in r.list(Router, host="") if not router.held]


def place_unplaced(w: Writer, ctx: Context) -> list[Router]:
    """Place every router that waits for a host; returns those that got one. For the keeper."""
    placed = [place(w, ctx, router) for router in waiting(w)]
    return [router for router in placed if places(router)]
