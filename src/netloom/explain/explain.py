"""Why a packet does or does not arrive: three verdicts, one sentence, the way hop by hop."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Literal

from msgspec import Struct

from netloom.explain.cloud import Cloud
from netloom.explain.reasons import Reason, no_floating_ip, of_drop, of_status, unplaced
from netloom.explain.resolve import SOMEWHERE, Spot, ends, network_of
from netloom.explain.trace import Step
from netloom.explain.walk import Arrival, Outside, Walk, Walker
from netloom.explain.world import World
from netloom.model.errors import UserError
from netloom.plan.security_groups import PROTOCOLS

Verdict = Literal["reachable", "unreachable", "unknown"]
EXIT_STATUS: dict[str, int] = {"reachable": 0, "unreachable": 1, "unknown": 2}


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
    """The answer. `decided_by`: the object (`kind/id`) that the verdict hangs on; empty where all is well."""

    verdict: Verdict
    sentence: str
    decided_by: str
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
    reason = unplaced(cloud, start) or unplaced(cloud, target) or no_floating_ip(cloud, start, target)
    walk: Walk | None = None
    if reason is None:
        walk = _walk(cloud, start, target, number, port or 0)
        reason = _reason(cloud, walk, service)
    verdict: Verdict = "reachable" if reason is None else "unreachable"
    sentence = reason.sentence if reason else f"{target.address} answers {service} from {start.address}."
    doubt = _doubt(cloud, walk, start, target) or _left_the_cloud(walk, target)
    if doubt is not None:
        verdict = "unknown"
        planned = "it would arrive" if reason is None else "it would not arrive: " + sentence
        sentence = f"Cannot say: {doubt.sentence}"
        if doubt.decider.startswith("host/"):
            sentence += f" As planned, {planned}".rstrip(".") + "."
        reason = doubt
    return Explanation(
        verdict=verdict,
        sentence=sentence,
        decided_by=reason.decider if reason else "",
        source=_describe(start),
        destination=_describe(target),
        protocol=protocol,
        port=port,
        there=[hop(cloud, step) for step in walk.there.steps] if walk else [],
        back=[hop(cloud, step) for step in walk.back.steps] if walk and walk.back else [],
    )


def protocol_number(protocol: str, port: int | None) -> int:
    """A protocol's number, by name or number. Raises UserError."""
    number = PROTOCOLS.get(protocol)
    if number is None:
        if not protocol.isdecimal() or not 0 < int(protocol) < 256:
            raise UserError(
                f"unknown protocol {protocol}: icmp, tcp, udp, another name or a number up to 255"
            )
        number = int(protocol)
    if number in (6, 17) and port is None:
        raise UserError(f"{protocol} needs a port: add --port")
    if port is not None and not 0 < port < 65536:
        raise UserError(f"{port} is no port: 1 to 65535")
    return number


def _describe(spot: Spot) -> str:
    return spot.word if spot.word == spot.address else f"{spot.word} ({spot.address})"


def _walk(cloud: Cloud, start: Spot, target: Spot, number: int, port: int) -> Walk:
    walker = Walker(World.of(cloud.views))
    if start.port is not None:
        endpoint = walker.world.endpoints[start.port.id]
        # Of several addresses, the one that was asked about.
        first = sorted(endpoint.networks, key=lambda pair: pair[0] != start.address)
        sender = replace(endpoint, networks=tuple(first))
        return walker.exchange(sender, target.address, proto=number, port=port)
    network = network_of(cloud, target)
    if network is None or not network.physical_network:
        raise UserError(f"{target.word} is on no physical network, so nothing outside can send to it")
    vlan = (network.segmentation_id or 0) if network.network_type == "vlan" else 0
    return walker.exchange(
        Outside(network.physical_network, vlan, start.address), target.address, proto=number, port=port
    )


def _neighbour(cloud: Cloud, target: Spot) -> str | None:
    """The gateway of the target's subnet: a machine outside that surely could ask."""
    for subnet in cloud.subnets.values():
        network = network_of(cloud, target)
        inside = ipaddress.ip_address(target.address) in ipaddress.ip_network(subnet.cidr)
        if network and subnet.network_id == network.id and inside:
            return subnet.gateway_ip
    return None


def _reason(cloud: Cloud, walk: Walk, service: str) -> Reason | None:
    """Why it does not work, from the walk and from what hosts report; None where it does."""
    if not walk.there.delivered:
        return of_drop(cloud, walk.there, service, answer=False)
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
            return Reason(f"host {host} {health.doubt}.", f"host/{host}")
    return None


def _routers_hosts(cloud: Cloud, target: Spot) -> list[str]:
    """Hosts of the routers on a target's networks: what was taken away may still be in place there."""
    networks = {target.port.network_id} if target.port else set[str]()
    if target.floatingip:
        networks.add(target.floatingip.floating_network_id)
    routers = {p.device_id for p in cloud.ports.values() if p.network_id in networks}
    return sorted({cloud.routers[ident].host for ident in routers if ident in cloud.routers})


def _left_the_cloud(walk: Walk | None, target: Spot) -> Reason | None:
    """A packet for one of ours that goes out by a physical network: whether it comes back is not ours to say."""
    if walk is None or target.outside or not isinstance(walk.there.at, Outside):
        return None
    outside = walk.there.at
    return Reason(
        f"the packet leaves the cloud by physical network {outside.physical_network}, and whether a machine "
        f"there brings it to {target.address} is not known here.",
        walk.there.steps[0].origin[0] if walk.there.steps[0].origin else "",
    )


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
