"""Why a packet was dropped, from the last step of its way, and the one object that decides it."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netloom.explain.answer import fixes
from netloom.explain.answer.asked import Asked
from netloom.explain.answer.ends import unbound
from netloom.explain.answer.placing import on_no_host
from netloom.explain.cause import Cause, Reason, capital
from netloom.explain.cloud import Cloud
from netloom.explain.walk.frames import Frame
from netloom.explain.walk.trace import Step, Way
from netloom.explain.walk.walk import Arrival
from netloom.model.names import OWNER_DHCP, OWNER_DISTRIBUTED
from netloom.model.networking import Network, Port, Route, Router, SecurityGroup, Subnet
from netloom.model.origin import HOST, NOTHING, Origin
from netloom.model.placement import places
from netloom.plan.index import ROUTER_OWNERS
from netloom.plan.ovs.pipeline import Stage
from netloom.plan.sets import names_inside


def of_drop(cloud: Cloud, arrival: Arrival, asked: Asked, *, answer: bool) -> Reason:
    """Why a packet (or the answer to it) was dropped, from its last step."""
    prefix = "The answer does not come back: " if answer else ""
    if not arrival.steps:
        return Reason(f"{prefix}nobody takes the frame.", NOTHING)
    reason = _of_step(cloud, arrival, arrival.steps[-1], asked, answer)
    text = reason.sentence[0].lower() + reason.sentence[1:] if prefix else reason.sentence
    return replace(reason, sentence=prefix + text, of_answer=answer)


def _of_step(cloud: Cloud, arrival: Arrival, step: Step, asked: Asked, answer: bool) -> Reason:
    frame, stage = arrival.frame, step.stage
    if step.kind == "arp":
        return _of_arp(cloud, step, _way_before(arrival))
    if step.kind == "route":
        return _of_route(cloud, step, frame)
    if step.kind != "flow":
        return _of_place(cloud, arrival, step)
    port = _first(step, "port")
    if stage in (Stage.EGRESS_RULES, Stage.INGRESS_RULES):
        inward = stage is Stage.INGRESS_RULES
        return _of_rules(cloud, frame, step, asked, inward=inward, answer=answer)
    if stage is Stage.PORT_SECURITY:
        return _of_port_security(cloud, arrival, port)
    if stage in (Stage.CLASSIFY, Stage.L2) and port:
        return _down(cloud, port)
    network = _first(step, "network")
    if stage is Stage.CLASSIFY and network:
        return _switched_off(cloud, network)
    if stage is Stage.CLASSIFY:
        return Reason(
            f"The frame belongs to no network that host {step.host} has.",
            Origin(HOST, step.host),
            fixes.look_at_host(step.host),
        )
    if stage is Stage.LOCAL:
        return Reason(
            "169.254.169.254 is the metadata service, which answers TCP port 80 only, and only to the port's own "
            f"addresses ({frame.ip_src} asked {asked.service}).",
            network,
            "ask with --protocol tcp --port 80",
            cause=Cause.SERVICE,
        )
    thing = port or network or _first(step, "host")
    return Reason(f"On {step.host}, {step.text} by {cloud.name(thing)}.", thing)


def _of_port_security(cloud: Cloud, arrival: Arrival, port: Origin) -> Reason:
    """A source address that is not the port's: somebody else's, a virtual one, or one that is forwarded."""
    frame = arrival.frame
    address = frame.ip_src or frame.arp_spa or ""
    fix = fixes.allow_address(port, address, frame.eth_src)
    passed = next((s for s in arrival.steps if s.cause is Cause.FORWARDING), None)
    entry = cloud.ports.get(passed.origin[0].id) if passed else None
    if entry is not None:
        fix = fixes.let_forward(entry, port, frame.eth_src, address, frame.ip_dst or "")
    return Reason(
        f"{capital(cloud.name(port))} may not send from {address} ({frame.eth_src}): "
        "it is neither its own address nor an allowed address pair.",
        port,
        fix,
        cause=Cause.PORT_SECURITY,
    )


def _down(cloud: Cloud, port: Origin) -> Reason:
    """A port whose frames are dropped: it, or its network, is switched off."""
    thing = cloud.ports.get(port.id)
    if thing is not None and thing.admin_state_up and thing.network_id in cloud.networks:
        network = Origin(Network.KIND, thing.network_id)
        if not cloud.networks[thing.network_id].admin_state_up:
            return _switched_off(cloud, network)
    return _switched_off(cloud, port)


def _switched_off(cloud: Cloud, origin: Origin) -> Reason:
    return Reason(
        f"{capital(cloud.name(origin))} is administratively down.",
        origin,
        fixes.enable(origin),
        cause=Cause.ADMIN_DOWN,
    )


def _of_rules(
    cloud: Cloud, frame: Frame, step: Step, asked: Asked, *, inward: bool, answer: bool
) -> Reason:
    """No security group rule let a packet through."""
    port = _first(step, "port")
    named = cloud.name(port) if port else ""
    groups = [origin for origin in step.origin if origin.kind == SecurityGroup.KIND]
    peer = (frame.ip_src if inward else frame.ip_dst) or ""
    # A rule that lets answers through cannot name the port that the question went to.
    number = None if answer else asked.inside_port if inward else asked.port
    service = f"{asked.protocol}/{number}" if number else asked.protocol
    opening = fixes.Opening(
        asked.protocol,
        number,
        asked.opened_to(peer),
        inward,
        frame.icmp_type if asked.is_ping else None,
    )
    thing = cloud.ports.get(port.id)
    if not groups and thing is not None:
        return Reason(
            f"{capital(named)} has port security but no security group: nothing passes.",
            port,
            fixes.join_group(cloud, thing, opening),
            cause=Cause.NO_GROUP,
        )
    names = ", ".join(cloud.name(group) for group in groups)
    direction = f"in from {peer}" if inward else f"out to {peer}"
    group = groups[0]
    return Reason(
        f"No rule of {names} lets {service} {direction} at {named}.",
        group,
        fixes.allow(group.id, opening),
        cause=Cause.RULES,
    )


def _of_place(cloud: Cloud, arrival: Arrival, step: Step) -> Reason:
    """The way ends at a device, a bridge or a tunnel."""
    port = _first(step, "port")
    if step.kind == "instance" and port:
        return Reason(
            f"{capital(cloud.name(port))} gets the packet, but {arrival.frame.ip_dst} is not its address.",
            port,
            f"openstack port show {port.id}",
            cause=Cause.NOT_ITS_ADDRESS,
        )
    thing = _first(step, "host", "port", "network")
    fix = fixes.look_at_host(step.host) if thing.kind == HOST else ""
    return Reason(f"On {step.host} the way ends: {step.text}.", thing, fix)


def _way_before(arrival: Arrival) -> Way | None:
    """The route by which a next hop was asked for that nobody answers for."""
    target = arrival.steps[-1].target
    return next((s.way for s in reversed(arrival.steps) if s.way and s.way.via == target), None)


def _of_arp(cloud: Cloud, step: Step, way: Way | None) -> Reason:
    """Nobody answers for an address: a gateway without a router, a port that is not up, or nothing at all."""
    asking = _first(step, "port")
    networks = {_network_of_device(cloud, step)} - {""}
    for port in cloud.ports_with(step.target):
        if not networks or port.network_id in networks:
            return _silent(cloud, port, step.target)
    if way is not None and way.chosen:
        return wrong_route(cloud, way, "an address that nobody has")
    for _, subnet in sorted(cloud.subnets.items()):
        if subnet.gateway_ip == step.target and (not networks or subnet.network_id in networks):
            return no_gateway(cloud, subnet)
    network = next(iter(sorted(networks)), "")
    where = f" on {cloud.name(Origin(Network.KIND, network))}" if network else ""
    return Reason(
        f"Nobody{where} has the address {step.target}.",
        Origin(Network.KIND, network) if network else asking,
        fixes.who_is_there(Origin(Network.KIND, network)) if network else "",
        cause=Cause.NOBODY,
    )


def wrong_route(cloud: Cloud, way: Way, what: str, better: str = "") -> Reason:
    """A route that somebody wrote leads by the wrong address: its owner is to blame."""
    kind = "host route" if way.owner.kind == Subnet.KIND else "extra route"
    route = Route(way.destination, way.via)
    instead = f"; {better} leads there" if better else ""
    return Reason(
        f"The {kind} to {way.destination} of {cloud.name(way.owner)} leads by {way.via}, {what}{instead}.",
        way.owner,
        fixes.drop_route(way.owner, route, better),
        cause=Cause.WRONG_ROUTE,
    )


def no_gateway(cloud: Cloud, subnet: Subnet) -> Reason:
    """A subnet whose gateway address nobody has, or that names none."""
    decider = Origin.of(subnet)
    named = f"{cloud.name(decider)} ({subnet.cidr})"
    there = [
        (fixed.ip_address, port)
        for port in cloud.routed.get(subnet.id, [])
        for fixed in port.fixed_ips
        if fixed.subnet_id == subnet.id
    ]
    if there:
        address, port = there[0]
        router = cloud.name(Origin(Router.KIND, port.device_id))
        wrong = (
            f"the gateway {subnet.gateway_ip}, which nobody has"
            if subnet.gateway_ip
            else "no gateway"
        )
        return Reason(
            f"{capital(named)} has {wrong}; {router} is there at {address}.",
            decider,
            fixes.set_gateway(subnet, address),
            cause=Cause.WRONG_SUBNET_GATEWAY if subnet.gateway_ip else Cause.NO_SUBNET_GATEWAY,
        )
    if subnet.gateway_ip is None:
        return Reason(
            f"{capital(named)} has no gateway, and no router has an interface there.",
            decider,
            fixes.add_interface(cloud, subnet),
            cause=Cause.NO_SUBNET_GATEWAY,
        )
    return Reason(
        f"No router has an interface in {named}: nobody has its gateway address {subnet.gateway_ip}.",
        decider,
        fixes.add_interface(cloud, subnet),
        cause=Cause.NO_INTERFACE,
    )


def _silent(cloud: Cloud, port: Port, address: str) -> Reason:
    named, decider = capital(cloud.name(Origin.of(port))), Origin.of(port)
    if address not in named:
        named += f" ({address})"
    if not port.admin_state_up:
        return Reason(
            f"{named} is administratively down.",
            decider,
            fixes.enable(decider),
            cause=Cause.ADMIN_DOWN,
        )
    if port.device_owner in ROUTER_OWNERS:
        router = cloud.routers.get(port.device_id)
        central = port.device_owner != OWNER_DISTRIBUTED
        if router is not None and central and not places(router):
            return on_no_host(cloud, router)
    elif port.device_owner == OWNER_DHCP:
        return Reason(
            f"{named} is there for the instances of each host alone: nothing outside reaches it.",
            decider,
            "ask from an instance on that network",
            cause=Cause.SERVICE,
        )
    elif not port.host:
        return unbound(cloud, port, named)
    return Reason(
        f"{named} does not answer for {address}.",
        decider,
        f"openstack port show {port.id}",
        cause=Cause.NOBODY,
    )


def _network_of_device(cloud: Cloud, step: Step) -> str:
    """The network of the port whose device asked."""
    found = (port for port in cloud.ports.values() if step.place in names_inside(port))
    return next((port.network_id for port in found), "")


def _of_route(cloud: Cloud, step: Step, frame: Frame) -> Reason:
    router, port = _first(step, "router"), _first(step, "port")
    if step.cause is Cause.LOOP and router:
        return Reason(
            f"{capital(step.text)}: see the routes of {cloud.name(router)}.",
            router,
            f"openstack router show -c routes {router.id}",
            cause=Cause.LOOP,
        )
    if not router:
        return _no_route_at(cloud, step, cloud.ports.get(port.id), port)
    thing = cloud.routers.get(router.id)
    named, ident = capital(cloud.name(router)), router.id
    if thing is not None and not thing.admin_state_up:
        return _switched_off(cloud, router)
    if step.cause is Cause.NO_ROUTE:
        if thing is None or thing.external_gateway_info:
            return Reason(
                f"{named} has no route to {step.target}.",
                router,
                fixes.add_route(ident, f"{step.target}/32", "ADDRESS"),
                cause=Cause.NO_ROUTE,
            )
        return Reason(
            f"{named} has no route to {step.target}: it has no external gateway.",
            router,
            fixes.add_gateway(cloud, ident),
            cause=Cause.NO_EXTERNAL_GATEWAY,
        )
    if step.cause is Cause.ONLY_FLOATING:
        return Reason(
            f"{named} lets in from outside only what is for a floating IP.",
            router,
            "openstack floating ip list --router " + ident,
            cause=Cause.ONLY_FLOATING,
        )
    if step.cause is Cause.SOURCE_ELSEWHERE:
        return _from_elsewhere(cloud, step, frame, router)
    return Reason(f"On {step.host}: {step.text}.", router)


def _from_elsewhere(cloud: Cloud, step: Step, frame: Frame, router: Origin) -> Reason:
    """A router refuses a packet whose source belongs to a network on another side of the router."""
    home, port = _first(step, "network"), _first(step, "port")
    address = ipaddress.ip_address(step.target)
    named = next(
        (
            f"{cloud.name(Origin.of(s))} ({s.cidr}) on {cloud.name(home)}"
            for _, s in sorted(cloud.subnets.items())
            if Origin(Network.KIND, s.network_id) == home
            and address in ipaddress.ip_network(s.cidr)
        ),
        cloud.name(home),
    )
    arrived = cloud.ports.get(port.id)
    way = f" by {cloud.name(Origin(Network.KIND, arrived.network_id))}" if arrived else ""
    return Reason(
        f"{capital(cloud.name(router))} forwards nothing from {step.target} to {frame.ip_dst} that comes in{way}: "
        f"the address belongs to {named}.",
        router,
        f"send from an address of the sender's own network, or bring the packet to the router by {cloud.name(home)}",
        cause=Cause.SOURCE_ELSEWHERE,
    )


def _no_route_at(cloud: Cloud, step: Step, owner: Port | None, port: Origin) -> Reason:
    """A card (or DHCP's) whose subnet gives it no route to what was asked for."""
    if owner is not None and owner.device_owner == OWNER_DHCP:
        network = Origin(Network.KIND, owner.network_id)
        return Reason(
            f"The DHCP server of {cloud.name(network)} answers on its own network only, on the instance's host: "
            f"it has no route to {step.target}.",
            port,
            "ask from an instance on that network",
            cause=Cause.SERVICE,
        )
    subnets = [cloud.subnets.get(fixed.subnet_id) for fixed in owner.fixed_ips] if owner else []
    subnet = next((s for s in subnets if s is not None and s.gateway_ip is None), None)
    if subnet is not None:
        return no_gateway(cloud, subnet)
    return Reason(f"{capital(step.text)}.", port, cause=Cause.NO_ROUTE)


def _first(step: Step, *kinds: str) -> Origin:
    """The first origin of one of these kinds, the kinds in order of preference."""
    for kind in kinds:
        for origin in step.origin:
            if origin.kind == kind:
                return origin
    return NOTHING
