"""A real Open vSwitch gets the planned flows and is asked where packets would go (ofproto/trace)."""

from __future__ import annotations

import json
import re
import sys

import pytest

from netloom.dataplane.ovs.groups import Groups
from netloom.model.hoststate import Bucket, Flow, Group, Interface
from netloom.model.networking import Network
from netloom.model.openflow import LARGEST_PORT_KEY
from netloom.plan import plan
from netloom.plan.ovs.pipeline import Domain, shards_for
from netloom.render.openflow import bucket_actions_text, flow_text
from tests.support import worlds
from tests.support.host import Host

pytestmark = pytest.mark.root


def add_groups(host: Host, groups: Groups) -> None:
    """Have the agent's own code make groups on br-int."""
    host.run(sys.executable, "-c", ADD_GROUPS, stdin=json.dumps(groups))


ADD_GROUPS = """
import json, sys
from pathlib import Path
from netloom.dataplane.ovs.groups import GroupTable
table = GroupTable(Path("/run/openvswitch"))
wanted = {int(g): {int(n): a for n, a in b.items()} for g, b in json.load(sys.stdin).items()}
assert table.change("br-int", table.read("br-int"), wanted) == {}
assert table.read("br-int") == wanted, (table.read("br-int"), wanted)
"""


class Switch:
    """br-int of one planned host, its interfaces stood in for by internal ports."""

    def __init__(self, host: Host, world: worlds.World, name: str) -> None:
        self.host = host
        state = plan(world.view(name))
        commands = [
            "ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure"
        ]
        for interface in state.each(Interface):
            if interface.bridge == "br-int":
                kind = (
                    "vxlan options:key=flow options:remote_ip=flow"
                    if interface.type == "vxlan"
                    else "internal"
                )
                port = f"add-port br-int {interface.name} -- set interface {interface.name} type={kind}"
                commands.append(f"ovs-vsctl {port}")
        host.sh("\n".join(commands))
        listed = host.run("ovs-vsctl", "--format=csv", "--columns=name,ofport", "list", "interface")
        self.ofports = dict(re.findall(r"^\"?([\w-]+)\"?,(\d+)$", listed, re.MULTILINE))
        known: dict[tuple[str, str], int] = {}

        def resolve(kind: str, symbol: str) -> str:
            if kind == "port":
                return self.ofports[symbol]
            return str(known.setdefault((kind, symbol), len(known) + 1))

        groups: dict[int, dict[int, str]] = {g.group: {} for g in state.each(Group)}
        for bucket in state.each(Bucket):
            groups[bucket.group][bucket.bucket] = bucket_actions_text(bucket)
        add_groups(host, groups)
        flows = [flow_text(f, resolve) for f in state.each(Flow) if f.bridge == "br-int"]
        host.run("ovs-ofctl", "--bundle", "add-flows", "br-int", "-", stdin="\n".join(flows) + "\n")

    def trace(self, device: str, packet: str, *states: str) -> set[str]:
        """Names of the devices that a packet from `device` would leave by."""
        following = [word for state in states for word in ("--ct-next", state)]
        text = self.host.run(
            "ovs-appctl",
            "ofproto/trace",
            "br-int",
            f"in_port={self.ofports[device]},{packet}",
            *following,
        )
        names = {number: name for name, number in self.ofports.items()}
        found = set(re.findall(r"output:(?:\w+\[\] -> port is )?(\d+)$", text, re.MULTILINE))
        found |= set(re.findall(r"-> output port is (\d+)$", text, re.MULTILINE))
        # Open vSwitch skips the port that a packet came from; the trace names it all the same.
        return {names[number] for number in found} - {device}


def test_rules_meet_members_in_conjunctions(host):
    world = worlds.remote_group()
    switch = Switch(host, world, "compute2")
    ports = world.tables["ports"]
    macs = f"dl_src={ports['port1'].mac_address},dl_dst={ports['port2'].mac_address}"

    def arrives(source: str, service: str, state: str = "trk,new") -> bool:
        packet = f"tun_id=0x3e9,{service},{macs},nw_src={source},nw_dst=10.0.0.12"
        return "tapport2" in switch.trace("vxlan0", packet, state)

    assert arrives("10.0.0.11", "tcp,tcp_dst=22")
    assert arrives("10.0.0.11", "tcp,tcp_dst=5432")
    assert not arrives("10.0.0.11", "tcp,tcp_dst=80")
    assert not arrives("10.0.0.11", "udp,udp_dst=22")
    assert not arrives("10.0.0.13", "tcp,tcp_dst=22")
    # established in the original direction is checked again; answers are let in
    assert not arrives("10.0.0.13", "tcp,tcp_dst=22", "trk,est")
    assert arrives("10.0.0.13", "tcp,tcp_src=22,tcp_dst=40000", "trk,est,rpl")


def test_what_a_port_may_send(host):
    world = worlds.two_hosts()
    switch = Switch(host, world, "compute1")
    ports = world.tables["ports"]
    own = f"dl_src={ports['port1'].mac_address}"
    to_two = f"dl_dst={ports['port2'].mac_address}"
    good = f"tcp,{own},{to_two},nw_src=10.0.0.11,nw_dst=10.0.0.12"
    assert switch.trace("tapport1", good, "trk,new") == {"vxlan0"}
    assert switch.trace("tapport1", good.replace("=10.0.0.11", "=10.0.0.99"), "trk,new") == set()
    assert switch.trace("tapport1", good + ",dl_vlan=7", "trk,new") == set()
    broadcast = "dl_dst=ff:ff:ff:ff:ff:ff"
    discover = f"udp,{own},{broadcast},nw_src=0.0.0.0,nw_dst=255.255.255.255,udp_src=68,udp_dst=67"
    assert switch.trace("tapport1", discover) == {"tapdhcp-sub-a"}
    metadata = f"tcp,{own},{to_two},nw_src=10.0.0.11,nw_dst=169.254.169.254,tcp_dst=80"
    assert switch.trace("tapport1", metadata) == {"tapdhcp-sub-a"}
    asks = f"arp,{own},{broadcast},arp_op=1,arp_spa=10.0.0.11,arp_sha={ports['port1'].mac_address}"
    assert switch.trace("tapport1", f"{asks},arp_tpa=10.0.0.77") == {"vxlan0"}
    assert (
        switch.trace("tapport1", f"{asks},arp_tpa=10.0.0.12") == set()
    )  # answered here, by IN_PORT


def test_114_what_no_rule_and_no_address_pair_lets_a_port_say(host):
    """A DHCP server's answers and router advertisements, whatever its groups let out."""
    world = worlds.two_hosts()
    world.change("ports", "port1", allowed_address_pairs=(worlds.pair("fe80::/10", ""),))
    world.rule("out6", "sg-default", "egress", ethertype="IPv6")
    switch = Switch(host, world, "compute1")
    ports = world.tables["ports"]
    own = f"dl_src={ports['port1'].mac_address}"
    two, everybody = f"dl_dst={ports['port2'].mac_address}", "dl_dst=33:33:00:00:00:01"

    def says(packet: str) -> bool:
        return "vxlan0" in switch.trace("tapport1", packet, "trk,new")

    answer = f"udp,{own},{two},nw_src=10.0.0.11,nw_dst=10.0.0.12,udp_dst=68"
    assert says(f"{answer},udp_src=1067")
    assert not says(f"{answer},udp_src=67")
    speaks = f"icmp6,{own},{everybody},ipv6_dst=ff02::1"
    assert says(f"{speaks},ipv6_src=fe80::1,icmpv6_type=128")
    assert not says(f"{speaks},ipv6_src=fe80::1,icmpv6_type=134")
    # Of addresses that it does not have it says nothing in IPv6 either.
    assert not says(f"{speaks},ipv6_src=fd00::1,icmpv6_type=128")


def test_a_question_reaches_3000_devices_of_one_network(host):
    """Each device is a bucket; the domain is spread over groups that Open vSwitch can show, and one is changed alone."""
    host.sh("ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure")
    network = Network(id="n", key=7)
    shards = shards_for(3000)
    groups: Groups = {group.group: {} for group in Domain.ARP.groups(network, shards)}
    for key in range(LARGEST_PORT_KEY - 3000, LARGEST_PORT_KEY):
        group = Domain.ARP.of(network, key % shards)
        groups[group][key] = f"set_field:{key:#x}->reg2,resubmit(,60)"
    add_groups(host, groups)
    changed = next(iter(groups))
    gone = groups[changed].popitem()
    assert gone
    add_groups(host, {changed: groups[changed]} | {g: groups[g] for g in groups})
    asks = ",".join(f"group:{group}" for group in groups)
    flows = [f"table=0,arp actions={asks}"]
    flows += [
        f"table=60,reg2={key:#x} actions=output:{1 + key % 2}" for b in groups.values() for key in b
    ]
    host.run("ovs-ofctl", "--bundle", "add-flows", "br-int", "-", stdin="\n".join(flows) + "\n")
    packet = "in_port=local,arp,dl_dst=ff:ff:ff:ff:ff:ff,arp_op=1"
    text = host.run("ovs-appctl", "ofproto/trace", "br-int", packet, timeout=120)
    assert len(re.findall(r"^ *output:\d", text, re.MULTILINE)) == 2999
    assert "resubmit actions" not in text, "Open vSwitch stops at 4096 of them"
