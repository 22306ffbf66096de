"""HA routers in the API: what a client relies on, each asked of real Neutron 29 once."""

import time

import pytest

from netloom.model import Caller, Context, HostFacts, NetworkSettings, Status
from netloom.network import placement, status
from tests.support.networking import ONE, error_of

AGENTS = ("net1", "net2", "net3", "net4")


def network_host(cloud, name, at=None):
    facts = HostFacts(
        host=name, tunnel_ip=f"192.0.2.{int(name[-1])}", roles=("network",), tunnel_types=("vxlan",)
    )
    with cloud.store.writer() as w:
        w.put_host(name, facts=facts)
        w.heartbeat(name, time.time() if at is None else at, 0)


@pytest.fixture
def cloud(make_cloud):
    made = make_cloud()
    for name in AGENTS[:2]:
        network_host(made, name)
    return made


def of_ha(cloud, owner, **filters):
    words = "&".join(f"{key}={value}" for key, value in filters.items())
    return cloud.admin.list(f"/ports?device_owner={owner}&{words}")


def say(cloud, router, **states):
    with cloud.store.writer() as w:
        for host, state in states.items():
            row = Status(
                kind="router", id=router["id"], aspect="ha", seq=1, state="ok", detail=state
            )
            w.put_status(host, [row])


def test_an_ha_router_has_a_network_of_its_own_that_members_do_not_see(cloud):
    router = cloud.admin.make("router", ha=True)
    assert router["ha"] is True and router["status"] == "ACTIVE"
    assert not {"replicas", "vrid"} & set(router)
    (network,) = cloud.admin.list(f"/networks?name=HA network project {ONE}")
    assert (network["project_id"], network["shared"]) == ("", False)
    (subnet,) = cloud.admin.list(f"/subnets?network_id={network['id']}")
    assert (subnet["name"], subnet["cidr"]) == (f"HA subnet project {ONE}", "169.254.192.0/18")
    assert (subnet["enable_dhcp"], subnet["gateway_ip"], subnet["project_id"]) == (False, None, "")
    ports = of_ha(cloud, "network:router_ha_interface", device_id=router["id"])
    assert sorted(port["binding:host_id"] for port in ports) == ["net1", "net2"]
    for port in ports:
        assert (port["name"], port["project_id"]) == (f"HA port project {ONE}", "")
        assert port["network_id"] == network["id"] and port["binding:vif_type"] == "ovs"
    assert all("HA" not in each["name"] for each in cloud.member.list("/networks"))
    assert cloud.member.list("/ports") == []
    assert error_of(cloud.admin("DELETE", f"/ports/{ports[0]['id']}"))[:2] == (
        409,
        "ServicePortInUse",
    )
    assert error_of(cloud.admin("DELETE", f"/networks/{network['id']}"))[:2] == (
        409,
        "NetworkInUse",
    )


def test_the_second_router_shares_it_and_it_goes_with_the_last(cloud):
    first, second = (cloud.admin.make("router", ha=True) for _ in range(2))
    assert len(cloud.admin.list("/networks")) == 1
    assert len(of_ha(cloud, "network:router_ha_interface")) == 4
    assert cloud.admin("DELETE", f"/routers/{first['id']}").status_code == 204
    assert len(of_ha(cloud, "network:router_ha_interface")) == 2
    assert cloud.admin("DELETE", f"/routers/{second['id']}").status_code == 204
    assert cloud.admin.list("/networks") == cloud.admin.list("/ports") == []


def test_interfaces_of_ha_routers_have_an_owner_of_their_own(cloud):
    net = cloud.member.make("network")
    subnet = cloud.member.make("subnet", network_id=net["id"], cidr="10.0.0.0/24", ip_version=4)
    router = cloud.admin.make("router", ha=True)
    path = f"/routers/{router['id']}"
    body = {"subnet_id": subnet["id"]}
    assert cloud.admin("PUT", f"{path}/add_router_interface", body).status_code == 200
    (port,) = of_ha(cloud, "network:ha_router_replicated_interface")
    assert error_of(cloud.admin("DELETE", f"/ports/{port['id']}"))[:2] == (409, "ServicePortInUse")
    assert error_of(cloud.admin("DELETE", path))[:2] == (409, "RouterInUse")
    assert cloud.admin("PUT", f"{path}/remove_router_interface", body).status_code == 200
    assert cloud.admin("DELETE", path).status_code == 204


def test_159_ha_changes_only_while_the_router_is_down(cloud):
    net = cloud.member.make("network")
    subnet = cloud.member.make("subnet", network_id=net["id"], cidr="10.0.0.0/24", ip_version=4)
    router = cloud.admin.make("router", ha=False)
    path = f"/routers/{router['id']}"
    cloud.admin("PUT", f"{path}/add_router_interface", {"subnet_id": subnet["id"]})

    def put(**attrs):
        return cloud.admin("PUT", path, {"router": attrs})

    assert error_of(put(ha=True)) == (
        400,
        "BadRequest",
        "Bad router request: Cannot change HA attribute of active routers. Please set router "
        "admin_state_up to False prior to upgrade.",
    )
    assert put(ha=False).status_code == 200
    assert put(admin_state_up=False).status_code == 200
    assert put(ha=True).json()["router"]["ha"] is True
    assert len(of_ha(cloud, "network:router_ha_interface")) == 2
    assert len(of_ha(cloud, "network:ha_router_replicated_interface")) == 1
    assert put(ha=False).json()["router"]["ha"] is False
    assert of_ha(cloud, "network:router_ha_interface") == []
    assert len(of_ha(cloud, "network:router_interface")) == 1
    assert [each["name"] for each in cloud.admin.list("/networks")] == [""]
    # Both in one request: what counts is what the router is afterwards.
    assert put(ha=True, admin_state_up=True).status_code == 400
    assert cloud.member("PUT", path, {"router": {"ha": True}}).status_code == 403
    assert cloud.member("POST", "/routers", {"router": {"ha": True}}).status_code == 403


def test_without_hosts_it_is_made_and_gets_them_when_they_come(make_cloud):
    cloud = make_cloud()
    router = cloud.admin.make("router", ha=True)
    assert cloud.admin.list(f"/routers/{router['id']}/l3-agents") == []
    ctx = Context(
        caller=Caller(roles=frozenset({"admin"})), settings=cloud.services.settings.network
    )
    for name, there in (("net1", 1), ("net2", 2), ("net3", 3), ("net4", 3)):
        network_host(cloud, name)
        with cloud.store.writer() as w:
            placement.fill_up(w, ctx)
        assert len(cloud.admin.list(f"/routers/{router['id']}/l3-agents")) == there
    assert len(of_ha(cloud, "network:router_ha_interface")) == 3


def test_the_settings_say_what_is_usual(make_cloud):
    cloud = make_cloud(NetworkSettings(l3_ha=True, max_l3_agents_per_router=1))
    for name in AGENTS:
        network_host(cloud, name)
    router = cloud.member.make("router")
    assert cloud.admin("GET", f"/routers/{router['id']}").json()["router"]["ha"] is True
    assert len(cloud.admin.list(f"/routers/{router['id']}/l3-agents")) == 1
    assert cloud.admin.make("router", ha=False)["ha"] is False
    every = make_cloud(NetworkSettings(l3_ha=True, max_l3_agents_per_router=0))
    for name in AGENTS:
        network_host(every, name)
    router = every.member.make("router")
    assert len(every.admin.list(f"/routers/{router['id']}/l3-agents")) == 4


def test_agents_of_a_router_say_which_of_them_is_active(cloud):
    router = cloud.admin.make("router", ha=True)
    path = f"/routers/{router['id']}/l3-agents"

    def states():
        return {agent["host"]: agent["ha_state"] for agent in cloud.admin.list(path)}

    assert states() == {"net1": "standby", "net2": "standby"}
    say(cloud, router, net1="standby", net2="active")
    assert states() == {"net1": "standby", "net2": "active"}
    network_host(cloud, "net2", at=time.time() - 1000)
    assert states() == {"net1": "standby", "net2": "standby"}
    network_host(cloud, "net1", at=time.time() - 1000)
    assert states() == {"net1": "standby", "net2": "unknown"}
    plain = cloud.admin.make("router", ha=False)
    assert cloud.admin.list(f"/routers/{plain['id']}/l3-agents") == []
    assert cloud.member("GET", path).status_code == 403
    nowhere = "/routers/00000000-0000-0000-0000-000000000000/l3-agents"
    assert error_of(cloud.admin("GET", nowhere))[:2] == (404, "RouterNotFound")
    agent = cloud.admin.list(path)[0]
    (on,) = cloud.admin.list(f"/agents/{agent['id']}/l3-routers")
    assert on["id"] == router["id"]


def test_a_project_has_254_of_them_and_the_next_is_in_error(cloud):
    first = cloud.admin.make("router", ha=True)
    (network,) = cloud.admin.list("/networks")
    with cloud.store.writer() as w:
        for number in range(1, 255):
            if w.claim_owner(f"vrid:{network['id']}", str(number)) is None:
                w.claim(f"vrid:{network['id']}", str(number), first["id"])
    router = cloud.admin.make("router", ha=True)
    with cloud.store.writer() as w:
        status.refresh(w, [("router", router["id"])])
    assert cloud.admin("GET", f"/routers/{router['id']}").json()["router"]["status"] == "ERROR"
    assert cloud.admin.list(f"/routers/{router['id']}/l3-agents") == []
    assert cloud.admin("DELETE", f"/routers/{router['id']}").status_code == 204
