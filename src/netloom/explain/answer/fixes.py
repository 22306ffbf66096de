"""What to do about it: commands of the `openstack` client (or a few words) for each reason, with ids, ready to be typed.

Several commands are joined by ` && `. A command opens no more than was asked, takes no floating IP that is in use, and
names objects that are there: a placeholder stands only where nothing in the cloud says which one is meant.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from netloom.explain.cloud import Cloud
from netloom.model.cloud import Flavor, Image
from netloom.model.names import SERVICE_OWNERS
from netloom.model.networking import FloatingIP, Network, Port, Route, Router, Subnet
from netloom.model.origin import NOTHING, Origin

ANYWHERE = "0.0.0.0/0"


def _then(*commands: str) -> str:
    return " && ".join(command for command in commands if command)


def enable(origin: Origin) -> str:
    """Switch a port, a network or a router on again."""
    return f"openstack {origin.kind} set --enable {origin.id}"


def start(server: str) -> str:
    """Start an instance."""
    return f"openstack server start {server}"


def restart(server: str) -> str:
    """Let the host try once more to run an instance."""
    return _then(f"openstack server stop {server}", start(server))


# -- security groups


class Opening(NamedTuple):
    """What a rule must let through, and no more. `peer`: an address, or 0.0.0.0/0 where any was asked about.

    `echo`: the ICMP type, where the packet is a ping or its answer.
    """

    protocol: str
    port: int | None
    peer: str
    inward: bool
    echo: int | None = None


def allow(group: str, opening: Opening) -> str:
    """Add the rule that is missing to a group (id or name)."""
    direction = "--ingress" if opening.inward else "--egress"
    service = f" --dst-port {opening.port}" if opening.port else ""
    service += f" --icmp-type {opening.echo}" if opening.echo is not None else ""
    remote = opening.peer if "/" in opening.peer else f"{opening.peer}/32"
    return (
        f"openstack security group rule create {direction} --ethertype IPv4 --protocol {opening.protocol}"
        f"{service} --remote-ip {remote} {group}"
    )


def join_group(cloud: Cloud, port: Port, opening: Opening) -> str:
    """Put a port that has no group into its project's default group, with the rule that is missing there."""
    groups = [g for _, g in sorted(cloud.groups.items()) if g.project_id == port.project_id]
    default = next((group for group in groups if group.is_default), None)
    name, made = (
        (default.id, "") if default else (f"for-{port.id}", "openstack security group create ")
    )
    return _then(
        f"{made}{name}" if made else "",
        allow(name, opening),
        f"openstack port set --security-group {name} {port.id}",
    )


def allow_address(port: Origin, address: str, mac: str) -> str:
    """Let a port use an address that is not its own."""
    return f"openstack port set --allowed-address ip-address={address},mac-address={mac} {port.id}"


def let_forward(entry: Port, leaving: Origin, mac: str, source: str, destination: str) -> str:
    """Let an instance forward one packet and its answer: the answer leaves by the card that the packet came in by."""
    return _then(
        allow_address(leaving, source, mac),
        allow_address(Origin.of(entry), destination, entry.mac_address),
    )


# -- routers, subnets, routes


def router_for(cloud: Cloud, subnet: Subnet) -> Router | None:
    """The router of a subnet's project that a subnet would be given to: one with a way out before others."""
    mine = [r for _, r in sorted(cloud.routers.items()) if r.project_id == subnet.project_id]
    return next((r for r in mine if r.external_gateway_info), mine[0] if mine else None)


def add_interface(cloud: Cloud, subnet: Subnet, router: str = "") -> str:
    """Give a router an interface in a subnet: this router, one of the subnet's project, or a new one."""
    found = router_for(cloud, subnet) if not router else None
    first = ""
    if not router and found is None:
        router = f"router-of-{subnet.name or subnet.id}"
        first = f"openstack router create {router}"
    gateway = "" if subnet.gateway_ip else set_gateway(subnet, _first_free(cloud, subnet))
    chosen = router or (found.id if found else "")
    return _then(first, gateway, f"openstack router add subnet {chosen} {subnet.id}")


def set_gateway(subnet: Subnet, address: str) -> str:
    """Give a subnet the gateway address that is the right one; no allocation pool may have it."""
    number = int(ipaddress.IPv4Address(address))
    pools: list[tuple[int, int]] = []
    for pool in subnet.allocation_pools:
        low, high = (int(ipaddress.IPv4Address(end)) for end in (pool.start, pool.end))
        pools += (
            [(low, high)] if not low <= number <= high else [(low, number - 1), (number + 1, high)]
        )
    kept = [(low, high) for low, high in pools if low <= high]
    command = f"openstack subnet set --gateway {address}"
    if len(kept) != len(subnet.allocation_pools) or any(
        str(ipaddress.IPv4Address(low)) != pool.start
        or str(ipaddress.IPv4Address(high)) != pool.end
        for (low, high), pool in zip(kept, subnet.allocation_pools, strict=True)
    ):
        command += " --no-allocation-pool" + "".join(
            f" --allocation-pool start={ipaddress.IPv4Address(low)},end={ipaddress.IPv4Address(high)}"
            for low, high in kept
        )
    return f"{command} {subnet.id}"


def _first_free(cloud: Cloud, subnet: Subnet) -> str:
    """The lowest address of a subnet that no port has."""
    taken = {fixed.ip_address for port in cloud.ports.values() for fixed in port.fixed_ips}
    hosts = ipaddress.IPv4Network(subnet.cidr).hosts()
    return next(str(address) for address in hosts if str(address) not in taken)


def add_gateway(cloud: Cloud, router: str) -> str:
    """Give a router a way out."""
    return f"openstack router set --external-gateway {external(cloud)} {router}"


def enable_snat(router: Router) -> str:
    """Let a router translate what it sends outside."""
    info = router.external_gateway_info
    network = info.network_id if info else ""
    return f"openstack router set --external-gateway {network} --enable-snat {router.id}"


def add_route(router: str, cidr: str, via: str) -> str:
    """Tell a router the way."""
    return f"openstack router set --route destination={cidr},gateway={via} {router}"


def drop_route(owner: Origin, route: Route, better: str = "") -> str:
    """Take a route away from its router or subnet; lead it by another address where one is `better`."""
    kind, ident = owner.kind, owner.id
    option = "--route" if kind == Router.KIND else "--host-route"
    gone = f"openstack {kind} unset {option} destination={route.destination},gateway={route.nexthop} {ident}"
    if not better:
        return gone
    return _then(
        gone,
        f"openstack {kind} set {option} destination={route.destination},gateway={better} {ident}",
    )


# -- floating IPs


def floating_ip(cloud: Cloud, port: Port, address: str) -> tuple[Origin, str]:
    """Lead a floating IP to a port's address: the object that is in the way (or NOTHING), and what to do.

    A free one of the port's project on the network that its router leads to, else a new one. Where no router leads from
    the subnet outside, the API would refuse it: that comes first.
    """
    fixed = next((f for f in port.fixed_ips if f.ip_address == address), port.fixed_ips[0])
    subnet = cloud.subnets[fixed.subnet_id]
    several = len([f for f in port.fixed_ips if ":" not in f.ip_address]) > 1
    option = f" --fixed-ip-address {address}" if several else ""
    routers = [
        cloud.routers[p.device_id]
        for p in cloud.routed.get(subnet.id, [])
        if p.device_id in cloud.routers
    ]
    leading = next((r for r in routers if r.external_gateway_info), None)
    if leading is None:
        router = routers[0] if routers else router_for(cloud, subnet)
        info = router.external_gateway_info if router else None
        name = router.id if router else f"router-of-{subnet.name or subnet.id}"
        outside = info.network_id if info else external(cloud)
        first = [] if routers else [add_interface(cloud, subnet, router.id if router else "")]
        if info is None:
            first.append(f"openstack router set --external-gateway {outside} {name}")
        decider = Origin(Router.KIND, routers[0].id) if routers else Origin.of(subnet)
        return decider, _then(*first, _lead(cloud, port, outside, option))
    assert leading.external_gateway_info is not None
    return NOTHING, _lead(cloud, port, leading.external_gateway_info.network_id, option)


def free_floating_ip(cloud: Cloud, port: Port, network: str) -> FloatingIP | None:
    """A floating IP of the port's project on an external network that leads to no port."""
    for _, fip in sorted(cloud.floatingips.items()):
        mine = fip.project_id == port.project_id and fip.floating_network_id == network
        if mine and fip.port_id is None:
            return fip
    return None


def _lead(cloud: Cloud, port: Port, network: str, option: str) -> str:
    free = free_floating_ip(cloud, port, network)
    if free is not None:
        return f"openstack floating ip set --port {port.id}{option} {free.id}"
    return f"openstack floating ip create --port {port.id}{option} {network}"


def associate(cloud: Cloud, fip: FloatingIP) -> str:
    """Lead a floating IP that is free to the one port that it can be for, where there is one only."""
    fit = list(_ports_for(cloud, fip))
    if len(fit) == 1:
        return f"openstack floating ip set --port {fit[0].id} {fip.id}"
    return f"openstack floating ip set --port PORT {fip.id}"


def _ports_for(cloud: Cloud, fip: FloatingIP) -> Iterator[Port]:
    """Ports of instances that a router joins to the floating IP's network, and that have none yet."""
    led = {other.port_id for other in cloud.floatingips.values() if other.port_id}
    for port in cloud.ports_where(lambda port: port.project_id == fip.project_id):
        owned = port.device_owner in SERVICE_OWNERS
        if owned or not port.host or port.id in led:
            continue
        routers = [
            cloud.routers.get(p.device_id)
            for f in port.fixed_ips
            for p in cloud.routed.get(f.subnet_id, [])
        ]
        infos = [r.external_gateway_info for r in routers if r]
        if any(info and info.network_id == fip.floating_network_id for info in infos):
            yield port


def fixed_address(port: Port, address: str, fip: FloatingIP) -> str:
    """Lead a floating IP to another address of its port: the client sends only what differs, the API wants both."""
    return _then(
        f"openstack floating ip unset --port {fip.id}",
        f"openstack floating ip set --port {port.id} --fixed-ip-address {address} {fip.id}",
    )


def external(cloud: Cloud) -> str:
    """The external network that a router would get: the default one, the one that most routers have, or the first."""
    used = [
        r.external_gateway_info.network_id
        for r in cloud.routers.values()
        if r.external_gateway_info
    ]
    fit = {s.network_id for s in cloud.subnets.values() if s.ip_version == 4}
    ranked = sorted(
        (not network.is_default, -used.count(ident), ident)
        for ident, network in cloud.networks.items()
        if network.external and ident in fit
    )
    return ranked[0][2] if ranked else "NETWORK"


# -- the rest


def boot(cloud: Cloud, port: Port) -> str:
    """Give a port that nobody has to a new instance, as small as can be."""
    flavors: list[Flavor] = sorted(
        cloud.objects.get(Flavor.KIND, {}).values(), key=lambda f: (f.ram, f.disk, f.id)
    )
    images: list[Image] = sorted(
        (i for i in cloud.objects.get(Image.KIND, {}).values() if i.status == "active"),
        key=lambda i: (i.size or 0, i.id),
    )
    flavor = flavors[0].id if flavors else "FLAVOR"
    image = images[0].id if images else "IMAGE"
    name = port.name or f"instance-{port.id}"
    return f"openstack server create --flavor {flavor} --image {image} --port {port.id} {name}"


def give_dhcp(subnet: str) -> str:
    """Let DHCP serve a subnet."""
    return f"openstack subnet set --dhcp {subnet}"


def set_mtu(cloud: Cloud, network: Network, size: int, path: int) -> str:
    """Let larger packets pass where the network can carry them, else say which do."""
    if size <= cloud.largest_mtu.get(network.network_type, 0):
        return f"openstack network set --mtu {size} {network.id}"
    return f"send packets of at most {path} bytes"


def enable_host(agent: str) -> str:
    """Let a host take new routers again."""
    return f"openstack network agent set --enable {agent}"


def who_is_there(network: Origin) -> str:
    """See which addresses a network has."""
    return f"openstack port list --network {network.id}"


def look_at_host(host: str) -> str:
    """See how a host's agent is doing."""
    return f"openstack network agent list --host {host}"
