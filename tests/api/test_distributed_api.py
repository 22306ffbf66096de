"""Distributed routers in the API: what a client relies on, each asked of real Neutron 29 once."""

import time

import pytest

from netloom.model import HostFacts, NetworkSettings, Port
from tests.support.networking import error_of

SPREAD, SNAT = "network:router_interface_distributed", "network:router_centralized_snat"


def a_host(cloud, name, **more):
    facts = HostFacts(
        host=name, tunnel_ip=f"192.0.2.{int(name[-1])}", bridge_mappings={"public": "br-ex"}, **more
    )
    with cloud.store.writer() as w:
        w.put_host(name, facts=facts)
        w.heartbeat(name, time.time(), 0)


@pytest.fixture
def cloud(make_cloud):
    made = make_cloud(NetworkSettings(external_physical_network="public"))
    a_host(made, "net1", roles=("network",))
    a_host(made, "cmp2")
    a_host(made, "sim3", backend="none")
    return made


@pytest.fixture
def subnet(cloud):
    net = cloud.member.make("network")
    return cloud.member.make("subnet", network_id=net["id"], cidr="10.0.0.0/24", ip_version=4)


@pytest.fixture
def external(cloud):
    net = cloud.admin.make("network", **{"router:external": True})
    cloud.admin.make("subnet", network_id=net["id"], cidr="203.0.113.0/24", ip_version=4)
    return net


def attach(cloud, router, subnet):
    path = f"/routers/{router['id']}/add_router_interface"
    return cloud.admin("PUT", path, {"subnet_id": subnet["id"]})


def of(cloud, router, owner):
    return cloud.admin.list(f"/ports?device_id={router['id']}&device_owner={owner}")


def put(cloud, router, **attrs):
    return cloud.admin("PUT", f"/routers/{router['id']}", {"router": attrs})


def test_interfaces_have_an_owner_of_their_own_and_snat_has_ports(cloud, subnet, external):
    router = cloud.admin.make("router", distributed=True)
    assert router["distributed"] is True
    assert attach(cloud, router, subnet).status_code == 200
    (leg,) = of(cloud, router, SPREAD)
    assert (leg["fixed_ips"][0]["ip_address"], leg["binding:host_id"]) == ("10.0.0.1", "")
    assert leg["binding:vif_type"] == "distributed"
    assert of(cloud, router, SNAT) == []
    gateway = {"network_id": external["id"]}
    assert put(cloud, router, external_gateway_info=gateway).status_code == 200
    (snat,) = of(cloud, router, SNAT)
    assert (snat["project_id"], snat["name"], snat["network_id"]) == ("", "", leg["network_id"])
    assert error_of(cloud.admin("DELETE", f"/ports/{snat['id']}"))[:2] == (409, "ServicePortInUse")
    assert put(cloud, router, external_gateway_info=None).status_code == 200
    assert of(cloud, router, SNAT) == []
    path = f"/routers/{router['id']}/remove_router_interface"
    assert cloud.admin("PUT", path, {"subnet_id": subnet["id"]}).status_code == 200
    assert cloud.admin("DELETE", f"/routers/{router['id']}").status_code == 204


def test_it_changes_only_while_the_router_is_down(cloud, subnet, external):
    router = cloud.admin.make("router", external_gateway_info={"network_id": external["id"]})
    attach(cloud, router, subnet)
    assert error_of(put(cloud, router, distributed=True)) == (
        400,
        "BadRequest",
        "Bad router request: Cannot change the 'distributed' attribute of active routers. Please set "
        "router admin_state_up to False prior to upgrade.",
    )
    assert put(cloud, router, distributed=False).status_code == 200
    assert put(cloud, router, distributed=True, admin_state_up=False).status_code == 400
    assert put(cloud, router, admin_state_up=False).status_code == 200
    assert put(cloud, router, distributed=True).json()["router"]["distributed"] is True
    assert len(of(cloud, router, SPREAD)) == len(of(cloud, router, SNAT)) == 1
    assert put(cloud, router, ha=True).status_code == 200
    assert len(of(cloud, router, SPREAD)) == len(of(cloud, router, SNAT)) == 1
    assert put(cloud, router, distributed=False).status_code == 200
    assert len(of(cloud, router, "network:ha_router_replicated_interface")) == 1
    assert put(cloud, router, ha=False).status_code == 200
    assert len(of(cloud, router, "network:router_interface")) == 1
    assert of(cloud, router, SNAT) == []


def test_it_is_for_administrators_and_a_setting_says_what_is_usual(make_cloud):
    cloud = make_cloud(NetworkSettings(router_distributed=True))
    for wish in (True, False):
        assert error_of(cloud.member("POST", "/routers", {"router": {"distributed": wish}}))[
            :2
        ] == (
            403,
            "PolicyNotAuthorized",
        )
    router = cloud.member.make("router")
    assert "distributed" not in router
    shown = cloud.admin("GET", f"/routers/{router['id']}").json()["router"]
    assert shown["distributed"] is True
    assert cloud.admin.make("router", distributed=False)["distributed"] is False
    assert "dvr" in {each["alias"] for each in cloud.member.list("/extensions")}


def test_a_floating_ip_is_where_its_instance_is(cloud, subnet, external):
    router = cloud.admin.make(
        "router", distributed=True, external_gateway_info={"network_id": external["id"]}
    )
    attach(cloud, router, subnet)
    bound = {"binding:host_id": "cmp2", "device_owner": "compute:nova"}
    port = cloud.admin.make("port", network_id=subnet["network_id"], **bound)
    fip = cloud.admin.make("floatingip", floating_network_id=external["id"], port_id=port["id"])
    (own,) = cloud.admin.list(f"/ports?device_id={fip['id']}")
    assert (own["status"], own["binding:host_id"]) == ("N/A", "")

    def entry():
        with cloud.store.reader() as r:
            return r.get(Port, own["id"]).entry

    def change(path, kind, **attrs):
        assert cloud.admin("PUT", f"/{path}", {kind: attrs}).status_code == 200

    assert entry() == "cmp2"
    change(f"ports/{port['id']}", "port", **{"binding:host_id": "net1"})
    assert entry() == "net1"
    change(f"ports/{port['id']}", "port", **{"binding:host_id": ""})
    assert entry() == ""
    change(f"ports/{port['id']}", "port", **{"binding:host_id": "cmp2"})
    change(f"floatingips/{fip['id']}", "floatingip", port_id=None)
    assert entry() == ""
    change(f"floatingips/{fip['id']}", "floatingip", port_id=port["id"])
    assert entry() == "cmp2"
    change(f"routers/{router['id']}", "router", admin_state_up=False)
    change(f"routers/{router['id']}", "router", distributed=False)
    assert entry() == ""
    change(f"routers/{router['id']}", "router", distributed=True)
    assert entry() == "cmp2"
    assert cloud.admin("DELETE", f"/ports/{port['id']}").status_code == 204
    assert entry() == ""


def test_hosts_that_have_none_are_refused(cloud, subnet):
    bound = {"network_id": subnet["network_id"], "binding:host_id": "sim3"}
    port = cloud.admin.make("port", **bound)
    assert port["binding:vif_type"] == "other"
    router = cloud.admin.make("router", distributed=True)
    code, kind, text = error_of(attach(cloud, router, subnet))
    assert (code, kind) == (400, "BadRequest") and "sim3" in text
    assert of(cloud, router, SPREAD) == []
    assert cloud.admin("DELETE", f"/ports/{port['id']}").status_code == 204
    assert attach(cloud, router, subnet).status_code == 200
    assert cloud.admin.make("port", **bound)["binding:vif_type"] == "binding_failed"


@pytest.mark.parametrize("kind", [{}, {"distributed": True}, {"ha": True}])
def test_no_trunk_holds_a_port_of_a_router(cloud, subnet, external, kind):
    """A member who made a trunk of its SNAT port kept the operator from changing the router."""
    gateway = {"network_id": external["id"]}
    router = cloud.admin.make("router", external_gateway_info=gateway, **kind)
    assert attach(cloud, router, subnet).status_code == 200
    ports = cloud.admin.list(f"/ports?device_id={router['id']}")
    assert len(ports) >= 2
    for port in ports:
        for who, several in ((cloud.admin, (409,)), (cloud.member, (404, 409))):
            answer = who("POST", "/trunks", {"trunk": {"port_id": port["id"]}})
            assert answer.status_code in several, (port["device_owner"], answer.text)
    assert cloud.admin.list("/trunks") == []
    assert put(cloud, router, admin_state_up=False).status_code == 200
    assert put(cloud, router, distributed=not kind.get("distributed")).status_code == 200
