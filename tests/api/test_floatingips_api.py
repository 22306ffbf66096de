"""Floating IPs over HTTP, by the numbers of the behaviours list."""

import pytest

from tests.support.networking import ONE, error_of


@pytest.fixture
def external(cloud):
    network = cloud.admin.make("network", **{"router:external": True, "project_id": "e" * 32})
    cloud.admin.make("subnet", network_id=network["id"], cidr="203.0.113.0/24", ip_version=4)
    return network


@pytest.fixture
def routed(cloud, external):
    """A port behind a router with a gateway."""
    network = cloud.member.make("network")
    pool = {"allocation_pools": [{"start": "10.0.0.100", "end": "10.0.0.199"}]}
    subnet = cloud.member.make(
        "subnet", network_id=network["id"], cidr="10.0.0.0/24", ip_version=4, **pool
    )
    router = cloud.member.make("router", external_gateway_info={"network_id": external["id"]})
    cloud.member(
        "PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]}
    )
    return cloud.member.make("port", network_id=network["id"], name="web") | {
        "router": router["id"]
    }


def put(client, fip, **attrs):
    return client("PUT", f"/floatingips/{fip['id']}", {"floatingip": attrs})


def test_152_a_new_one(cloud, external):
    fip = cloud.member.make("floatingip", floating_network_id=external["id"])
    assert fip["status"] == "DOWN" and fip["project_id"] == fip["tenant_id"] == ONE
    assert (
        fip["port_id"] is fip["fixed_ip_address"] is fip["router_id"] is fip["port_details"] is None
    )
    port = cloud.admin.list(f"/ports?device_id={fip['id']}")[0]
    assert (port["status"], port["device_owner"], port["project_id"]) == (
        "N/A",
        "network:floatingip",
        "",
    )
    assert cloud.member.list(f"/ports?device_id={fip['id']}") == []


def test_151_who_may_take_what(cloud, external):
    internal = cloud.member.make("network")
    for client, attrs, error in (
        (cloud.member, {"floating_network_id": internal["id"]}, (400, "BadRequest")),
        (cloud.other, {"floating_network_id": internal["id"]}, (404, "NetworkNotFound")),
        (cloud.member, {}, (400, "HTTPBadRequest")),
        (
            cloud.member,
            {"floating_network_id": external["id"], "floating_ip_address": "203.0.113.9"},
            (403, "PolicyNotAuthorized"),
        ),
        (cloud.reader, {"floating_network_id": external["id"]}, (403, "PolicyNotAuthorized")),
    ):
        assert error_of(client("POST", "/floatingips", {"floatingip": attrs}))[:2] == error
    named = {"floating_network_id": external["id"], "floating_ip_address": "203.0.113.9"}
    assert cloud.admin.make("floatingip", **named)["floating_ip_address"] == "203.0.113.9"
    assert error_of(cloud.admin("POST", "/floatingips", {"floatingip": named}))[:2] == (
        409,
        "IpAddressAlreadyAllocated",
    )


def test_153_unreachable(cloud, external):
    network = cloud.member.make("network")
    cloud.member.make("subnet", network_id=network["id"], cidr="10.5.0.0/24", ip_version=4)
    port = cloud.member.make("port", network_id=network["id"])
    body = {"floatingip": {"floating_network_id": external["id"], "port_id": port["id"]}}
    code, kind, message = error_of(cloud.member("POST", "/floatingips", body))
    assert (code, kind) == (404, "ExternalGatewayForFloatingIPNotFound")
    assert message == (
        f"External network {external['id']} is not reachable from subnet "
        f"{port['fixed_ips'][0]['subnet_id']}.  Therefore, cannot associate Port {port['id']} with a Floating IP."
    )
    assert cloud.member.list("/floatingips") == []


def test_153_to_157_its_life(cloud, external, routed):
    fip = cloud.member.make("floatingip", floating_network_id=external["id"], port_id=routed["id"])
    assert fip["router_id"] == routed["router"]
    assert fip["fixed_ip_address"] == routed["fixed_ips"][0]["ip_address"]
    assert fip["port_details"]["name"] == "web"
    assert cloud.member.list(f"/floatingips?port_id={routed['id']}")[0]["id"] == fip["id"]
    second = cloud.member.make("floatingip", floating_network_id=external["id"])
    assert error_of(put(cloud.member, second, port_id=routed["id"]))[:2] == (
        409,
        "FloatingIPPortAlreadyAssociated",
    )
    assert put(cloud.member, fip, description="d").json()["floatingip"]["port_id"] == routed["id"]
    assert put(cloud.member, fip).json()["floatingip"]["port_id"] is None
    other = cloud.member.make("port", network_id=routed["network_id"])
    for port in (routed, other):
        assert (
            put(cloud.member, fip, port_id=port["id"]).json()["floatingip"]["port_id"] == port["id"]
        )
    change = {"port": {"fixed_ips": [{"ip_address": "10.0.0.44"}]}}
    assert error_of(cloud.member("PUT", f"/ports/{other['id']}", change))[:2] == (400, "BadRequest")
    gateway = {"router": {"external_gateway_info": {}}}
    assert error_of(cloud.member("PUT", f"/routers/{routed['router']}", gateway))[:2] == (
        409,
        "RouterExternalGatewayInUseByFloatingIp",
    )
    # 111: its port's deletion leaves it unassociated.
    assert cloud.member("DELETE", f"/ports/{other['id']}").status_code == 204
    left = cloud.member("GET", f"/floatingips/{fip['id']}").json()["floatingip"]
    assert left["port_id"] is left["router_id"] is left["fixed_ip_address"] is None
    assert cloud.member("DELETE", f"/floatingips/{fip['id']}").status_code == 204
    code, kind, _ = error_of(cloud.member("DELETE", f"/floatingips/{fip['id']}"))
    assert (code, kind) == (404, "FloatingIPNotFound")


def test_read_only_attributes(cloud, external):
    fip = cloud.member.make("floatingip", floating_network_id=external["id"])
    answer = put(cloud.member, fip, floating_network_id=external["id"])
    assert error_of(answer) == (
        400,
        "HTTPBadRequest",
        "Cannot update read-only attribute floating_network_id",
    )
