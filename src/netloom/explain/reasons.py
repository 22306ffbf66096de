"""Sentences: why a packet was dropped, and the one object that decides it."""

from __future__ import annotations

from dataclasses import dataclass

from netloom.explain.cloud import Cloud
from netloom.explain.resolve import Spot, network_of
from netloom.explain.trace import Step
from netloom.explain.walk import Arrival
from netloom.model.names import OWNER_DHCP
from netloom.model.networking import Port, Subnet
from netloom.plan.index import ROUTER_OWNERS
from netloom.plan.pipeline import Stage


@dataclass(frozen=True)
class Reason:
    """One sentence, and the object (`kind/id`) that it hangs on."""

    sentence: str
    decider: str


def unplaced(cloud: Cloud, spot: Spot) -> Reason | None:
    """Ends that exist in the API but nowhere on a host."""
    port = spot.port
    if spot.floatingip is not None and port is None:
        return Reason(
            f"Floating IP {spot.address} is associated with no port.", f"floatingip/{spot.floatingip.id}"
        )
    if port is None or port.device_owner in ROUTER_OWNERS or port.device_owner == OWNER_DHCP:
        return None
    named = cloud.name(f"port/{port.id}")
    if not port.host:
        return Reason(f"{capital(named)} is bound to no host.", f"port/{port.id}")
    if port.host not in cloud.views:
        return Reason(f"Host {port.host}, where {named} is, has never reported.", f"host/{port.host}")
    return None


def no_floating_ip(cloud: Cloud, start: Spot, target: Spot) -> Reason | None:
    """From outside to a port that no floating IP leads to; names the one that leads elsewhere."""
    network = network_of(cloud, target)
    if not start.outside or target.port is None or target.floatingip or network is None:
        return None
    if network.physical_network:
        return None
    named = cloud.name(f"port/{target.port.id}")
    where = "" if target.address in named else f" ({target.address})"
    sentence = f"No floating IP leads to {named}{where}, and its network is private"
    others = [fip for _, fip in sorted(cloud.floatingips.items()) if _same_cloud(cloud, fip.port_id, target)]
    if others:
        wrong = others[0]
        leads = cloud.name(f"port/{wrong.port_id}") if wrong.port_id else "no port"
        return Reason(
            f"{sentence}; floating IP {wrong.floating_ip_address} leads to {leads}.", f"floatingip/{wrong.id}"
        )
    return Reason(sentence + ".", f"port/{target.port.id}")


def _same_cloud(cloud: Cloud, port_id: str | None, target: Spot) -> bool:
    """Whether a floating IP's port is on the target's network, or it has none."""
    port = cloud.ports.get(port_id or "")
    return port is None or (target.port is not None and port.network_id == target.port.network_id)


def of_drop(cloud: Cloud, arrival: Arrival, service: str, *, answer: bool) -> Reason:
    """Why a packet (or the answer to it) was dropped, from its last step."""
    prefix = "The answer does not come back: " if answer else ""
    if not arrival.steps:
        return Reason(f"{prefix}nobody takes the frame.", "")
    step = arrival.steps[-1]
    reason = _of_step(cloud, arrival, step, service)
    text = reason.sentence[0].lower() + reason.sentence[1:] if prefix else reason.sentence
    return Reason(prefix + text, reason.decider)


def _of_step(cloud: Cloud, arrival: Arrival, step: Step, service: str) -> Reason:
    frame = arrival.frame
    if step.kind == "arp":
        return _of_arp(cloud, step)
    if step.kind == "route":
        return _of_route(cloud, step)
    if step.kind != "flow":
        return Reason(f"On {step.host}: {step.text}.", _first(step, "host", "port", "network"))
    stage = Stage(int(step.place.rpartition(" ")[2]))
    port = _first(step, "port")
    named = cloud.name(port) if port else ""
    if stage in (Stage.EGRESS_RULES, Stage.INGRESS_RULES):
        groups = [origin for origin in step.origin if origin.startswith("security_group/")]
        if not groups:
            return Reason(f"{capital(named)} has port security but no security group: nothing passes.", port)
        names = ", ".join(cloud.name(group) for group in groups)
        direction = f"in from {frame.ip_src}" if stage is Stage.INGRESS_RULES else f"out to {frame.ip_dst}"
        return Reason(f"No rule of {names} lets {service} {direction} at {named}.", groups[0])
    if stage is Stage.PORT_SECURITY:
        return Reason(
            f"{capital(named)} may not send from {frame.ip_src or frame.arp_spa} ({frame.eth_src}): "
            "it is neither its own address nor an allowed address pair.",
            port,
        )
    if stage in (Stage.CLASSIFY, Stage.L2) and port:
        return Reason(f"{capital(named)} is administratively down.", port)
    network = _first(step, "network")
    if stage is Stage.CLASSIFY and network:
        return Reason(f"{capital(cloud.name(network))} is administratively down.", network)
    if stage is Stage.CLASSIFY:
        return Reason(f"The frame belongs to no network that host {step.host} has.", f"host/{step.host}")
    if stage is Stage.LOCAL:
        return Reason(
            f"Metadata answers only TCP port 80 and the port's own addresses ({frame.ip_src}).", network
        )
    thing = port or network or _first(step, "host")
    return Reason(f"On {step.host}, {step.text} by {cloud.name(thing)}.", thing)


def _of_arp(cloud: Cloud, step: Step) -> Reason:
    """Nobody answers for an address: a gateway without a router, a port that is not up, or nothing at all."""
    asking = _first(step, "port")
    networks = {_network_of_device(cloud, step)} - {""}
    for _, port in sorted(cloud.ports.items()):
        has = any(fixed.ip_address == step.target for fixed in port.fixed_ips)
        if has and (not networks or port.network_id in networks):
            return _silent(cloud, port, step.target)
    for _, subnet in sorted(cloud.subnets.items()):
        if subnet.gateway_ip == step.target and (not networks or subnet.network_id in networks):
            return _no_interface(cloud, subnet)
    network = next(iter(sorted(networks)), "")
    where = f" on {cloud.name('network/' + network)}" if network else ""
    return Reason(
        f"Nobody{where} has the address {step.target}.", f"network/{network}" if network else asking
    )


def _no_interface(cloud: Cloud, subnet: Subnet) -> Reason:
    return Reason(
        f"No router has an interface in {cloud.name(f'subnet/{subnet.id}')} "
        f"({subnet.cidr}): nobody has its gateway address {subnet.gateway_ip}.",
        f"subnet/{subnet.id}",
    )


def _silent(cloud: Cloud, port: Port, address: str) -> Reason:
    named, decider = capital(cloud.name(f"port/{port.id}")), f"port/{port.id}"
    if address not in named:
        named += f" ({address})"
    if not port.admin_state_up:
        return Reason(f"{named} is administratively down.", decider)
    if port.device_owner in ROUTER_OWNERS:
        router = cloud.routers.get(port.device_id)
        if router is not None and not router.host:
            return Reason(
                f"{capital(cloud.name(f'router/{router.id}'))} is on no host.", f"router/{router.id}"
            )
    elif not port.host and port.device_owner != OWNER_DHCP:
        return Reason(f"{named} is bound to no host.", decider)
    return Reason(f"{named} does not answer for {address}.", decider)


def _network_of_device(cloud: Cloud, step: Step) -> str:
    """The network of the port whose device asked, known by the device's name (its port's id)."""
    ident = step.place.removeprefix("tap").removeprefix("qr-").removeprefix("qg-")
    found = [p for p in cloud.ports.values() if p.id.startswith(ident)] if ident else []
    return found[0].network_id if found else ""


def _of_route(cloud: Cloud, step: Step) -> Reason:
    router = _first(step, "router")
    if not router:
        return Reason(f"{capital(step.text)}.", _first(step, "port"))
    thing = cloud.routers.get(router.partition("/")[2])
    named = capital(cloud.name(router))
    if thing is not None and not thing.admin_state_up:
        return Reason(f"{named} is administratively down.", router)
    if "no route" in step.text:
        missing = "" if thing is None or thing.external_gateway_info else ": it has no external gateway"
        return Reason(f"{named} has no route to {step.target}{missing}.", router)
    if "floating IP" in step.text:
        return Reason(f"{named} lets in from outside only what is for a floating IP.", router)
    return Reason(f"On {step.host}: {step.text}.", router)


def of_status(cloud: Cloud, steps: list[Step]) -> Reason | None:
    """Planned well, but a host reports that something on the way is not there (yet)."""
    on_way = {(step.host, origin) for step in steps for origin in step.origin}
    things = {origin for _, origin in on_way}
    for port_id in sorted(thing.partition("/")[2] for thing in things if thing.startswith("port/")):
        port = cloud.ports.get(port_id)
        if port is not None and port.device_id in cloud.servers:
            on_way.add((port.host, f"server/{port.device_id}"))
    for row in cloud.statuses:
        if row.state != "ok" and (row.host, f"{row.kind}/{row.id}") in on_way:
            named = capital(cloud.name(f"{row.kind}/{row.id}"))
            state = "is not ready" if row.state == "pending" else "has failed"
            detail = f": {row.detail}" if row.detail else ""
            return Reason(f"{named} {state} on {row.host} ({row.aspect}){detail}.", f"{row.kind}/{row.id}")
    return None


def _first(step: Step, *kinds: str) -> str:
    """The first origin of one of these kinds, the kinds in order of preference."""
    for kind in kinds:
        for origin in step.origin:
            if origin.startswith(kind + "/"):
                return origin
    return ""


def capital(text: str) -> str:
    """With a capital letter at its beginning."""
    return text[:1].upper() + text[1:]
