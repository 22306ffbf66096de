"""What QoS policies come to on a host: bursts, zeros, whose policy counts, and what is said of promises."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from netloom.model import QosPolicy
from netloom.model.hoststate import Flow, Refusal
from netloom.model.meter import Meter
from netloom.model.qos import PolicyRule
from netloom.plan import plan
from tests.support import worlds


def meters(world, host="compute1"):
    return {m.name: (m.rate, m.burst) for m in plan(world.view(host)).each(Meter)}


def limited(world, *, mtu=1450, **values):
    """The meters of an instance's port that has one bandwidth limit."""
    rule = PolicyRule(id="r", type="bandwidth_limit", direction="egress", **values)
    world.add("qos_policies", QosPolicy(id="p", rules=(rule,)))
    world.change("networks", "private", mtu=mtu)
    world.change("ports", "my2", qos_policy_id="p")
    return meters(world).get("my2/egress/kbps")


@pytest.mark.parametrize(
    ("values", "mtu", "found"),
    [
        ({"max_kbps": 1000}, 1450, (1000, 800)),
        ({"max_kbps": 1000, "max_burst_kbps": 0}, 1450, (1000, 800)),
        ({"max_kbps": 1000, "max_burst_kbps": 300}, 1450, (1000, 300)),
        # A packet larger than the burst would never get through.
        ({"max_kbps": 1000, "max_burst_kbps": 1}, 1450, (1000, 24)),
        ({"max_kbps": 5}, 1450, (5, 24)),
        ({"max_kbps": 5}, 8950, (5, 144)),
        ({"max_kbps": 0}, 1450, None),
    ],
)
def test_bursts(values, mtu, found):
    assert limited(worlds.walkthrough_b(), mtu=mtu, **values) == found


def test_the_kernels_datapath_sees_segments_of_64_kib():
    world = worlds.walkthrough_b()
    facts = world.hosts["compute1"]
    capabilities = facts.capabilities | {"datapath_type": "system"}
    world.hosts["compute1"] = replace(facts, capabilities=capabilities)
    assert limited(world, max_kbps=10) == (10, 525)


def test_a_networks_policy_is_not_for_the_clouds_own_ports():
    world = worlds.limited()
    world.change("ports", "my2", qos_policy_id=None)
    world.change("networks", "private", qos_policy_id="of-port")
    assert {name.partition("/")[0] for name in meters(world)} == {"my2"}
    # On the router's host: its interface in the network has no limit.
    assert not {name for name in meters(world, "network1") if name.startswith("if")}


def test_a_floating_ip_without_a_policy_has_its_networks():
    world = worlds.limited()
    world.change("floatingips", "fip1", qos_policy_id=None)
    world.change("networks", "public", qos_policy_id="of-port")
    found = meters(world, "network1")
    assert found["fip1/egress/kbps"] == (1000, 800)
    assert found["fip1/ingress/pktps"] == (2000, 1000)
    assert found["gw-router1/198.51.100.10/egress/kbps"] == (5000, 4000)


def test_a_port_that_is_switched_off_has_no_meters():
    world = worlds.limited()
    world.change("ports", "my2", admin_state_up=False)
    assert meters(world) == {}


def test_only_ports_with_a_policy_have_flows_for_it():
    plain, world = worlds.walkthrough_b(), worlds.limited()
    for table in ("servers", "ports"):
        world.tables[table].pop("vm-my3" if table == "servers" else "my3")
    before, after = (plan(w.view("compute2")).objects for w in (plain, world))
    assert before == after
    added = set(plan(world.view("compute1")).each(Flow))
    assert len(added) == len(list(plan(plain.view("compute1")).each(Flow))) + 7


def test_what_nobody_keeps_free_is_said_of_the_port():
    (said,) = plan(worlds.limited().view("compute1")).each(Refusal)
    assert (said.aspect, [str(o) for o in said.origin]) == ("qos", ["port/my2"])
    assert said.detail.startswith("minimum bandwidth of QoS policy of-port: no host keeps")
