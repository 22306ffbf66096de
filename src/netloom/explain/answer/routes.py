"""Whose route is to blame: the walk is done once more without it, or with a better one. What then arrives shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from netloom.explain.answer import fixes
from netloom.explain.answer.asked import Asked
from netloom.explain.answer.reasons import wrong_route
from netloom.explain.cause import Cause, Reason
from netloom.explain.cloud import Cloud
from netloom.explain.walk.hosts import World
from netloom.explain.walk.trace import Way
from netloom.explain.walk.walk import Walk
from netloom.model.networking import Port, Router, Subnet
from netloom.model.origin import Origin
from netloom.model.placement import places
from netloom.plan.index import device_of

Judge = Callable[[World], Reason | None]
"""Walks through a world; None where packet and answer arrive."""

NOT_A_ROUTE = frozenset({Cause.ADMIN_DOWN, Cause.UNPLACED, Cause.HOST_DISABLED})
"""Causes that stand, whatever other way there would be."""

MISSING = frozenset(
    {
        Cause.NO_ROUTE,
        Cause.NO_EXTERNAL_GATEWAY,
        Cause.NO_INTERFACE,
        Cause.ONLY_FLOATING,
        Cause.LEAVES,
    }
)

WHAT = {
    Cause.NOBODY: "an address that nobody has",
    Cause.WRONG_ROUTE: "an address that nobody has",
    Cause.NOT_ITS_ADDRESS: "an instance that is no router",
    Cause.PORT_SECURITY: "an instance that is no router",
    Cause.LOOP: "and routers send the packet round in circles",
}


def blame(
    cloud: Cloud, world: World, walk: Walk, asked: Asked, reason: Reason, judge: Judge
) -> Reason:
    """The reason why a packet does not arrive, or the route whose owner is the real cause of it."""
    if reason.cause in NOT_A_ROUTE:
        return reason
    arrivals = [walk.there, *([walk.back] if walk.back else [])]
    ways = [step.way for arrival in arrivals for step in arrival.steps if step.way]
    chosen = [way for way in dict.fromkeys(ways) if way.chosen]
    what = WHAT.get(reason.cause, "by which it does not arrive")
    for way in chosen:
        if judge(world.without(way)) is None:
            return wrong_route(cloud, way, what)
    for way in chosen:
        for address, device in _hops(cloud, way):
            if judge(world.with_way(replace(way, via=address), device)) is None:
                return wrong_route(cloud, way, what, address)
    if reason.cause in MISSING and reason.decider.kind == Router.KIND:
        return _missing(cloud, world, asked, reason, judge)
    return reason


def _missing(cloud: Cloud, world: World, asked: Asked, reason: Reason, judge: Judge) -> Reason:
    """A router that knows no way to a subnet which another router beside it has."""
    router = cloud.routers[reason.decider.id]
    namespace, host = router.namespace, next(iter(places(router)), "")
    if host not in world.hosts or namespace not in world.hosts[host].namespaces:
        return reason
    place = (host, namespace)
    for subnet in _subnets(cloud, asked):
        for address, device in _beside(cloud, router.id):
            way = Way(Origin.of(router), subnet.cidr, address, chosen=True, place=place)
            if judge(world.with_way(way, device)) is None:
                fix = fixes.add_route(router.id, subnet.cidr, address)
                named = cloud.name(Origin.of(router))
                there = f"{cloud.name(Origin.of(subnet))} ({subnet.cidr})"
                prefix = "The answer does not come back: " if reason.of_answer else ""
                sentence = f"{named} has no route to {there}, which {address} has."
                sentence = prefix + (sentence if prefix else sentence[0].upper() + sentence[1:])
                return Reason(sentence, Origin.of(router), fix, cause=Cause.NO_ROUTE)
    return reason


def _subnets(cloud: Cloud, asked: Asked) -> Iterator[Subnet]:
    """The subnets of both ends: the one on the way there first."""
    for spot in (asked.target, asked.start):
        for fixed in spot.port.fixed_ips if spot.port else ():
            subnet = cloud.subnets.get(fixed.subnet_id)
            if subnet is not None and fixed.ip_address == spot.inside:
                yield subnet


def _hops(cloud: Cloud, way: Way) -> Iterator[tuple[str, str]]:
    """Routers by whose addresses a route could lead instead, with the device towards them."""
    if way.owner.kind == Subnet.KIND:
        for port in cloud.routed.get(way.owner.id, []):
            yield from ((f.ip_address, "") for f in port.fixed_ips if f.ip_address != way.via)
    else:
        yield from (hop for hop in _beside(cloud, way.owner.id) if hop[0] != way.via)


def _beside(cloud: Cloud, router: str) -> Iterator[tuple[str, str]]:
    """The addresses of other routers on a router's networks, and its own device there."""
    mine: dict[str, Port] = {port.network_id: port for port in cloud.interfaces(router)}
    near = (port for network in mine for port in cloud.ports_of_network(network))
    for port in sorted(near, key=lambda port: port.id):
        own = mine[port.network_id]
        if port.device_id in cloud.routers and port.device_id != router:
            yield from ((fixed.ip_address, device_of(own)) for fixed in port.fixed_ips)
