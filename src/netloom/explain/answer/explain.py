"""Why a packet does or does not arrive: three verdicts, one sentence, the way hop by hop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from msgspec import Struct

from netloom.explain.answer import beyond
from netloom.explain.answer.asked import Asked, check_size, protocol_number
from netloom.explain.answer.ends import no_floating_ip, not_from_dhcp, unplaced
from netloom.explain.answer.health import doubt, not_reported, of_ends, of_status, of_tunnels
from netloom.explain.answer.outside import variants
from netloom.explain.answer.reasons import of_drop
from netloom.explain.answer.resolve import OUTSIDE, Spot, ends, led_on, network_of
from netloom.explain.answer.routes import blame
from netloom.explain.answer.size import path_mtu, said, too_big
from netloom.explain.cause import Cause, Reason
from netloom.explain.cloud import Cloud
from netloom.explain.walk.frames import ICMP
from netloom.explain.walk.hosts import Endpoint, World
from netloom.explain.walk.reach import Further, Reach
from netloom.explain.walk.trace import Step
from netloom.explain.walk.walk import Arrival, Outside, Walk, Walker, vlan_text
from netloom.model.cloud import Server
from netloom.model.errors import UserError
from netloom.model.names import ROUTER_OWNERS
from netloom.model.origin import HOST, NOTHING
from netloom.model.placement import places
from netloom.plan.ovs.rule_services import WITH_PORTS

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
    name, `cause` what kind of thing is wrong, `fix` what to do about it; all four empty where all is well.
    `size`: of the packet in bytes, 0 for a small one; `path_mtu`: the largest that the way there carries.
    """

    verdict: Verdict
    sentence: str
    cause: str
    decided_by: str
    decided_by_name: str
    fix: str
    source: str
    destination: str
    protocol: str
    port: int | None
    size: int
    path_mtu: int | None
    there: list[Hop]
    back: list[Hop]


@dataclass(frozen=True)
class Finding:
    """What came out of one question: why it does not arrive (None: it does), and the walk where there was one."""

    asked: Asked
    reason: Reason | None
    walk: Walk | None

    @property
    def verdict(self) -> Verdict:
        """The verdict of this question alone."""
        if self.reason is None:
            return "reachable"
        return "unreachable" if self.reason.sure else "unknown"


def explain(
    cloud: Cloud,
    source: str,
    destination: str,
    protocol: str = "icmp",
    port: int | None = None,
    size: int = 0,
    reach: Reach | None = None,
) -> Explanation:
    """Explain one packet and its answer. Raises UserError for words that mean nothing.

    `reach`: what is planned at once. The answer does not hang on it: what the packet meets beside is planned then.
    """
    number = protocol_number(protocol, port)
    start, target = ends(cloud, source, destination)
    target = led_on(cloud, target, "icmp" if number == ICMP else protocol, port)
    asked = Asked(
        start=start,
        target=target,
        protocol=protocol,
        number=number,
        port=port,
        size=check_size(size),
    )
    finding = _together(_found(cloud, variants(cloud, asked), reach))
    asked, reason, walk = finding.asked, finding.reason, finding.walk
    mtu = path_mtu(cloud, walk)
    verdict, sentence = finding.verdict, _sentence(finding, mtu)
    unsure = doubt(cloud, _hosts(cloud, finding))
    if unsure is not None:
        if reason is None:
            planned = "it would arrive"
        elif reason.sure:
            planned = f"it would not arrive: {sentence[0].lower()}{sentence[1:]}"
        else:
            planned = reason.sentence
        verdict = "unknown"
        sentence = f"Cannot say: {unsure.sentence} As planned, {planned}".rstrip(".") + "."
        reason = unsure
    return Explanation(
        verdict=verdict,
        sentence=sentence,
        cause=reason.cause if reason else "",
        decided_by=str(reason.decider) if reason else "",
        decided_by_name=cloud.name(reason.decider) if reason and reason.decider else "",
        fix=reason.fix if reason else "",
        source=_describe(asked.start),
        destination=_describe(asked.target),
        protocol=protocol,
        port=port,
        size=size,
        path_mtu=mtu,
        there=[hop(cloud, step) for step in walk.there.steps] if walk else [],
        back=[hop(cloud, step) for step in walk.back.steps] if walk and walk.back else [],
    )


def _together(findings: list[Finding]) -> Finding:
    """One answer to all that a word may mean."""
    first = findings[0]
    good = next((f for f in findings if f.verdict != "unreachable"), None)
    bad = next((f for f in findings if f.verdict == "unreachable" and f.reason), None)
    if good is None or bad is None or bad.reason is None:
        # None is refused, or all are: where one is not sure, none is.
        return next((f for f in findings if f.verdict == "unknown"), first)
    spots = (good.asked.start, good.asked.target)
    if not any(spot.anywhere for spot in spots):
        return good  # some instance that may have taken the address answers
    inward = good.asked.start.anywhere
    well, ill = ((f.asked.start if inward else f.asked.target).address for f in (good, bad))
    reason = replace(
        bad.reason,
        sentence=f"it depends on the address outside: {well} is let through, {ill} is not "
        f"({bad.reason.sentence.rstrip('.')}). To ask about one, name it in the place of «{OUTSIDE}».",
        sure=False,
        cause=Cause.WHICH_ADDRESS,
    )
    return replace(bad, reason=reason)


def _found(cloud: Cloud, asked: list[Asked], reach: Reach | None) -> list[Finding]:
    """What comes out of several questions; what they meet is planned as they meet it."""
    within = reach or _ends(cloud, asked)
    while True:
        inquiry = Inquiry(cloud, within)
        try:
            return [inquiry.find(each) for each in asked]
        except Further as more:
            within |= more.reach


def _ends(cloud: Cloud, asked: list[Asked]) -> Reach:
    """Where the packets begin and end: the networks there, and the routers on those that are not physical."""
    networks: set[str] = set()
    for spot in (spot for each in asked for spot in (each.start, each.target)):
        on = network_of(cloud, spot)
        networks |= {on.id} if on else set()
        networks |= {spot.port.network_id} if spot.port else set()
    routers = {
        port.device_id
        for ident in networks
        if ident in cloud.networks and not cloud.networks[ident].physical_network
        for port in cloud.ports_of_network(ident)
        if port.device_owner in ROUTER_OWNERS
    }
    return Reach(frozenset(networks), frozenset(routers))


class Inquiry:
    """All questions about one cloud: a host is planned once, where a packet comes to it."""

    def __init__(self, cloud: Cloud, reach: Reach) -> None:
        self.cloud = cloud
        self.reach = reach

    @cached_property
    def world(self) -> World:
        """The hosts, as far as the packets get."""
        return World.within(self.cloud.moment, self.reach, beyond.ranges(self.cloud))

    def find(self, asked: Asked) -> Finding:
        """Look at the ends, walk, and look at what hosts report."""
        cloud, start, target = self.cloud, asked.start, asked.target
        reason = unplaced(cloud, start) or unplaced(cloud, target) or of_ends(cloud, start, target)
        network = network_of(cloud, target)
        if reason is None and not (network and beyond.entered(cloud, network)):
            reason = no_floating_ip(cloud, start, target)
        if reason is not None:
            return Finding(asked, reason, None)
        world = beyond.taken(beyond.taken(self.world, start), target)
        walk = self._walk(world, asked)
        reason = self._reason(walk, asked)
        if reason is not None and reason.sure:
            reason = blame(
                cloud, world, walk, asked, reason, lambda other: self._judge(other, asked)
            )
        reason = (
            reason
            or too_big(cloud, walk, asked)
            or beyond.refused(cloud, walk, asked)
            or of_status(cloud, _steps(walk))
            or of_tunnels(cloud, _steps(walk))
            or beyond.assumed(cloud, world, walk, start, target)
            or not_from_dhcp(cloud, start)
            or not_from_dhcp(cloud, target)
            or not_reported(cloud, start, target)
        )
        return Finding(asked, reason, walk)

    def _judge(self, world: World, asked: Asked) -> Reason | None:
        return self._reason(self._walk(world, asked), asked)

    def _walk(self, world: World, asked: Asked) -> Walk:
        cloud, start, target = self.cloud, asked.start, asked.target
        walker = Walker(world)
        if start.port is not None:
            endpoint = world.endpoints[start.port.id]
            # Of several addresses, the one that was asked about.
            first = sorted(endpoint.networks, key=lambda pair: pair[0] != start.address)
            sender = replace(endpoint, networks=tuple(first))
            return walker.exchange(sender, target.address, proto=asked.number, port=asked.port or 0)
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
            Outside(wire, vlan, start.address),
            target.address,
            proto=asked.number,
            port=asked.port or 0,
        )

    def _reason(self, walk: Walk, asked: Asked) -> Reason | None:
        """Why the packet or its answer does not arrive as planned; None where both do."""
        cloud = self.cloud
        if not walk.there.delivered:
            elsewhere = beyond.dropped_elsewhere(cloud, walk.there, asked.target)
            return elsewhere or of_drop(cloud, walk.there, asked, answer=False)
        wrong = beyond.astray(cloud, walk, asked.start, asked.target)
        if wrong is not None:
            return wrong
        if walk.back is not None and not walk.back.delivered:
            return of_drop(cloud, walk.back, asked, answer=True)
        return None


def _sentence(finding: Finding, mtu: int | None) -> str:
    reason, walk, asked = finding.reason, finding.walk, finding.asked
    if reason is not None:
        return reason.sentence if reason.sure else f"Cannot say: {reason.sentence}"
    start, target, size = asked.start, asked.target, said(asked, mtu)
    if walk is not None and isinstance(walk.there.at, Outside):
        at = walk.there.at
        seen = walk.there.frame.ip_src
        as_whom = f" as {seen}" if seen != start.address else ""
        last = next(
            (s.target for s in reversed(walk.there.steps) if s.kind == "arp"), target.address
        )
        gateway = (
            f" to the gateway {last}, which is not this cloud's" if last != target.address else ""
        )
        return (
            f"{asked.service} from {start.address} leaves the cloud by physical network {at.physical_network}"
            f"{vlan_text(at.vlan)}{as_whom}{gateway}, and the answer finds its way back; what lies beyond is "
            f"not looked at.{size}"
        )
    answers = f"{target.address} answers {asked.service} from {start.address}"
    if asked.number in WITH_PORTS and walk is not None and isinstance(walk.there.at, Endpoint):
        return f"{answers}, or refuses it where no program of the instance listens.{size}"
    return f"{answers}.{size}"


def _describe(spot: Spot) -> str:
    return spot.word if spot.word == spot.address else f"{spot.word} ({spot.address})"


def _steps(walk: Walk | None) -> list[Step]:
    arrivals: list[Arrival] = [a for a in (walk.there, walk.back) if a] if walk else []
    return [step for arrival in arrivals for step in arrival.steps]


def _hosts(cloud: Cloud, finding: Finding) -> list[str]:
    """The hosts on the way; without one, those where what was taken away may still be in place."""
    hosts = [step.host for step in _steps(finding.walk)]
    start, target = finding.asked.start, finding.asked.target
    if not hosts:
        # An instance that is said not to run is on its own host.
        decider = finding.reason.decider if finding.reason else NOTHING
        owner = cloud.servers.get(decider.id) if decider.kind == Server.KIND else None
        if owner is not None:
            return [owner.host]
        hosts = [start.port.host] if start.port else _routers_hosts(cloud, target)
    return hosts


def _routers_hosts(cloud: Cloud, target: Spot) -> list[str]:
    """Hosts of the routers on a target's networks: what was taken away may still be in place there."""
    networks = {target.port.network_id} if target.port else set[str]()
    if target.floatingip:
        networks.add(target.floatingip.floating_network_id)
    routers = {p.device_id for network in networks for p in cloud.ports_of_network(network)}
    found = (cloud.routers[ident] for ident in routers if ident in cloud.routers)
    return sorted({host for router in found for host in places(router)})


def hop(cloud: Cloud, step: Step) -> Hop:
    """A step with the names of its objects."""
    shown = [origin for origin in step.origin if origin.kind != HOST]
    text = step.text
    for origin in shown:
        text = text.replace(str(origin), cloud.name(origin))
    return Hop(
        host=step.host,
        kind=step.kind,
        place=step.place,
        text=text,
        because=[cloud.name(origin) for origin in shown],
        origin=[str(origin) for origin in step.origin],
        command=step.command,
    )
