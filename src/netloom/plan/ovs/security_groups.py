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

from netloom.model.hoststate import Flow
from netloom.model.networking import Port, SecurityGroupRule
from netloom.model.openflow import Action, Conjunction, Ct, Goto, Match
from netloom.plan.index import Index, device_of, is_trusted, origin
from netloom.plan.ovs.bridges import flow
from netloom.plan.ovs.local import UDP, dhcp_subnets
from netloom.plan.ovs.pipeline import Priority, Stage
from netloom.plan.ovs.ports import ICMPV6, canonical
from netloom.plan.ovs.remote_groups import Remote, members, near, routed

PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "icmpv6": 58, "igmp": 2,
    "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
    "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17,
    "udplite": 136, "vrrp": 112,
}  # fmt: skip
"""Protocol names of the Networking API → numbers (IANA)."""

WITH_PORTS = frozenset({6, 17, 132})
"""Protocols whose ports Open vSwitch can match."""

ETHERTYPES = {"IPv4": "ip", "IPv6": "ipv6"}
INVALID, ANSWER, NEW = "+inv", "+trk+est+rpl", "+trk+new"
"""INVALID without +trk: fragments whose others never came are handed out like this, to whichever zone looks next."""
WHOLE = "+trk-inv"
RELATED = "+trk+rel"
"""ICMP errors about a connection that is known, towards either of its ends: without them a server that only
TCP reaches would never hear that its packets are too big for the way."""

NEIGHBOUR_DISCOVERY = (135, 136)
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
        match[self.port] = device_of(port)
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


def plan_security_groups(index: Index) -> Iterator[Flow]:
    """All stages of both directions, for every port on this host."""
    host = (f"host/{index.host}",)
    here = [p for n in index.networks for p in index.local_ports[n.id] if index.is_up(p)]
    secured = [port for port in here if not is_trusted(port)]
    for side in (EGRESS, INGRESS):
        for port in here:
            if is_trusted(port):
                onward = Goto(int(side.onward))
                yield flow(
                    side.track, Priority.NORMAL, side.here(port), onward, origin=origin(port)
                )
        for port in secured:
            yield from track(index, side, port)
        if secured:
            yield flow(side.rules, Priority.REFUSE, Match(ct_state=INVALID), origin=host)
            onward = Goto(int(side.onward))
            for state in (ANSWER, RELATED):
                yield flow(side.rules, Priority.SPECIAL, Match(ct_state=state), onward, origin=host)
            yield flow(side.whole, Priority.NORMAL, Match(ct_state=WHOLE), onward, origin=host)
        yield from rules(index, side, secured)


def is_stateless(index: Index, port: Port) -> bool:
    """Connections of a port are not tracked when none of its groups is stateful."""
    groups = [index.view.security_groups.get(group_id) for group_id in port.security_groups]
    return bool(groups) and all(group is not None and not group.stateful for group in groups)


def track(index: Index, side: Side, port: Port) -> Iterator[Flow]:
    """The stage before the rules and the one after them, for one port."""
    why = origin(port)
    onward = Goto(int(side.onward))
    stateless = is_stateless(index, port)
    yield flow(side.track, Priority.NORMAL, side.here(port, eth_type="arp"), onward, origin=why)
    for eth_type in ETHERTYPES.values():
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
    for icmp_type in NEIGHBOUR_DISCOVERY:
        found = side.here(port, eth_type="ipv6", ip_proto=ICMPV6, icmp_type=icmp_type)
        yield flow(side.track, Priority.SPECIAL, found, onward, origin=why)
    if not dhcp_subnets(index, index.view.networks[port.network_id]):
        # Somebody else's DHCP serves this network: its questions and answers are no user's rule to write.
        client, server = (68, 67) if side is EGRESS else (67, 68)
        asks = side.here(port, eth_type="ip", ip_proto=UDP, tp_src=client, tp_dst=server)
        yield flow(side.track, Priority.SPECIAL, asks, onward, origin=why, aspect="dhcp")
    for eth_type in () if stateless else ETHERTYPES.values():
        # Open vSwitch takes ct() only in flows that say which version of IP they are about.
        new = side.here(port, eth_type=eth_type, ct_state=NEW)
        remember = Ct(port.id, commit=True)
        yield flow(side.accept, Priority.NORMAL, new, remember, onward, origin=why)
    groups = tuple(f"security_group/{group}" for group in sorted(port.security_groups))
    yield flow(side.rules, Priority.PORT_DEFAULT, side.here(port), origin=why + groups)


class Clause(Struct, frozen=True):
    """All rules of one group that share direction, ethertype and remote: one conjunction."""

    group: str
    ethertype: str
    remote_group: str | None
    remote_prefix: str | None

    @property
    def remote(self) -> str:
        """The remote's part of the conjunction's name."""
        return self.remote_group or self.remote_prefix or "any"


def clause_of(rule: SecurityGroupRule) -> Clause:
    """Which conjunction a rule belongs to. A prefix of length 0 is no restriction."""
    prefix = rule.normalized_cidr or rule.remote_ip_prefix
    prefix = canonical(prefix) if prefix else None
    if prefix and prefix.endswith("/0"):
        prefix = None
    return Clause(rule.security_group_id, rule.ethertype, rule.remote_group_id, prefix)


def rules(index: Index, side: Side, secured: list[Port]) -> Iterator[Flow]:
    """The rules of all groups that ports here have, as direct flows or conjunctions."""
    users: dict[str, list[Port]] = {}
    for port in secured:
        for group in port.security_groups:
            users.setdefault(group, []).append(port)
    clauses: dict[Clause, list[SecurityGroupRule]] = {}
    for _, rule in sorted(index.view.security_group_rules.items()):
        if rule.direction == side.direction and rule.security_group_id in users:
            clauses.setdefault(clause_of(rule), []).append(rule)
    gathered = Gathered(side)
    for clause, same in sorted(clauses.items(), key=lambda item: repr(item[0])):
        gathered.add(index, clause, same, users[clause.group])
    yield from gathered.flows()


class Gathered:
    """Flows of one direction's rules stage; those with equal matches become one."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.found: dict[tuple[int, str], tuple[Match, dict[Action, None], dict[str, None]]] = {}

    def put(self, priority: int, match: Match, action: Action, why: list[str]) -> None:
        """Add an action to the flow of this match."""
        _, actions, origins = self.found.setdefault((priority, repr(match)), (match, {}, {}))
        actions[action] = None
        origins.update(dict.fromkeys(why))

    def add(
        self, index: Index, clause: Clause, rules: list[SecurityGroupRule], users: list[Port]
    ) -> None:
        """Add one group's rules towards one remote."""
        eth_type, group = ETHERTYPES[clause.ethertype], f"security_group/{clause.group}"
        unlimited = [f"security_group_rule/{r.id}" for r in rules if service_of(r) is None]
        here = [
            (self.side.here(port, eth_type=eth_type), [f"port/{port.id}", group]) for port in users
        ]
        services = [
            (Match(eth_type=eth_type, **service), why)
            for service, why in services_of(rules).values()
        ]
        for name, remotes in ways(index, clause, users):
            dimensions: list[list[tuple[Match, list[str]]]] = [here]
            for remote in remotes:
                met: dict[Match, list[str]] = {}
                for each in remote:
                    met.setdefault(self.side.far(eth_type, each), []).append(each.why)
                dimensions.append([(match, list(dict.fromkeys(met[match]))) for match in met])
            if not unlimited:
                dimensions.append(services)
            # A remote group without members lets nothing in.
            if all(dimensions):
                self._meet(f"{self.side.direction}/{name}", dimensions, unlimited, group)

    def _meet(
        self,
        name: str,
        dimensions: list[list[tuple[Match, list[str]]]],
        unlimited: list[str],
        group: str,
    ) -> None:
        """Accept what fits one match of each dimension."""
        accept = Goto(int(self.side.accept))
        if len(dimensions) == 1:
            for match, why in dimensions[0]:
                self.put(Priority.NORMAL, match, accept, unlimited + why)
            return
        for number, dimension in enumerate(dimensions, start=1):
            for match, why in dimension:
                part = Conjunction(name, number, len(dimensions))
                self.put(Priority.RULES, match, part, why + unlimited if number > 1 else why)
        self.put(Priority.RULES, Match(conj=name), accept, [*unlimited, group])

    def flows(self) -> Iterator[Flow]:
        """What was gathered."""
        for (priority, _), (match, actions, origins) in sorted(self.found.items()):
            yield flow(self.side.rules, priority, match, *actions, origin=tuple(origins))


def ways(
    index: Index, clause: Clause, users: list[Port]
) -> Iterator[tuple[str, list[list[Remote]]]]:
    """The ways in which the remote side may be met, each a conjunction: its name, and its dimensions."""
    name = f"{clause.group}/{clause.ethertype}/{clause.remote}"
    if clause.remote_prefix:
        why = f"security_group/{clause.group}"
        yield name, [[Remote(why, address=clause.remote_prefix)]]
    elif clause.remote_group is None:
        yield name, []
    else:
        version = 6 if clause.ethertype == "IPv6" else 4
        ports = members(index, clause.remote_group)
        yield name, [near(index, ports, users, version)]
        yield f"{name}/routed", list(routed(index, ports, users, version))


UNKNOWN = -1
"""Stands for a protocol that has no number; no packet has it."""


def protocol_number(rule: SecurityGroupRule) -> int | None:
    """A rule's protocol as a number; None for any. ICMP in an IPv6 rule is ICMPv6."""
    if rule.protocol in (None, "any"):
        return None
    text = (rule.protocol or "").lower()
    number = int(text) if text.isdecimal() else PROTOCOLS.get(text, UNKNOWN)
    return ICMPV6 if rule.ethertype == "IPv6" and number == 1 else number


def service_of(rule: SecurityGroupRule) -> list[dict[str, Any]] | None:
    """A rule's protocol and ports as matches; None where it lets everything through.

    A port range becomes the fewest (value, mask) pairs. For ICMP the range is type and code.
    """
    number = protocol_number(rule)
    if number is None:
        return None
    if number == UNKNOWN:
        return []
    low, high = rule.port_range_min, rule.port_range_max
    match: dict[str, Any] = {"ip_proto": number}
    if number in (1, ICMPV6):
        if low is not None:
            match["icmp_type"] = low
        if high is not None:
            match["icmp_code"] = high
        return [match]
    if low is None:
        return [match]
    if number not in WITH_PORTS:
        return []  # cannot be looked at, so nothing is let in
    return [match | {"tp_dst": part} for part in port_masks(low, high if high is not None else low)]


def services_of(members: list[SecurityGroupRule]) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """All services of rules, equal ones once, each with the rules that name it."""
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for rule in members:
        for service in service_of(rule) or ():
            _, why = found.setdefault(repr(service), (service, []))
            why.append(f"security_group_rule/{rule.id}")
    return found


def port_masks(low: int, high: int) -> list[int | tuple[int, int]]:
    """A range of ports, both ends included, as single ports and aligned blocks (value, mask)."""
    if (low, high) == (0, 65535):
        return [(0, 0)]
    parts: list[int | tuple[int, int]] = []
    while low <= high:
        size = low & -low or 1 << 16
        while low + size - 1 > high:
            size >>= 1
        parts.append(low if size == 1 else (low, 0xFFFF & ~(size - 1)))
        low += size
    return parts
