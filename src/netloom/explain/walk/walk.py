"""Take one packet, and its answer, through the planned state of all hosts.

Pure: nothing is looked up outside the World. Address resolution is walked like any other frame, so a
verdict means that ARP works as well. Physical networks are taken to carry what they are given, and outside
to have a machine at every address that none of our ports has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from netloom.explain.cause import Cause
from netloom.explain.walk.frames import BROADCAST, ICMP, UDP, Frame, arp_request
from netloom.explain.walk.hosts import Endpoint, Host, World
from netloom.explain.walk.namespaces import Namespaces, route
from netloom.explain.walk.ovs import Switches
from netloom.explain.walk.trace import Outcome, Step, Steps
from netloom.model.hoststate import Device
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import Port
from netloom.model.origin import Origin
from netloom.plan.ovs.pipeline import Stage
from netloom.plan.ovs.rule_services import WITH_PORTS

OUTSIDE_MAC = "02:00:00:00:00:01"
LONGEST = 16
DHCP_SERVER_PORT, DHCP_CLIENT_PORT = 67, 68
FIRST_PORT = 40000


@dataclass(frozen=True)
class Outside:
    """A machine beyond a physical network, at `address`; `vlan` 0 is untagged."""

    physical_network: str
    vlan: int
    address: str


@dataclass(frozen=True)
class Arrival:
    """Where an IP packet ended: delivered to somebody (`at`), or dropped; `steps` tell the way."""

    at: Endpoint | Outside | Device | None
    host: str
    frame: Frame
    steps: Steps

    @property
    def delivered(self) -> bool:
        """Whether somebody got it."""
        return self.at is not None


@dataclass(frozen=True)
class Walk:
    """A packet there and its answer back."""

    there: Arrival
    back: Arrival | None

    @property
    def reachable(self) -> bool:
        """Whether the answer came home."""
        return self.back is not None and self.back.delivered


class Walker:
    """Walks packets through a world; remembers connections from one walk to the next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.switches = Switches(world)
        self.namespaces = Namespaces()
        self.sent = 0

    # -- packets of endpoints

    def exchange(
        self,
        source: Endpoint | Outside,
        destination: str,
        *,
        proto: int = ICMP,
        port: int = 0,
    ) -> Walk:
        """Send a packet and, when it arrives, its answer."""
        there = self.send(source, destination, proto=proto, port=port)
        if there.at is None:
            return Walk(there, None)
        return Walk(there, self.answer(there))

    def send(
        self,
        source: Endpoint | Outside,
        destination: str,
        *,
        proto: int = ICMP,
        port: int = 0,
    ) -> Arrival:
        """Send the first packet of a new connection."""
        self.sent += 1
        address = source.address if isinstance(source, Outside) else source.source_for(destination)
        frame = Frame(
            eth_src=OUTSIDE_MAC if isinstance(source, Outside) else source.mac,
            eth_dst=BROADCAST,
            ip_src=address,
            ip_dst=destination,
            ip_proto=proto,
            tp_src=self._source_port(proto, port),
            tp_dst=port,
            icmp_type=8 if proto == ICMP else None,
            icmp_code=0 if proto == ICMP else None,
            icmp_id=self.sent if proto == ICMP else 0,
        )
        return self._start(source, frame)

    def answer(self, arrival: Arrival) -> Arrival:
        """Send what the receiver of a packet would answer."""
        asked = arrival.frame
        frame = replace(
            asked,
            ip_src=asked.ip_dst,
            ip_dst=asked.ip_src,
            tp_src=asked.tp_dst,
            tp_dst=asked.tp_src,
            icmp_type=0 if asked.icmp_type == 8 else asked.icmp_type,
        )
        match arrival.at:
            case Device():
                return self._answer_of_namespace(self.world.hosts[arrival.host], arrival.at, frame)
            case Endpoint():
                return self._start(arrival.at, replace(frame, eth_src=arrival.at.mac))
            case Outside():
                return self._start(arrival.at, replace(frame, eth_src=OUTSIDE_MAC))
            case None:
                return arrival

    def _source_port(self, proto: int, port: int) -> int:
        """Of a new connection; a DHCP client has a port of its own."""
        if (proto, port) == (UDP, DHCP_SERVER_PORT):
            return DHCP_CLIENT_PORT
        return FIRST_PORT + self.sent if proto in WITH_PORTS else 0

    def _answer_of_namespace(self, host: Host, asked: Device, frame: Frame) -> Arrival:
        """A namespace answers by its own routes."""
        found = route(host, asked.namespace, frame.ip_dst or "")
        if found is None:
            step = Step(
                kind="route",
                host=host.name,
                place=asked.namespace,
                text=f"{asked.namespace} has no route to {frame.ip_dst}",
                command=f"ip netns exec {asked.namespace} ip route",
                origin=asked.origin,
                target=frame.ip_dst or "",
                cause=Cause.NO_ROUTE,
            )
            return Arrival(None, host.name, frame, (step,))
        device, next_hop = found.device, found.next_hop
        step = Step(
            kind="device",
            host=host.name,
            place=asked.namespace,
            text=f"{frame.ip_src} answers {frame.ip_dst} out of {device.name}",
            command=f"ip netns exec {asked.namespace} ip route get {frame.ip_dst}",
            origin=asked.origin,
        )
        mac, why = self._resolve(host, device.name, device.mac, frame.ip_src or "", next_hop)
        if mac is None:
            return Arrival(None, host.name, frame, (step, *why))
        sent = replace(frame, eth_src=device.mac, eth_dst=mac)
        return self._frame(host, device.name, sent, (step, *why), 0)

    def _start(
        self, source: Endpoint | Outside, frame: Frame, steps: Steps = (), depth: int = 0
    ) -> Arrival:
        """Let an endpoint find the next hop and send. `steps`: the way so far of what it only forwards."""
        if isinstance(source, Outside):
            return self._start_outside(source, frame)
        host, target = self.world.hosts[source.host], frame.ip_dst or ""
        way = None if source.is_near(target) else source.way(target)
        step = Step(
            kind="instance",
            host=source.host,
            place=source.device,
            text=f"{frame.ip_src} sends to {target} by {source.device}",
            command=f"tcpdump -eni {source.device}",
            origin=(Origin(Port.KIND, source.port_id),),
            way=way,
        )
        if way is None and not source.is_near(target):
            text = f"{frame.ip_src} has no route to {target}: its subnet has no gateway"
            nowhere = replace(step, text=text, kind="route", target=target, cause=Cause.NO_ROUTE)
            return Arrival(None, source.host, frame, (*steps, step, nowhere))
        if way is not None and way.via != target:
            which = "a host route" if way.chosen else "the gateway"
            step = replace(step, text=f"{step.text} via {way.via}, {which} of {way.owner}")
            step = replace(step, origin=(*step.origin, way.owner))
        hop = way.via if way else target
        own = frame.ip_src if frame.ip_src in source.addresses else source.source_for(hop)
        mac, why = self._resolve(host, source.device, source.mac, own, hop)
        if mac is None:
            return Arrival(None, source.host, frame, (*steps, step, *why))
        sent = replace(frame, eth_src=source.mac, eth_dst=mac)
        return self._frame(host, source.device, sent, (*steps, step, *why), depth)

    def _start_outside(self, source: Outside, frame: Frame) -> Arrival:
        known = self.world.beyond_at(source.physical_network, source.vlan, frame.ip_dst or "")
        asked, via = (known.via, f" via {known.via}") if known else (frame.ip_dst or "", "")
        where = f"physical network {source.physical_network}" + vlan_text(source.vlan)
        step = Step(
            kind="outside",
            host="outside",
            place=source.physical_network,
            text=f"{frame.ip_src} sends to {frame.ip_dst}{via} from {where}",
            command=f"ip route get {frame.ip_dst}",
        )
        request = replace(arp_request(OUTSIDE_MAC, frame.ip_src or "", asked), vlan=source.vlan)
        outcomes = self.switches.from_wire(source.physical_network, request)
        for mac, host, device, reply in self._owners(outcomes, request):
            back = self.switches.enter(self.world.hosts[host], device, reply)
            if any(o.end == "wire" and o.place == source.physical_network for o in back):
                sent = replace(frame, eth_dst=mac, vlan=source.vlan)
                found = self.switches.from_wire(source.physical_network, sent, (step,))
                return self._best(found, sent, (step,), 0)
        text = f"nobody on {where} answers for {asked}"
        arp = replace(step, kind="arp", text=text, command="ip neigh", target=asked)
        return Arrival(None, "outside", frame, (step, arp))

    # -- address resolution

    def _resolve(
        self, host: Host, device: str, mac: str, address: str, target: str
    ) -> tuple[str | None, Steps]:
        """Ask for an address from a device; returns the MAC, or None and the steps that say why."""
        request = arp_request(mac, address, target)
        outcomes = self.switches.enter(host, device, request)
        for outcome in outcomes:
            if outcome.end == "answered":
                found = outcome.frame.arp_sha or ""
                why = outcome.steps[-1].origin
                return found, (
                    _resolved(host, device, target, f"{found} (answered by br-int)", why),
                )
        for found, owner_host, owner, reply in self._owners(outcomes, request):
            back = self.switches.enter(self.world.hosts[owner_host], owner, reply)
            if any((o.end, o.host, o.place) == ("device", host.name, device) for o in back):
                text = f"{found} (answered by {owner} on {owner_host})"
                return found, (_resolved(host, device, target, text, ()),)
        if any(outcome.end == "wire" and not self.world.is_ours(target) for outcome in outcomes):
            return OUTSIDE_MAC, (_resolved(host, device, target, "a machine outside", ()),)
        dropped = next((o.steps for o in outcomes if o.dropped and o.host == host.name), ())
        step = Step(
            kind="arp",
            host=host.name,
            place=device,
            text=f"nobody answers ARP for {target}",
            command=_ask(host, device, target),
            origin=dropped[-1].origin if dropped else (),
            target=target,
        )
        # Where the question itself was not let out, that is the reason; else that nobody has the address.
        if dropped and dropped[-1].stage in (Stage.CLASSIFY, Stage.PORT_SECURITY):
            return None, dropped[-1:]
        return None, (step,)

    def _owners(
        self, outcomes: list[Outcome], request: Frame
    ) -> Iterator[tuple[str, str, str, Frame]]:
        """Who of those that a question reached has the address: MAC, host, device, and the reply."""
        for outcome in outcomes:
            if outcome.end != "device":
                continue
            mac = self._mac_for(outcome, request.arp_tpa or "")
            if mac is not None:
                reply = Frame(
                    eth_src=mac,
                    eth_dst=request.eth_src,
                    eth_type="arp",
                    arp_op=2,
                    arp_spa=request.arp_tpa,
                    arp_tpa=request.arp_spa,
                    arp_sha=mac,
                )
                yield mac, outcome.host, outcome.place, reply

    def _mac_for(self, outcome: Outcome, address: str) -> str | None:
        device = self.world.hosts[outcome.host].devices.get(outcome.place)
        if device is not None:
            own = {address.ip for address in device.addresses}
            return device.mac if address in own else None
        endpoint = self.world.endpoint_at(outcome.host, outcome.place)
        return endpoint.mac if endpoint and address in endpoint.addresses else None

    # -- frames on their way

    def _frame(self, host: Host, device: str, frame: Frame, steps: Steps, depth: int) -> Arrival:
        """A frame leaves a device towards its switch."""
        return self._best(self.switches.enter(host, device, frame, steps), frame, steps, depth)

    def _best(self, outcomes: list[Outcome], frame: Frame, steps: Steps, depth: int) -> Arrival:
        """Follow every copy; the one that is delivered counts, else the one that got furthest."""
        furthest: Arrival | None = None
        for outcome in outcomes:
            arrival = self._arrive(outcome, depth)
            if arrival is None:
                continue
            if arrival.delivered:
                return arrival
            if furthest is None or len(arrival.steps) > len(furthest.steps):
                furthest = arrival
        return furthest or Arrival(None, "", frame, steps)

    def _arrive(self, outcome: Outcome, depth: int) -> Arrival | None:
        """What becomes of one copy."""
        frame = outcome.frame
        if outcome.dropped:
            return Arrival(None, outcome.host, frame, outcome.steps)
        if outcome.end == "wire":
            return self._arrive_outside(outcome)
        if outcome.end != "device":
            return None
        host = self.world.hosts[outcome.host]
        device = host.devices.get(outcome.place)
        if device is not None:
            if frame.eth_dst != device.mac:
                return None
            return self._through(host, device, frame, outcome.steps, depth)
        endpoint = self.world.endpoint_at(outcome.host, outcome.place)
        if endpoint is None or frame.eth_dst not in (endpoint.mac, BROADCAST):
            return None
        step = Step(
            kind="instance",
            host=host.name,
            place=outcome.place,
            text=f"arrives at {frame.ip_dst}",
            command=f"tcpdump -eni {outcome.place}",
            origin=(Origin(Port.KIND, endpoint.port_id),),
        )
        if frame.ip_dst in endpoint.addresses:
            return Arrival(endpoint, host.name, frame, (*outcome.steps, step))
        return self._forward(endpoint, frame, (*outcome.steps, step), depth)

    def _forward(self, endpoint: Endpoint, frame: Frame, steps: Steps, depth: int) -> Arrival:
        """An instance that a route leads to gets what is for another: it may forward it, by any of its cards."""
        target = frame.ip_dst or ""
        if self.world.around is not None:
            self.world.around.forwards(endpoint.device_id)
        cards = [
            e
            for e in self.world.endpoints.values()
            if e.device_id == endpoint.device_id and (e.device_id or e is endpoint)
        ]
        onward = next((card for card in cards if card.is_near(target)), None) or next(
            (c for c in cards if (way := c.way(target)) and way.via not in endpoint.addresses), None
        )
        led = any(step.way is not None and step.way.via in endpoint.addresses for step in steps)
        if onward is None or not led or depth > LONGEST:
            text = f"{target} is not an address of this port: the instance ignores it"
            ignored = replace(steps[-1], text=text, cause=Cause.NOT_ITS_ADDRESS)
            return Arrival(None, endpoint.host, frame, (*steps[:-1], ignored))
        text = (
            f"{target} is not an address of this port: the instance forwards it, if it is made to"
        )
        passed = replace(steps[-1], text=text, cause=Cause.FORWARDING)
        return self._start(onward, frame, (*steps[:-1], passed), depth + 1)

    def _arrive_outside(self, outcome: Outcome) -> Arrival | None:
        frame = outcome.frame
        if frame.eth_dst not in (OUTSIDE_MAC, BROADCAST):
            return None
        outside = Outside(outcome.place, frame.vlan, frame.ip_dst or "")
        step = Step(
            kind="outside",
            host="outside",
            place=outcome.place,
            text=f"leaves the cloud by physical network {outcome.place}{vlan_text(frame.vlan)} "
            f"towards {frame.ip_dst}",
            command=f"tcpdump -eni any host {frame.ip_dst}",
        )
        return Arrival(outside, "outside", frame, (*outcome.steps, step))

    def _through(
        self, host: Host, device: Device, frame: Frame, steps: Steps, depth: int
    ) -> Arrival:
        """Through a namespace, and on from there."""
        if self.world.around is not None:
            self.world.around.enters(device.name)
        if depth > LONGEST:
            step = Step(
                kind="route",
                host=host.name,
                place=device.namespace,
                text=f"routers send the packet to {frame.ip_dst} round in circles",
                command=f"ip netns exec {device.namespace} ip route get {frame.ip_dst}",
                origin=host.namespaces[device.namespace].origin,
                cause=Cause.LOOP,
            )
            return Arrival(None, host.name, frame, (*steps, step))
        onward = self.namespaces.forward(host, device, frame, steps)
        if onward.local:
            step = Step(
                kind="device",
                host=host.name,
                place=device.namespace,
                text=f"arrives at {onward.frame.ip_dst} in {device.namespace}",
                command=f"ip netns exec {device.namespace} ip address",
                origin=device.origin,
            )
            return Arrival(device, host.name, onward.frame, (*onward.steps, step))
        if onward.device is None:
            return Arrival(None, host.name, onward.frame, onward.steps)
        leaving = onward.device
        address = leaving.addresses[0].ip if leaving.addresses else "0.0.0.0"
        mac, why = self._resolve(host, leaving.name, leaving.mac, address, onward.next_hop)
        if mac is None:
            return Arrival(None, host.name, onward.frame, (*onward.steps, *why))
        frame = replace(onward.frame, eth_src=leaving.mac, eth_dst=mac)
        return self._frame(host, leaving.name, frame, (*onward.steps, *why), depth + 1)


def vlan_text(vlan: int) -> str:
    """How a VLAN is named behind a physical network; nothing for untagged."""
    return f" (VLAN {vlan})" if vlan else ""


def _resolved(
    host: Host, device: str, target: str, answer: str, origin: tuple[Origin, ...]
) -> Step:
    by_flow = (
        f"ovs-ofctl dump-flows {INTEGRATION_BRIDGE} table={int(Stage.LOCAL)},arp,arp_tpa={target}"
    )
    return Step(
        kind="arp",
        host=host.name,
        place=device,
        text=f"ARP: {target} is at {answer}",
        command=by_flow if origin else _ask(host, device, target),
        origin=origin,
        target=target,
    )


def _ask(host: Host, device: str, target: str) -> str:
    """The command that asks for an address as a namespace's device, or looks on while an instance asks."""
    inside = host.devices.get(device)
    if inside is None:
        return f"tcpdump -eni {device} arp"
    return f"ip netns exec {inside.namespace} arping -c 1 -I {device} {target}"
