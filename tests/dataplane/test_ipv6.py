"""IPv6 with real packets: advertisements, addresses by SLAAC and DHCPv6, what may be said, rules, and the way outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from netloom.model import FixedIP, Port, SecurityGroupRule
from tests.support.agents import apply_view, plug, settings
from tests.support.host import Host
from tests.support.routed import outside
from tests.support.worlds import World, eui64

pytestmark = pytest.mark.root

PREFIX, PUBLIC = "2001:db8:1::/64", "2001:db8:ff::/64"


def world(mode: str = "slaac") -> World:
    """Ports `one` on host a and `two` on host b, on a network of both families behind a router on a."""
    cloud = World()
    cloud.host("a", mappings={"public": "br-public"}, network=True)
    cloud.host("b")
    cloud.network("public", "flat", physical_network="public", mtu=1500, external=True)
    cloud.subnet("pub4", "public", "198.51.100.0/24", enable_dhcp=False)
    cloud.subnet6("pub6", "public", PUBLIC, None, gateway_ip="fe80::1")
    cloud.network("net")
    cloud.subnet("four", "net", "10.0.0.0/24")
    cloud.subnet6("six", "net", PREFIX, mode, dns_nameservers=("2001:db8::53",))
    cloud.router("router", "a")
    cloud.interface("router", "net", "four", "10.0.0.1")
    cloud.interface("router", "net", "six", "2001:db8:1::1")
    gateway = cloud.gateway("router", "public", "pub4", "198.51.100.10")
    both = (*gateway.fixed_ips, FixedIP("pub6", "2001:db8:ff::10"))
    cloud.change("ports", gateway.id, fixed_ips=both)
    cloud.group("web")
    for family in ("IPv4", "IPv6"):
        cloud.rule(f"out{family}", "web", "egress", ethertype=family)
    for number, name in enumerate(("one", "two"), 11):
        host = "ab"[number - 11]
        mac = f"fa:16:3e:aa:00:{number}"
        address = eui64(PREFIX, mac) if mode != "dhcpv6-stateful" else f"2001:db8:1::{number}"
        fixed = [("four", f"10.0.0.{number}"), ("six", address)]
        cloud.port(name, "net", fixed, host, mac_address=mac, security_groups=("web",))
    return cloud


def address_of(port: Port) -> str:
    return next(f.ip_address for f in port.fixed_ips if ":" in f.ip_address)


class Pair:
    """Both hosts, with an agent each that is run once for every view."""

    def __init__(self, hosts: tuple[Host, Host], directory: Path, cloud: World) -> None:
        self.hosts = dict(zip("ab", hosts, strict=True))
        outside(hosts[0])
        hosts[0].sh(
            "ip -n outside addr add 2001:db8:ff::1/64 dev eth0 nodad\n"
            "ip -n outside addr add fe80::1/64 dev eth0 nodad\n"
            "ip -n outside route add 2001:db8:1::/64 via 2001:db8:ff::10"
        )
        self.cloud = cloud
        physical = {"a": {"public": "eth1"}, "b": None}
        self.configs = {
            name: settings(name, directory / name, number, physical=physical[name])
            for number, name in enumerate("ab", 1)
        }
        for name, facts in cloud.hosts.items():
            number = "ab".index(name) + 1
            cloud.hosts[name] = type(facts)(
                **{
                    **{f: getattr(facts, f) for f in facts.__struct_fields__},
                    "tunnel_ip": f"172.31.0.{number}",
                }
            )
        self.apply()
        for port, host in (("one", "a"), ("two", "b")):
            name = plug(self.hosts[host], cloud.tables["ports"][port])
            conf = "net.ipv6.conf.eth0"
            self.hosts[host].sh(
                f"ip netns exec {name} sysctl -qw {conf}.disable_ipv6=0 {conf}.accept_ra=1 {conf}.autoconf=1"
            )
        self.apply()

    def apply(self) -> list[str]:
        out = [
            apply_view(host, self.configs[name], self.cloud.view(name))
            for name, host in self.hosts.items()
        ]
        print("\n".join(out))
        return [text.splitlines()[-1] for text in out]

    def inside(self, port: str, script: str, check: bool = True) -> str:
        host = self.hosts[{"one": "a", "two": "b"}[port]]
        return host.sh(f"ip netns exec vm-{port} sh -c '{script}'", check=check)

    def until(self, port: str, script: str) -> str:
        return self.inside(
            port, f"for i in $(seq 100); do {script} && exit 0; sleep 0.1; done; exit 1"
        )


def opened(cloud: World) -> SecurityGroupRule:
    return cloud.rule("ping", "web", "ingress", ethertype="IPv6", protocol="ipv6-icmp")


def test_slaac_rules_and_the_way_outside(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    cloud = world()
    pair = Pair(hosts, tmp_path, cloud)
    one, two = (address_of(cloud.tables["ports"][name]) for name in ("one", "two"))
    for name, address in (("one", one), ("two", two)):
        pair.until(name, f"ip -6 addr show dev eth0 | grep -v tentative | grep -q {address}")
        route = pair.inside(name, "ip -6 route show default")
        assert (
            "via fe80::" in route and "mtu 1450" in pair.inside(name, "ip link show eth0") + route
        )
    # Out, to the world, by the router's own addresses: nothing is translated.
    seen = hosts[0].start(
        "sh",
        "-c",
        "ip netns exec outside timeout 5 tcpdump --immediate-mode -nli eth0 icmp6 > /run/seen 2>/run/listens",
    )
    hosts[0].sh("until grep -q listening /run/listens; do sleep 0.1; done")
    assert " 2 received" in pair.inside("two", "ping -c 2 -i 0.3 -W 2 2001:db8:ff::1")
    seen.wait()
    assert f"{two} > 2001:db8:ff::1: ICMP6, echo request" in hosts[0].sh("cat /run/seen")
    # Nobody comes in before a rule says so, on the network and from outside; and no more after it is gone.
    from_outside = f"ip netns exec outside ping -c 2 -i 0.3 -W 1 {two}"
    ping = f"ping -c 2 -i 0.3 -W 1 {two}"
    assert " 0 received" in pair.inside("one", ping, check=False)
    assert " 0 received" in hosts[0].sh(from_outside, check=False)
    rule = opened(cloud)
    pair.apply()
    assert " 2 received" in pair.inside("one", ping)
    assert " 2 received" in hosts[0].sh(from_outside)
    del cloud.tables["security_group_rules"][rule.id]
    pair.apply()
    assert " 0 received" in pair.inside("one", ping, check=False)
    # Nothing is done twice.
    assert [line.split()[0] for line in pair.apply()] == ["1", "1"]  # the listeners


FORGE = """
import socket, struct, sys
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
mac, source, kind, target = sys.argv[1:]
mac = bytes.fromhex(mac.replace(":", ""))
src, dst = (socket.inet_pton(socket.AF_INET6, a) for a in (source, "ff02::1"))
body = {
    "na": lambda: struct.pack("!BBHI", 136, 0, 0, 0x20000000) + socket.inet_pton(socket.AF_INET6, target) + bytes([2, 1]) + mac,
    "ra": lambda: struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + bytes([1, 1]) + mac,
    "echo": lambda: struct.pack("!BBHHH", 128, 0, 0, 7, 1),
}[kind]()
pseudo = src + dst + struct.pack("!II", len(body), 58)
body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
frame = bytes.fromhex("333300000001") + mac + bytes.fromhex("86dd")
frame += struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + src + dst + body
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(("eth0", 0))
    raw.send(frame)
"""


def test_forged_neighbours_routers_and_sources_are_not_heard(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    cloud = world()
    opened(cloud)
    pair = Pair(hosts, tmp_path, cloud)
    ports = {name: cloud.tables["ports"][name] for name in ("one", "two")}
    own, other = (address_of(ports[name]) for name in ("one", "two"))
    for name in ports:
        address = address_of(ports[name])
        pair.until(name, f"ip -6 addr show dev eth0 | grep -v tentative | grep -q {address}")
    mac = ports["one"].mac_address
    link = next(
        word.partition("/")[0]
        for word in pair.inside("one", "ip -6 -o addr show dev eth0 scope link").split()
        if word.startswith("fe80")
    )
    seen = pair.hosts["b"].start(
        "sh",
        "-c",
        "ip netns exec vm-two timeout 4 tcpdump --immediate-mode -vnei eth0 icmp6 > /run/seen 2>/run/listens",
    )
    pair.hosts["b"].sh("until grep -q listening /run/listens; do sleep 0.1; done")

    def send(sender: str, source: str, kind: str, target: str = "::") -> None:
        words = ("ip", "netns", "exec", "vm-one", sys.executable, "-c", FORGE)
        pair.hosts["a"].run(*words, sender, source, kind, target)

    send(mac, link, "na", other)  # another's address
    send(mac, link, "na", "2001:db8:1::1")  # the router's
    send(mac, link, "ra")
    send(mac, "2001:db8:1::bad", "echo")
    send("fa:16:3e:00:00:99", own, "echo")
    send(mac, own, "na", own)  # its own: heard
    send(mac, own, "echo")
    seen.wait()
    lines = " ".join(pair.hosts["b"].sh("cat /run/seen").split())
    assert (
        f"tgt is {own}" in lines and f"{own} > ff02::1: [icmp6 sum ok] ICMP6, echo request" in lines
    )
    assert f"tgt is {other}" not in lines.split(f"{own} > ff02::1")[0].replace(f"{other} >", "")
    assert "tgt is 2001:db8:1::1" not in lines and "2001:db8:1::bad" not in lines
    assert (
        "fa:16:3e:00:00:99" not in lines
        and f"{link} > ff02::1: [icmp6 sum ok] ICMP6, router" not in lines
    )
    # What of its own objects somebody takes away comes back.
    inside = "ip netns exec qrouter-router"
    device = pair.hosts["a"].sh(f"{inside} ip -6 -o addr | grep 2001:db8:1::1/64").split()[1]
    pair.hosts["a"].sh(
        f"{inside} ip -6 addr del 2001:db8:1::1/64 dev {device}; {inside} ip -6 route del default"
        f"; {inside} nft delete table ip6 netloom; {inside} sysctl -qw net.ipv6.conf.all.forwarding=0"
    )
    pair.apply()
    assert " 2 received" in pair.inside("two", "ping -c 2 -i 0.3 -W 2 2001:db8:ff::1")
    assert "chain sources" in pair.hosts["a"].sh(f"{inside} nft list table ip6 netloom")


ASK = """
import socket, struct, sys, time
def option(code, data):
    return struct.pack("!HH", code, len(data)) + data
def options(data):
    while data:
        code, size = struct.unpack_from("!HH", data)
        yield code, data[4 : 4 + size]
        data = data[4 + size :]
name = struct.pack("!HH", 3, 1) + bytes.fromhex(sys.argv[1].replace(":", ""))
asks = option(1, name) + option(3, struct.pack("!III", 7, 0, 0)) + option(6, struct.pack("!H", 23))
asks += option(8, bytes(2)) + option(14, b"")
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as talk:
    talk.settimeout(2)
    index = socket.if_nametoindex("eth0")
    talk.bind(("::", 546))
    for attempt in range(4):
        talk.sendto(bytes([1, 1, 2, 3]) + asks, ("ff02::1:2", 547, 0, index))
        try:
            found = dict(options(talk.recv(4096)[4:]))
            break
        except TimeoutError:
            pass
address = dict(options(found[3][12:]))[5][:16]
print(*(socket.inet_ntop(socket.AF_INET6, a) for a in (address, found[23][:16])))
"""


def test_dhcpv6_gives_addresses_and_tells_the_rest(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    cloud = world("dhcpv6-stateful")
    pair = Pair(hosts, tmp_path, cloud)
    # The router says: no addresses of your own, ask.
    pair.until("two", "ip -6 route show default | grep -q fe80")
    assert "2001:db8" not in pair.inside("two", "ip -6 addr show dev eth0")
    words = ("ip", "netns", "exec", "vm-two", sys.executable, "-c", ASK)
    mac = cloud.tables["ports"]["two"].mac_address
    out = pair.hosts["b"].run(*words, mac)
    assert out.split() == ["2001:db8:1::12", "2001:db8::53"]
