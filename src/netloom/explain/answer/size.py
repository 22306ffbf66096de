"""Packet size: the MTU of each network on the way, and the first that a packet does not fit into."""

from __future__ import annotations

from netloom.explain.answer import fixes
from netloom.explain.answer.asked import Asked
from netloom.explain.cause import Cause, Reason
from netloom.explain.cloud import Cloud
from netloom.explain.walk.walk import Arrival, Walk
from netloom.model.networking import Network, Port, Router
from netloom.model.origin import NOTHING, Origin


def networks(cloud: Cloud, arrival: Arrival) -> dict[str, tuple[Network, Origin]]:
    """The networks that a packet crosses, in order, each with the router that sent it there."""
    found: dict[str, tuple[Network, Origin]] = {}
    router = NOTHING
    for step in arrival.steps:
        router = next(
            (o for o in step.origin if step.kind == "route" and o.kind == Router.KIND), router
        )
        if step.kind not in ("instance", "device"):
            continue
        for origin in step.origin:
            port = cloud.ports.get(origin.id) if origin.kind == Port.KIND else None
            network = cloud.networks.get(port.network_id) if port else None
            if network is not None:
                found.setdefault(network.id, (network, router))
    return found


def path_mtu(cloud: Cloud, walk: Walk | None) -> int | None:
    """The smallest MTU on the way there, in bytes; None where there is no way."""
    crossed = networks(cloud, walk.there).values() if walk else ()
    return min((network.mtu for network, _ in crossed), default=None)


def too_big(cloud: Cloud, walk: Walk, asked: Asked) -> Reason | None:
    """The first network that is too small for a packet that must not be fragmented, there and (of a ping) back."""
    arrivals = [walk.there, *([walk.back] if walk.back and asked.is_ping else [])]
    for arrival in arrivals:
        crossed = networks(cloud, arrival)
        for number, (network, router) in enumerate(crossed.values()):
            if asked.size <= network.mtu:
                continue
            named = cloud.name(Origin.of(network))
            smallest = min(other.mtu for other, _ in crossed.values())
            if number == 0 or not router:
                who = "its sender cannot send it"
            else:
                who = f"{cloud.name(router)} refuses it, and says so to the sender"
            return Reason(
                f"A packet of {asked.size} bytes that must not be fragmented is too large for {named}, whose MTU is "
                f"{network.mtu}: {who}.",
                Origin.of(network),
                fixes.set_mtu(cloud, network, asked.size, smallest),
                cause=Cause.TOO_BIG,
            )
    return None


def said(asked: Asked, mtu: int | None) -> str:
    """What a reachable answer adds about size."""
    return (
        f" A packet of {asked.size} bytes fits: the path's MTU is {mtu}."
        if asked.size and mtu
        else ""
    )
