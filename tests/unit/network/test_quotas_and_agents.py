"""Quotas (165 to 168) and the API's view of hosts (172)."""

from __future__ import annotations

from typing import Any

import pytest
from neutron_lib import exceptions as lib
from neutron_lib.exceptions.agent import AgentNotFound

from netloom.contract.errors import HTTPBadRequest, code_of
from netloom.network import neutron_agents, quotas
from tests.support.records import ALICE, Records, as_json, context


def test_165_defaults_and_settings(world: Records) -> None:
    assert quotas.limits(world.w, world.ctx, ALICE) == {
        "network": 100,
        "subnet": 100,
        "port": 500,
        "router": 10,
        "router_route": 30,
        "floatingip": 50,
        "security_group": 10,
        "security_group_rule": 100,
        "rbac_policy": 10,
        "trunk": -1,
    }
    assert quotas.limits(world.w, context(quotas={"port": 7}), ALICE)["port"] == 7
    assert quotas.list_own(world.w, world.ctx) == []


def test_166_checking(world: Records) -> None:
    quotas.update(world.w, world.ctx, ALICE, {"network": 1, "router": -1, "floatingip": 0})
    quotas.check(world.w, world.ctx, ALICE, "network")
    world.network()
    for kind in ("network", "floatingip"):
        with pytest.raises(
            lib.OverQuota, match=rf"Quota exceeded for resources: \['{kind}'\]\."
        ) as caught:
            quotas.check(world.w, world.ctx, ALICE, kind)
        assert code_of(caught.value) == 409
    for kind in ("router", "port"):
        quotas.check(world.w, world.ctx, ALICE, kind)


@pytest.mark.parametrize(
    ("attrs", "error", "message"),
    [
        ({"network": -2}, HTTPBadRequest, "'-2' is too small - must be at least '-1'."),
        ({"network": 2**31}, HTTPBadRequest, "'2147483648' is too large"),
        ({"network": "x"}, lib.InvalidInput, "'x' is not an integer."),
        ({"network": None}, lib.InvalidInput, "'None' is not an integer."),
        ({"network": []}, lib.InvalidInput, "is not an integer."),
        ({"foo": 5}, HTTPBadRequest, "Unrecognized attribute(s) 'foo'"),
        (
            {"network": 0},
            HTTPBadRequest,
            "Quota limit 0 for network must be greater than or equal to",
        ),
        (
            {"network": 0, "force": "maybe"},
            HTTPBadRequest,
            "Quota limit 0 for network must be greater",
        ),
    ],
)
def test_167_limits_that_are_refused(
    world: Records, attrs: dict[str, Any], error: type[Exception], message: str
) -> None:
    world.network()
    with pytest.raises(error) as caught:
        quotas.update(world.w, world.ctx, ALICE, attrs)
    assert message in str(caught.value) and code_of(caught.value) == 400


def test_167_168_own_limits_come_and_go(world: Records) -> None:
    world.network()
    assert quotas.update(world.w, world.ctx, ALICE, {"network": 0, "force": True})["network"] == 0
    assert quotas.update(world.w, world.ctx, ALICE, {"subnet": "5"})["subnet"] == 5
    details = quotas.details(world.w, world.ctx, ALICE)
    assert details["network"] == {"limit": 0, "used": 1, "reserved": 0}
    assert [own["project_id"] for own in quotas.list_own(world.w, world.ctx)] == [ALICE]
    quotas.delete(world.w, world.ctx, ALICE)
    assert quotas.limits(world.w, world.ctx, ALICE)["network"] == 100
    with pytest.raises(
        lib.TenantQuotaNotFound, match=f"Quota for project {ALICE} could not be found"
    ):
        quotas.delete(world.w, world.ctx, ALICE)
    assert quotas.update(world.w, world.ctx, ALICE, {}) == quotas.defaults(world.ctx)
    assert quotas.list_own(world.w, world.ctx) == []


def test_172_agents_of_hosts(world: Records) -> None:
    world.host("net1", "network", bridge_mappings={"public": "br-public"})
    world.host("c1", alive=False)
    shown = as_json(
        neutron_agents.show(world.w, world.ctx, neutron_agents.list_all(world.w, world.ctx))
    )
    assert sorted((a["host"], a["agent_type"], a["alive"]) for a in shown) == [
        ("c1", "DHCP agent", False),
        ("c1", "Metadata agent", False),
        ("c1", "Open vSwitch agent", False),
        ("net1", "DHCP agent", True),
        ("net1", "L3 agent", True),
        ("net1", "Metadata agent", True),
        ("net1", "Open vSwitch agent", True),
    ]
    switch = next(
        a for a in shown if (a["host"], a["agent_type"]) == ("net1", "Open vSwitch agent")
    )
    assert switch["configurations"]["bridge_mappings"] == {"public": "br-public"}
    assert switch["binary"] == "neutron-openvswitch-agent" and switch["admin_state_up"] is True
    assert switch["id"] == neutron_agents.agent_id("net1", "Open vSwitch agent")


def test_agents_are_switched_off_and_dead_ones_deleted(world: Records) -> None:
    world.host("net1", "network")
    world.host("c1", alive=False)
    live = neutron_agents.get(world.w, world.ctx, neutron_agents.agent_id("net1", "L3 agent"))
    dead = neutron_agents.get(world.w, world.ctx, neutron_agents.agent_id("c1", "DHCP agent"))
    off = neutron_agents.update(world.w, world.ctx, live, {"admin_state_up": False})
    assert not off.row.admin_state_up
    with pytest.raises(HTTPBadRequest, match="Cannot update read-only attribute host"):
        neutron_agents.update(world.w, world.ctx, live, {"host": "x"})
    with pytest.raises(lib.BadRequest, match="is alive"):
        neutron_agents.delete(world.w, world.ctx, live)
    neutron_agents.delete(world.w, world.ctx, dead)
    with pytest.raises(AgentNotFound):
        neutron_agents.get(world.w, world.ctx, dead.id)


def test_availability_zones(world: Records) -> None:
    world.host("net1", "network")
    world.host("c1", availability_zone="west", alive=False)
    found = neutron_agents.availability_zones(world.w, world.ctx)
    assert [(zone["name"], zone["resource"], zone["state"]) for zone in found] == [
        ("nova", "network", "available"),
        ("nova", "router", "available"),
        ("west", "network", "unavailable"),
    ]
