"""Linux bridges: a frame through the rules of the device that it comes by, the bridge, and those of the devices that it leaves by.

Where a MAC address is that no entry of the bridge names, bridges learn; a plan cannot know it, so a frame goes wherever it might.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from netloom.explain.walk.frames import Connection, Frame, Passing, matches
from netloom.explain.walk.trace import Outcome, Step, Steps
from netloom.model.filtering import (
    EVERYBODY,
    FORWARDERS,
    FarMember,
    FarSet,
    FdbEntry,
    GroupFilter,
    PortFilter,
    Rule,
)
from netloom.model.hosts import HostFacts
from netloom.model.hoststate import HostState, Interface
from netloom.model.networking import SecurityGroupRule
from netloom.model.openflow import FIRST_OF_HOST
from netloom.model.origin import HOST, Origin
from netloom.plan.ovs.pipeline import PURPOSE, Stage
from netloom.render.bridge_filter import TABLE


@dataclass(frozen=True)
class Onward:
    """A copy that left a host: through a tunnel to the address `to`, or by the physical network `to`."""

    tunnel: bool
    to: str
    key: int
    frame: Frame
    steps: Steps


@dataclass
class Bridged:
    """What a host's plan says of its bridges, in the shape in which the walker asks for it."""

    name: str
    facts: HostFacts
    ports: dict[str, Interface] = field(default_factory=dict)
    outer: dict[str, str] = field(default_factory=dict)
    filters: dict[str, PortFilter] = field(default_factory=dict)
    groups: dict[str, GroupFilter] = field(default_factory=dict)
    far: set[tuple[str, ...]] = field(default_factory=set[tuple[str, ...]])
    lists: dict[str, FarSet] = field(default_factory=dict[str, FarSet])
    fdb: dict[str, list[FdbEntry]] = field(default_factory=dict[str, list[FdbEntry]])

    @classmethod
    def of(cls, facts: HostFacts, state: HostState) -> Bridged:
        """Index a host's state."""
        found = cls(facts.host, facts)
        for item in state.each(Interface):
            found.ports[item.name] = item
            if "peer" in item.options:
                found.outer[item.options["peer"]] = item.name
        found.filters = {item.device: item for item in state.each(PortFilter)}
        found.groups = {item.chain: item for item in state.each(GroupFilter)}
        found.far = {(item.name, *item.parts) for item in state.each(FarMember)}
        found.lists = {item.name: item for item in state.each(FarSet) if item.kind == "listed"}
        for entry in state.each(FdbEntry):
            found.fdb.setdefault(entry.device, []).append(entry)
        return found

    def inside(self, device: str) -> str:
        """The name by which the device behind a port of a bridge is known: that of its other end, where a namespace has it."""
        return self.ports[device].options.get("peer", device)

    def by_tunnel(self, key: int) -> str:
        """The device by which frames with a tunnel's key come; empty where there is none."""
        ids = (
            i.name for i in self.ports.values() if i.type == "vxlan" and i.options["id"] == str(key)
        )
        return next(ids, "")

    def by_wire(self, physical_network: str, vlan: int) -> str:
        """The device by which frames of a physical network come; empty where there is none."""
        card = self.card(physical_network)
        for item in self.ports.values():
            tagged = item.type == "vlan" and item.options == {"link": card, "id": str(vlan)}
            if tagged or (item.type == "system" and item.name == card and not vlan):
                return item.name
        return ""

    def card(self, physical_network: str) -> str:
        """The card that leads to a physical network."""
        bridge = self.facts.bridge_mappings.get(physical_network, "")
        return self.facts.physical_interfaces.get(bridge, "")


class Bridges:
    """The bridges of all hosts, with what they remember of connections."""

    def __init__(self) -> None:
        self.tracked: dict[tuple[str, str], set[Connection]] = {}

    def enter(
        self, host: Bridged, device: str, frame: Frame, steps: Steps, hosts: Iterable[str] | None
    ) -> tuple[list[Outcome], list[Onward]]:
        """A frame comes by a device of a bridge. `hosts`: ends of tunnels behind which its destination is; None: it may be anywhere."""
        sender = host.filters.get(device)
        port = host.ports.get(device)
        if sender is None or port is None:
            return [self._unknown(host, device, frame, port, steps)], []
        passing = Passing(frame, device, registers=_marks(sender.mark))
        rule = None if frame.vlan else self._first(host, port, sender.sender, passing, "egress")
        if rule is None or rule.verdict == "drop":
            step = _step(host, sender, "from", Stage.PORT_SECURITY, rule, passing, dropped=True)
            return [_dropped(host, frame, (*steps, step))], []
        if rule.eth_dst:
            passing.frame = replace(frame, eth_dst=rule.eth_dst)
        if sender.egress is not None:
            step = _step(host, sender, "from", Stage.PORT_SECURITY, rule, passing)
            steps = (*steps, step)
        asked = self._asked(host, port, sender, sender.egress, passing, "egress", steps)
        if isinstance(asked, Outcome):
            return [asked], []
        return self._leave(host, port, passing, asked, hosts)

    def _unknown(
        self, host: Bridged, device: str, frame: Frame, port: Interface | None, steps: Steps
    ) -> Outcome:
        """Nothing is known of a device: its port or network is down, or its host does not carry it."""
        step = Step(
            kind="flow",
            host=host.name,
            place=port.bridge if port else device,
            text=f"CLASSIFY: dropped ({PURPOSE[Stage.CLASSIFY]})",
            command=f"nft list map bridge {TABLE} senders",
            origin=port.origin if port else (),
            stage=Stage.CLASSIFY,
        )
        return _dropped(host, frame, (*steps, step))

    def _asked(
        self,
        host: Bridged,
        port: Interface,
        item: PortFilter,
        rules: tuple[Rule, ...] | None,
        passing: Passing,
        direction: str,
        steps: Steps,
    ) -> Steps | Outcome:
        """Ask the security groups about an IP packet; returns the steps, or how it ended."""
        if rules is None or passing.frame.eth_type == "arp":
            return steps
        zone = self.tracked.setdefault((host.name, port.bridge), set())
        passing.ct = _state(passing.frame, zone)
        rule = self._first(host, port, rules, passing, direction)
        stage = Stage.EGRESS_RULES if direction == "egress" else Stage.INGRESS_RULES
        dropped = rule is None or rule.verdict == "drop"
        step = _step(host, item, f"{direction}-of", stage, rule, passing, dropped=dropped)
        return _dropped(host, passing.frame, (*steps, step)) if dropped else (*steps, step)

    def _leave(
        self,
        host: Bridged,
        port: Interface,
        passing: Passing,
        steps: Steps,
        hosts: Iterable[str] | None,
    ) -> tuple[list[Outcome], list[Onward]]:
        """The bridge's decision, and the rules of each device that a copy leaves by."""
        frame = passing.frame
        group = int(frame.eth_dst[:2], 16) & 1
        there = [i for i in host.ports.values() if i.bridge == port.bridge and i.name != port.name]
        known = [i for i in there if any(e.mac == frame.eth_dst for e in host.fdb.get(i.name, ()))]
        if not group:
            there = known or [i for i in there if i.options.get("flood") != "off"]
        outcomes: list[Outcome] = []
        onward: list[Onward] = []
        for item in there:
            receiver = host.filters.get(item.name)
            if receiver is None:
                continue
            copy = passing.copy()
            rule = self._first(host, item, receiver.receiver, copy, "ingress")
            if rule is None or rule.verdict == "drop":
                continue
            ingress = None if rule.unasked else receiver.ingress
            asked = self._asked(host, item, receiver, ingress, copy, "ingress", steps)
            if isinstance(asked, Outcome):
                outcomes.append(asked)
                continue
            if frame.ip_proto is not None and frame.about is None:
                zone = self.tracked.setdefault((host.name, port.bridge), set())
                if frame.connection.back not in zone:
                    zone.add(frame.connection)
            self._out(host, item, frame, asked, hosts, outcomes, onward)
        return outcomes, onward

    def _out(
        self,
        host: Bridged,
        item: Interface,
        frame: Frame,
        steps: Steps,
        hosts: Iterable[str] | None,
        outcomes: list[Outcome],
        onward: list[Onward],
    ) -> None:
        """A copy leaves by a device."""
        if item.type == "vxlan":
            key = int(item.options["id"])
            ends = [e.to for e in host.fdb.get(item.name, ()) if e.mac == EVERYBODY and e.to]
            for end in ends:
                if hosts is None or end in hosts:
                    onward.append(Onward(True, end, key, frame, steps))
            return
        if item.type in ("system", "vlan"):
            tag = int(item.options.get("id", "0"))
            network = next(
                n
                for n in host.facts.bridge_mappings
                if host.card(n) in (item.name, item.options.get("link"))
            )
            onward.append(Onward(False, network, tag, replace(frame, vlan=tag), steps))
            return
        place = host.inside(item.name)
        step = Step(
            kind="device",
            host=host.name,
            place=place,
            text=f"out of {item.bridge} by {item.name}",
            command=f"tcpdump -eni {item.name}",
            origin=item.origin,
        )
        end = Outcome(end="device", host=host.name, place=place, frame=frame, steps=(*steps, step))
        outcomes.append(end)

    def _first(
        self,
        host: Bridged,
        port: Interface,
        rules: Iterable[Rule],
        passing: Passing,
        direction: str,
    ) -> Rule | None:
        """The first rule that decides; None where none does."""
        for rule in rules:
            if not self._fits(host, port, rule, passing, direction):
                continue
            if rule.chain is None:
                return rule
            chain = host.groups.get(rule.chain)
            found = self._first(host, port, chain.rules, passing, direction) if chain else None
            if found is not None:
                return found
        return None

    def _fits(
        self, host: Bridged, port: Interface, rule: Rule, passing: Passing, direction: str
    ) -> bool:
        frame = passing.frame
        inward = direction == "ingress"
        mac = frame.eth_src if inward else frame.eth_dst
        address = (frame.ip_src if inward else frame.ip_dst) or ""
        if rule.ports and not rule.ports[0] <= frame.tp_dst <= rule.ports[1]:
            return False
        if rule.bridge and rule.bridge != port.bridge:
            return False
        if rule.routed and (FORWARDERS, port.bridge, mac) not in host.far:
            return False
        if rule.far in host.lists:
            known = (ip_network(each) for each in host.lists[rule.far].elements)
            if not any(ip_address(address) in each for each in known):
                return False
        elif rule.far:
            kinds = {
                "near": (port.bridge, mac, address),
                "wire": (port.bridge, address),
                "routed": (address,),
            }
            fits = (parts for kind, parts in kinds.items() if rule.far.startswith(kind))
            if (rule.far, *next(fits, ())) not in host.far:
                return False
        return matches(rule.match, passing)


def _marks(mark: int) -> dict[str, int]:
    return {"remote": 1} if mark >= FIRST_OF_HOST else {"src_port": mark}


def _state(frame: Frame, known: set[Connection]) -> frozenset[str]:
    """What connection tracking says of a packet."""
    if frame.about is not None:
        related = frame.about in known or frame.about.back in known
        return frozenset({"trk", "rel"}) if related else frozenset({"trk", "inv"})
    if frame.connection.back in known:
        return frozenset({"trk", "est", "rpl"})
    return frozenset({"trk", "est"}) if frame.connection in known else frozenset({"trk", "new"})


def _dropped(host: Bridged, frame: Frame, steps: Steps) -> Outcome:
    return Outcome(end="dropped", host=host.name, place=steps[-1].place, frame=frame, steps=steps)


def _step(
    host: Bridged,
    item: PortFilter,
    chain: str,
    stage: Stage,
    rule: Rule | None,
    passing: Passing,
    *,
    dropped: bool = False,
) -> Step:
    """What a chain of a device said."""
    family = "bridge" if stage is Stage.PORT_SECURITY else "inet"
    origin = tuple(dict.fromkeys((*(rule.origin if rule else ()), *item.origin)))
    allowed = next((o for o in origin if o.kind == SecurityGroupRule.KIND), "a rule")
    if dropped:
        text = f"{stage.name}: dropped ({PURPOSE[stage]})"
    elif stage is Stage.PORT_SECURITY:
        text = f"{stage.name}: {PURPOSE[stage]}"
    elif rule is not None and rule.match.ct_state:
        text = f"{stage.name}: lets an answer of a known connection through"
    else:
        text = f"{stage.name}: {allowed} lets it through"
    del passing
    return Step(
        kind="flow",
        host=host.name,
        place=f"{family} {chain}-{item.device}",
        text=text,
        command=f"nft list chain {family} {TABLE} {chain}-{item.device}",
        origin=origin,
        stage=stage,
    )


def tunnel_step(host: Bridged, way: Onward, far: str | None) -> Step:
    """A copy in a tunnel on its way to another host."""
    return Step(
        kind="tunnel",
        host=host.name,
        place=f"vxlan-{way.key}",
        text=f"vxlan tunnel, key {way.key}, from {host.facts.tunnel_ip} to {way.to} ({far or 'no host of ours'})",
        command=f"tcpdump -eni any udp port 4789 and host {way.to}",
        origin=(Origin(HOST, far),) if far else (),
    )
