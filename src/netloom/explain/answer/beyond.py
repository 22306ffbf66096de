"""Where the cloud ends: packets that leave it, ranges that outside may have a route to, addresses that are taken
only perhaps. Here an answer may hang on something that no API object says: then the verdict is «cannot say».
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from netloom.explain.answer import fixes
from netloom.explain.answer.asked import Asked
from netloom.explain.answer.resolve import Spot, may_take, network_of, subnet_around
from netloom.explain.cause import Cause, Reason, capital
from netloom.explain.cloud import Cloud
from netloom.explain.walk.frames import TCP, UDP
from netloom.explain.walk.hosts import Beyond, Endpoint, World
from netloom.explain.walk.walk import Arrival, Outside, Walk, vlan_text
from netloom.model.hoststate import Device
from netloom.model.names import METADATA_ADDRESS, OWNER_DHCP
from netloom.model.networking import Gateway, Network, Port, Router, Subnet
from netloom.model.origin import NOTHING, Origin
from netloom.plan.index import ROUTER_OWNERS
from netloom.plan.ovs.pipeline import Stage
from netloom.plan.ovs.rule_services import WITH_PORTS
from netloom.plan.sets import names_inside


def ranges(cloud: Cloud) -> tuple[Beyond, ...]:
    """What machines outside may have a route to: the subnets of routers that translate nothing."""
    return tuple(_ranges(cloud))


def _untranslated(cloud: Cloud) -> Iterator[tuple[str, Gateway]]:
    """Routers that lead outside without SNAT, by id."""
    for ident, router in sorted(cloud.routers.items()):
        gateway = router.external_gateway_info
        if gateway is not None and not gateway.enable_snat:
            yield ident, gateway


def _ranges(cloud: Cloud) -> Iterator[Beyond]:
    for ident, gateway in _untranslated(cloud):
        network = cloud.networks.get(gateway.network_id)
        via = next((fixed.ip_address for fixed in gateway.external_fixed_ips), None)
        if network is None or not network.physical_network or via is None:
            continue
        for subnet in interfaces(cloud, ident):
            yield Beyond(network.physical_network, vlan_of(network), subnet.cidr, via, ident)


def interfaces(cloud: Cloud, router: str) -> list[Subnet]:
    """The subnets that a router has interfaces in."""
    found = {fixed.subnet_id for port in cloud.interfaces(router) for fixed in port.fixed_ips}
    return [cloud.subnets[ident] for ident in sorted(found) if ident in cloud.subnets]


def vlan_of(network: Network) -> int:
    """The tag of a network's frames on its physical network; 0 is untagged."""
    return (network.segmentation_id or 0) if network.network_type == "vlan" else 0


def astray(cloud: Cloud, walk: Walk, start: Spot, target: Spot) -> Reason | None:
    """The packet, or its answer, arrived, but not where it should have; None where all is well."""
    at = walk.there.at
    if isinstance(at, Outside):
        return _left(cloud, walk.there, at, target)
    if isinstance(at, Endpoint) and target.port is not None and at.port_id != target.port.id:
        return _same_address(cloud, at.port_id, target)
    if target.port is not None and not isinstance(at, Endpoint) and at is not None:
        owner = target.port
        if owner.device_owner not in ROUTER_OWNERS and at.name not in names_inside(owner):
            return _same_address(cloud, _first_port(at.origin), target)
    if walk.back is None or not walk.back.delivered:
        return None
    return _answer(cloud, walk.back, start, target)


def dropped_elsewhere(cloud: Cloud, arrival: Arrival, target: Spot) -> Reason | None:
    """A packet that the rules of another port refused, which has the address of the one that was meant."""
    step = arrival.steps[-1] if arrival.steps else None
    if step is None or target.port is None or step.stage is not Stage.INGRESS_RULES:
        return None
    got = _first_port(step.origin)
    return (
        _same_address(cloud, got, target) if got in cloud.ports and got != target.port.id else None
    )


def _first_port(origins: tuple[Origin, ...]) -> str:
    return next((o.id for o in origins if o.kind == Port.KIND), "")


def _same_address(cloud: Cloud, got: str, target: Spot) -> Reason:
    wrong, meant = cloud.ports[got], target.port
    there = cloud.name(Origin(Network.KIND, wrong.network_id))
    elsewhere = cloud.name(Origin(Network.KIND, meant.network_id)) if meant else ""
    return Reason(
        f"The packet goes to {cloud.name(Origin(Port.KIND, got))} on {there}, which has the same address "
        f"{target.address} as {target.word} on {elsewhere}.",
        Origin(Port.KIND, got),
        "openstack port show " + got,
        cause=Cause.SAME_ADDRESS,
    )


def _left(cloud: Cloud, arrival: Arrival, at: Outside, target: Spot) -> Reason | None:
    """A packet that left the cloud: well where its end is outside, else hardly ever."""
    network = network_of(cloud, target)
    where = f"physical network {at.physical_network}{vlan_text(at.vlan)}"
    if network is None:
        subnet = subnet_around(cloud, target.address)
        if subnet is None or target.word != target.address:
            return None
        return Reason(
            f"the packet leaves the cloud by {where}: {target.address} lies in the range of "
            f"{cloud.name(Origin.of(subnet))} but no port has it, and who has it outside is not known here.",
            Origin.of(subnet),
            fixes.who_is_there(Origin(Network.KIND, subnet.network_id)),
            sure=False,
            cause=Cause.NOBODY,
        )
    first = _first_port(arrival.steps[0].origin)
    if network.physical_network or entered(cloud, network):
        return Reason(
            f"the packet leaves the cloud by {where}, and whether a machine there brings it to "
            f"{target.address} is not known here.",
            Origin(Port.KIND, first) if first else Origin.of(network),
            f"netloom explain outside {target.word}",
            sure=False,
            cause=Cause.LEAVES,
        )
    subnet = _subnet_of(cloud, target)
    name = f"{cloud.name(Origin.of(subnet))} ({subnet.cidr})" if subnet else target.address
    router = _last_router(cloud, arrival)
    if router is None:
        return Reason(
            f"The packet leaves the cloud by {where}, and nothing outside leads into {name}, which is private.",
            Origin.of(target.port) if target.port else Origin.of(network),
            fixes.floating_ip(cloud, target.port, target.address)[1] if target.port else "",
            cause=Cause.LEAVES,
        )
    return Reason(
        f"{capital(cloud.name(Origin.of(router)))} has no interface in {name} and no route to it: "
        f"it sends the packet out of the cloud by {where}, where private addresses lead nowhere.",
        Origin.of(router),
        fixes.add_interface(cloud, subnet, router.id) if subnet else "",
        cause=Cause.NO_INTERFACE,
    )


def entered(cloud: Cloud, network: Network) -> bool:
    """Whether some router lets in from outside, untranslated, what is for a network."""
    return any(
        subnet.network_id == network.id
        for ident, _ in _untranslated(cloud)
        for subnet in interfaces(cloud, ident)
    )


def _subnet_of(cloud: Cloud, spot: Spot) -> Subnet | None:
    for subnet in cloud.subnets.values():
        if spot.port is None or subnet.network_id != spot.port.network_id or subnet.ip_version != 4:
            continue
        if ipaddress.IPv4Address(spot.address) in ipaddress.IPv4Network(subnet.cidr):
            return subnet
    return None


def _last_router(cloud: Cloud, arrival: Arrival) -> Router | None:
    """The router that decided last where a packet goes."""
    for step in reversed(arrival.steps):
        for origin in step.origin:
            if origin.kind == Router.KIND:
                return cloud.routers.get(origin.id)
    return None


def _answer(cloud: Cloud, back: Arrival, start: Spot, target: Spot) -> Reason | None:
    """An answer must come home, and from the address that was asked."""
    at, port = back.at, start.port
    home = (isinstance(at, Endpoint) and at.port_id == port.id) if port else isinstance(at, Outside)
    source, wanted = back.frame.ip_src or "", target.address
    router = _last_router(cloud, back)
    decider = Origin.of(router) if router else Origin.of(target.port) if target.port else NOTHING
    if not home and isinstance(at, Outside) and port is not None:
        where = f"physical network {at.physical_network}{vlan_text(at.vlan)}"
        subnet = _subnet_of(cloud, start)
        name = f"{cloud.name(Origin.of(subnet))} ({subnet.cidr})" if subnet else start.address
        named = capital(cloud.name(decider)) if router else "It"
        return Reason(
            f"The answer does not come back: {named[0].lower()}{named[1:]} has no route to {name} and sends it "
            f"out of the cloud by {where}.",
            decider,
            fixes.add_route(router.id, subnet.cidr, "ADDRESS") if router and subnet else "",
            cause=Cause.NO_ROUTE,
            of_answer=True,
        )
    if not home or source != wanted:
        named = cloud.name(decider) if decider else "the way back"
        return Reason(
            f"The answer does not come back: it returns by {named} and arrives from {source}, "
            f"not from {wanted}, which was asked.",
            decider,
            f"openstack router show {router.id}" if router else "",
            cause=Cause.ANSWER_ASTRAY,
            of_answer=True,
        )
    return None


def refused(cloud: Cloud, walk: Walk, asked: Asked) -> Reason | None:
    """The packet arrives at a router or at DHCP, where no program waits for it: the connection is refused."""
    at = walk.there.at
    if not isinstance(at, Device) or asked.number not in WITH_PORTS:
        return None
    dhcp = next((p for p in _ports(cloud, at.origin) if p.device_owner == OWNER_DHCP), None)
    metadata = walk.there.frame.ip_dst == METADATA_ADDRESS
    if dhcp is not None and (asked.number, asked.port, metadata) in (
        (UDP, 67, False),
        (TCP, 80, True),
    ):
        return None
    origin = at.origin[0] if at.origin else NOTHING
    return Reason(
        f"{asked.target.address} refuses {asked.service}: the packet arrives at {cloud.name(origin)}, where no "
        "program listens on that port.",
        origin,
        "ask for the address of an instance",
        cause=Cause.REFUSED,
    )


def _ports(cloud: Cloud, origins: tuple[Origin, ...]) -> Iterator[Port]:
    for origin in origins:
        if origin.kind == Port.KIND and origin.id in cloud.ports:
            yield cloud.ports[origin.id]


def assumed(cloud: Cloud, world: World, walk: Walk, start: Spot, target: Spot) -> Reason | None:
    """It would arrive, if something is so that the cloud does not know."""
    for spot in (start, target):
        if spot.pair and spot.port is not None:
            port = Origin.of(spot.port)
            how = (
                "which is only one of the port's allowed address pairs"
                if may_take(spot.port, spot.inside)
                else "which nobody checks there (port security is off)"
            )
            return Reason(
                f"it arrives if the instance of {cloud.name(port)} has taken {spot.inside}, {how}.",
                port,
                f"openstack port show {spot.port.id}",
                sure=False,
                cause=Cause.PAIR,
            )
    for step in (*walk.there.steps, *(walk.back.steps if walk.back else ())):
        if step.cause is Cause.FORWARDING:
            return Reason(
                f"it arrives if the instance of {cloud.name(step.origin[0])} forwards what is not for itself.",
                step.origin[0],
                "in the instance: sysctl net.ipv4.ip_forward=1",
                sure=False,
                cause=Cause.FORWARDING,
            )
    at, known = walk.there.at, None
    if start.outside and target.floatingip is None:
        known = behind_router(world.beyond, target.address)
    elif isinstance(at, Outside):
        known = world.beyond_at(at.physical_network, at.vlan, walk.there.frame.ip_src or "")
    if known is None:
        return None
    # Who asks from inside lacks translation; who asks from outside for a private address lacks a route.
    router = cloud.routers[known.router_id]
    route = f"on the gateway outside: ip route add {known.cidr} via {known.via}"
    return Reason(
        f"it arrives if the machines outside know that {known.cidr} is behind {known.via}: "
        f"{cloud.name(Origin(Router.KIND, known.router_id))} translates no addresses (SNAT is off).",
        Origin(Router.KIND, known.router_id),
        route if start.outside else fixes.enable_snat(router),
        sure=False,
        cause=Cause.ROUTE_OUTSIDE,
    )


def behind_router(known: tuple[Beyond, ...], address: str) -> Beyond | None:
    """The range that machines outside send an address to, where they may know its router."""
    target = ipaddress.IPv4Address(address)
    return next((b for b in known if target in ipaddress.IPv4Network(b.cidr)), None)


def taken(world: World, spot: Spot) -> World:
    """The same world in which the instance of a port has the address that it may take."""
    if not spot.pair or spot.port is None or spot.port.id not in world.endpoints:
        return world
    endpoint, address = world.endpoints[spot.port.id], spot.inside
    cidr = next(
        (
            cidr
            for _, cidr in endpoint.networks
            if ipaddress.IPv4Address(address) in ipaddress.IPv4Network(cidr)
        ),
        f"{address}/32",
    )
    changed = replace(endpoint, networks=(*endpoint.networks, (address, cidr)))
    return world.with_endpoints({**world.endpoints, spot.port.id: changed})
