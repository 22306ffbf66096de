"""An instance that opens many connections fills its own share of the tables, not the host's and not the router's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netloom.dataplane.linux.nat import CONNECTIONS
from tests.support.host import Host
from tests.support.plugged import Plugged
from tests.support.running_lab import RunningLab
from tests.support.worlds import World

pytestmark = pytest.mark.root

LIMIT = 200
MANY = """
import socket, sys
links = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(int(sys.argv[3]))]
for link in links:
    for port in range(10000, 10000 + int(sys.argv[2])):
        try:
            link.sendto(b"x", (sys.argv[1], port))
        except OSError:  # what was refused before is told here
            link.sendto(b"x", (sys.argv[1], port))
"""
TALK = """
import socket, sys
server = socket.create_server(("0.0.0.0", 8080))
while True:
    link, _ = server.accept()
    link.sendall(b"heard")
    link.close()
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 8080), timeout=3) as link:
    print(link.recv(10).decode())
"""


def test_a_port_has_its_bound_and_its_neighbours_go_on(host: Host, tmp_path: Path) -> None:
    world = World()
    world.host("a")
    world.network("net")
    world.subnet("sub", "net", "10.0.0.0/24")
    world.group("sg")
    world.rule("out", "sg", "egress")
    world.rule("in", "sg", "ingress")
    for number, name in enumerate(("thief", "sink", "calm", "friend"), 11):
        ips = [("sub", f"10.0.0.{number}")]
        world.port(name, "net", ips, "a", security_groups=("sg",))
    play = Plugged(host, tmp_path, world, connections_per_port=str(LIMIT))
    limits = "ovs-appctl dpctl/ct-get-limits"

    def count(name: str) -> int:
        """Connections that the switch holds for a port; its bound is LIMIT."""
        known = host.sh(f"ovs-vsctl get open_vswitch . external_ids:netloom-zone-{name}")
        zone = known.strip().strip('"')
        found = re.search(rf"zone={zone},limit={LIMIT},count=(\d+)", host.sh(limits))
        assert found is not None, host.sh(limits)
        return int(found.group(1))

    host.start(*play.inside("friend", "python3", "-c", TALK))
    friend = play.address("friend")
    RunningLab.until(lambda: "heard" in play.python("calm", ASK, friend, check=False))
    play.python("thief", MANY, play.address("sink"), "500", "3")
    assert count("thief") == LIMIT
    assert count("sink") == LIMIT
    for _ in range(20):
        assert play.python("calm", ASK, friend).strip() == "heard"
    assert 20 <= count("calm") < LIMIT
    # A port that goes takes its bound along; one that comes gets its own.
    del world.tables["ports"]["thief"]
    play.apply()
    assert host.sh(limits).count(f"limit={LIMIT}") == 3
    # The switch forgets them when it starts again; the agent's next look sets them anew.
    host.sh(
        f"ovs-appctl dpctl/ct-del-limits zone=1,2,3,4,5; {limits} | grep -q limit={LIMIT} && exit 1; true"
    )
    play.apply()
    assert host.sh(limits).count(f"limit={LIMIT}") == 3


APPLY = """
from netloom.dataplane.linux import nat
from netloom.model.hoststate import SourceNat
nat.apply("router", [], [SourceNat(namespace="router", device="gate", address="198.51.100.10")])
"""
ROUTER = """
set -e
for name in a b out router; do ip netns add $name; ip -n $name link set lo up; done
join() { ip -n router link add $1 type veth peer name eth0 netns $2; ip -n router addr add $3/24 dev $1
  ip -n router link set $1 up; ip -n $2 addr add $4/24 dev eth0; ip -n $2 link set eth0 up; }
join one a 10.0.1.1 10.0.1.5; ip -n a route add default via 10.0.1.1
join two b 10.0.2.1 10.0.2.5; ip -n b route add default via 10.0.2.1
join gate out 198.51.100.10 198.51.100.1
ip netns exec router sysctl -qw net.ipv4.ip_forward=1
ip netns exec out sysctl -qw net.ipv4.icmp_ratelimit=0
"""


def test_a_router_has_a_bound_for_each_sender(host: Host) -> None:
    host.sh(ROUTER)
    host.python(APPLY)
    host.start("ip", "netns", "exec", "out", "python3", "-c", TALK)
    inside = "ip netns exec {} python3 -c".format
    ask = (*inside("b").split(), ASK, "198.51.100.1")
    RunningLab.until(lambda: "heard" in host.run(*ask, check=False))
    # 64 source ports, 400 targets for each: more than twice the bound.
    host.run(*inside("a").split(), MANY, "198.51.100.1", "400", "64", timeout=120)
    known = int(host.run("ip", "netns", "exec", "router", "conntrack", "-C"))
    assert CONNECTIONS // 2 < known <= CONNECTIONS
    assert host.run(*ask).strip() == "heard"
