"""The switches: flows of br-int evaluated as Open vSwitch does, bridges of physical networks, tunnels.

Connection tracking is kept for one host and zone, as the kernel does; a walk begins without any.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec.structs import replace as replace_struct

from netloom.explain.walk.frames import Connection, Frame, Passing, matches
from netloom.explain.walk.hosts import Host, World
from netloom.explain.walk.linuxbridge import Bridged, Bridges, Onward, tunnel_step
from netloom.explain.walk.trace import Outcome, Step, Steps
from netloom.model import openflow as of
from netloom.model.hoststate import Flow
from netloom.model.meter import Meter
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import SecurityGroupRule
from netloom.model.origin import HOST, Origin
from netloom.plan.index import TUNNELS
from netloom.plan.ovs.bridges import integration_patch, tunnel_port
from netloom.plan.ovs.pipeline import PURPOSE, Stage
from netloom.render.openflow import match_text

OUTER = {"vxlan": "udp port 4789", "geneve": "udp port 6081", "gre": "proto gre"}
"""How tcpdump knows a tunnel's packets on the wire."""


class Switches:
    """All switches of a world, with what they remember of connections."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bridges = Bridges()
        self.tracked: dict[tuple[str, str], set[Connection]] = {}
        self.gathered: set[tuple[str, str, int | None, Connection]] = set()
        """Where the first fragment of a datagram waits for the later ones."""

    def enter(self, host: Host, device: str, frame: Frame, steps: Steps = ()) -> list[Outcome]:
        """A frame comes into br-int by a local device."""
        if self.world.around is not None:
            self.world.around.leaves(device)
        if (bridged := host.bridged) is not None:
            return self._bridge(bridged, bridged.outer.get(device, device), frame, steps)
        wire, tag = host.subports.get(device, (device, frame.vlan))
        frame = replace(frame, vlan=tag)  # a subport's frames leave the instance with its tag
        return self._table(host, Passing(frame, wire), 0, steps)

    def from_wire(self, physical_network: str, frame: Frame, steps: Steps = ()) -> list[Outcome]:
        """A frame comes from a physical network: every host that is on it sees it."""
        outcomes: list[Outcome] = []
        for host in self.world.on_wire(physical_network, frame.vlan):
            outcomes += self._from_wire(host, physical_network, frame, steps)
        return outcomes

    def _from_wire(
        self, host: Host, physical_network: str, frame: Frame, steps: Steps
    ) -> list[Outcome]:
        if (bridged := host.bridged) is not None:
            device = bridged.by_wire(physical_network, frame.vlan)
            return self._bridge(bridged, device, replace(frame, vlan=0), steps)
        bridge = host.facts.bridge_mappings[physical_network]
        step = Step(
            kind="wire",
            host=host.name,
            place=bridge,
            text=f"from physical network {physical_network} through {bridge} into {INTEGRATION_BRIDGE}",
            command=_look_on(host, host.facts.physical_interfaces[bridge]),
            origin=(Origin(HOST, host.name),),
        )
        return self._table(host, Passing(frame, integration_patch(bridge)), 0, (*steps, step))

    def _bridge(self, host: Bridged, device: str, frame: Frame, steps: Steps) -> list[Outcome]:
        """A frame comes into a Linux bridge; its copies on their way to other hosts are followed there."""
        place = next((e.host for e in self.world.endpoints.values() if e.mac == frame.eth_dst), "")
        end = self.world.facts[place].tunnel_ip if place else None
        outcomes, onward = self.bridges.enter(host, device, frame, steps, [end] if end else None)
        for way in onward:
            if way.tunnel:
                far = self.world.host_of_tunnel(way.to)
                step = tunnel_step(host, way, far.name if far else None)
                passed = (*way.steps, step)
                outcomes += self._arrived(far, "vxlan", way.key, way.frame, passed) if far else []
            else:
                outcomes += self._over_wire(host, way)
        return outcomes

    def _over_wire(self, host: Bridged, way: Onward) -> list[Outcome]:
        """The physical network carries a frame from a Linux bridge to all other hosts on it, and outside."""
        tag = f", tagged with VLAN {way.key}" if way.key else ", untagged"
        step = Step(
            kind="wire",
            host=host.name,
            place=host.card(way.to),
            text=f"by {host.card(way.to)} to physical network {way.to}{tag}",
            command=f"tcpdump -eni {host.card(way.to)}",
            origin=(Origin(HOST, host.name),),
        )
        steps = (*way.steps, step)
        outcomes = [Outcome(end="wire", host=host.name, place=way.to, frame=way.frame, steps=steps)]
        for other in self.world.on_wire(way.to, way.frame.vlan):
            if other.name != host.name:
                outcomes += self._from_wire(other, way.to, way.frame, steps)
        return outcomes

    def _arrived(
        self, far: Host, network_type: str, key: int | None, frame: Frame, steps: Steps
    ) -> list[Outcome]:
        """A frame comes out of a tunnel."""
        if far.bridged is not None:
            device = far.bridged.by_tunnel(key or 0)
            return self._bridge(far.bridged, device, frame, steps)
        return self._table(far, Passing(frame, tunnel_port(network_type), tun_id=key), 0, steps)

    def _table(self, host: Host, passing: Passing, number: int, steps: Steps) -> list[Outcome]:
        """One table: find the flow, do what it says."""
        flows = host.tables.get((INTEGRATION_BRIDGE, number), [])
        flow, because = find(flows, passing)
        step = _flow_step(host, number, flow, because, passing)
        steps = (*steps, step)
        if flow is None or not any(_does_anything(host, action) for action in flow.actions):
            return [
                Outcome(
                    end="dropped",
                    host=host.name,
                    place=step.place,
                    frame=passing.frame,
                    steps=steps,
                )
            ]
        outcomes: list[Outcome] = []
        for action in flow.actions:
            outcomes += self._act(host, passing, action, steps)
        return outcomes

    def _act(self, host: Host, passing: Passing, action: of.Action, steps: Steps) -> list[Outcome]:
        match action:
            case of.Load(field, value):
                passing.registers[field] = value
            case of.SetEth(src, dst):
                frame = passing.frame
                passing.frame = replace(
                    frame, eth_src=src or frame.eth_src, eth_dst=dst or frame.eth_dst
                )
            case of.DecTtl():
                passing.frame = replace(passing.frame, ip_ttl=passing.frame.ip_ttl - 1)
            case of.SetTunnel(key, dst):
                passing.tun_id, passing.tun_dst = key, dst
            case of.PushVlan(vid):
                passing.frame = replace(passing.frame, vlan=vid)
            case of.PopVlan():
                passing.frame = replace(passing.frame, vlan=0)
            case of.Goto(table):
                return self._table(host, passing, table, steps)
            case of.Ct():
                return self._track(host, passing, action, steps)
            case of.Output(device):
                return self._output(host, passing, device, steps)
            case of.ToGroup(group):
                outcomes: list[Outcome] = []
                for bucket in host.groups.get((INTEGRATION_BRIDGE, group), ()):
                    copy = passing.copy()
                    for step in bucket.actions:
                        outcomes += self._act(host, copy, step, steps)
                return outcomes
            case of.ArpReply(mac, ip, _):
                asked = passing.frame
                reply = replace(
                    asked,
                    eth_dst=asked.eth_src,
                    eth_src=mac,
                    arp_op=2,
                    arp_sha=mac,
                    arp_spa=ip,
                    arp_tpa=asked.arp_spa,
                )
                return [
                    Outcome(
                        end="answered",
                        host=host.name,
                        place=passing.in_port,
                        frame=reply,
                        steps=steps,
                    )
                ]
            case of.ForgetInPort():
                passing.in_port = ""
            case of.OutputBack() | of.Conjunction() | of.Normal() | of.Metered() | of.SetDscp():
                pass
        return []

    def _track(self, host: Host, passing: Passing, action: of.Ct, steps: Steps) -> list[Outcome]:
        """Connection tracking. The first packet of a connection is `new` until it is committed.

        Fragments go on together: later ones where the first one came before them.
        """
        known = self.tracked.setdefault((host.name, action.zone), set())
        connection = passing.frame.connection
        place = (host.name, action.zone, action.table, connection)
        if passing.frame.frag == "first":
            self.gathered.add(place)
        if passing.frame.frag == "later" and place not in self.gathered:
            end = Outcome(
                end="dropped",
                host=host.name,
                place=steps[-1].place,
                frame=passing.frame,
                steps=steps,
            )
            return [end]
        before = connection in known
        if action.commit and connection.back not in known:
            known.add(connection)
        if action.table is None:
            return []
        recirculated = passing.copy()
        if passing.frame.about is not None:
            recirculated.ct = _error_state(passing.frame.about, known)
        elif connection.back in known:
            recirculated.ct = frozenset({"trk", "est", "rpl"})
        elif before:
            recirculated.ct = frozenset({"trk", "est"})
        else:
            recirculated.ct = frozenset({"trk", "new"})
        return self._table(host, recirculated, action.table, steps)

    def _output(self, host: Host, passing: Passing, device: str, steps: Steps) -> list[Outcome]:
        if device == passing.in_port or not device:
            return []  # never back to where it came from
        if device.rstrip("0") in TUNNELS:
            return self._tunnel(host, passing, device, steps)
        for network, bridge in sorted(host.facts.bridge_mappings.items()):
            if device == integration_patch(bridge):
                return self._to_wire(host, passing, network, bridge, steps)
        frame = passing.frame
        behind = (device, frame.vlan)
        subport = next((name for name, wire in host.subports.items() if wire == behind), None)
        interface = host.state.objects.get(("interface", INTEGRATION_BRIDGE, device))
        if subport is not None:  # the device is its parent's, whose network may not be looked at
            place, origin = subport, steps[-1].origin
        elif interface is not None:
            place, origin = device, interface.origin
        else:
            return []
        step = Step(
            kind="device",
            host=host.name,
            place=place,
            text=f"out of {INTEGRATION_BRIDGE} by {device}"
            + (f", tagged with VLAN {frame.vlan}" if frame.vlan else ""),
            command=_watch(host, device),
            origin=origin,
        )
        return [
            Outcome(
                end="device",
                host=host.name,
                place=place,
                frame=replace(frame, vlan=0),
                steps=(*steps, step),
            )
        ]

    def _tunnel(self, host: Host, passing: Passing, device: str, steps: Steps) -> list[Outcome]:
        far = self.world.host_of_tunnel(passing.tun_dst or "")
        step = Step(
            kind="tunnel",
            host=host.name,
            place=device,
            text=f"{device.rstrip('0')} tunnel, key {passing.tun_id}, from {host.facts.tunnel_ip}"
            f" to {passing.tun_dst} ({far.name if far else 'no host of ours'})",
            command=f"tcpdump -eni any {OUTER[device.rstrip('0')]} and host {passing.tun_dst}",
            origin=(Origin(HOST, far.name),) if far else (),
        )
        steps = (*steps, step)
        if far is None:
            return [
                Outcome(
                    end="dropped", host=host.name, place=device, frame=passing.frame, steps=steps
                )
            ]
        return self._arrived(far, device.rstrip("0"), passing.tun_id, passing.frame, steps)

    def _to_wire(
        self, host: Host, passing: Passing, network: str, bridge: str, steps: Steps
    ) -> list[Outcome]:
        """The physical network carries the frame to all other hosts on it, and outside."""
        tag = f", tagged with VLAN {passing.frame.vlan}" if passing.frame.vlan else ", untagged"
        uplink = host.facts.physical_interfaces.get(bridge)
        step = Step(
            kind="wire",
            host=host.name,
            place=bridge,
            text=f"through {bridge} to physical network {network}{tag}",
            command=_look_on(host, uplink) if uplink else f"ovs-vsctl list-ports {bridge}",
            origin=(Origin(HOST, host.name),),
        )
        steps = (*steps, step)
        if uplink is None:
            return [
                Outcome(
                    end="dropped", host=host.name, place=bridge, frame=passing.frame, steps=steps
                )
            ]
        outcomes = [
            Outcome(end="wire", host=host.name, place=network, frame=passing.frame, steps=steps)
        ]
        for other in self.world.on_wire(network, passing.frame.vlan):
            if other.name != host.name:
                outcomes += self._from_wire(other, network, passing.frame, steps)
        return outcomes


def _does_anything(host: Host, action: of.Action) -> bool:
    """Whether an action is more than a group that nobody is in."""
    return not isinstance(action, of.ToGroup) or (INTEGRATION_BRIDGE, action.group) in host.groups


def _look_on(host: Host, uplink: str) -> str:
    """The command that shows what a physical network carries; of a bond, which of its cards to look at."""
    bond = uplink in host.facts.bonds
    return f"ovs-appctl bond/show {uplink}" if bond else f"tcpdump -eni {uplink}"


def _watch(host: Host, device: str) -> str:
    inside = host.devices.get(device)
    dump = f"tcpdump -eni {device}"
    return f"ip netns exec {inside.namespace} {dump}" if inside else dump


def find(flows: list[Flow], passing: Passing) -> tuple[Flow | None, tuple[Origin, ...]]:
    """The flow that Open vSwitch would choose, and the origins of the clauses that met in it.

    `flows` by falling priority. Conjunctions: where every clause of one has a matching flow of the same
    priority, the flow that matches its id is chosen.
    """
    position = 0
    while position < len(flows):
        priority = flows[position].priority
        level: list[Flow] = []
        while position < len(flows) and flows[position].priority == priority:
            level.append(flows[position])
            position += 1
        fitting = [f for f in level if f.match.conj is None and matches(f.match, passing)]
        met: dict[str, dict[int, Flow]] = {}
        for flow in fitting:
            clauses = [a for a in flow.actions if isinstance(a, of.Conjunction)]
            if not clauses:
                return flow, ()
            for clause in clauses:
                met.setdefault(clause.name, {})[clause.clause] = flow
                if len(met[clause.name]) == clause.clauses:
                    chosen = next((f for f in flows if f.match.conj == clause.name), None)
                    if chosen is not None:
                        parts = [o for part in met[clause.name].values() for o in part.origin]
                        return chosen, tuple(dict.fromkeys(parts))
    return None, ()


def _flow_step(
    host: Host, number: int, flow: Flow | None, because: tuple[Origin, ...], passing: Passing
) -> Step:
    stage = Stage(number)
    origin = tuple(dict.fromkeys((*because, *(flow.origin if flow else ()))))
    if flow is None or not flow.actions:
        text = f"{stage.name}: dropped ({PURPOSE[stage]})"
    elif passing.ct and stage in (Stage.EGRESS_RULES, Stage.INGRESS_RULES) and flow.match.ct_state:
        text = f"{stage.name}: lets an answer of a known connection through"
    elif stage in (Stage.EGRESS_RULES, Stage.INGRESS_RULES):
        rule = next((o for o in origin if o.kind == SecurityGroupRule.KIND), "a rule")
        text = f"{stage.name}: {rule} lets it through"
    elif bounds := _bounds(host, flow):
        text = f"{stage.name}: {bounds}"
    else:
        text = f"{stage.name}: {PURPOSE[stage]}"
    return Step(
        kind="flow",
        host=host.name,
        place=f"{INTEGRATION_BRIDGE} table {number}",
        text=text,
        command=_dump(number, flow),
        origin=origin,
        stage=stage,
    )


def _bounds(host: Host, flow: Flow) -> str:
    """What a flow of a QoS policy does to the packet, beside letting it through; empty for all others."""
    found: list[str] = []
    for action in flow.actions:
        if isinstance(action, of.Metered):
            meter = host.state.objects.get(("meter", flow.bridge, action.meter))
            if isinstance(meter, Meter):
                unit = "kbit/s" if meter.unit == "kbps" else "packets/s"
                found.append(f"no more than {meter.rate} {unit} get on")
        elif isinstance(action, of.SetDscp):
            found.append(f"it is marked with DSCP {action.mark}")
    return ", ".join(found)


def _dump(number: int, flow: Flow | None) -> str:
    """The command that shows a flow and its like: ids of conjunctions, which only the host knows, cannot be asked for."""
    asked = replace_struct(flow.match, conj=None) if flow else None
    wanted = match_text(asked) if asked else ""
    filter_ = ",".join(part for part in (f"table={number}", wanted) if part)
    return f"ovs-ofctl --names dump-flows {INTEGRATION_BRIDGE} {filter_}"


def _error_state(about: Connection, known: set[Connection]) -> frozenset[str]:
    """What connection tracking says of an ICMP error: it travels against the packet that it quotes."""
    if about in known:
        return frozenset({"trk", "rel", "rpl"})
    if about.back in known:
        return frozenset({"trk", "rel"})
    return frozenset({"trk", "inv"})
