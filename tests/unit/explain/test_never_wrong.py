"""Explain is not confidently wrong: power, DHCP, size, virtual addresses, «outside», refusals, what hosts report."""

from __future__ import annotations

import pytest

from netloom.explain.answer.explain import Explanation, explain
from netloom.model import AllocationPool, FixedIP, Route
from netloom.model.errors import UserError
from netloom.store import StatusRow
from tests.support import worlds
from tests.support.explained import cloud
from tests.support.worlds import pair


def ask(world: worlds.World, source: str, destination: str, *service, **more) -> Explanation:
    return explain(cloud(world), source, destination, *service, **more)


def row(kind: str, id: str, host: str, aspect: str, state: str, detail: str = "") -> StatusRow:
    return StatusRow(kind, id, host, aspect, 1, state, detail, "now")


# -- power


@pytest.mark.parametrize("asked", [("vm1", "vm2"), ("vm2", "vm1")])
def test_an_instance_that_is_stopped_is_the_culprit(asked):
    world = worlds.two_hosts()
    world.change("servers", "vm2", power="off")
    answer = ask(world, *asked)
    assert (answer.verdict, answer.cause) == ("unreachable", "server_stopped")
    assert answer.decided_by == "server/vm2"
    assert answer.fix == "openstack server start vm2"


def test_an_instance_that_its_host_could_not_run():
    failed = row("server", "vm2", "compute2", "instance", "error", "no space left on device")
    answer = explain(cloud(worlds.two_hosts(), [failed]), "vm1", "vm2")
    assert (answer.verdict, answer.decided_by) == ("unreachable", "server/vm2")
    assert "no space left on device" in answer.sentence
    # What another host said of it, before it moved, does not count.
    elsewhere = row("server", "vm2", "compute1", "instance", "error", "of old")
    assert explain(cloud(worlds.two_hosts(), [elsewhere]), "vm1", "vm2").verdict == "reachable"


@pytest.mark.parametrize(
    ("state", "verdict", "cause"),
    [
        ("ACTIVE", "reachable", ""),
        ("BUILD", "unknown", "server_building"),
        ("SHUTOFF", "unknown", "server_building"),
        ("ERROR", "unknown", "server_failed"),
    ],
)
def test_the_status_of_an_instance(state, verdict, cause):
    answer = explain(cloud(worlds.two_hosts(), states={"vm2": state}), "vm1", "vm2")
    assert (answer.verdict, answer.cause) == (verdict, cause)


@pytest.mark.parametrize("state", ["BUILD", "SHUTOFF", "ERROR"])
def test_an_instance_that_runs_is_held_up_by_its_card_alone(state):
    """Its status is not ACTIVE while a card of it is not on the wire; explain names the card, or goes by another."""
    world, states = worlds.two_hosts(), {"vm2": state}
    runs = row("server", "vm2", "compute2", "instance", "ok")
    down = row("port", "port2", "compute2", "l2", "pending", "device tapport2 has no link")
    answer = explain(cloud(world, [runs, down], states), "vm1", "vm2")
    assert (answer.verdict, answer.decided_by) == ("unreachable", "port/port2")
    assert "device tapport2 has no link" in answer.sentence
    assert explain(cloud(world, [runs], states), "vm1", "vm2").verdict == "reachable"
    # What another host said, or this one before its power was changed, is not known to be so now.
    elsewhere = row("server", "vm2", "compute1", "instance", "ok")
    assert explain(cloud(world, [elsewhere], states), "vm1", "vm2").verdict == "unknown"
    world.change("servers", "vm2", power_seq=2)
    assert explain(cloud(world, [runs], states), "vm1", "vm2").decided_by == "server/vm2"


def test_an_instance_without_a_host_is_in_error_for_good():
    world = worlds.two_hosts()
    world.change(
        "servers", "vm2", host="", fault={"code": 500, "message": "No valid host was found."}
    )
    world.change("ports", "port2", host="")
    answer = explain(cloud(world, states={"vm2": "ERROR"}), "vm1", "vm2")
    assert (answer.verdict, answer.decided_by) == ("unreachable", "server/vm2")
    assert "No valid host was found" in answer.sentence


# -- what hosts report


def test_no_port_is_reachable_whose_link_nobody_reports():
    silent = row("port", "port2", "compute1", "l2", "ok")  # not its own host
    answer = explain(cloud(worlds.two_hosts(), [silent]), "vm1", "vm2")
    assert (answer.verdict, answer.cause) == ("unknown", "not_reported")
    assert answer.decided_by == "port/port2"


@pytest.mark.parametrize("state", ["pending", "error"])
@pytest.mark.parametrize("asked", [("vm1", "vm2"), ("vm2", "vm1")])
def test_a_link_that_is_down(state, asked):
    down = row("port", "port2", "compute2", "l2", state, "the link of tapport2 is down")
    answer = explain(cloud(worlds.two_hosts(), [down]), *asked)
    assert (answer.verdict, answer.decided_by) == ("unreachable", "port/port2")
    assert "the link of tapport2 is down" in answer.sentence


def test_a_host_in_trouble_is_no_sure_way():
    trouble = row("host", "compute2", "compute2", "state", "error", "the disk is full")
    answer = explain(cloud(worlds.two_hosts(), [trouble]), "vm1", "vm2")
    assert (answer.verdict, answer.cause) == ("unknown", "host_trouble")
    assert answer.decided_by == "host/compute2" and "the disk is full" in answer.sentence
    # A host that is not on the way does not matter.
    world = worlds.walkthrough_a()
    assert explain(cloud(world, [trouble]), "outside", "vm-my1").verdict == "reachable"


def test_dhcp_that_failed_does_not_cut_who_has_an_address():
    failed = row("network", "net-a", "compute2", "dhcp", "error", "dnsmasq ended")
    answer = explain(cloud(worlds.two_hosts(), [failed]), "vm1", "vm2")
    assert answer.verdict == "unknown" and "dnsmasq ended" in answer.sentence


@pytest.mark.parametrize(
    ("health", "cause"),
    [
        ({"alive": False}, "host_silent"),
        ({"away": True}, "host_away"),
        ({"plan_version": "0"}, "host_plan"),
        ({"wanted_seq": 9}, "host_behind"),
    ],
)
def test_a_host_that_may_be_otherwise(health, cause):
    answer = explain(cloud(worlds.two_hosts(), compute2=health), "vm1", "vm2")
    assert (answer.verdict, answer.cause, answer.decided_by) == ("unknown", cause, "host/compute2")


# -- addresses


def test_dhcp_switched_off():
    world = worlds.two_hosts()
    world.change("subnets", "sub-a", enable_dhcp=False)
    for asked in (("vm1", "vm2"), ("vm1", "10.0.0.12")):
        answer = ask(world, *asked)
        assert (answer.verdict, answer.cause) == ("unknown", "no_dhcp")
        assert answer.decided_by == "subnet/sub-a"
        assert answer.fix == "openstack subnet set --dhcp sub-a"
    # What its rules refuse is refused all the same.
    world.change("ports", "port2", security_groups=())
    assert ask(world, "vm1", "vm2").verdict == "unreachable"


def test_the_dhcp_port_switched_off():
    world = worlds.two_hosts()
    world.change("ports", "dhcp-sub-a", admin_state_up=False)
    answer = ask(world, "vm1", "vm2")
    assert (answer.verdict, answer.decided_by) == ("unknown", "port/dhcp-sub-a")
    assert answer.fix == "openstack port set --enable dhcp-sub-a"


def test_dhcp_gives_a_card_one_address():
    world = worlds.two_hosts()
    both = (FixedIP("sub-a", "10.0.0.12"), FixedIP("sub-a", "10.0.0.13"))
    world.change("ports", "port2", fixed_ips=both)
    assert ask(world, "vm1", "10.0.0.12").verdict == "reachable"
    answer = ask(world, "vm1", "10.0.0.13")
    assert (answer.verdict, answer.cause) == ("unknown", "not_from_dhcp")
    assert answer.fix == "in the instance: ip address add 10.0.0.13/24 dev eth0"


def vip(holders: int = 1, **more) -> worlds.World:
    """A port without an instance keeps 10.0.0.50; instances may take it."""
    world = worlds.two_hosts()
    world.port("vip", "net-a", [("sub-a", "10.0.0.50")], security_groups=("sg-default",))
    third = world.port("port3", "net-a", [("sub-a", "10.0.0.13")], security_groups=("sg-default",))
    world.server("vm3", "compute1", third)
    for ident in ("port2", "port3")[:holders]:
        mac = world.tables["ports"][ident].mac_address
        world.change("ports", ident, allowed_address_pairs=(pair("10.0.0.50", mac),), **more)
    return world


@pytest.mark.parametrize("word", ["vip", "10.0.0.50"])
def test_a_virtual_address_is_whose_instance_takes_it(word):
    answer = ask(vip(), "vm1", word)
    assert (answer.verdict, answer.cause) == ("unknown", "pair")
    assert answer.decided_by == "port/port2"
    # Nobody may take it: it is a port that no instance has.
    assert ask(vip(0), "vm1", word).decided_by == "port/vip"
    # An instance that may take it asks for it when another one has it.
    assert ask(vip(2), "vm2", word).decided_by == "port/port3"


def test_a_virtual_address_is_unreachable_only_if_all_refuse():
    world = vip(2)
    world.change("ports", "port2", security_groups=())
    assert ask(world, "vm1", "10.0.0.50").verdict == "unknown"
    world.change("ports", "port3", security_groups=())
    assert ask(world, "vm1", "10.0.0.50").verdict == "unreachable"


def test_a_floating_ip_of_a_virtual_address():
    world = worlds.walkthrough_b()
    world.port("vip", "private", [("priv-sub", "10.0.0.50")], security_groups=("sg-all",))
    mac = world.tables["ports"]["my2"].mac_address
    world.change("ports", "my2", allowed_address_pairs=(pair("10.0.0.50", mac),))
    world.change("floatingips", "fip1", port_id="vip", fixed_ip_address="10.0.0.50")
    for word in ("198.51.100.20", "vip"):
        answer = ask(world, "outside", word)
        assert (answer.verdict, answer.cause) == ("unknown", "pair"), answer.sentence
        assert "has taken 10.0.0.50" in answer.sentence


def test_an_address_that_no_port_has_may_be_taken_where_nobody_checks():
    world = worlds.two_hosts()
    with pytest.raises(UserError, match=r"nobody has the address 10\.0\.0\.77"):
        ask(world, "10.0.0.77", "vm1")
    world.change("ports", "port2", port_security_enabled=False, security_groups=())
    answer = ask(world, "10.0.0.77", "vm1")
    # The default group lets members in only, and whoever sends from there is none.
    assert (answer.verdict, answer.decided_by) == ("unreachable", "security_group/sg-default")
    world.rule("ping", "sg-default", "ingress", protocol="icmp")
    answer = ask(world, "10.0.0.77", "vm1")
    assert (answer.verdict, answer.cause) == ("unknown", "pair")
    assert "nobody checks" in answer.sentence


def test_a_wide_pair_is_no_claim_to_the_internet():
    world = worlds.walkthrough_b()
    mac = world.tables["ports"]["my2"].mac_address
    world.change("ports", "my2", allowed_address_pairs=(pair("0.0.0.0/0", mac),))
    answer = ask(world, "vm-my2", "8.8.8.8")
    assert answer.verdict == "reachable" and "leaves the cloud" in answer.sentence


# -- outside is any address


def only_from(prefix: str) -> worlds.World:
    world = worlds.walkthrough_b()
    world.change("security_group_rules", "all-tcp", remote_ip_prefix=prefix)
    return world


def test_outside_is_any_address():
    for prefix in ("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"):
        answer = ask(only_from(prefix), "outside", "vm-my2", "tcp", 22)
        assert (answer.verdict, answer.cause) == ("unknown", "which_address"), answer.sentence
        assert answer.decided_by == "security_group/sg-all"
    assert ask(only_from("203.0.113.0/24"), "203.0.113.9", "198.51.100.20", "tcp", 22).verdict == (
        "reachable"
    )
    assert ask(only_from("203.0.113.0/24"), "8.8.8.8", "198.51.100.20", "tcp", 22).verdict == (
        "unreachable"
    )
    # A prefix that is nobody's outside changes nothing.
    assert ask(only_from("10.99.0.0/16"), "outside", "vm-my2", "tcp", 22).verdict == "unreachable"


def test_what_may_go_outside_may_depend_on_where():
    world = worlds.walkthrough_b()
    del world.tables["security_group_rules"]["all-out"]
    world.rule("some-out", "sg-all", "egress", remote_ip_prefix="203.0.113.0/24")
    assert ask(world, "vm-my2", "outside").cause == "which_address"
    assert ask(world, "vm-my2", "203.0.113.7").verdict == "reachable"
    assert ask(world, "vm-my2", "8.8.8.8").verdict == "unreachable"


# -- refused, too big


def test_a_router_refuses_a_connection():
    answer = ask(worlds.walkthrough_b(), "vm-my2", "10.0.0.1", "tcp", 22)
    assert (answer.verdict, answer.cause) == ("unreachable", "refused")
    assert answer.sentence.startswith("10.0.0.1 refuses tcp/22: the packet arrives at")
    assert ask(worlds.walkthrough_b(), "vm-my2", "10.0.0.1").verdict == "reachable"
    assert ask(worlds.two_hosts(), "vm1", "10.0.0.2", "udp", 53).cause == "refused"
    assert ask(worlds.two_hosts(), "vm1", "10.0.0.2", "udp", 67).verdict == "reachable"
    # What an instance's own programs do is not known here, and the sentence says so.
    assert (
        "or refuses it where no program"
        in ask(worlds.two_hosts(), "vm1", "vm2", "tcp", 22).sentence
    )


def test_a_packet_that_is_too_large_for_a_network_on_the_way():
    world = worlds.walkthrough_b()
    assert ask(world, "vm-my2", "outside", size=1450).path_mtu == 1450
    assert ask(world, "vm-my2", "outside", size=1450).verdict == "reachable"
    answer = ask(world, "vm-my2", "outside", size=1451)
    assert (answer.verdict, answer.cause, answer.decided_by) == (
        "unreachable",
        "too_big",
        "network/private",
    )
    assert "its sender cannot send it" in answer.sentence
    # From outside it is the router that refuses it.
    answer = ask(world, "outside", "vm-my2", size=1451)
    assert answer.decided_by == "network/private"
    assert "router router1 refuses it" in answer.sentence
    assert answer.fix == "send packets of at most 1450 bytes"
    # A small packet passes whatever the MTUs are.
    world.change("networks", "private", mtu=1300)
    assert ask(world, "outside", "vm-my2").verdict == "reachable"
    fits = explain(cloud(world, largest_mtu={"vxlan": 1450}), "outside", "vm-my2", size=1400)
    assert fits.fix == "openstack network set --mtu 1400 private"


@pytest.mark.parametrize("size", [1, 27, 65536, -1])
def test_sizes_that_no_packet_has(size):
    with pytest.raises(UserError, match="no size of a packet"):
        ask(worlds.two_hosts(), "vm1", "vm2", size=size)


# -- a route's owner


def beside() -> worlds.World:
    """Walkthrough B with a second private network behind the same router."""
    world = worlds.walkthrough_b()
    world.network("other")
    world.subnet("other-sub", "other", "10.9.0.0/24")
    world.interface("router1", "other", "other-sub", "10.9.0.1")
    port = world.port("my3", "other", [("other-sub", "10.9.0.5")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    return world


def test_a_host_route_that_leads_nowhere_is_its_subnet_s():
    world = beside()
    world.change("subnets", "priv-sub", host_routes=(Route("10.9.0.0/24", "10.0.0.99"),))
    answer = ask(world, "vm-my2", "vm-my3")
    assert (answer.verdict, answer.cause) == ("unreachable", "wrong_route")
    assert answer.decided_by == "subnet/priv-sub"
    assert answer.fix == (
        "openstack subnet unset --host-route destination=10.9.0.0/24,gateway=10.0.0.99 priv-sub"
    )


def test_an_extra_route_that_leads_nowhere_is_its_router_s():
    world = beside()
    world.change("routers", "router1", routes=(Route("192.0.2.0/24", "10.9.0.77"),))
    answer = ask(world, "vm-my2", "192.0.2.5")
    assert (answer.verdict, answer.decided_by) == ("unreachable", "router/router1")
    assert answer.fix == (
        "openstack router unset --route destination=192.0.2.0/24,gateway=10.9.0.77 router1"
    )


def test_a_route_by_the_wrong_of_two_routers():
    """The other one leads there: the fix names its address."""
    world = beside()
    world.network("far")
    world.subnet("far-sub", "far", "10.7.0.0/24")
    port = world.port("my4", "far", [("far-sub", "10.7.0.5")], security_groups=("sg-all",))
    world.server("vm-my4", "compute2", port)
    for router, address in (("router2", "10.9.0.8"), ("router3", "10.9.0.9")):
        world.router(router, "network1")
        world.interface(router, "other", "other-sub", address)
        world.change("routers", router, routes=(Route("10.0.0.0/24", "10.9.0.1"),))
    world.interface("router3", "far", "far-sub", "10.7.0.1")
    world.change("routers", "router1", routes=(Route("10.7.0.0/24", "10.9.0.8"),))
    answer = ask(world, "vm-my2", "vm-my4")
    assert (answer.cause, answer.decided_by) == ("wrong_route", "router/router1")
    gone, added = answer.fix.split(" && ")
    assert gone.endswith("destination=10.7.0.0/24,gateway=10.9.0.8 router1")
    assert added.endswith("set --route destination=10.7.0.0/24,gateway=10.9.0.9 router1")
    # Without any route the same address is found.
    world.change("routers", "router1", routes=())
    answer = ask(world, "vm-my2", "vm-my4")
    assert (answer.cause, answer.decided_by) == ("no_route", "router/router1")
    assert answer.fix.endswith("set --route destination=10.7.0.0/24,gateway=10.9.0.9 router1")


def test_an_instance_that_forwards_is_not_promised():
    world = beside()
    world.network("far")
    world.subnet("far-sub", "far", "10.7.0.0/24")
    port = world.port("my4", "far", [("far-sub", "10.7.0.5")], security_groups=("sg-all",))
    world.server("vm-my4", "compute2", port)
    one = world.port("wall1", "private", [("priv-sub", "10.0.0.30")], port_security_enabled=False)
    two = world.port("wall2", "far", [("far-sub", "10.7.0.1")], port_security_enabled=False)
    world.server("wall", "compute2", one, two)
    world.change("subnets", "priv-sub", host_routes=(Route("10.7.0.0/24", "10.0.0.30"),))
    answer = ask(world, "vm-my2", "vm-my4")
    assert (answer.verdict, answer.cause) == ("unknown", "forwarding"), answer.sentence
    assert answer.decided_by == "port/wall1"
    world.change("ports", "wall2", port_security_enabled=True, security_groups=("sg-all",))
    answer = ask(world, "vm-my2", "vm-my4")
    assert (answer.verdict, answer.cause) == ("unreachable", "port_security")
    assert answer.decided_by == "port/wall2"


# -- fixes


def test_a_fix_never_takes_a_floating_ip_that_is_in_use():
    world = worlds.walkthrough_b()
    port = world.port("my3", "private", [("priv-sub", "10.0.0.6")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    answer = ask(world, "outside", "vm-my3")
    assert answer.decided_by == "floatingip/fip1"
    assert answer.fix == "openstack floating ip create --port my3 public"
    world.floating("free", "public", "pub-sub", "198.51.100.30")
    assert ask(world, "outside", "vm-my3").fix == "openstack floating ip set --port my3 free"
    # One of another project, or of a network that the router does not lead to, is none.
    world.change("floatingips", "free", project_id="another")
    assert ask(world, "outside", "vm-my3").fix == "openstack floating ip create --port my3 public"
    world.change("floatingips", "free", project_id="", floating_network_id="private")
    assert ask(world, "outside", "vm-my3").fix == "openstack floating ip create --port my3 public"


def test_a_floating_ip_comes_after_the_router_that_it_needs():
    world = worlds.walkthrough_b()
    world.network("other")
    world.subnet("other-sub", "other", "10.9.0.0/24")
    port = world.port("my3", "other", [("other-sub", "10.9.0.5")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    answer = ask(world, "outside", "vm-my3")
    assert answer.decided_by == "subnet/other-sub"
    assert answer.fix == (
        "openstack router add subnet router1 other-sub && openstack floating ip create --port my3 public"
    )


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        ((("10.9.0.10", "10.9.0.20"),), "--gateway 10.9.0.3 other-sub"),
        (
            (("10.9.0.1", "10.9.0.254"),),
            "--gateway 10.9.0.3 --no-allocation-pool --allocation-pool start=10.9.0.1,end=10.9.0.2 "
            "--allocation-pool start=10.9.0.4,end=10.9.0.254 other-sub",
        ),
    ],
)
def test_a_gateway_that_is_not_the_router_s(pools, words):
    world = worlds.walkthrough_b()
    world.network("other")
    parts = tuple(AllocationPool(*ends) for ends in pools)
    world.subnet(
        "other-sub", "other", "10.9.0.0/24", allocation_pools=parts, gateway_ip="10.9.0.254"
    )
    world.interface("router1", "other", "other-sub", "10.9.0.3")
    port = world.port("my3", "other", [("other-sub", "10.9.0.5")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", port)
    answer = ask(world, "vm-my3", "vm-my2")
    assert (answer.cause, answer.decided_by) == ("wrong_subnet_gateway", "subnet/other-sub")
    assert answer.fix == f"openstack subnet set {words}"
    world.change("subnets", "other-sub", gateway_ip=None)
    answer = ask(world, "vm-my3", "vm-my2")
    assert (answer.cause, answer.decided_by) == ("no_subnet_gateway", "subnet/other-sub")
    assert answer.fix == f"openstack subnet set {words}"
