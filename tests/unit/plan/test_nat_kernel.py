"""The rendered NAT table in a real kernel: floating IPs in and out, SNAT, the hairpin, nothing else in."""

from __future__ import annotations

import sys
import time

import pytest

from netloom.model.hoststate import AttachedNetwork, Device, FloatingNat, SourceNat
from netloom.model.names import router_namespace
from netloom.plan import plan
from netloom.render.nft import nft_ruleset
from tests.support import worlds
from tests.support.host import Host

pytestmark = pytest.mark.root

SERVER = """
import socket
s = socket.create_server(("0.0.0.0", 8080))
while True:
    link, peer = s.accept()
    link.sendall(peer[0].encode())
    link.close()
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 8080), timeout=2) as link:
    print(link.recv(100).decode())
"""

SETUP = """
ip link add inside type bridge && ip link set inside up
ip link add beyond type bridge && ip link set beyond up
set -e
count=0
plug() {{ # namespace device address bridge
  count=$((count + 1))
  ip link add plug$count type veth peer name $2 netns $1
  ip link set plug$count master $4 up
  ip -n $1 link set lo up; ip -n $1 link set $2 up; ip -n $1 address add $3 dev $2
}}
for name in a b out router; do ip netns add $name; done
plug a eth0 10.0.0.5/24 inside; ip -n a route add default via 10.0.0.1
plug b eth0 10.0.0.6/24 inside; ip -n b route add default via 10.0.0.1
plug out eth0 198.51.100.1/24 beyond
plug router {inner} 10.0.0.1/24 inside
plug router {outer} 198.51.100.10/24 beyond
ip -n router address add 198.51.100.20/32 dev {outer}
ip -n router address add 198.51.100.21/32 dev {outer}
ip -n router route add default via 198.51.100.1
ip netns exec router sysctl -qw net.ipv4.ip_forward=1
"""


def two_floating() -> worlds.World:
    world = worlds.walkthrough_b()
    port = world.port("my3", "private", [("priv-sub", "10.0.0.6")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    more = {"port_id": "my3", "fixed_ip_address": "10.0.0.6", "router_id": "router1"}
    world.floating("fip2", "public", "pub-sub", "198.51.100.21", **more)
    return world


def put(host: Host, world: worlds.World) -> None:
    """Load the router's table as planned for a world."""
    state = plan(world.view("network1"))
    nats = (state.each(FloatingNat), state.each(SourceNat))
    ruleset = nft_ruleset(*nats, state.each(AttachedNetwork))
    host.run("ip", "netns", "exec", "router", "nft", "-f", "-", stdin=ruleset)
    host.sh("ip netns exec router conntrack -F 2>/dev/null || true")


def seen(host: Host, source: str, target: str) -> str:
    """The address that `target` sees when `source` connects; empty where it does not get through."""
    words = ("ip", "netns", "exec", source, sys.executable, "-c", CLIENT, target)
    answer = (host.run(*words, check=False).strip().splitlines() or [""])[-1]
    return answer if answer.replace(".", "").isdigit() else ""


def test_nat(host):
    world = two_floating()
    names = {
        d.name[:3]: d.name
        for d in plan(world.view("network1")).each(Device)
        if d.namespace == router_namespace("router1")
    }
    host.sh(SETUP.format(inner=names["qr-"][:15], outer=names["qg-"][:15]))
    for name in ("a", "b", "out"):
        host.start("ip", "netns", "exec", name, sys.executable, "-c", SERVER)
    put(host, world)
    deadline = time.monotonic() + 30
    asked = (("out", "198.51.100.20"), ("a", "198.51.100.1"), ("a", "198.51.100.21"))
    while not all(seen(host, *each) for each in asked) and time.monotonic() < deadline:
        time.sleep(0.1)
    # from outside to a floating IP: the source stays; out again: by the floating IP
    assert seen(host, "out", "198.51.100.20") == "198.51.100.1"
    assert seen(host, "a", "198.51.100.1") == "198.51.100.20"
    # from floating IP to floating IP in one router, and to its own
    assert seen(host, "a", "198.51.100.21") == "198.51.100.20"
    assert seen(host, "a", "198.51.100.20") == "198.51.100.20"
    # without floating IP: SNAT, and the hairpin works as well
    del world.tables["floatingips"]["fip1"]
    put(host, world)
    assert seen(host, "a", "198.51.100.1") == "198.51.100.10"
    assert seen(host, "a", "198.51.100.21") == "10.0.0.1"
    assert seen(host, "out", "198.51.100.20") == ""
    # nothing else comes in, even where outside knows the way
    host.run("ip", "-n", "out", "route", "add", "10.0.0.0/24", "via", "198.51.100.10")
    assert seen(host, "out", "10.0.0.5") == ""
    # with SNAT off the private range is simply routed
    gateway = world.tables["routers"]["router1"].external_gateway_info
    world.change(
        "routers", "router1", external_gateway_info=type(gateway)(gateway.network_id, False)
    )
    put(host, world)
    assert seen(host, "out", "10.0.0.5") == "198.51.100.1"
    assert seen(host, "a", "198.51.100.1") == "10.0.0.5"


HEAR = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 3780))
while True:
    said, peer = s.recvfrom(100)
    s.sendto(b"heard", peer)
"""
SAY = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
for n in range(int(sys.argv[2])):
    s.sendto(b"forged", (sys.argv[1], 3780))
    try:
        print(s.recv(100).decode())
        break
    except OSError:
        pass
"""


def test_nobody_else_speaks_to_the_replicas_of_a_router(host):
    """Conntrackd believes whoever reaches its port: instances and the world must not, here nor elsewhere."""
    devices = {d.name[:3]: d.name for d in plan(two_floating().view("network1")).each(Device)}
    host.sh(SETUP.format(inner=devices["qr-"][:15], outer=devices["qg-"][:15]))
    host.sh(
        "ip netns add replica && ip link add ha-1 netns router type veth peer name ha-2 netns replica"
        " && ip -n router address add 169.254.192.1/18 dev ha-1 && ip -n router link set ha-1 up"
        " && ip -n replica address add 169.254.192.2/18 dev ha-2 && ip -n replica link set ha-2 up"
        " && ip -n replica route add default via 169.254.192.1"
        " && ip -n out route add 169.254.192.0/18 via 198.51.100.10"
    )
    for name in ("router", "replica"):
        host.start("ip", "netns", "exec", name, sys.executable, "-c", HEAR)

    def heard(source: str, target: str, times: int = 2) -> bool:
        words = ("ip", "netns", "exec", source, sys.executable, "-c", SAY, target, str(times))
        return "heard" in host.run(*words, check=False)

    # Without the table all of them get there, so what follows is the table's doing.
    forged = [(who, to) for who in ("a", "out") for to in ("169.254.192.1", "169.254.192.2")]
    forged += [("a", "10.0.0.1"), ("a", "198.51.100.10"), ("out", "198.51.100.10")]
    assert all(heard(*each, times=20) for each in forged)
    put(host, two_floating())
    assert not [each for each in forged if heard(*each)]
    assert heard("replica", "169.254.192.1", times=20)
    assert heard("router", "169.254.192.2", times=20)
