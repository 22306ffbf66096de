"""Security groups: four stages of flows around connection tracking, in one zone for each port.

Established state admits only replies, and ICMP errors about the connection to both its ends. A packet in the
original direction is checked against the rules each time, so removing a rule cuts what it had let in. Rules and members of remote groups meet in
conjunctions (ovs-fields(7)): their flows add up, they never multiply.

Fragments: connection tracking holds them until all of a datagram are there. Then the first one, which alone has ports,
is asked about as any packet. Where the rules accept it, it goes through connection tracking once more, to which the
later ones go without being asked: they get on only together with an accepted first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from netloom.model.family import FAMILIES, V6
from netloom.model.hoststate import Flow
from netloom.model.networking import AddressGroup, Port, SecurityGroup
from netloom.model.openflow import Action, Conjunction, Ct, Goto, Match
from netloom.model.origin import Origin
from netloom.plan.index import ROUTER_OWNERS, Index, is_trusted, of_host, origin
from netloom.plan.ovs.bridges import flow
from netloom.plan.ovs.local import UDP, served
from netloom.plan.ovs.pieces import Piece
from netloom.plan.ovs.pipeline import Priority, Stage
from netloom.plan.ovs.ports import ICMPV6
from netloom.plan.ovs.remote_groups import Remote, forwarders, near, routed
from netloom.plan.ovs.rule_services import services_of
from netloom.plan.ovs.ways import Way, naming, naming_list, rules_of, user_networks, ways
from netloom.plan.sets import listed

INVALID, ANSWER, NEW = "+inv", "+trk+est+rpl", "+trk+new"
"""INVALID without +trk: fragments whose others never came are handed out like this, to whichever zone looks next."""
WHOLE = "+trk-inv"
RELATED = "+trk+rel"
"""ICMP errors about a connection that is known, towards either of its ends: without them a server that only
TCP reaches would never hear that its packets are too big for the way."""

NEIGHBOUR_DISCOVERY = (135, 136)
OF_THE_LINK = {"egress": (130, 131, 132, 133, 143), "ingress": (130, 131, 132, 134)}
"""What else of ICMPv6 a link needs, and no rule is asked about, where a network has IPv6 subnets: who listens to which group,
and who routes. As in Neutron; an advertisement that an instance made has been dropped before."""
Field = Literal["src_port", "dst_port"]


class Side(Struct, frozen=True):
    """One of the two directions: its stages, and which register names the port."""

    direction: str
    port: Field
    track: Stage
    rules: Stage
    accept: Stage
    whole: Stage
    onward: Stage

    def here(self, port: Port, **match: Any) -> Match:
        """A match on the port in this side's register, and more."""
        match[self.port] = port.key
        return Match(**match)

    def far(self, eth_type: str, remote: Remote) -> Match:
        """A match on who is at the other end."""
        if self.direction == "egress":
            return Match(
                eth_type=eth_type, net=remote.net, eth_dst=remote.mac, ip_dst=remote.address
            )
        return Match(eth_type=eth_type, net=remote.net, eth_src=remote.mac, ip_src=remote.address)


EGRESS = Side(
    "egress",
    "src_port",
    Stage.EGRESS,
    Stage.EGRESS_RULES,
    Stage.EGRESS_ACCEPT,
    Stage.EGRESS_WHOLE,
    Stage.L2,
)
INGRESS = Side(
    "ingress",
    "dst_port",
    Stage.INGRESS,
    Stage.INGRESS_RULES,
    Stage.INGRESS_ACCEPT,
    Stage.INGRESS_WHOLE,
    Stage.OUTPUT,
)
SIDES = {side.direction: side for side in (EGRESS, INGRESS)}


def plan_host(index: Index) -> Iterator[Flow]:
    """What both directions do with every secured port of the host."""
    host = of_host(index.host)
    for side in (EGRESS, INGRESS):
        yield flow(side.rules, Priority.REFUSE, Match(ct_state=INVALID), origin=host)
        onward = Goto(int(side.onward))
        for state in (ANSWER, RELATED):
            yield flow(side.rules, Priority.SPECIAL, Match(ct_state=state), onward, origin=host)
        yield flow(side.whole, Priority.NORMAL, Match(ct_state=WHOLE), onward, origin=host)


def plan_user(index: Index, port: Port) -> Iterator[Flow | Piece]:
    """All stages of both directions for a port on this host that is up."""
    for side in (EGRESS, INGRESS):
        if is_trusted(port):
            onward = Goto(int(side.onward))
            yield flow(side.track, Priority.NORMAL, side.here(port), onward, origin=origin(port))
        else:
            yield from track(index, side, port)
    if not is_trusted(port):
        for group in dict.fromkeys(port.security_groups):
            for way in ways(index, group):
                yield _here(way, port)


def plan_member(index: Index, port: Port) -> Iterator[Piece]:
    """A port, wherever it is, as the remote end of rules that name a group of its own."""
    if port.device_owner in ROUTER_OWNERS:
        return
    for group in dict.fromkeys(port.security_groups):
        for way in naming(index, group):
            find = routed if way.routed else near
            for remote in find(index, port, user_networks(index, way.group), way.family):
                yield _part(way, 2, SIDES[way.direction].far(way.eth_type, remote), remote.why)


def plan_group(index: Index, group: str) -> Iterator[Piece]:
    """What the rules of a group say that ports here have, whichever ports these are."""
    found = ways(index, group)
    why = Origin(SecurityGroup.KIND, group)
    for way in found:
        side = SIDES[way.direction]
        if way.parts == 1:
            continue
        accept = Goto(int(side.accept))
        origins = (*way.origin, why)
        yield Piece(side.rules, Priority.RULES, Match(conj=way.name), accept, origins)
        if way.prefix:
            yield _part(way, 2, side.far(way.eth_type, Remote(why, address=way.prefix)), why)
        if way.routed:
            for remote in forwarders(index, user_networks(index, group)):
                yield _part(way, 3, side.far(way.eth_type, remote), remote.why)
        if not way.unlimited:
            for service, rules in services_of(rules_of(index, way)).values():
                match = Match(eth_type=way.eth_type, **service)
                yield _part(way, way.parts, match, *rules)


def plan_addresses(index: Index, id: str) -> Iterator[Piece]:
    """An address group as the remote end of rules that name it: one flow for an address, whichever rules and ports these are."""
    group: AddressGroup | None = index.row("address_groups", id)
    if group is None:
        return
    why = Origin.of(group)
    for way in naming_list(index, id):
        for address in listed(group, way.family):
            remote = Remote(why, address=None if address.endswith("/0") else address)
            yield _part(way, 2, SIDES[way.direction].far(way.eth_type, remote), why)


def _here(way: Way, port: Port) -> Piece:
    """A port here as one end of a way."""
    side = SIDES[way.direction]
    match = side.here(port, eth_type=way.eth_type)
    why = (*origin(port), Origin(SecurityGroup.KIND, way.group))
    if way.parts == 1:
        accept = Goto(int(side.accept))
        return Piece(side.rules, Priority.NORMAL, match, accept, (*way.origin, *why))
    return Piece(side.rules, Priority.RULES, match, Conjunction(way.name, 1, way.parts), why)


def _part(way: Way, number: int, match: Match, *why: Origin) -> Piece:
    """One match of a dimension of a way's conjunction."""
    part = Conjunction(way.name, number, way.parts)
    origins = tuple(dict.fromkeys((*why, *way.origin)))
    return Piece(SIDES[way.direction].rules, Priority.RULES, match, part, origins)


def is_stateless(index: Index, port: Port) -> bool:
    """Connections of a port are not tracked when none of its groups is stateful."""
    groups: list[SecurityGroup | None] = [
        index.row("security_groups", group_id) for group_id in port.security_groups
    ]
    return bool(groups) and all(group is not None and not group.stateful for group in groups)


def track(index: Index, side: Side, port: Port) -> Iterator[Flow]:
    """The stage before the rules and the one after them, for one port."""
    why = origin(port)
    onward = Goto(int(side.onward))
    stateless = is_stateless(index, port)
    yield flow(side.track, Priority.NORMAL, side.here(port, eth_type="arp"), onward, origin=why)
    for eth_type in (family.eth_type for family in FAMILIES):
        look: Action = Goto(int(side.rules)) if stateless else Ct(port.id, table=int(side.rules))
        yield flow(
            side.track, Priority.NORMAL, side.here(port, eth_type=eth_type), look, origin=why
        )
        # Past the rules, and for stateless groups before them too, fragments go on when all are there.
        together = Ct(port.id, table=int(side.whole), commit=not stateless)
        first = side.here(port, eth_type=eth_type, ip_frag="first")
        later = side.here(port, eth_type=eth_type, ip_frag="later", ct_state=WHOLE)
        yield flow(side.accept, Priority.SPECIAL, first, together, origin=why)
        if port.security_groups:
            yield flow(side.rules, Priority.FRAGMENT, later, together, origin=why)
        if stateless:
            part = side.here(port, eth_type=eth_type, ip_frag="yes")
            gather = Ct(port.id, table=int(side.rules))
            yield flow(side.track, Priority.SPECIAL, part, gather, origin=why)
    families = index.families_of(port.network_id)
    more = OF_THE_LINK[side.direction] if V6 in families else ()
    for icmp_type in (*NEIGHBOUR_DISCOVERY, *more):
        found = side.here(port, eth_type=V6.eth_type, ip_proto=ICMPV6, icmp_type=icmp_type)
        yield flow(side.track, Priority.SPECIAL, found, onward, origin=why)
    for family in families:
        if served(index, port.network_id, family):
            continue
        # Somebody else's DHCP serves this network: its questions and answers are no user's rule to write.
        ends = (family.dhcp_client, family.dhcp_server)
        source, target = ends if side is EGRESS else reversed(ends)
        kind = family.eth_type
        asks = side.here(port, eth_type=kind, ip_proto=UDP, tp_src=source, tp_dst=target)
        yield flow(side.track, Priority.SPECIAL, asks, onward, origin=why, aspect="dhcp")
    for family in () if stateless else FAMILIES:
        # Open vSwitch takes ct() only in flows that say which version of IP they are about.
        new = side.here(port, eth_type=family.eth_type, ct_state=NEW)
        remember = Ct(port.id, commit=True)
        yield flow(side.accept, Priority.NORMAL, new, remember, onward, origin=why)
    groups = tuple(Origin(SecurityGroup.KIND, group) for group in sorted(port.security_groups))
    yield flow(side.rules, Priority.PORT_DEFAULT, side.here(port), origin=why + groups)
