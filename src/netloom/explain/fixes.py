"""What to do about it: one command (or a few words) for each reason, with ids, ready to be typed."""

from __future__ import annotations

from netloom.explain.cloud import Cloud
from netloom.model.networking import Port, Subnet


def enable(origin: str) -> str:
    """Switch a port, a network or a router on again."""
    kind, _, ident = origin.partition("/")
    return f"openstack {kind} set --enable {ident}"


def allow(group: str, protocol: str, port: int | None, peer: str, *, inward: bool) -> str:
    """Add the rule that is missing."""
    direction = "--ingress" if inward else "--egress"
    ports = f" --dst-port {port}" if port else ""
    ident = group.partition("/")[2]
    return (
        f"openstack security group rule create {direction} --protocol {protocol}{ports} "
        f"--remote-ip {peer}/32 {ident}"
    )


def join_group(port: str) -> str:
    """Put a port into a security group."""
    return f"openstack port set --security-group GROUP {port.partition('/')[2]}"


def allow_address(port: str, address: str, mac: str) -> str:
    """Let a port use an address that is not its own."""
    ident = port.partition("/")[2]
    return f"openstack port set --allowed-address ip-address={address},mac-address={mac} {ident}"


def add_interface(cloud: Cloud, subnet: Subnet, router: str = "") -> str:
    """Give a router an interface in a subnet: this router, or one of the subnet's project."""
    if not router:
        known = sorted(i for i, r in cloud.routers.items() if r.project_id == subnet.project_id)
        router = known[0] if known else "ROUTER"
    return f"openstack router add subnet {router} {subnet.id}"


def add_gateway(cloud: Cloud, router: str) -> str:
    """Give a router a way out."""
    return f"openstack router set --external-gateway {_external(cloud)} {router}"


def add_route(router: str, cidr: str) -> str:
    """Tell a router the way."""
    return f"openstack router set --route destination={cidr},gateway=ADDRESS {router}"


def floating_ip(cloud: Cloud, port: Port, known: str = "") -> str:
    """Lead a floating IP to a port: one that is there, or a new one."""
    if known:
        return f"openstack floating ip set --port {port.id} {known}"
    return f"openstack floating ip create --port {port.id} {_external(cloud)}"


def _external(cloud: Cloud) -> str:
    """An external network, or the word that stands for one."""
    return min((i for i, network in cloud.networks.items() if network.external), default="NETWORK")


def who_is_there(network: str) -> str:
    """See which addresses a network has."""
    return f"openstack port list --network {network.partition('/')[2]}"


def look_at_host(host: str) -> str:
    """See how a host's agent is doing."""
    return f"openstack network agent list --host {host}"
