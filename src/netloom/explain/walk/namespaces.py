"""Routers' namespaces: addresses, routes, NAT and the forward filters, as the kernel would apply them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from netloom.explain.cause import Cause
from netloom.explain.walk.frames import ICMP, Connection, Frame
from netloom.explain.walk.hosts import Host
from netloom.explain.walk.trace import Step, Steps, Way
from netloom.model.hoststate import AttachedNetwork, Device, FloatingNat, NsRoute
from netloom.model.networking import Subnet
from netloom.model.origin import NOTHING, Origin
from netloom.model.port_ranges import PORT_PROTOCOLS, led_to

Place = tuple[str, str]
"""Host and namespace."""


@dataclass(frozen=True)
class Translated:
    """A connection through a namespace: as it came in, and as it went out."""

    before: Connection
    after: Connection


@dataclass
class Onward:
    """What a namespace does with a packet: `device` to leave by towards `next_hop`, or why not.

    `local` true: the packet is for the namespace itself.
    """

    steps: Steps
    frame: Frame
    device: Device | None = None
    next_hop: str = ""
    local: bool = False


@dataclass
class Namespaces:
    """What all routers remember of connections."""

    known: dict[Place, list[Translated]] = field(default_factory=dict)

    def forward(self, host: Host, arrived: Device, frame: Frame, steps: Steps) -> Onward:
        """Take a packet through a namespace: DNAT, route, filter, SNAT."""
        name = arrived.namespace
        place = (host.name, name)
        connection = frame.connection
        seen = self._find(place, connection)
        if seen is not None:
            frame, redirected = _apply(frame, seen), True
            if frame.connection != connection:
                step = _nat_step(host, name, connection, frame, "a connection it knows", ())
                known = f"--orig-src {seen.before.source} --orig-dst {seen.before.destination}"
                steps = (
                    *steps,
                    replace(step, command=f"ip netns exec {name} conntrack -L {known}"),
                )
        else:
            frame, steps, redirected = self._dnat(host, name, frame, steps)
        if any(
            frame.ip_dst == address.ip for d in host.devices_in(name) for address in d.addresses
        ):
            return Onward(steps, frame, local=True)
        namespace = host.namespaces.get(name)
        if namespace is None or not namespace.forward:
            text = f"{name} forwards nothing"
            why = namespace.origin if namespace else ()
            shut = _step(host, name, text, "sysctl net.ipv4.ip_forward", why)
            return Onward((*steps, replace(shut, cause=Cause.ADMIN_DOWN)), frame)
        found = route(host, name, frame.ip_dst or "")
        if found is None:
            text = f"{name} has no route to {frame.ip_dst}"
            lookup = f"ip route get {frame.ip_dst}"
            lost = replace(
                _step(host, name, text, lookup, namespace.origin),
                target=frame.ip_dst or "",
                cause=Cause.NO_ROUTE,
            )
            return Onward((*steps, lost), frame)
        device, next_hop, why = found.device, found.next_hop, found.origin
        via = f" via {next_hop}" if next_hop != frame.ip_dst else ""
        text = f"{name} routes {frame.ip_dst}{via} out of {device.name}"
        if name in host.standbys:
            others = ", ".join(host.standbys[name]) or "no other host"
            text += f" (HA: active on {host.name}, standby on {others})"
        routed = _step(host, name, text, f"ip route get {frame.ip_dst}", why)
        steps = (*steps, replace(routed, way=way_of(host, found.item)))
        answer = seen is not None and connection != seen.before
        home = _elsewhere(host, arrived, device, connection.source, answer)
        if home is not None:
            return Onward((*steps, _refused(host, arrived, connection.source, home, steps)), frame)
        guarded = [n for n in host.source_nat.get(name, []) if n.device == arrived.name]
        if guarded and not redirected:
            text = f"{name} lets nothing in from outside that is not for a floating IP"
            shut = _step(host, name, text, "nft list table ip netloom", guarded[0].origin)
            return Onward((*steps, replace(shut, cause=Cause.ONLY_FLOATING)), frame)
        if seen is None:
            before = connection
            frame, steps = self._snat(host, name, arrived, device, frame, redirected, steps)
            self.known.setdefault(place, []).append(Translated(before, frame.connection))
        return Onward(steps, frame, device, next_hop)

    def _find(self, place: Place, connection: Connection) -> Translated | None:
        for known in self.known.get(place, []):
            if connection in (known.before, known.after.back):
                return known
        return None

    def _dnat(self, host: Host, name: str, frame: Frame, steps: Steps) -> tuple[Frame, Steps, bool]:
        for nat in host.floating.get(name, []):
            if frame.ip_dst != nat.external:
                continue
            was = frame.connection
            if led := _led(nat, frame):
                frame = replace(frame, ip_dst=led[0], tp_dst=led[1])
                step = _nat_step(host, name, was, frame, "port forwarding", nat.origin)
                return frame, (*steps, step), True
            if nat.internal:
                frame = replace(frame, ip_dst=nat.internal)
                step = _nat_step(host, name, was, frame, "floating IP", nat.origin)
                return frame, (*steps, step), True
        return frame, steps, False

    def _snat(
        self,
        host: Host,
        name: str,
        arrived: Device,
        leaving: Device,
        frame: Frame,
        redirected: bool,
        steps: Steps,
    ) -> tuple[Frame, Steps]:
        floating, catch_all = host.floating.get(name, []), host.source_nat.get(name, [])
        outer = {nat.device for nat in floating} | {nat.device for nat in catch_all}
        if arrived.name in outer or (leaving.name not in outer and not redirected):
            return frame, steps
        was = frame.connection
        for nat in floating:
            if frame.ip_src == nat.internal:
                frame = replace(frame, ip_src=nat.external)
                return frame, (*steps, _nat_step(host, name, was, frame, "floating IP", nat.origin))
        if leaving.name not in outer and floating:
            frame = replace(frame, ip_src=leaving.addresses[0].ip)
            step = _nat_step(host, name, was, frame, "back inside", leaving.origin)
            return frame, (*steps, step)
        for nat in catch_all:
            if nat.device == leaving.name:
                frame = replace(frame, ip_src=nat.address)
                return frame, (*steps, _nat_step(host, name, was, frame, "SNAT", nat.origin))
        return frame, steps


def _led(nat: FloatingNat, frame: Frame) -> tuple[str, int] | None:
    """The address and port to which a floating IP leads a packet by its port; None where no port of it does."""
    for port in nat.ports:
        number = led_to(frame.tp_dst, port.external, port.to)
        if number is not None and frame.ip_proto == PORT_PROTOCOLS[port.protocol]:
            return port.internal, number
    return None


def _elsewhere(
    host: Host, arrived: Device, leaving: Device, source: str, answer: bool
) -> AttachedNetwork | None:
    """The network that a packet should have come in from to say that it is from `source`; None where all is well."""
    for network in host.attached.get(arrived.namespace, []):
        if arrived.name in network.devices:
            continue
        neighbour = leaving.name in network.devices
        if _in(source, network.connected) and (neighbour or not (network.external and answer)):
            return network
        if neighbour and _in(source, network.others):
            return network
    return None


def _in(address: str, cidrs: tuple[str, ...]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(cidr) for cidr in cidrs)


def _refused(host: Host, arrived: Device, source: str, home: AttachedNetwork, steps: Steps) -> Step:
    """The last step of a packet whose source belongs to a network on another side."""
    name = arrived.namespace
    text = (
        f"{name} forwards nothing from {source} that comes in by {arrived.name}: "
        f"on network/{home.network_id} the address is a neighbour's"
    )
    why = (*home.origin, *arrived.origin[:1])
    shut = _step(host, name, text, "nft list table ip netloom", why)
    ways = [s for s in steps if (s.kind, s.host, s.place) == ("route", host.name, name)]
    if len(ways) > 1:
        # It was here already: whoever it was sent to has sent it back.
        text = f"routers send the packet round in circles, and {name} takes it no second time"
        return replace(shut, text=text, cause=Cause.LOOP)
    return replace(shut, target=source, cause=Cause.SOURCE_ELSEWHERE)


class Routed(NamedTuple):
    """The most specific route to an address; `item` None where a device is on the address's subnet itself."""

    device: Device
    next_hop: str
    origin: tuple[Origin, ...]
    item: NsRoute | None


def route(host: Host, namespace: str, target: str) -> Routed | None:
    """Where a namespace sends what is for an address."""
    address = ipaddress.IPv4Address(target)
    best: tuple[int, Routed] | None = None
    for device in host.devices_in(namespace):
        for own in device.addresses:
            network = ipaddress.IPv4Interface(own.cidr).network
            if (
                network.prefixlen < 32
                and address in network
                and (best is None or network.prefixlen > best[0])
            ):
                best = (network.prefixlen, Routed(device, target, device.origin, None))
    for item in host.routes.get(namespace, []):
        network = ipaddress.IPv4Network(item.destination)
        device = _device(host, item)
        if device and address in network and (best is None or network.prefixlen >= best[0]):
            best = (network.prefixlen, Routed(device, item.gateway or target, item.origin, item))
    return best[1] if best else None


def way_of(host: Host, item: NsRoute | None) -> Way | None:
    """A router's route as something that somebody wrote; None for its own subnets."""
    if item is None or item.gateway is None:
        return None
    # The default route comes from the external subnet's gateway; an extra route has its router only.
    subnet = next((origin for origin in item.origin if origin.kind == Subnet.KIND), NOTHING)
    owner = subnet or next(iter(item.origin), NOTHING)
    place = (host.name, item.namespace)
    return Way(owner, item.destination, item.gateway, chosen=not subnet, place=place)


def _device(host: Host, item: NsRoute) -> Device | None:
    device = host.devices.get(item.device)
    return device if device and device.namespace == item.namespace else None


def _apply(frame: Frame, known: Translated) -> Frame:
    """Rewrite a packet of a known connection, in the direction in which it goes."""
    connection = frame.connection
    new = known.after if connection == known.before else known.before.back
    frame = replace(frame, ip_src=new.source, ip_dst=new.destination)
    if frame.ip_proto == ICMP:
        return frame
    return replace(frame, tp_src=new.source_port, tp_dst=new.destination_port)


def _step(host: Host, namespace: str, text: str, command: str, origin: tuple[Origin, ...]) -> Step:
    return Step(
        kind="route",
        host=host.name,
        place=namespace,
        text=text,
        command=f"ip netns exec {namespace} {command}",
        origin=origin,
    )


def _nat_step(
    host: Host, namespace: str, was: Connection, frame: Frame, why: str, origin: tuple[Origin, ...]
) -> Step:
    changes: list[str] = []
    if was.source != frame.ip_src:
        changes.append(f"source {was.source} becomes {frame.ip_src}")
    if was.destination != frame.ip_dst or was.destination_port != frame.connection.destination_port:
        ports = (was.destination_port, frame.connection.destination_port)
        old, new = (f":{port}" if ports[0] != ports[1] else "" for port in ports)
        changes.append(f"destination {was.destination}{old} becomes {frame.ip_dst}{new}")
    return Step(
        kind="nat",
        host=host.name,
        place=namespace,
        text=f"{namespace}: {' and '.join(changes)} ({why})",
        command=f"ip netns exec {namespace} nft list table ip netloom",
        origin=origin,
    )
