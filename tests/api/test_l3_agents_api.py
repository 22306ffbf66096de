"""Routers given to L3 agents and taken from them, each answer asked of real Neutron 29 once; and routers of hosts that are lost."""

import time

import pytest

from netloom.keeper.loop import Memory, tick
from netloom.model import Away, HostFacts, NetworkSettings, Status
from netloom.model.settings import ComputeSettings
from tests.support.networking import error_of

NOBODY = "00000000-0000-4000-8000-000000000000"
MAPPED = {"public": "br-public"}


def host(cloud, name, *, heard=None, roles=("network",), mapped=None):
    facts = HostFacts(
        host=name,
        tunnel_ip=f"192.0.2.{int(name[-1])}",
        roles=roles,
        bridge_mappings=MAPPED if mapped is None else mapped,
    )
    with cloud.store.writer() as w:
        w.put_host(name, facts=facts)
        w.heartbeat(name, time.time() if heard is None else heard, 0)


def tunnel(cloud, of, to, state):
    with cloud.store.writer() as w:
        w.put_status(of, [Status(kind="host", id=to, aspect="tunnel", seq=1, state=state)])


@pytest.fixture
def cloud(make_cloud):
    made = make_cloud()
    for name in ("net1", "net2"):
        host(made, name)
    host(made, "cmp3", roles=("compute",))
    return made


def agent(cloud, name, kind="L3 agent"):
    (found,) = cloud.admin.list(f"/agents?host={name}&agent_type={kind}")
    return found["id"]


def add(cloud, name, router, kind="L3 agent", who=None):
    body = {"router_id": router}
    path = f"/agents/{agent(cloud, name, kind)}/l3-routers"
    return (who or cloud.admin)("POST", path, body)


def remove(cloud, name, router, kind="L3 agent", who=None):
    path = f"/agents/{agent(cloud, name, kind)}/l3-routers/{router}"
    return (who or cloud.admin)("DELETE", path)


def hosts(cloud, router):
    found = cloud.admin("GET", f"/routers/{router}/l3-agents").json()["agents"]
    return [each["host"] for each in found]


def routed(cloud, **more):
    net = cloud.admin.make("network")
    subnet = cloud.admin.make("subnet", network_id=net["id"], cidr="10.0.0.0/24", ip_version=4)
    router = cloud.admin.make("router", **more)["id"]
    body = {"subnet_id": subnet["id"]}
    path = f"/routers/{router}/add_router_interface"
    assert cloud.admin("PUT", path, body).status_code == 200
    return router, body


def keep(cloud, now=None, settings=None):
    tick(
        cloud.store,
        settings or NetworkSettings(),
        ComputeSettings(),
        Memory(),
        time.time() if now is None else now,
        Away(),
    )


def test_a_router_is_given_to_an_agent_and_taken_from_it(cloud):
    router = cloud.admin.make("router")["id"]
    assert hosts(cloud, router) == []
    answer = add(cloud, "net1", router)
    assert (answer.status_code, answer.text) == (201, "null")
    assert hosts(cloud, router) == ["net1"]
    assert add(cloud, "net1", router).status_code == 201
    assert error_of(add(cloud, "net2", router)) == (
        409,
        "RouterHostedByL3Agent",
        f"The router {router} has been already hosted by the L3 Agent {agent(cloud, 'net1')}.",
    )
    assert (
        remove(cloud, "net2", router).status_code == 204
    )  # where it is not: nothing, as in Neutron
    assert hosts(cloud, router) == ["net1"]
    assert remove(cloud, "net1", router).status_code == 204
    assert hosts(cloud, router) == []


def test_one_that_was_taken_away_waits_for_its_operator(cloud):
    router, _ = routed(cloud)
    (before,) = hosts(cloud, router)
    after = {"net1": "net2", "net2": "net1"}[before]
    remove(cloud, before, router)
    keep(cloud)
    assert hosts(cloud, router) == []  # else the next request would be refused
    assert add(cloud, after, router).status_code == 201
    assert hosts(cloud, router) == [after]
    # Or until it is changed, which has it placed anew.
    remove(cloud, after, router)
    net = cloud.admin.make("network")
    more = cloud.admin.make("subnet", network_id=net["id"], cidr="10.1.0.0/24", ip_version=4)
    path = f"/routers/{router}/add_router_interface"
    assert cloud.admin("PUT", path, {"subnet_id": more["id"]}).status_code == 200
    assert len(hosts(cloud, router)) == 1


def test_agents_that_carry_no_routers_and_those_that_are_not_there(cloud):
    router = cloud.admin.make("router")["id"]
    dhcp = agent(cloud, "net1", "DHCP agent")
    invalid = (404, "InvalidL3Agent", f"Agent {dhcp} is not a L3 Agent or has been disabled")
    assert error_of(add(cloud, "net1", router, "DHCP agent")) == invalid
    assert remove(cloud, "net1", router, "DHCP agent").status_code == 204
    l3 = agent(cloud, "net1")
    path = f"/agents/{NOBODY}/l3-routers"
    assert error_of(cloud.admin("POST", path, {"router_id": router}))[:2] == (404, "AgentNotFound")
    assert error_of(cloud.admin("POST", path, {"router_id": NOBODY}))[:2] == (404, "RouterNotFound")
    assert error_of(cloud.admin("DELETE", f"{path}/{router}"))[:2] == (404, "AgentNotFound")
    assert error_of(add(cloud, "net1", NOBODY))[:2] == (404, "RouterNotFound")
    assert error_of(remove(cloud, "net1", NOBODY))[:2] == (404, "RouterNotFound")
    cloud.admin("PUT", f"/agents/{l3}", {"agent": {"admin_state_up": False}})
    assert error_of(add(cloud, "net1", router))[:2] == (404, "InvalidL3Agent")
    body = {"router_id": 5}
    assert error_of(cloud.admin("POST", f"/agents/{l3}/l3-routers", body))[:2] == (
        404,
        "RouterNotFound",
    )
    for body in ({}, []):  # Neutron answers 500
        assert cloud.admin("POST", f"/agents/{l3}/l3-routers", body).status_code == 400
    assert cloud.admin("PUT", f"/agents/{l3}/l3-routers/{router}", {}).status_code == 405


def test_a_host_without_the_physical_network_does_not_carry_the_router(cloud):
    host(cloud, "net4", mapped={})
    flat = {"provider:network_type": "flat", "provider:physical_network": "public"}
    net = cloud.admin.make("network", **{"router:external": True}, **flat)
    cloud.admin.make("subnet", network_id=net["id"], cidr="203.0.113.0/24", ip_version=4)
    router = cloud.admin.make("router", external_gateway_info={"network_id": net["id"]})["id"]
    (there,) = hosts(cloud, router)
    assert there != "net4"
    remove(cloud, there, router)
    assert error_of(add(cloud, "net4", router))[:2] == (404, "InvalidL3Agent")


def test_an_ha_router_gets_one_replica_more_and_loses_one(cloud):
    router = cloud.admin.make("router", ha=True)["id"]
    assert sorted(hosts(cloud, router)) == ["net1", "net2"]
    host(cloud, "net4")
    assert add(cloud, "net4", router).status_code == 201
    assert sorted(hosts(cloud, router)) == ["net1", "net2", "net4"]
    for name in ("net1", "net2"):
        assert remove(cloud, name, router).status_code == 204
    assert hosts(cloud, router) == ["net4"]
    (port,) = cloud.admin.list("/ports?device_owner=network:router_ha_interface")
    assert port["binding:host_id"] == "net4"
    assert remove(cloud, "net4", router).status_code == 204
    assert cloud.admin.list("/ports?device_owner=network:router_ha_interface") == []


def test_members_may_neither(cloud):
    router = cloud.member.make("router")["id"]
    assert add(cloud, "net1", router, who=cloud.member).status_code == 403
    assert remove(cloud, "net1", router, who=cloud.member).status_code == 403
    assert "l3_agent_scheduler" in {each["alias"] for each in cloud.admin.list("/extensions")}


def test_routers_of_a_lost_host_move_to_one_that_fits(cloud):
    router, _ = routed(cloud)
    (before,) = hosts(cloud, router)
    after = {"net1": "net2", "net2": "net1"}[before]
    long_ago = time.time() - 76
    keep(cloud)
    assert hosts(cloud, router) == [before]
    host(cloud, before, heard=long_ago)
    keep(cloud, settings=NetworkSettings(allow_automatic_l3agent_failover=False))
    assert hosts(cloud, router) == [before]
    # Another host still gets answers from it: it forwards, only the server does not hear of it.
    tunnel(cloud, "cmp3", before, "ok")
    keep(cloud)
    assert hosts(cloud, router) == [before]
    tunnel(cloud, "cmp3", before, "error")
    keep(cloud)
    assert hosts(cloud, router) == [after]
    # What is back does not get it back.
    host(cloud, before)
    keep(cloud)
    assert hosts(cloud, router) == [after]


def test_where_no_host_fits_it_stays_until_one_comes(cloud):
    router, _ = routed(cloud)
    (before,) = hosts(cloud, router)
    after = {"net1": "net2", "net2": "net1"}[before]
    for name in ("net1", "net2"):
        host(cloud, name, heard=time.time() - 76)
    keep(cloud)
    assert hosts(cloud, router) == [before]
    host(cloud, after)
    keep(cloud)
    assert hosts(cloud, router) == [after]


def test_a_host_that_is_forgotten_gives_its_routers_to_others(cloud):
    router, _ = routed(cloud)
    (before,) = hosts(cloud, router)
    l3 = agent(cloud, before)
    host(cloud, before, heard=time.time() - 76)
    assert cloud.admin("DELETE", f"/agents/{l3}").status_code == 204
    assert hosts(cloud, router) == []
    keep(cloud)
    assert hosts(cloud, router) == [{"net1": "net2", "net2": "net1"}[before]]
