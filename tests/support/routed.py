"""Small clouds on one host `a`, with routers between their networks and an outside at 198.51.100.1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from netloom.model import Port, Route
from tests.support.host import Host
from tests.support.worlds import World, open_group


@contextmanager
def routed_host() -> Iterator[Host]:
    """A host `a` whose eth1 leads to a namespace that plays the outside."""
    made = Host("a")
    try:
        outside(made)
        yield made
    finally:
        made.close()


def outside(host: Host) -> None:
    """Lead the host's eth1 to a namespace that plays the outside."""
    host.sh(
        "ip netns add outside; ip link add eth1 type veth peer name eth0 netns outside\n"
        "ethtool -K eth1 tx off >/dev/null; ip netns exec outside ethtool -K eth0 tx off >/dev/null\n"
        "ip -n outside addr add 198.51.100.1/24 dev eth0; ip -n outside link set eth0 up\n"
        "ip -n outside link set lo up"
    )


def _cloud() -> World:
    cloud = World()
    cloud.host("a", mappings={"public": "br-public"}, network=True)
    cloud.network("public", "flat", physical_network="public", mtu=1500, external=True)
    cloud.subnet("pub-sub", "public", "198.51.100.0/24", enable_dhcp=False)
    return cloud


def _open_cloud() -> World:
    """With a group that lets everything through."""
    cloud = _cloud()
    cloud.group("open")
    for direction in ("egress", "ingress"):
        cloud.rule(direction, "open", direction, ethertype="IPv4")
    return cloud


def behind_a_router(**addresses: str) -> World:
    """Ports by name, with an address in 10.0.0.0/24 each, behind router `router1`; `sg-all` is the walkthrough's group."""
    cloud = _cloud()
    open_group(cloud)
    cloud.network("private")
    cloud.subnet("priv-sub", "private", "10.0.0.0/24")
    cloud.router("router1", "a")
    cloud.interface("router1", "private", "priv-sub", "10.0.0.1")
    cloud.gateway("router1", "public", "pub-sub", "198.51.100.10")
    for name, address in addresses.items():
        cloud.port(name, "private", [("priv-sub", address)], "a", security_groups=("sg-all",))
    return cloud


def attacked() -> tuple[World, Port, Port]:
    """An attacker without port security, and a victim with a floating IP on a shared network; both networks, a third
    one and the outside are joined by the attacker's router, which has a route to a network behind the attacker. The
    shared network has a second subnet, 10.4.0.0/24, in which the router has no address.
    """
    cloud = _open_cloud()
    cloud.router("router1", "a", routes=(Route("192.0.2.0/24", "10.0.0.11"),))
    for number, (name, address) in enumerate((("own", 1), ("shared", 77), ("third", 1))):
        cloud.network(name)
        cloud.subnet(f"{name}-sub", name, f"10.{number}.0.0/24")
        cloud.interface("router1", name, f"{name}-sub", f"10.{number}.0.{address}")
    cloud.subnet("shared-more", "shared", "10.4.0.0/24")
    cloud.gateway("router1", "public", "pub-sub", "198.51.100.10")
    attacker = cloud.port(
        "attacker", "own", [("own-sub", "10.0.0.11")], "a", port_security_enabled=False
    )
    victim = cloud.port(
        "victim", "shared", [("shared-sub", "10.1.0.12")], "a", security_groups=("open",)
    )
    more = {"port_id": victim.id, "fixed_ip_address": "10.1.0.12", "router_id": "router1"}
    cloud.floating("fip", "public", "pub-sub", "198.51.100.20", **more)
    return cloud, attacker, victim


def two_routers() -> World:
    """Router `ra` with SNAT and `rb` without, joined by a transit network; `r1` behind ra has a floating IP.

    `g1` behind rb reaches that floating IP by the outside, and its answers come back by the transit network. So does
    `t1`, which is on the transit network itself: its packets come to ra from outside, from an address that ra knows
    to be inside.
    """
    cloud = _open_cloud()
    routes = {"ra": Route("10.63.0.0/24", "10.60.0.9"), "rb": Route("10.61.0.0/24", "10.60.0.1")}
    host_route = Route("198.51.100.0/24", "10.60.0.9")
    for name, number, more in (
        ("transit", 60, {"host_routes": (host_route,)}),
        ("red", 61, {}),
        ("green", 63, {}),
    ):
        cloud.network(name)
        cloud.subnet(f"{name}-sub", name, f"10.{number}.0.0/24", **more)
    for number, (name, network) in enumerate((("ra", "red"), ("rb", "green"))):
        cloud.router(name, "a", routes=(routes[name],))
        cloud.interface(name, network, f"{network}-sub", f"10.{61 + 2 * number}.0.1")
        cloud.interface(name, "transit", "transit-sub", f"10.60.0.{1 + 8 * number}")
        cloud.gateway(name, "public", "pub-sub", f"198.51.100.{10 + number}", not number)
    for name, network, address in (
        ("r1", "red", "10.61.0.11"),
        ("g1", "green", "10.63.0.11"),
        ("t1", "transit", "10.60.0.20"),
    ):
        cloud.port(name, network, [(f"{network}-sub", address)], "a", security_groups=("open",))
    more = {"port_id": "r1", "fixed_ip_address": "10.61.0.11", "router_id": "ra"}
    cloud.floating("fip", "public", "pub-sub", "198.51.100.77", **more)
    return cloud
