"""The attacker wants a namespace of the host to carry, answer or resolve for him what his rules do not let him."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from netloom.model import Port
from tests.support.agents import apply_view, plug, settings
from tests.support.host import Host
from tests.support.raw_frames import arp, ethernet, udp
from tests.support.worlds import World, pair

pytestmark = pytest.mark.root

DHCP_MAC, DHCP, METADATA = "fa:16:3e:00:00:01", "10.0.0.2", "169.254.169.254"

HOSTILE = """
for scope in $(ls /proc/sys/net/ipv4/conf); do
    for key in forwarding accept_redirects secure_redirects send_redirects accept_source_route \
               proxy_arp proxy_arp_pvlan accept_local route_localnet arp_accept arp_notify bootp_relay; do
        echo 1 >/proc/sys/net/ipv4/conf/$scope/$key
    done
    echo 2 >/proc/sys/net/ipv4/conf/$scope/rp_filter
    echo 0 >/proc/sys/net/ipv4/conf/$scope/arp_ignore
    echo 0 >/proc/sys/net/ipv4/conf/$scope/arp_announce
    for key in forwarding accept_ra accept_redirects autoconf proxy_ndp; do
        echo 1 >/proc/sys/net/ipv6/conf/$scope/$key
    done
    echo 0 >/proc/sys/net/ipv6/conf/$scope/disable_ipv6
done
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind
for knob in arptables iptables ip6tables; do
    f=/proc/sys/net/bridge/bridge-nf-call-$knob; [ ! -e "$f" ] || echo 1 >"$f"
done
"""
UNSETTLED = """
import sys
from pathlib import Path
from netloom.dataplane.linux import netns
from netloom.model.sysctls import SERVICE, settings
for name in sys.argv[1:]:
    with netns.inside(name):
        devices = set(p.name for p in Path("/proc/thread-self/net/dev_snmp6").iterdir()) - {"lo"}
        wanted = settings(SERVICE, "1" if name.startswith("qrouter") else "0", sorted(devices))
        there = netns.read_sysctls(wanted)
        odd = {key: value for key, value in there.items() if value != wanted[key]}
    print(name, len(devices), len(there) > 100, odd)
"""


def world(*rules: str, attacker_secured: bool = True) -> tuple[World, Port, Port]:
    """A network with a router and two instances on host a; the victim's group lets in these protocols only."""
    cloud = World()
    cloud.host("a", network=True)
    cloud.network("net-a")
    cloud.subnet("sub-a", "net-a", "10.0.0.0/24")
    cloud.router("router1", "a")
    cloud.interface("router1", "net-a", "sub-a", "10.0.0.1")
    cloud.group("closed")
    cloud.group("open")
    cloud.rule("out", "open", "egress", ethertype="IPv4")
    for protocol in rules:
        cloud.rule(protocol, "closed", "ingress", ethertype="IPv4", protocol=protocol)
    attacker = cloud.port(
        "attacker",
        "net-a",
        [("sub-a", "10.0.0.11")],
        "a",
        security_groups=("open",) if attacker_secured else (),
        port_security_enabled=attacker_secured,
    )
    victim = cloud.port(
        "victim", "net-a", [("sub-a", "10.0.0.12")], "a", security_groups=("closed",)
    )
    return cloud, attacker, victim


def test_namespaces_do_not_take_over_the_settings_of_a_hostile_machine(
    host: Host, tmp_path: Path
) -> None:
    cloud, _, _ = world()
    config = settings("a", tmp_path / "a", 1)
    spaces = ("qrouter-router1", "qdhcp-net-a")
    # As a machine leaves them that hands its own settings on: there, and ours, before they are set up.
    for name in spaces:
        host.sh(f"ip netns add {name}; ip -n {name} link set lo alias 'netloom new'")
        host.run("ip", "netns", "exec", name, "sh", "-c", HOSTILE)
    said = host.python(UNSETTLED, *spaces)
    assert "ip_forward" in said and said.count("True") == 2
    apply_view(host, config, cloud.view("a"))
    expected = [f"{name} 1 True {{}}" for name in spaces]
    assert host.python(UNSETTLED, *spaces).splitlines() == expected
    # Whoever changes them later, of all devices too: the next look at the host puts them right.
    for name in spaces:
        host.run("ip", "netns", "exec", name, "sh", "-c", HOSTILE)
    assert host.python(UNSETTLED, *spaces).splitlines() != expected
    apply_view(host, config, cloud.view("a"))
    assert host.python(UNSETTLED, *spaces).splitlines() == expected
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1] == "1 changes"  # metadata


LISTEN = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("eth0", 0))
wire.settimeout(20)
print("listening", flush=True)
seen = []
while True:
    frame, where = wire.recvfrom(2000)
    if where[2] != 4 and b"attack" in frame:
        seen.append(frame)
    if b"the end" in frame:
        break
print(len(seen))
"""
SEND = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
for word in sys.argv[2:]:
    wire.send(bytes.fromhex(word))
"""


def frames(attacker: Port, victim: Port) -> list[bytes]:
    """Everything that might get round the victim's rules by way of the DHCP namespace."""
    mac, own, target = attacker.mac_address, "10.0.0.11", "10.0.0.12"
    found: list[bytes] = []
    for source in (own, DHCP, METADATA, "10.0.0.1"):
        for ports in ((4000, 5000), (68, 67), (67, 68), (80, 5000)):
            found.append(udp((mac, DHCP_MAC), (source, target), ports, b"attack"))
            as_tcp = bytearray(found[-1])
            as_tcp[23] = 6
            found.append(bytes(as_tcp))
            # And straight to the victim, in the DHCP server's name.
            for sender in (mac, DHCP_MAC):
                found.append(udp((sender, victim.mac_address), (source, target), ports, b"attack"))
    return found


@pytest.mark.parametrize("secured", [True, False])
def test_a_dhcp_namespace_that_forwards_carries_nothing_past_the_rules(
    host: Host, tmp_path: Path, secured: bool
) -> None:
    cloud, attacker, victim = world(attacker_secured=secured)
    config = settings("a", tmp_path / "a", 1)
    apply_view(host, config, cloud.view("a"))
    vms = [plug(host, port) for port in (attacker, victim)]
    for vm, address in zip(vms, ("10.0.0.11", "10.0.0.12"), strict=True):
        host.run("ip", "-n", vm, "addr", "add", f"{address}/24", "dev", "eth0")
    apply_view(host, config, cloud.view("a"))
    host.run("ip", "netns", "exec", "qdhcp-net-a", "sh", "-c", HOSTILE)
    inside = f"ip netns exec {vms[1]}"
    (tmp_path / "listen.py").write_text(LISTEN)
    listener = host.start(
        "sh", "-c", f"{inside} {sys.executable} {tmp_path}/listen.py >/run/seen 2>&1"
    )
    host.sh("until grep -q listening /run/seen; do sleep 0.05; done", timeout=20)
    words = [frame.hex() for frame in frames(attacker, victim)]
    host.run("ip", "netns", "exec", vms[0], sys.executable, "-c", SEND, "eth0", *words)
    # What comes out of the DHCP device itself but is no answer, and then an answer, which ends the listening.
    to = (DHCP_MAC, victim.mac_address)
    own = [
        udp(to, (DHCP, "10.0.0.12"), (4000, 5000), b"attack"),
        udp(to, ("10.0.0.11", "10.0.0.12"), (67, 68), b"attack"),
        udp(to, (METADATA, "10.0.0.12"), (80, 5000), b"attack"),
        udp((attacker.mac_address, to[1]), (DHCP, "10.0.0.12"), (67, 68), b"attack"),
        arp(*to, 2, DHCP_MAC, "10.0.0.1", "10.0.0.12", b"attack"),
        ethernet(*to, 0x88CC, b"attack".ljust(46, b"\0")),
        udp(to, (DHCP, "10.0.0.12"), (67, 68), b"the end"),
    ]
    device = "tapdhcp-sub-a"
    sender = [sys.executable, "-c", SEND, device, *(frame.hex() for frame in own)]
    host.run("ip", "netns", "exec", "qdhcp-net-a", *sender)
    listener.wait(20)
    assert host.sh("cat /run/seen").split() == ["listening", "0"]


def test_an_operator_in_the_dhcp_namespace_is_under_the_rules_of_the_instance(
    host: Host, tmp_path: Path
) -> None:
    """`ip netns exec qdhcp-… ping INSTANCE` goes where a group lets it, and nowhere else."""
    config = settings("a", tmp_path / "a", 1)
    ping = "ip netns exec qdhcp-net-a ping -c 2 -i 0.2 -W 1 10.0.0.12"
    vm = ""
    for rules, received in (((), 0), (("icmp",), 2)):
        cloud, _, victim = world(*rules)
        apply_view(host, config, cloud.view("a"))
        if not vm:
            vm = plug(host, victim)
            host.run("ip", "-n", vm, "addr", "add", "10.0.0.12/24", "dev", "eth0")
            apply_view(host, config, cloud.view("a"))
        assert f" {received} received" in host.sh(ping, check=False)


ENTRIES = "ip -n {0} neigh show nud all | grep -c '^10[.]1[.]' || true"


def test_a_scan_fills_no_table_and_known_neighbours_need_none(host: Host, tmp_path: Path) -> None:
    """The kernel has one table of neighbours for all namespaces: who makes a router ask fills it for everybody."""
    cloud = World()
    cloud.host("a", network=True)
    for name in ("near", "far"):
        cloud.network(name)
    cloud.subnet("near-sub", "near", "10.0.0.0/24")
    cloud.subnet("far-sub", "far", "10.1.0.0/16")
    cloud.router("router1", "a")
    cloud.interface("router1", "near", "near-sub", "10.0.0.1")
    cloud.interface("router1", "far", "far-sub", "10.1.0.1")
    cloud.group("open")
    for direction in ("egress", "ingress"):
        cloud.rule(direction, "open", direction, ethertype="IPv4")
    ports = [
        cloud.port("one", "near", [("near-sub", "10.0.0.11")], "a", security_groups=("open",)),
        # May say that it has any address of its network, and so have DHCP's namespace answer to all of them.
        cloud.port(
            "two",
            "far",
            [("far-sub", "10.1.0.12")],
            "a",
            security_groups=("open",),
            allowed_address_pairs=(pair("10.1.0.0/16", "fa:16:3e:00:00:77"),),
        ),
    ]
    config = settings("a", tmp_path / "a", 1)
    apply_view(host, config, cloud.view("a"))
    vms = [plug(host, port) for port in ports]
    for vm, address in zip(vms, ("10.0.0.11/24", "10.1.0.12/16"), strict=True):
        host.sh(f"ip -n {vm} addr add {address} dev eth0")
        gateway = address.split("/")[0].rpartition(".")[0] + ".1"
        host.sh(f"ip -n {vm} route add default via {gateway}")
    apply_view(host, config, cloud.view("a"))
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1] == "2 changes"  # metadata
    space = "qrouter-router1"
    # Known ports are there for good, with nothing asked.
    said = host.sh(f"ip -n {space} neigh show nud permanent")
    assert "10.1.0.12 dev qr-if" in said and f"lladdr {ports[1].mac_address} PERMANENT" in said
    assert " 2 received" in host.sh(f"ip netns exec {vms[0]} ping -c 2 -i 0.2 -W 1 10.1.0.12")
    before = int(host.sh(ENTRIES.format(space)))
    macs = {p.id: p.mac_address for p in cloud.tables["ports"].values()}
    router = next(mac for i, mac in macs.items() if i.endswith("router1-near-sub"))
    scan = [
        udp((ports[0].mac_address, router), ("10.0.0.11", f"10.1.{n >> 8}.{n & 255}"), (4, 5), b"")
        for n in range(256, 656)
    ]
    words = [frame.hex() for frame in scan]
    host.run("ip", "netns", "exec", vms[0], sys.executable, "-c", SEND, "eth0", *words)
    asked = int(host.sh(ENTRIES.format(space))) - before
    assert 20 <= asked <= 120, asked
    # The known neighbour is reached in the middle of that, and the unknown ones a little later.
    assert " 2 received" in host.sh(f"ip netns exec {vms[0]} ping -c 2 -i 0.2 -W 1 10.1.0.12")
    # From four hundred addresses that it may have, to the DHCP server, which answers each.
    dhcp = macs["dhcp-far-sub"]
    pings = [
        udp(("fa:16:3e:00:00:77", dhcp), (f"10.1.{n >> 8}.{n & 255}", "10.1.0.2"), (4, 5), b"")
        for n in range(256, 656)
    ]
    words = [frame.hex() for frame in pings]
    host.run("ip", "netns", "exec", vms[1], sys.executable, "-c", SEND, "eth0", *words)
    assert int(host.sh(ENTRIES.format("qdhcp-far"))) <= 120
    # Somebody takes both away: the next look at the host brings them back.
    host.sh(
        f"ip -n {space} neigh flush nud permanent; ip -n {space} neigh del 10.1.0.12 dev qr-x || true"
    )
    host.sh(f"ip netns exec {space} nft delete table ip netloom-neighbours")
    apply_view(host, config, cloud.view("a"))
    assert "PERMANENT" in host.sh(f"ip -n {space} neigh show 10.1.0.12")
    assert "10.1.0.12" in host.sh(f"ip netns exec {space} nft list table ip netloom-neighbours")
    # A port that goes takes its entry along.
    del cloud.tables["ports"]["two"]
    apply_view(host, config, cloud.view("a"))
    assert "PERMANENT" not in host.sh(f"ip -n {space} neigh show 10.1.0.12")
    assert "10.1.0.12" not in host.sh(
        f"ip netns exec {space} nft list set ip netloom-neighbours known"
    )
