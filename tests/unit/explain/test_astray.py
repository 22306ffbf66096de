"""A packet that arrives is not yet one that arrives where it should, nor its answer; and what outside may know."""

from __future__ import annotations

import pytest

from netloom.explain.answer.explain import Explanation, explain
from netloom.model import Route
from netloom.model.errors import UserError
from netloom.store import StatusRow
from tests.support import worlds
from tests.support.explained import cloud


def ask(world: worlds.World, source: str, destination: str, *service) -> Explanation:
    return explain(cloud(world), source, destination, *service)


def routed(enable_snat: bool = True) -> worlds.World:
    """Walkthrough B without its floating IP; a second private network `other` that router1 does not know."""
    world = worlds.walkthrough_b()
    for table, ident in (("floatingips", "fip1"), ("ports", "fip1-port")):
        del world.tables[table][ident]
    gateway = world.tables["routers"]["router1"].external_gateway_info
    fixed = world.tables["ports"]["gw-router1"].fixed_ips
    world.change(
        "routers",
        "router1",
        external_gateway_info=type(gateway)(
            network_id="public", enable_snat=enable_snat, external_fixed_ips=fixed
        ),
    )
    world.network("other")
    world.subnet("other-sub", "other", "10.9.0.0/24")
    port = world.port("my3", "other", [("other-sub", "10.9.0.5")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    return world


def twins() -> worlds.World:
    """Two networks of one range; 10.0.0.12 is on both."""
    world = worlds.two_hosts()
    world.network("net-b")
    world.subnet("sub-b", "net-b", "10.0.0.0/24")
    for number, address in ((3, "10.0.0.12"), (4, "10.0.0.13")):
        port = world.port(
            f"port{number}", "net-b", [("sub-b", address)], security_groups=("sg-default",)
        )
        world.server(f"vm{number}", "compute2", port)
    return world


def test_a_router_without_an_interface_there_sends_it_out_of_the_cloud():
    answer = ask(routed(), "vm-my2", "vm-my3")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "router/router1"
    assert "Router router1 has no interface in subnet other-sub (10.9.0.0/24)" in answer.sentence
    assert answer.fix == "openstack router add subnet router1 other-sub"


def test_an_answer_that_leaves_the_cloud_has_not_come_back():
    world = routed()
    world.network("transit")
    world.subnet("transit-sub", "transit", "10.8.0.0/24")
    world.router("router2", "network1")
    world.interface("router1", "transit", "transit-sub", "10.8.0.1")
    world.interface("router2", "transit", "transit-sub", "10.8.0.9")
    world.interface("router2", "other", "other-sub", "10.9.0.1")
    world.gateway("router2", "public", "pub-sub", "198.51.100.11", enable_snat=False)
    world.change("routers", "router1", routes=(Route("10.9.0.0/24", "10.8.0.9"),))
    answer = ask(world, "vm-my2", "vm-my3")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "router/router2"
    assert "router router2 has no route to subnet priv-sub (10.0.0.0/24)" in answer.sentence
    world.change("routers", "router2", routes=(Route("10.0.0.0/24", "10.8.0.1"),))
    assert ask(world, "vm-my2", "vm-my3").verdict == "reachable"
    # Two routers that send it to one another.
    world.change("routers", "router2", routes=(Route("10.77.0.0/24", "10.8.0.1"),))
    world.change("routers", "router1", routes=(Route("10.77.0.0/24", "10.8.0.9"),))
    answer = ask(world, "vm-my2", "10.77.0.1")
    assert answer.verdict == "unreachable"
    assert "round in circles" in answer.sentence


def test_an_answer_by_another_router_has_another_address():
    """The floating IP's router is not the instance's gateway: the answer leaves by the gateway, as that one."""
    world = worlds.walkthrough_b()
    world.router("router2", "network1")
    world.interface("router2", "private", "priv-sub", "10.0.0.254")
    world.gateway("router2", "public", "pub-sub", "198.51.100.11")
    world.change("floatingips", "fip1", router_id="router2")
    answer = ask(world, "outside", "198.51.100.20")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "router/router1"
    assert "arrives from 198.51.100.10, not from 198.51.100.20" in answer.sentence


def test_an_address_on_two_networks():
    world = twins()
    assert ask(world, "vm1", "10.0.0.12").verdict == "reachable"
    answer = ask(world, "vm1", "vm3")
    assert answer.verdict == "unreachable"
    assert answer.sentence.startswith("The packet goes to port port2 on network net-a")
    assert answer.decided_by == "port/port2"
    # What that port's rules say is beside the point.
    world.change("ports", "port2", security_groups=())
    assert ask(world, "vm1", "vm3").sentence == answer.sentence
    # The nearer one is meant; where none is nearer, it must be said which.
    assert ask(world, "10.0.0.12", "vm4").verdict == "reachable"
    world.network("net-c")
    world.subnet("sub-c", "net-c", "10.3.0.0/24")
    port = world.port("port5", "net-c", [("sub-c", "10.3.0.5")], security_groups=("sg-default",))
    world.server("vm5", "compute1", port)
    world.change("ports", "port5", project_id="another")
    with pytest.raises(UserError, match="several ports have the address"):
        ask(world, "vm5", "10.0.0.12")


def test_no_snat_hangs_on_the_routes_outside():
    world = routed(enable_snat=False)
    for source, target in (("outside", "vm-my2"), ("vm-my2", "8.8.8.8")):
        answer = ask(world, source, target)
        assert answer.verdict == "unknown", answer.sentence
        assert answer.decided_by == "router/router1"
        assert (
            "if the machines outside know that 10.0.0.0/24 is behind 198.51.100.10"
            in answer.sentence
        )
    assert ask(world, "outside", "vm-my2").source == "outside (198.51.100.1)"
    # What is refused inside is refused whatever they know.
    world.tables["security_group_rules"].pop("all-icmp")
    assert ask(world, "outside", "vm-my2").verdict == "unreachable"
    assert ask(routed(), "outside", "vm-my2").verdict == "unreachable"


def test_an_allowed_address_pair_may_be_taken_or_not():
    world = worlds.address_pairs()
    for source, target in (("vm2", "10.0.0.100"), ("10.0.0.100", "vm2")):
        answer = ask(world, source, target)
        assert answer.verdict == "unknown", answer.sentence
        assert answer.decided_by == "port/port1"
        assert "only one of the port's allowed address pairs" in answer.sentence
    world.change("ports", "port1", security_groups=())
    assert ask(world, "vm2", "10.0.0.100").verdict == "unreachable"


def test_the_dhcp_server_answers_on_its_own_network_only():
    world = routed()
    assert ask(world, "vm-my2", "10.0.0.2").verdict == "reachable"
    assert ask(world, "vm-my2", "10.0.0.2", "udp", 67).verdict == "reachable"
    world.interface("router1", "other", "other-sub", "10.9.0.1")
    answer = ask(world, "vm-my2", "10.9.0.2")
    assert answer.verdict == "unreachable"
    assert "the DHCP server of network other answers on its own network only" in answer.sentence


def test_metadata_says_what_it_answers():
    answer = ask(worlds.two_hosts(), "vm1", "169.254.169.254")
    assert answer.verdict == "unreachable"
    assert "answers TCP port 80 only" in answer.sentence


def test_what_leaves_the_cloud_is_not_promised_to_arrive():
    answer = ask(routed(), "vm-my2", "8.8.8.8")
    assert answer.verdict == "reachable"
    assert "leaves the cloud by physical network public as 198.51.100.10" in answer.sentence
    assert "198.51.100.1, which is not this cloud's" in answer.sentence
    # In the range of one of the cloud's networks, and nobody's there.
    answer = ask(routed(), "vm-my2", "10.9.0.77")
    assert answer.verdict == "unknown"
    assert answer.decided_by == "subnet/other-sub"


def test_a_private_address_is_not_known_outside():
    answer = ask(worlds.walkthrough_b(), "outside", "10.0.0.5")
    assert answer.verdict == "unreachable"
    assert answer.sentence == (
        "10.0.0.5 is a private address: outside, port my2 is known by floating IP 198.51.100.20 only."
    )


def test_a_binding_that_failed():
    world = worlds.two_hosts()
    world.change("ports", "port2", vif_type="binding_failed")
    answer = ask(world, "vm1", "vm2")
    assert answer.verdict == "unreachable"
    assert answer.decided_by == "port/port2"
    assert "could not be bound to host compute2" in answer.sentence


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        ("vm1", "vm1", "the same port"),
        ("vm1", "10.0.0.11", "the same port"),
        ("vm1", "2001:db8::1", "IPv6"),
        ("vm1", "224.0.0.1", "no address of one machine"),
        ("outside", "10.0.0.77", "nobody has the address 10.0.0.77 of subnet sub-a"),
        ("outside", "8.8.8.8", "both outside"),
        (
            "10.0.0.77",
            "vm1",
            "nobody has the address 10.0.0.77 of subnet sub-a; for a machine outside",
        ),
        ("net-a", "vm1", "it is a network; name an instance"),
    ],
)
def test_words_that_mean_no_packet(source, destination, words):
    with pytest.raises(UserError, match=words):
        ask(worlds.two_hosts(), source, destination)


def l2(port: str, state: str, detail: str) -> StatusRow:
    return StatusRow("port", port, "compute2", "l2", 1, state, detail, "now")


def test_a_port_that_is_not_plugged_comes_before_its_rules():
    world = worlds.two_hosts()
    world.change("ports", "port2", security_groups=())
    # Plugged by somebody else (a Nova, a script): no server of ours has it.
    del world.tables["servers"]["vm2"]
    row = l2("port2", "pending", "device tapport2 is not plugged")
    answer = explain(cloud(world, [row]), "vm1", "port2")
    assert answer.decided_by == "port/port2"
    assert "device tapport2 is not plugged" in answer.sentence
    assert answer.fix.startswith("on compute2: br-int must have a device")
    assert "external_ids:iface-id=port2" in answer.fix


def test_whose_the_link_is_that_is_down():
    """What the host makes nobody needs to plug in: a card of its own instance, a port of a router or of DHCP."""
    world = worlds.two_hosts()
    down = "device tapport2 has no link: its other end, in the instance, is down"
    answer = explain(cloud(world, [l2("port2", "pending", down)]), "vm1", "vm2")
    mac = world.tables["ports"]["port2"].mac_address
    assert down in answer.sentence
    assert answer.fix.startswith(f"in the instance: ip link set DEVICE up, for the card {mac};")
    failed = explain(cloud(world, [l2("port2", "error", "no such device")]), "vm1", "vm2")
    assert failed.fix.startswith("openstack network agent list --host compute2;")
    waits = StatusRow(
        "port", "gw-router1", "network1", "l2", 1, "pending", "again and again", "now"
    )
    routed_out = explain(cloud(worlds.walkthrough_b(), [waits]), "vm-my2", "8.8.8.8")
    assert routed_out.decided_by == "port/gw-router1"
    assert routed_out.fix.startswith("openstack network agent list --host network1;")


def test_a_tunnel_whose_other_end_is_silent():
    detail = "no answer to ping from compute2 at 192.0.2.2"
    row = StatusRow("host", "compute2", "compute1", "tunnel", 1, "error", detail, "now")
    answer = explain(cloud(worlds.two_hosts(), [row]), "vm1", "vm2")
    assert answer.verdict == "unknown"
    assert answer.decided_by == "host/compute2"
    assert answer.fix.startswith("on compute1: ping 192.0.2.2;")
    world = worlds.walkthrough_a()
    assert explain(cloud(world, [row]), "outside", "vm-my1").verdict == "reachable"


@pytest.mark.parametrize("turn", [1, -1])
def test_the_host_whose_every_tunnel_is_broken_is_at_fault(turn):
    """Whoever's report comes first."""
    said = [
        ("compute1", "compute2"),
        ("compute2", "compute1"),
        ("compute2", "network1"),
        ("network1", "compute2"),
    ]
    rows = [
        StatusRow(
            "host",
            far,
            host,
            "tunnel",
            1,
            "error",
            f"no answer to ping from {far} at 192.0.2.2",
            "now",
        )
        for host, far in said[::turn]
    ]
    for ends in (("vm1", "vm2"), ("vm2", "vm1")):
        assert explain(cloud(worlds.two_hosts(), rows), *ends).decided_by == "host/compute2"


def test_a_protocol_without_ports_takes_none():
    with pytest.raises(UserError, match="icmp has no ports"):
        ask(worlds.two_hosts(), "vm1", "vm2", "icmp", 22)


def test_every_reason_says_what_to_do():
    world = worlds.walkthrough_b()
    world.tables["security_group_rules"].pop("all-tcp")
    answer = ask(world, "outside", "vm-my2", "tcp", 22)
    assert answer.decided_by_name == "security group sg-all"
    rule = "openstack security group rule create --ingress --ethertype IPv4 --protocol tcp --dst-port 22"
    # «outside» is any address; one that is named is one.
    assert answer.fix == f"{rule} --remote-ip 0.0.0.0/0 sg-all"
    named = ask(world, "192.0.2.77", "198.51.100.20", "tcp", 22)
    assert named.fix == f"{rule} --remote-ip 192.0.2.77/32 sg-all"
    world.change("ports", "my2", admin_state_up=False)
    assert ask(world, "outside", "vm-my2").fix == "openstack port set --enable my2"
