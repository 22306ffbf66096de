"""Frames that no honest instance sends, from ports with and without port security and with address pairs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from tests.support import raw_frames
from tests.support.host import Host
from tests.support.plugged import Plugged
from tests.support.worlds import World, pair

pytestmark = pytest.mark.root

ALL = raw_frames.BROADCAST
ALL_NODES = "33:33:00:00:00:01"
LLDP, SPANNING_TREE, FLOW_CONTROL = (
    "01:80:c2:00:00:0e",
    "01:80:c2:00:00:00",
    "01:80:c2:00:00:01",
)
OWN6, OTHER6 = "fe80::11", "fe80::12"


def cloud() -> World:
    """`victim` lets everything in. `thief` has port security and pairs, `open` has none; a router is there."""
    world = World()
    world.host("a", network=True)
    world.network("net")
    world.subnet("sub", "net", "10.0.0.0/24")
    world.group("sg")
    for ethertype in ("IPv4", "IPv6"):
        for direction in ("ingress", "egress"):
            world.rule(f"{ethertype}-{direction}", "sg", direction, ethertype=ethertype)
    world.router("router", "a")
    world.interface("router", "net", "sub", "10.0.0.1")
    pairs = (pair("10.0.0.50", ""), pair(OWN6, ""), pair("10.0.0.60", "00:00:5e:00:01:0a"))
    for number, name in ((11, "thief"), (12, "victim"), (13, "open"), (14, "free")):
        more = {"security_groups": ("sg",)}
        if name in ("open", "free"):
            more = {"port_security_enabled": False}
        if name == "thief":
            more["allowed_address_pairs"] = pairs
        world.port(name, "net", [("sub", f"10.0.0.{number}")], "a", **more)
    return world


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugged]:
    host = Host("a")
    try:
        yield Plugged(host, tmp_path_factory.mktemp("forging"), cloud())
    finally:
        host.close()


def advert(source_mac: str, target_mac: str, source: str, about: str, mark: bytes) -> bytes:
    """A neighbour advertisement «`about` is at `source_mac`»."""
    body = struct.pack("!I", 0x20000000) + IPv6Address(about).packed
    body += b"\x02\x01" + bytes.fromhex(source_mac.replace(":", "")) + b"\xfd\x02" + mark.ljust(14)
    return raw_frames.icmpv6((source_mac, target_mac), (source, "ff02::1"), 136, body)


def test_what_does_not_belong_to_a_port_is_not_sent(play: Plugged) -> None:
    heard = play.listen("victim")
    mac, victim = play.mac("thief"), play.mac("victim")
    own, to = play.address("thief"), play.address("victim")
    router = next(p for p in play.world.tables["ports"].values() if p.device_id == "router")
    dhcp = next(p for p in play.world.tables["ports"].values() if p.id.startswith("dhcp"))

    def udp(source: tuple[str, str], mark: bytes, target: str = victim, port: int = 4000) -> bytes:
        return raw_frames.udp((source[0], target), (source[1], to), (port, 5000), mark)

    def arp(spa: str, mark: bytes, operation: int = 2, sha: str = mac, source: str = mac) -> bytes:
        target = ALL if operation == 1 else victim
        return raw_frames.arp(source, target, operation, sha, spa, spa, mark)

    def icmp6(source: str, kind: int, mark: bytes) -> bytes:
        return raw_frames.icmpv6((mac, ALL_NODES), (source, "ff02::1"), kind, mark)

    def tagged(mark: bytes, *tags: int) -> bytes:
        frame = udp((mac, own), mark)
        for tag in tags:
            frame = raw_frames.vlan(tag, frame)
        return frame

    forged = [
        udp((victim, to), b"bad-as-the-victim"),
        udp((router.mac_address, "10.0.0.1"), b"bad-as-the-router"),
        udp((mac, "10.0.0.1"), b"bad-address-of-router"),
        udp((mac, "10.0.0.60"), b"bad-pair-other-mac"),
        udp(("00:00:5e:00:01:0a", "10.0.0.50"), b"bad-mac-other-pair"),
        udp((ALL, own), b"bad-mac-broadcast"),
        udp((mac, own), b"bad-dhcp-server", port=67),
        udp((mac, "10.0.0.50"), b"bad-dhcp-of-pair", port=67),
        arp("10.0.0.1", b"bad-arp-router"),
        arp("10.0.0.1", b"bad-arp-gratis", operation=1),
        arp(dhcp.fixed_ips[0].ip_address, b"bad-arp-dhcp"),
        arp("169.254.169.254", b"bad-arp-meta"),
        arp(to, b"bad-arp-victim", operation=1),
        arp(own, b"bad-arp-sha", sha=router.mac_address),
        arp(own, b"bad-arp-eth", source=router.mac_address),
        arp("0.0.0.0", b"bad-arp-none"),
        raw_frames.ethernet(mac, ALL, 0x8035, b"bad-rarp".ljust(46)),
        *(tagged(b"bad-vlan-" + str(tags).encode(), *tags) for tags in ((0,), (1,), (7, 8))),
        raw_frames.vlan(0x2000, udp((mac, own), b"bad-priority-tag")),
        raw_frames.ethernet(mac, LLDP, 0x88CC, b"bad-lldp".ljust(46)),
        raw_frames.ethernet(mac, SPANNING_TREE, 38, b"\x42\x42\x03bad-stp".ljust(46)),
        raw_frames.ethernet(mac, victim, 0x8847, b"bad-mpls".ljust(46)),
        raw_frames.ethernet(mac, victim, 0x8863, b"bad-pppoe".ljust(46)),
        raw_frames.ethernet(mac, victim, 0x88A8, b"bad-qinq".ljust(46)),
        icmp6(OWN6, 134, b"bad-router-advertisement".ljust(40)),
        icmp6(OTHER6, 128, b"bad-link-local".ljust(40)),
        icmp6("fe80::f816:3eff:fe00:1", 135, b"bad-solicitation".ljust(40)),
        advert(mac, ALL_NODES, OWN6, OTHER6, b"bad-neighbour"),
        advert(mac, ALL_NODES, OTHER6, OTHER6, b"bad-na-source"),
        raw_frames.ipv6((mac, victim), (OWN6, "fe80::99"), 17,
                        raw_frames.datagram((OWN6, "fe80::99"), (547, 546), b"bad-dhcp6")),
    ]  # fmt: skip
    honest = [
        udp((mac, "10.0.0.50"), b"good-pair"),
        udp(("00:00:5e:00:01:0a", "10.0.0.60"), b"good-mac-pair"),
        arp(own, b"good-arp-gratis", operation=1),
        arp("10.0.0.50", b"good-arp-pair"),
        icmp6(OWN6, 128, b"good-link-local".ljust(40)),
        advert(mac, ALL_NODES, OWN6, OWN6, b"good-na"),
        udp((mac, own), b"good-last"),
    ]
    play.send("thief", *forged, *honest)
    for mark in (
        b"good-last",
        b"good-pair",
        b"good-mac-pair",
        b"good-arp-gratis",
        b"good-arp-pair",
    ):
        heard.wait(mark)
    for mark in (b"good-link-local", b"good-na"):
        heard.wait(mark)
    bad = {frame[frame.index(b"bad-") :][:24] for frame in heard.all() if b"bad-" in frame}
    assert not bad


def test_nobody_speaks_to_the_switches(play: Plugged) -> None:
    """Frames for bridges themselves go nowhere, also from a port without port security."""
    heard = play.listen("free")
    mac = play.mac("open")
    play.send(
        "open",
        raw_frames.ethernet(mac, LLDP, 0x88CC, b"bad-lldp".ljust(46)),
        raw_frames.ethernet(mac, SPANNING_TREE, 38, b"\x42\x42\x03bad-stp".ljust(46)),
        raw_frames.ethernet(mac, FLOW_CONTROL, 0x8808, b"bad-pause".ljust(46)),
        raw_frames.vlan(7, raw_frames.ethernet(mac, ALL, 0x88B5, b"bad-vlan".ljust(46))),
        raw_frames.ethernet(mac, ALL, 0x88B5, b"good-experimental".ljust(46)),
    )
    heard.wait(b"good-experimental")
    assert not heard.have(b"bad-")
