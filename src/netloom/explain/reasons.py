"""Sentences: why a packet was dropped, and the one object that decides it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from netloom.explain import fixes
from netloom.explain.cloud import Cloud
from netloom.explain.frames import Frame
from netloom.explain.resolve import Spot, network_of
from netloom.explain.trace import Step
from netloom.explain.walk import Arrival
from netloom.model.names import OWNER_DHCP
from netloom.model.networking import FloatingIP, Port, Subnet
from netloom.plan.index import ROUTER_OWNERS
from netloom.plan.pipeline import Stage

BINDING_FAILED = "binding_failed"
TUNNEL = "tunnel"
"""The aspect under which a host reports on its tunnel to another."""


@dataclass(frozen=True)
class Reason:
    """One sentence, the object (`kind/id`) that it hangs on, and what to do about it.

    `sure` false: whether it is so cannot be said from here; the sentence goes on from «Cannot say: ».
    """

    sentence: str
    decider: str
    fix: str = ""
    sure: bool = True


def unplaced(cloud: Cloud, spot: Spot) -> Reason | None:
    """Ends that exist in the API but nowhere on a host."""
    port = spot.port
    if spot.floatingip is not None and port is None:
        return Reason(
            f"Floating IP {spot.address} is associated with no port.",
            f"floatingip/{spot.floatingip.id}",
            f"openstack floating ip set --port PORT {spot.floatingip.id}",
        )
    if port is None or port.device_owner in ROUTER_OWNERS or port.device_owner == OWNER_DHCP:
        return None
    named = cloud.name(f"port/{port.id}")
    if not port.host:
        return _unbound(port, capital(named))
    if port.host not in cloud.views:
        return Reason(
            f"Host {port.host}, where {named} is, has never reported.",
            f"host/{port.host}",
            f"start netloom agent on {port.host}; {fixes.look_at_host(port.host)}",
        )
    if port.vif_type == BINDING_FAILED:
        network = cloud.name(f"network/{port.network_id}")
        return Reason(
            f"{capital(named)} could not be bound to host {port.host}: the host does not have what {network} "
            "needs (its physical network, or tunnels).",
            f"port/{port.id}",
            f"openstack network agent list --host {port.host} --long; give the host what is missing "
            "([physical_networks] or tunnel_ip in its agent.toml), then change the port in any way: it is bound again",
        )
    return None


def _unbound(port: Port, named: str) -> Reason:
    return Reason(
        f"{named} is bound to no host: no instance has it.",
        f"port/{port.id}",
        f"openstack server create --port {port.id} …",
    )


def no_floating_ip(cloud: Cloud, start: Spot, target: Spot) -> Reason | None:
    """From outside to a port on a private network that is not asked for by its floating IP."""
    network = network_of(cloud, target)
    if not start.outside or target.port is None or target.floatingip or network is None:
        return None
    if network.physical_network:
        return None
    port = target.port
    named = cloud.name(f"port/{port.id}")
    where = "" if target.address in named else f" ({target.address})"
    owners = (*ROUTER_OWNERS, OWNER_DHCP)
    fips = [fip for _, fip in sorted(cloud.floatingips.items())]
    mine = next((fip for fip in fips if fip.port_id == port.id), None)
    if port.device_owner in owners:
        return Reason(
            f"{capital(named)}{where} is on {cloud.name(f'network/{network.id}')}, which is private: "
            "nothing outside leads to it.",
            f"network/{network.id}",
            "ask from an instance on that network",
        )
    if mine is not None:
        return Reason(
            f"{target.address} is a private address: outside, {named} is known by floating IP "
            f"{mine.floating_ip_address} only.",
            f"floatingip/{mine.id}",
            f"use {mine.floating_ip_address}",
        )
    sentence = f"No floating IP leads to {named}{where}, and its network is private"
    others = [fip for fip in fips if _same_cloud(cloud, fip, target)]
    if others:
        wrong = others[0]
        leads = cloud.name(f"port/{wrong.port_id}") if wrong.port_id else "no port"
        return Reason(
            f"{sentence}; floating IP {wrong.floating_ip_address} leads to {leads}.",
            f"floatingip/{wrong.id}",
            fixes.floating_ip(cloud, port, wrong.id),
        )
    return Reason(sentence + ".", f"port/{port.id}", fixes.floating_ip(cloud, port))


def _same_cloud(cloud: Cloud, fip: FloatingIP, target: Spot) -> bool:
    """Whether a floating IP leads to another port of the target's network, or is free in its project."""
    if target.port is None:
        return False
    port = cloud.ports.get(fip.port_id or "")
    if port is None:
        return fip.project_id == target.port.project_id
    return port.network_id == target.port.network_id


def of_drop(cloud: Cloud, arrival: Arrival, service: str, *, answer: bool) -> Reason:
    """Why a packet (or the answer to it) was dropped, from its last step."""
    prefix = "The answer does not come back: " if answer else ""
    if not arrival.steps:
        return Reason(f"{prefix}nobody takes the frame.", "")
    step = arrival.steps[-1]
    # A rule that lets answers in cannot name the port that the question went to.
    reason = _of_step(cloud, arrival, step, service.partition("/")[0] if answer else service)
    text = reason.sentence[0].lower() + reason.sentence[1:] if prefix else reason.sentence
    return replace(reason, sentence=prefix + text)


def _of_step(cloud: Cloud, arrival: Arrival, step: Step, service: str) -> Reason:
    frame = arrival.frame
    if step.kind == "arp":
        return _of_arp(cloud, step)
    if step.kind == "route":
        return _of_route(cloud, step)
    if step.kind != "flow":
        return _of_place(cloud, arrival, step)
    stage = Stage(int(step.place.rpartition(" ")[2]))
    port = _first(step, "port")
    named = cloud.name(port) if port else ""
    if stage in (Stage.EGRESS_RULES, Stage.INGRESS_RULES):
        return _of_rules(cloud, frame, step, service, inward=stage is Stage.INGRESS_RULES)
    if stage is Stage.PORT_SECURITY:
        address = frame.ip_src or frame.arp_spa or ""
        return Reason(
            f"{capital(named)} may not send from {address} ({frame.eth_src}): "
            "it is neither its own address nor an allowed address pair.",
            port,
            fixes.allow_address(port, address, frame.eth_src),
        )
    if stage in (Stage.CLASSIFY, Stage.L2) and port:
        return _down(cloud, port)
    network = _first(step, "network")
    if stage is Stage.CLASSIFY and network:
        return _switched_off(cloud, network)
    if stage is Stage.CLASSIFY:
        return Reason(
            f"The frame belongs to no network that host {step.host} has.",
            f"host/{step.host}",
            fixes.look_at_host(step.host),
        )
    if stage is Stage.LOCAL:
        return Reason(
            "169.254.169.254 is the metadata service, which answers TCP port 80 only, and only to the port's own "
            f"addresses ({frame.ip_src} asked {service}).",
            network,
            "ask with --protocol tcp --port 80",
        )
    thing = port or network or _first(step, "host")
    return Reason(f"On {step.host}, {step.text} by {cloud.name(thing)}.", thing)


def _down(cloud: Cloud, port: str) -> Reason:
    """A port whose frames are dropped: it, or its network, is switched off."""
    thing = cloud.ports.get(port.partition("/")[2])
    if thing is not None and thing.admin_state_up and thing.network_id in cloud.networks:
        network = f"network/{thing.network_id}"
        if not cloud.networks[thing.network_id].admin_state_up:
            return _switched_off(cloud, network)
    return _switched_off(cloud, port)


def _switched_off(cloud: Cloud, origin: str) -> Reason:
    return Reason(
        f"{capital(cloud.name(origin))} is administratively down.", origin, fixes.enable(origin)
    )


def _of_rules(cloud: Cloud, frame: Frame, step: Step, service: str, *, inward: bool) -> Reason:
    """No security group rule let a packet through."""
    port = _first(step, "port")
    named = cloud.name(port) if port else ""
    groups = [origin for origin in step.origin if origin.startswith("security_group/")]
    if not groups:
        return Reason(
            f"{capital(named)} has port security but no security group: nothing passes.",
            port,
            fixes.join_group(port),
        )
    names = ", ".join(cloud.name(group) for group in groups)
    peer = (frame.ip_src if inward else frame.ip_dst) or ""
    direction = f"in from {peer}" if inward else f"out to {peer}"
    protocol, _, number = service.partition("/")
    return Reason(
        f"No rule of {names} lets {service} {direction} at {named}.",
        groups[0],
        fixes.allow(groups[0], protocol, int(number) if number else None, peer, inward=inward),
    )


def _of_place(cloud: Cloud, arrival: Arrival, step: Step) -> Reason:
    """The way ends at a device, a bridge or a tunnel."""
    port = _first(step, "port")
    if step.kind == "instance" and port:
        return Reason(
            f"{capital(cloud.name(port))} gets the packet, but {arrival.frame.ip_dst} is not its address.",
            port,
            f"openstack port show {port.partition('/')[2]}",
        )
    thing = _first(step, "host", "port", "network")
    fix = fixes.look_at_host(step.host) if thing.startswith("host/") else ""
    return Reason(f"On {step.host} the way ends: {step.text}.", thing, fix)


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
        f"Nobody{where} has the address {step.target}.",
        f"network/{network}" if network else asking,
        fixes.who_is_there(f"network/{network}") if network else "",
    )


def _no_interface(cloud: Cloud, subnet: Subnet) -> Reason:
    return Reason(
        f"No router has an interface in {cloud.name(f'subnet/{subnet.id}')} "
        f"({subnet.cidr}): nobody has its gateway address {subnet.gateway_ip}.",
        f"subnet/{subnet.id}",
        fixes.add_interface(cloud, subnet),
    )


def _silent(cloud: Cloud, port: Port, address: str) -> Reason:
    named, decider = capital(cloud.name(f"port/{port.id}")), f"port/{port.id}"
    if address not in named:
        named += f" ({address})"
    if not port.admin_state_up:
        return Reason(f"{named} is administratively down.", decider, fixes.enable(decider))
    if port.device_owner in ROUTER_OWNERS:
        router = cloud.routers.get(port.device_id)
        if router is not None and not router.host:
            return Reason(
                f"{capital(cloud.name(f'router/{router.id}'))} is on no host: no network host is alive.",
                f"router/{router.id}",
                "openstack network agent list",
            )
    elif port.device_owner == OWNER_DHCP:
        return Reason(
            f"{named} is there for the instances of each host alone: nothing outside reaches it.",
            decider,
            "ask from an instance on that network",
        )
    elif not port.host:
        return _unbound(port, named)
    return Reason(
        f"{named} does not answer for {address}.", decider, f"openstack port show {port.id}"
    )


def _network_of_device(cloud: Cloud, step: Step) -> str:
    """The network of the port whose device asked, known by the device's name (its port's id)."""
    ident = step.place.removeprefix("tap").removeprefix("qr-").removeprefix("qg-")
    found = [p for p in cloud.ports.values() if p.id.startswith(ident)] if ident else []
    return found[0].network_id if found else ""


def _of_route(cloud: Cloud, step: Step) -> Reason:
    router, port = _first(step, "router"), _first(step, "port")
    if "round in circles" in step.text and router:
        return Reason(
            f"{capital(step.text)}: see the routes of {cloud.name(router)}.",
            router,
            f"openstack router show -c routes {router.partition('/')[2]}",
        )
    if not router:
        owner = cloud.ports.get(port.partition("/")[2])
        if owner is not None and owner.device_owner == OWNER_DHCP:
            network = f"network/{owner.network_id}"
            return Reason(
                f"The DHCP server of {cloud.name(network)} answers on its own network only, on the instance's host: "
                f"it has no route to {step.target}.",
                port,
                "ask from an instance on that network",
            )
        return Reason(f"{capital(step.text)}.", port, _give_gateway(owner))
    thing = cloud.routers.get(router.partition("/")[2])
    named, ident = capital(cloud.name(router)), router.partition("/")[2]
    if thing is not None and not thing.admin_state_up:
        return _switched_off(cloud, router)
    if "no route" in step.text:
        if thing is None or thing.external_gateway_info:
            return Reason(
                f"{named} has no route to {step.target}.",
                router,
                fixes.add_route(ident, f"{step.target}/32"),
            )
        return Reason(
            f"{named} has no route to {step.target}: it has no external gateway.",
            router,
            fixes.add_gateway(cloud, ident),
        )
    if "floating IP" in step.text:
        return Reason(
            f"{named} lets in from outside only what is for a floating IP.",
            router,
            "openstack floating ip list --router " + ident,
        )
    return Reason(f"On {step.host}: {step.text}.", router)


def _give_gateway(port: Port | None) -> str:
    if port is None or not port.fixed_ips:
        return ""
    return f"openstack subnet set --gateway ADDRESS {port.fixed_ips[0].subnet_id}"


def of_status(cloud: Cloud, steps: list[Step]) -> Reason | None:
    """Planned well, but a host reports that something on the way is not there (yet)."""
    on_way = {(step.host, origin) for step in steps for origin in step.origin}
    things = {origin for _, origin in on_way}
    for port_id in sorted(thing.partition("/")[2] for thing in things if thing.startswith("port/")):
        port = cloud.ports.get(port_id)
        if port is not None and port.id in cloud.server_of:
            on_way.add((port.host, f"server/{cloud.server_of[port.id].id}"))
    return _not_well(cloud, on_way)


def of_tunnels(cloud: Cloud, steps: list[Step]) -> Reason | None:
    """A tunnel on the way whose other end does not answer; there may be a reason why it only does not say so."""
    used = {(step.host, far) for step in steps if step.kind == "tunnel" for far in step.origin}
    broken = [row for row in cloud.statuses if row.aspect == TUNNEL and row.state != "ok"]
    count = Counter(host for row in broken for host in (row.host, row.id))
    for row in broken:
        if (row.host, f"{row.kind}/{row.id}") in used:
            address = row.detail.rpartition(" ")[2]
            # Both ends say so of each other: it is for the one whose other tunnels are broken too.
            at_fault = row.host if count[row.host] > count[row.id] else row.id
            return Reason(
                f"host {row.host} gets {row.detail}: the tunnel between them is broken, unless only ping is "
                "filtered there.",
                f"host/{at_fault}",
                f"on {row.host}: ping {address}; then look at what is between the two hosts",
                sure=False,
            )
    return None


def of_ends(cloud: Cloud, *spots: Spot) -> Reason | None:
    """A port at an end that its host has not brought up, which comes before all that its rules would say."""
    ports = [spot.port for spot in spots if spot.port is not None and spot.port.admin_state_up]
    return _not_well(cloud, {(port.host, f"port/{port.id}") for port in ports})


def _not_well(cloud: Cloud, on_way: set[tuple[str, str]]) -> Reason | None:
    """The first of these objects that its host reports as not ready or failed."""
    for row in cloud.statuses:
        if (
            row.state == "ok"
            or row.aspect == TUNNEL
            or (row.host, f"{row.kind}/{row.id}") not in on_way
        ):
            continue
        named = capital(cloud.name(f"{row.kind}/{row.id}"))
        state = "is not ready" if row.state == "pending" else "has failed"
        detail = f": {row.detail}" if row.detail else ""
        if "not plugged" in row.detail:
            fix = f"plug the instance in on {row.host}: a device on br-int with external_ids:iface-id={row.id}"
        else:
            fix = f"{fixes.look_at_host(row.host)}; the agent's log on {row.host} names {row.id}"
        return Reason(
            f"{named} {state} on {row.host} ({row.aspect}){detail}.", f"{row.kind}/{row.id}", fix
        )
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
