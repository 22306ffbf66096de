"""Why a packet does or does not arrive: three verdicts, one sentence, the way hop by hop."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Literal

from msgspec import Struct

from netloom.explain import beyond
from netloom.explain.cloud import Cloud
from netloom.explain.fixes import look_at_host
from netloom.explain.reasons import (
    Reason,
    no_floating_ip,
    of_drop,
    of_ends,
    of_status,
    of_tunnels,
    unplaced,
)
from netloom.explain.resolve import SOMEWHERE, Spot, ends, network_of
from netloom.explain.trace import Step
from netloom.explain.walk import Arrival, Outside, Walk, Walker, vlan_text
from netloom.explain.world import World
from netloom.model.errors import UserError
from netloom.plan.security_groups import PROTOCOLS, WITH_PORTS

Verdict = Literal["reachable", "unreachable", "unknown"]


class Hop(Struct, frozen=True, kw_only=True):
    """One step for a person: where, what, why (objects by name), and the command that shows it."""

    host: str
    kind: str
    place: str
    text: str
    because: list[str]
    origin: list[str]
    command: str


class Explanation(Struct, frozen=True, kw_only=True):
    """The answer. `decided_by`: the object (`kind/id`) that the verdict hangs on, `decided_by_name` its kind and
    name, `fix` what to do about it; all three empty where all is well.
    """

    verdict: Verdict
    sentence: str
    decided_by: str
    decided_by_name: str
    fix: str
    source: str
    destination: str
    protocol: str
    port: int | None
    there: list[Hop]
    back: list[Hop]


def explain(
    cloud: Cloud, source: str, destination: str, protocol: str = "icmp", port: int | None = None
) -> Explanation:
    """Explain one packet and its answer. Raises UserError for words that mean nothing."""
    number = protocol_number(protocol, port)
    start, target = ends(cloud, source, destination)
    if start.address == SOMEWHERE:
        start = replace(start, address=_neighbour(cloud, target) or SOMEWHERE)
    service = f"{protocol}/{port}" if port else protocol
    reason = unplaced(cloud, start) or unplaced(cloud, target) or of_ends(cloud, start, target)
    network = network_of(cloud, target)
    if reason is None and not (network and beyond.entered(cloud, network)):
        reason = no_floating_ip(cloud, start, target)
    walk: Walk | None = None
    if reason is None:
        world = World.of(cloud.views, beyond.ranges(cloud))
        for spot in (start, target):
            beyond.taken(world, spot)
        walk = _walk(cloud, world, start, target, number, port or 0)
        reason = (
            _reason(cloud, walk, start, target, service)
            or of_tunnels(cloud, _steps(walk))
            or beyond.assumed(cloud, world, walk, start, target)
        )
    verdict, sentence = _verdict(reason), _sentence(reason, walk, start, target, service)
    doubt = _doubt(cloud, walk, start, target)
    if doubt is not None:
        if reason is None:
            planned = "it would arrive"
        elif reason.sure:
            planned = f"it would not arrive: {sentence[0].lower()}{sentence[1:]}"
        else:
            planned = reason.sentence
        verdict = "unknown"
        sentence = f"Cannot say: {doubt.sentence} As planned, {planned}".rstrip(".") + "."
        reason = doubt
    return Explanation(
        verdict=verdict,
        sentence=sentence,
        decided_by=reason.decider if reason else "",
        decided_by_name=cloud.name(reason.decider) if reason and reason.decider else "",
        fix=reason.fix if reason else "",
        source=_describe(start),
        destination=_describe(target),
        protocol=protocol,
        port=port,
        there=[hop(cloud, step) for step in walk.there.steps] if walk else [],
        back=[hop(cloud, step) for step in walk.back.steps] if walk and walk.back else [],
    )


def _verdict(reason: Reason | None) -> Verdict:
    if reason is None:
        return "reachable"
    return "unreachable" if reason.sure else "unknown"


def _sentence(
    reason: Reason | None, walk: Walk | None, start: Spot, target: Spot, service: str
) -> str:
    if reason is not None:
        return reason.sentence if reason.sure else f"Cannot say: {reason.sentence}"
    if walk is not None and isinstance(walk.there.at, Outside):
        at = walk.there.at
        seen = walk.there.frame.ip_src
        as_whom = f" as {seen}" if seen != start.address else ""
        asked = next(
            (s.target for s in reversed(walk.there.steps) if s.kind == "arp"), target.address
        )
        gateway = (
            f" to the gateway {asked}, which is not this cloud's" if asked != target.address else ""
        )
        return (
            f"{service} from {start.address} leaves the cloud by physical network {at.physical_network}"
            f"{vlan_text(at.vlan)}{as_whom}{gateway}, and the answer finds its way back; what lies beyond is "
            "not looked at."
        )
    return f"{target.address} answers {service} from {start.address}."


def protocol_number(protocol: str, port: int | None) -> int:
    """A protocol's number, by name or number. Raises UserError."""
    number = PROTOCOLS.get(protocol)
    if number is None:
        if not protocol.isdecimal() or len(protocol) > 3 or not 0 < int(protocol) < 256:
            raise UserError(
                f"unknown protocol {protocol}: icmp, tcp, udp, another name or a number up to 255"
            )
        number = int(protocol)
    if number in (6, 17) and port is None:
        raise UserError(f"{protocol} needs a port: add --port")
    if port is not None and number not in WITH_PORTS:
        raise UserError(f"{protocol} has no ports: leave --port out")
    if port is not None and not 0 < port < 65536:
        raise UserError(f"{port} is no port: 1 to 65535")
    return number


def _describe(spot: Spot) -> str:
    return spot.word if spot.word == spot.address else f"{spot.word} ({spot.address})"


def _walk(cloud: Cloud, world: World, start: Spot, target: Spot, number: int, port: int) -> Walk:
    walker = Walker(world)
    if start.port is not None:
        endpoint = walker.world.endpoints[start.port.id]
        # Of several addresses, the one that was asked about.
        first = sorted(endpoint.networks, key=lambda pair: pair[0] != start.address)
        sender = replace(endpoint, networks=tuple(first))
        return walker.exchange(sender, target.address, proto=number, port=port)
    network = network_of(cloud, target)
    known = None if target.floatingip else beyond.behind_router(world.beyond, target.address)
    if network is not None and network.physical_network:
        wire, vlan = network.physical_network, beyond.vlan_of(network)
    elif known is not None:
        wire, vlan = known.physical_network, known.vlan
    else:
        raise UserError(
            f"{target.word} is on no physical network, so nothing outside can send to it"
        )
    return walker.exchange(
        Outside(wire, vlan, start.address), target.address, proto=number, port=port
    )


def _neighbour(cloud: Cloud, target: Spot) -> str | None:
    """The gateway of the subnet by which outside reaches the target: a machine that surely could ask."""
    network, address = network_of(cloud, target), target.address
    if network is not None and not network.physical_network:
        known = beyond.behind_router(beyond.ranges(cloud), address)
        router = cloud.routers.get(known.router_id) if known else None
        if known is None or router is None or router.external_gateway_info is None:
            return None
        network, address = cloud.networks.get(router.external_gateway_info.network_id), known.via
    for subnet in cloud.subnets.values():
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)
        if network and subnet.network_id == network.id and inside:
            return subnet.gateway_ip
    return None


def _reason(cloud: Cloud, walk: Walk, start: Spot, target: Spot, service: str) -> Reason | None:
    """Why it does not work, from the walk and from what hosts report; None where it does."""
    if not walk.there.delivered:
        elsewhere = beyond.dropped_elsewhere(cloud, walk.there, target)
        return elsewhere or of_drop(cloud, walk.there, service, answer=False)
    wrong = beyond.astray(cloud, walk, start, target)
    if wrong is not None:
        return wrong
    if walk.back is not None and not walk.back.delivered:
        return of_drop(cloud, walk.back, service, answer=True)
    return of_status(cloud, _steps(walk))


def _steps(walk: Walk | None) -> list[Step]:
    arrivals: list[Arrival] = [a for a in (walk.there, walk.back) if a] if walk else []
    return [step for arrival in arrivals for step in arrival.steps]


def _doubt(cloud: Cloud, walk: Walk | None, start: Spot, target: Spot) -> Reason | None:
    """The first host on the way that is not known to be as planned."""
    hosts = [step.host for step in _steps(walk)]
    if not hosts:
        hosts = [start.port.host] if start.port else _routers_hosts(cloud, target)
    for host in dict.fromkeys(hosts):
        health = cloud.health.get(host)
        if health is not None and health.doubt:
            return Reason(f"host {host} {health.doubt}.", f"host/{host}", look_at_host(host))
    return None


def _routers_hosts(cloud: Cloud, target: Spot) -> list[str]:
    """Hosts of the routers on a target's networks: what was taken away may still be in place there."""
    networks = {target.port.network_id} if target.port else set[str]()
    if target.floatingip:
        networks.add(target.floatingip.floating_network_id)
    routers = {p.device_id for p in cloud.ports.values() if p.network_id in networks}
    return sorted({cloud.routers[ident].host for ident in routers if ident in cloud.routers})


def hop(cloud: Cloud, step: Step) -> Hop:
    """A step with the names of its objects."""
    shown = [origin for origin in step.origin if not origin.startswith("host/")]
    text = step.text
    for origin in shown:
        text = text.replace(origin, cloud.name(origin))
    return Hop(
        host=step.host,
        kind=step.kind,
        place=step.place,
        text=text,
        because=[cloud.name(origin) for origin in shown],
        origin=list(step.origin),
        command=step.command,
    )
