"""A rule that names a remote group lets in its members, whatever address pairs somebody has."""

from __future__ import annotations

from pathlib import Path

import pytest

from netloom.explain.walk.frames import Frame
from netloom.explain.walk.hosts import World as Planned
from netloom.explain.walk.ovs import Switches
from tests.support import worlds
from tests.support.agents import apply_view, plug, settings
from tests.support.host import Host
from tests.support.worlds import World, pair

PORTS = ("server", "member", "second", "stranger", "spoofer")


def cloud() -> World:
    """`server` lets in the group of `member` and `second`; `stranger` and `spoofer` are in another one."""
    world = World()
    world.host("a")
    world.network("net")
    world.subnet("sub", "net", "10.0.0.0/24")
    for group in ("members", "server", "others"):
        world.group(group)
        world.rule(f"{group}-out", group, "egress")
    world.rule("in", "server", "ingress", remote_group_id="members")
    for number, name in enumerate(PORTS, 11):
        group = {"server": "server", "member": "members", "second": "members"}.get(name, "others")
        world.port(name, "net", [("sub", f"10.0.0.{number}")], "a", security_groups=(group,))
    return world


def address(name: str) -> str:
    return f"10.0.0.{11 + PORTS.index(name)}"


def arrives(world: World, source: str, ip: str = "", mac: str = "", to: str = "server") -> bool:
    """Whether the walker takes a ping of a port to another one."""
    ports = world.tables["ports"]
    planned = Planned.of(world.views())
    frame = Frame(
        eth_src=mac or ports[source].mac_address,
        eth_dst=ports[to].mac_address,
        ip_src=ip or address(source),
        ip_dst=address(to),
        ip_proto=1,
        icmp_type=8,
        icmp_code=0,
    )
    outcomes = Switches(planned).enter(planned.hosts["a"], f"tap{source}", frame)
    return any(outcome.end == "device" and outcome.place == f"tap{to}" for outcome in outcomes)


@pytest.mark.parametrize("range_", ["0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/8", "10.0.0.0/24"])
def test_a_members_wide_pair_names_nobody_else(range_: str) -> None:
    world = cloud()
    world.change("ports", "member", allowed_address_pairs=(pair(range_, ""),))
    assert arrives(world, "member")
    assert arrives(world, "second")
    assert arrives(world, "member", ip="10.0.0.200")
    assert not arrives(world, "stranger")


def test_a_pair_that_is_a_strangers_address_does_not_let_the_stranger_in() -> None:
    world = cloud()
    world.change("ports", "member", allowed_address_pairs=(pair(f"{address('stranger')}/32", ""),))
    assert arrives(world, "member", ip=address("stranger"))
    assert not arrives(world, "stranger")


def test_a_stranger_with_a_pair_that_is_a_members_address_is_no_member() -> None:
    world = cloud()
    world.change("ports", "spoofer", allowed_address_pairs=(pair("10.0.0.0/24", ""),))
    assert not arrives(world, "spoofer", ip=address("member"))
    mac = world.tables["ports"]["member"].mac_address
    assert not arrives(world, "spoofer", ip=address("member"), mac=mac)  # not its own MAC


def test_going_out_to_a_group_is_to_its_members_only() -> None:
    world = cloud()
    world.change("ports", "member", allowed_address_pairs=(pair("0.0.0.0/0", ""),))
    del world.tables["security_group_rules"]["others-out"]
    world.rule("others-to", "others", "egress", remote_group_id="members")
    for name in ("member", "server"):
        world.rule(f"open-{name}", "members" if name == "member" else "server", "ingress")
    assert arrives(world, "stranger", to="member")
    assert not arrives(world, "stranger", to="server")


def routed(*pairs: str) -> World:
    """Two networks and a router; the member is beyond it. A stranger is on each side."""
    world = worlds.World()
    world.host("a", network=True)
    for number, name in enumerate(("near", "far")):
        world.network(name)
        world.subnet(f"sub-{name}", name, f"10.{number}.0.0/24")
    world.router("router", "a")
    for number, name in enumerate(("near", "far")):
        world.interface("router", name, f"sub-{name}", f"10.{number}.0.1")
    for group in ("members", "server", "others"):
        world.group(group)
        world.rule(f"{group}-out", group, "egress")
    world.rule("in", "server", "ingress", remote_group_id="members")
    given = tuple(pair(each, "") for each in pairs)
    world.port("server", "near", [("sub-near", "10.0.0.11")], "a", security_groups=("server",))
    world.port("close", "near", [("sub-near", "10.0.0.12")], "a", security_groups=("others",),
               allowed_address_pairs=(pair("10.1.0.0/24", ""),))  # fmt: skip
    world.port("member", "far", [("sub-far", "10.1.0.11")], "a", security_groups=("members",),
               allowed_address_pairs=given)  # fmt: skip
    world.port("distant", "far", [("sub-far", "10.1.0.12")], "a", security_groups=("others",))
    return world


def through_router(world: World, ip: str) -> bool:
    """Whether a packet of an address comes to the server by the router's device."""
    planned = Planned.of(world.views())
    ports = world.tables["ports"]
    router = next(p for p in ports.values() if p.device_id == "router" and p.network_id == "near")
    frame = Frame(
        eth_src=router.mac_address,
        eth_dst=ports["server"].mac_address,
        ip_src=ip,
        ip_dst="10.0.0.11",
        ip_proto=1,
        icmp_type=8,
        icmp_code=0,
    )
    device = next(name for name in planned.hosts["a"].devices if name == f"qr-{router.id}"[:14])
    outcomes = Switches(planned).enter(planned.hosts["a"], device, frame)
    return any(outcome.place == "tapserver" for outcome in outcomes if outcome.end == "device")


def test_through_a_router_members_are_known_by_their_addresses() -> None:
    world = routed("10.244.0.0/16")
    assert through_router(world, "10.1.0.11")
    assert through_router(world, "10.244.3.4")  # a range of the member's own, as of pods
    assert not through_router(world, "10.1.0.12")


@pytest.mark.parametrize("range_", ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/24"])
def test_through_a_router_a_wide_pair_names_nobody_else(range_: str) -> None:
    world = routed(range_)
    assert through_router(world, "10.1.0.11")
    assert not through_router(world, "10.1.0.12")


def test_near_the_server_nobody_speaks_for_a_member_beyond_the_router() -> None:
    world = routed()
    planned = Planned.of(world.views())
    ports = world.tables["ports"]
    frame = Frame(
        eth_src=ports["close"].mac_address,
        eth_dst=ports["server"].mac_address,
        ip_src="10.1.0.11",
        ip_dst="10.0.0.11",
        ip_proto=1,
        icmp_type=8,
        icmp_code=0,
    )
    outcomes = Switches(planned).enter(planned.hosts["a"], "tapclose", frame)
    assert not [outcome for outcome in outcomes if outcome.place == "tapserver"]


@pytest.mark.parametrize(
    "owner",
    ["network:router_interface", "network:router_gateway", "network:floatingip", "network:x"],
)
def test_an_owner_that_sounds_like_the_network_is_not_trusted(owner: str) -> None:
    """CVE-2015-5240: whoever may name a port's owner is not let past the checks for it."""
    world = cloud()
    assert arrives(world, "stranger", to="member") is False
    world.change("ports", "stranger", device_owner=owner, device_id="no-router")
    assert not arrives(world, "stranger", ip=address("member"))
    assert not arrives(world, "stranger", ip="10.0.0.200", to="spoofer")


@pytest.mark.root
def test_a_stranger_stays_out_on_a_real_switch(host: Host, tmp_path: Path) -> None:
    world, config = cloud(), settings("a", tmp_path / "a", 1)
    world.change("ports", "member", allowed_address_pairs=(pair("0.0.0.0/0", ""),))
    world.change("ports", "spoofer", allowed_address_pairs=(pair("10.0.0.0/24", ""),))
    apply_view(host, config, world.view("a"))
    for name in PORTS:
        there = plug(host, world.tables["ports"][name])
        host.run("ip", "-n", there, "addr", "add", f"{address(name)}/24", "dev", "eth0")
    apply_view(host, config, world.view("a"))
    host.run("ip", "-n", "vm-spoofer", "addr", "add", f"{address('second')}/24", "dev", "eth0")

    def pings(name: str, source: str) -> bool:
        words = ("ping", "-c", "2", "-i", "0.2", "-W", "2", "-I", source, address("server"))
        said = host.run("ip", "netns", "exec", f"vm-{name}", *words, check=False)
        return " 2 received" in said

    assert pings("member", address("member"))
    assert pings("second", address("second"))
    assert not pings("stranger", address("stranger"))
    assert not pings("spoofer", address("second"))
