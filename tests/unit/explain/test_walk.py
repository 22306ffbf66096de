"""What the planned flows, routes and NAT do to packets: the promises of the walkthrough, walked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netloom.explain.walk.frames import ICMP, TCP, UDP, Frame, arp_request
from netloom.explain.walk.hosts import World
from netloom.explain.walk.namespaces import route
from netloom.explain.walk.walk import Outside, Walker
from netloom.model import Route
from netloom.model.hoststate import Device
from tests.support import worlds


def walker(world: worlds.World) -> Walker:
    return Walker(World.of(world.views()))


def last(walk) -> str:
    return ((walk.back or walk.there).steps[-1]).text


def by(walk):
    return [str(origin) for origin in (walk.back or walk.there).steps[-1].origin]


def enter(w: Walker, port: str, frame: Frame):
    endpoint = w.world.endpoints[port]
    return w.switches.enter(w.world.hosts[endpoint.host], endpoint.device, frame)


def delivered_to(outcomes) -> set[str]:
    return {outcome.place for outcome in outcomes if outcome.end in ("device", "wire")}


@pytest.fixture
def pair():
    w = walker(worlds.two_hosts())
    return w, w.world.endpoints["port1"], w.world.endpoints["port2"]


def test_ping_crosses_hosts_both_ways(pair):
    w, one, two = pair
    assert w.exchange(one, "10.0.0.12").reachable
    walk = w.exchange(two, "10.0.0.11")
    assert walk.reachable
    assert [s.kind for s in walk.there.steps].count("tunnel") == 1


def test_the_default_group_keeps_strangers_out():
    world = worlds.two_hosts()
    world.group("other")
    world.rule("other-out", "other", "egress")
    world.change("ports", "port1", security_groups=("other",))
    w = walker(world)
    walk = w.exchange(w.world.endpoints["port1"], "10.0.0.12")
    assert not walk.reachable
    assert walk.there.steps[-1].text.startswith("INGRESS_RULES: dropped")
    assert "security_group/sg-default" in by(walk)
    # nobody lets the other direction in either
    assert not w.exchange(w.world.endpoints["port2"], "10.0.0.11").reachable


def test_answers_need_no_rule():
    world = worlds.remote_group()
    w = walker(world)
    web = w.world.endpoints["port1"]
    assert w.exchange(web, "10.0.0.12", proto=TCP, port=22).reachable
    assert w.exchange(web, "10.0.0.12", proto=TCP, port=5432).reachable
    assert not w.exchange(web, "10.0.0.12", proto=TCP, port=80).reachable
    assert not w.exchange(web, "10.0.0.12").reachable
    # port3 is no member of web
    assert not w.exchange(w.world.endpoints["port3"], "10.0.0.12", proto=TCP, port=22).reachable


def test_a_removed_rule_cuts_what_it_let_in():
    world = worlds.remote_group()
    w = walker(world)
    web = w.world.endpoints["port1"]
    assert w.exchange(web, "10.0.0.12", proto=TCP, port=22).reachable
    del world.tables["security_group_rules"]["db-0"]
    after = walker(world)
    after.switches.tracked = w.switches.tracked  # the connection is known to every zone
    assert not after.exchange(
        after.world.endpoints["port1"], "10.0.0.12", proto=TCP, port=22
    ).reachable


def test_errors_about_a_connection_reach_both_its_ends():
    w = walker(worlds.remote_group())
    web, db = w.world.endpoints["port1"], w.world.endpoints["port2"]
    walk = w.exchange(web, "10.0.0.12", proto=TCP, port=22)
    asked, answered = walk.there.frame.connection, walk.back.frame.connection

    def error(source, target, about):
        return Frame(
            eth_src=source.mac,
            eth_dst=target.mac,
            ip_src=source.addresses[0],
            ip_dst=target.addresses[0],
            ip_proto=ICMP,
            icmp_type=3,
            icmp_code=4,
            about=about,
        )

    # No rule lets ICMP in to the database; still it must learn that its answer was too big for the way.
    assert delivered_to(enter(w, "port1", error(web, db, answered))) == {db.device}
    assert delivered_to(enter(w, "port2", error(db, web, asked))) == {web.device}
    stranger = replace(answered, source_port=23)
    assert delivered_to(enter(w, "port1", error(web, db, stranger))) == set()


def test_two_tenants_with_the_same_addresses_never_meet():
    world = worlds.two_hosts()
    world.network("net-b")
    world.subnet("sub-b", "net-b", "10.0.0.0/24")
    world.group("open")
    world.rule("open-out", "open", "egress")
    world.rule("open-in", "open", "ingress")
    for number in (1, 2):
        port = world.port(
            f"other{number}", "net-b", [("sub-b", f"10.0.0.1{number}")], security_groups=("open",)
        )
        world.server(f"other-vm{number}", f"compute{number}", port)
    w = walker(world)
    for name, wanted in (("port1", "port2"), ("other1", "other2")):
        walk = w.exchange(w.world.endpoints[name], "10.0.0.12")
        assert walk.reachable
        assert walk.there.at == w.world.endpoints[wanted]
        flood = enter(w, name, arp_request(w.world.endpoints[name].mac, "10.0.0.11", "10.0.0.77"))
        assert delivered_to(flood) == {f"tap{wanted}"}


def forged(w, **changes):
    one = w.world.endpoints["port1"]
    two = w.world.endpoints["port2"]
    frame = Frame(
        eth_src=one.mac,
        eth_dst=two.mac,
        ip_src="10.0.0.11",
        ip_dst="10.0.0.12",
        ip_proto=TCP,
        tp_dst=22,
    )
    return enter(w, "port1", replace(frame, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"eth_src": "fa:16:3e:99:99:99"},
        {"ip_src": "10.0.0.99"},
        {"ip_proto": UDP, "tp_src": 67, "tp_dst": 68},
        {"vlan": 101},
        {"eth_type": "ipv6", "ip_src": "fe80::1", "ip_dst": "ff02::1"},
        {"eth_type": "lldp"},
    ],
    ids=["MAC", "address", "DHCP answer", "VLAN tag", "IPv6", "other protocols"],
)
def test_forged_frames_are_dropped(pair, changes):
    w, _, _ = pair
    assert delivered_to(forged(w)) == {"tapport2"}
    assert delivered_to(forged(w, **changes)) == set()


@pytest.mark.parametrize("changes", [{"arp_spa": "10.0.0.99"}, {"arp_sha": "fa:16:3e:99:99:99"}])
def test_forged_arp_is_dropped(pair, changes):
    w, one, _ = pair
    honest = arp_request(one.mac, "10.0.0.11", "10.0.0.77")
    assert delivered_to(enter(w, "port1", honest)) == {"tapport2"}
    assert delivered_to(enter(w, "port1", replace(honest, **changes))) == set()


def test_dhcp_stays_on_its_host(pair):
    w, one, _ = pair
    discover = Frame(
        eth_src=one.mac,
        eth_dst="ff:ff:ff:ff:ff:ff",
        ip_src="0.0.0.0",
        ip_dst="255.255.255.255",
        ip_proto=UDP,
        tp_src=68,
        tp_dst=67,
    )
    (outcome,) = enter(w, "port1", discover)
    assert (outcome.host, outcome.place) == ("compute1", "tapdhcp-sub-a")
    device = w.world.hosts["compute1"].devices["tapdhcp-sub-a"]
    offer = Frame(
        eth_src=device.mac,
        eth_dst="ff:ff:ff:ff:ff:ff",
        ip_src="10.0.0.2",
        ip_dst="255.255.255.255",
        ip_proto=UDP,
        tp_src=67,
        tp_dst=68,
    )
    answers = w.switches.enter(w.world.hosts["compute1"], device.name, offer)
    assert delivered_to(answers) == {"tapport1"}
    # nothing else of the DHCP device leaves the host
    for target in (w.world.endpoints["port2"].mac, "fa:16:3e:99:99:99"):
        stray = replace(offer, eth_dst=target)
        assert (
            delivered_to(w.switches.enter(w.world.hosts["compute1"], device.name, stray)) == set()
        )


def test_metadata_is_answered_on_the_own_host_for_the_own_address_only(pair):
    w, one, _ = pair
    walk = w.exchange(one, "169.254.169.254", proto=TCP, port=80)
    assert walk.reachable
    assert isinstance(walk.there.at, Device)
    assert walk.there.host == "compute1"
    assert "tunnel" not in [s.kind for s in walk.there.steps]
    world = worlds.address_pairs()
    w = walker(world)
    for source in ("10.0.0.12", "10.0.0.100", "10.0.0.11"):
        frame = Frame(
            eth_src=w.world.endpoints["port1"].mac,
            eth_dst="fa:16:3e:00:00:01",
            ip_src=source,
            ip_dst="169.254.169.254",
            ip_proto=TCP,
            tp_src=40000,
            tp_dst=80,
        )
        expected = {"tapdhcp-sub-a"} if source == "10.0.0.11" else set()
        assert delivered_to(enter(w, "port1", frame)) == expected


def test_port_security_off_does_not_open_anothers_metadata():
    world = worlds.provider_vlan()
    w = walker(world)
    frame = Frame(
        eth_src=w.world.endpoints["v2"].mac,
        eth_dst="fa:16:3e:00:00:01",
        ip_src="172.16.0.11",
        ip_dst="169.254.169.254",
        ip_proto=TCP,
        tp_dst=80,
    )
    assert delivered_to(enter(w, "v2", frame)) == set()


def test_allowed_address_pairs_may_be_used():
    w = walker(worlds.address_pairs())
    one, two = w.world.endpoints["port1"], w.world.endpoints["port2"]
    for source, mac in (("10.0.0.100", one.mac), ("10.0.0.201", "00:00:5e:00:01:01")):
        frame = Frame(
            eth_src=mac, eth_dst=two.mac, ip_src=source, ip_dst="10.0.0.12", ip_proto=TCP, tp_dst=22
        )
        assert delivered_to(enter(w, "port1", frame)) == {"tapport2"}
    # frames to a MAC that only a pair names reach the port that may have it
    to_virtual = Frame(
        eth_src=two.mac,
        eth_dst="00:00:5e:00:01:01",
        ip_src="10.0.0.12",
        ip_dst="10.0.0.200",
        ip_proto=TCP,
        tp_dst=22,
    )
    assert delivered_to(enter(w, "port2", to_virtual)) == {"tapport1"}


def test_a_port_that_is_down_is_silent():
    world = worlds.two_hosts()
    world.change("ports", "port2", admin_state_up=False)
    w = walker(world)
    walk = w.exchange(w.world.endpoints["port1"], "10.0.0.12")
    assert not walk.reachable


def test_walkthrough_a_from_the_physical_network():
    w = walker(worlds.walkthrough_a())
    outside = Outside("extnet", 0, "203.0.113.9")
    walk = w.exchange(outside, "203.0.113.50", proto=TCP, port=22)
    assert walk.reachable, last(walk)
    assert "nat" not in [s.kind for s in walk.there.steps]
    out = w.exchange(w.world.endpoints["my1"], "192.0.2.77")
    assert out.reachable
    assert isinstance(out.there.at, Outside)
    assert not w.exchange(outside, "203.0.113.50", proto=UDP, port=53).reachable


def test_walkthrough_b_floating_ip_in_and_out():
    w = walker(worlds.walkthrough_b())
    outside = Outside("public", 0, "198.51.100.99")
    walk = w.exchange(outside, "198.51.100.20", proto=TCP, port=22)
    assert walk.reachable, last(walk)
    assert walk.there.at == w.world.endpoints["my2"]
    assert walk.there.frame.ip_dst == "10.0.0.5"
    assert walk.there.frame.ip_src == "198.51.100.99"
    out = w.exchange(w.world.endpoints["my2"], "192.0.2.77", proto=TCP, port=80)
    assert out.reachable, last(out)
    assert out.there.frame.ip_src == "198.51.100.20"


def test_snat_where_there_is_no_floating_ip_and_nothing_in_from_outside():
    world = worlds.walkthrough_b()
    del world.tables["floatingips"]["fip1"]
    w = walker(world)
    out = w.exchange(w.world.endpoints["my2"], "192.0.2.77", proto=TCP, port=80)
    assert out.reachable, last(out)
    assert out.there.frame.ip_src == "198.51.100.10"
    outside = Outside("public", 0, "198.51.100.99")
    assert not w.exchange(outside, "198.51.100.20", proto=TCP, port=22).reachable
    # somebody on the physical network who routes to the private range by hand
    qg = w.world.hosts["network1"].devices["qg-gw-router1"]
    frame = Frame(
        eth_src="02:00:00:00:00:02",
        eth_dst=qg.mac,
        ip_src="198.51.100.99",
        ip_dst="10.0.0.5",
        ip_proto=TCP,
        tp_dst=22,
    )
    found = [w._arrive(o, 0) for o in w.switches.from_wire("public", frame)]
    assert not any(a.delivered for a in found if a)


def test_a_router_that_is_down_forwards_nothing():
    world = worlds.walkthrough_b()
    world.change("routers", "router1", admin_state_up=False)
    w = walker(world)
    walk = w.exchange(w.world.endpoints["my2"], "192.0.2.77")
    assert not walk.reachable
    assert "router/router1" in by(walk)


def two_floating() -> worlds.World:
    world = worlds.walkthrough_b()
    port = world.port("my3", "private", [("priv-sub", "10.0.0.6")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    world.floating(
        "fip2",
        "public",
        "pub-sub",
        "198.51.100.21",
        port_id="my3",
        fixed_ip_address="10.0.0.6",
        router_id="router1",
    )
    return world


def test_hairpin_from_floating_ip_to_floating_ip():
    w = walker(two_floating())
    walk = w.exchange(w.world.endpoints["my2"], "198.51.100.21", proto=TCP, port=22)
    assert walk.there.at == w.world.endpoints["my3"]
    assert walk.there.frame.ip_src == "198.51.100.20"
    assert walk.reachable, last(walk)


def test_hairpin_from_an_instance_without_floating_ip():
    world = two_floating()
    del world.tables["floatingips"]["fip1"]
    w = walker(world)
    walk = w.exchange(w.world.endpoints["my2"], "198.51.100.21", proto=TCP, port=22)
    assert walk.there.at == w.world.endpoints["my3"]
    assert walk.reachable, last(walk)


def test_provider_vlan_between_hosts_and_outside():
    w = walker(worlds.provider_vlan())
    walk = w.exchange(w.world.endpoints["v2"], "172.16.0.11", proto=TCP, port=22)
    assert walk.reachable, last(walk)
    assert "tunnel" not in [s.kind for s in walk.there.steps]
    assert w.exchange(Outside("extnet", 101, "172.16.0.99"), "172.16.0.12").reachable
    assert not w.exchange(Outside("extnet", 102, "172.16.0.99"), "172.16.0.12").reachable
    assert not w.exchange(Outside("extnet", 0, "172.16.0.99"), "172.16.0.12").reachable


def test_east_west_between_networks_goes_through_the_router():
    world = worlds.walkthrough_b()
    world.network("second")
    world.subnet("second-sub", "second", "10.1.0.0/24")
    world.interface("router1", "second", "second-sub", "10.1.0.1")
    port = world.port("other", "second", [("second-sub", "10.1.0.7")], security_groups=("sg-all",))
    world.server("vm-other", "compute2", port)
    w = walker(world)
    walk = w.exchange(w.world.endpoints["my2"], "10.1.0.7")
    assert walk.reachable, last(walk)
    assert walk.there.frame.ip_src == "10.0.0.5"
    assert w.exchange(w.world.endpoints["my2"], "10.0.0.1").reachable
    # A route of the router's own to a connected network is used before that one, as on the host.
    world.change("routers", "router1", routes=(Route("10.1.0.0/24", "10.0.0.5"),))
    network1 = walker(world).world.hosts["network1"]
    found = route(network1, "qrouter-router1", "10.1.0.7")
    assert found is not None and found[1] == "10.0.0.5"


def test_stateless_groups_check_both_directions():
    world = worlds.two_hosts()
    world.group("flat", stateful=False)
    world.rule("flat-out", "flat", "egress", protocol="tcp", port_range_min=22, port_range_max=22)
    world.rule("flat-in", "flat", "ingress", protocol="tcp", port_range_min=22, port_range_max=22)
    for name in ("port1", "port2"):
        world.change("ports", name, security_groups=("flat",))
    w = walker(world)
    walk = w.exchange(w.world.endpoints["port1"], "10.0.0.12", proto=TCP, port=22)
    assert walk.there.delivered
    assert not walk.reachable  # the answer to port 40000 has no rule


def test_a_router_of_two_replicas_is_walked_through_the_first() -> None:
    world = worlds.walkthrough_b()
    for hosts in (("network1", "compute2"), ("compute2", "network1"), ("compute1", "network1")):
        world.change("routers", "router1", replicas=worlds.replicas(*hosts))
        w = walker(world)
        outside = Outside("public", 0, "198.51.100.77")
        for walk in (
            w.exchange(w.world.endpoints["my2"], "198.51.100.77"),
            w.exchange(outside, "198.51.100.20", proto=TCP, port=22),
        ):
            assert walk.reachable, last(walk)
            steps = (*walk.there.steps, *walk.back.steps)
            assert {s.host for s in steps if s.kind in ("route", "nat")} == {hosts[0]}
