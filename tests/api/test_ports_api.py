"""Ports over HTTP, by the numbers of the behaviours list; what the rules alone decide is in tests/unit/network."""

import re

import pytest

from tests.support.networking import ONE, TWO, error_of

HIDDEN = ("binding:host_id", "binding:vif_type", "binding:vif_details", "binding:profile")
UNKNOWN = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


@pytest.fixture
def network(cloud):
    made = cloud.member.make("network")
    cloud.member.make("subnet", network_id=made["id"], cidr="10.0.0.0/24", ip_version=4)
    return made


@pytest.fixture
def subnetless(cloud):
    return cloud.member.make("network")


@pytest.fixture
def shared(cloud):
    made = cloud.admin.make("network", shared=True, project_id=TWO)
    subnet = cloud.admin.make("subnet", network_id=made["id"], cidr="10.9.0.0/24", ip_version=4)
    return made | {"subnet_id": subnet["id"]}


def test_a_null_address_is_an_address_to_policy(cloud, network, shared):
    assert cloud.member.make("port", network_id=network["id"], mac_address=None)["mac_address"]
    answer = cloud.member(
        "POST", "/ports", {"port": {"network_id": shared["id"], "mac_address": None}}
    )
    assert error_of(answer)[:2] == (403, "PolicyNotAuthorized")


def test_where_there_is_no_subnet_none_can_be_named(cloud, subnetless, network):
    named = cloud.member.list(f"/networks/{network['id']}")["subnets"][0]
    for subnet in (named, "00000000-0000-4000-8000-000000000bad"):
        body = {"port": {"network_id": subnetless["id"], "fixed_ips": [{"subnet_id": subnet}]}}
        assert error_of(cloud.member("POST", "/ports", body)) == (
            400,
            "InvalidInput",
            "Invalid input for operation: IP allocation requires subnets for network.",
        )


def test_addresses_come_from_subnets_that_one_sees(cloud, subnetless):
    network = {"network_id": subnetless["id"]}
    pool = {"allocation_pools": [{"start": "10.8.0.10", "end": "10.8.0.99"}]}
    theirs = cloud.admin.make(
        "subnet", project_id=TWO, cidr="10.8.0.0/24", ip_version=4, **pool, **network
    )
    asked = {"fixed_ips": [{"subnet_id": theirs["id"]}]}
    assert cloud.member.make("port", **network)["fixed_ips"] == []
    assert error_of(cloud.member("POST", "/ports", {"port": network | asked}))[:2] == (
        400,
        "InvalidInput",
    )
    mine = cloud.member.make("subnet", cidr="10.9.0.0/24", ip_version=4, **network)
    (fixed,) = cloud.member.make("port", **network)["fixed_ips"]
    assert fixed["subnet_id"] == mine["id"]
    assert error_of(cloud.member("POST", "/ports", {"port": network | asked}))[:2] == (
        404,
        "SubnetNotFound",
    )
    # An address that the port has, by whoever's doing, stays.
    port = cloud.admin.make("port", project_id=ONE, **network, **asked)
    assert port["fixed_ips"][0]["subnet_id"] == theirs["id"]
    again = {"port": {"fixed_ips": port["fixed_ips"], "name": "kept"}}
    assert (
        cloud.member("PUT", f"/ports/{port['id']}", again).json()["port"]["fixed_ips"]
        == port["fixed_ips"]
    )
    another = {"port": {"fixed_ips": [{"subnet_id": theirs["id"], "ip_address": "10.8.0.250"}]}}
    assert error_of(cloud.member("PUT", f"/ports/{port['id']}", another))[:2] == (
        404,
        "SubnetNotFound",
    )


@pytest.mark.parametrize("owner", ["network:router_interface", "network:router_gateway"])
def test_no_port_joins_a_network_to_the_router_of_another_project(cloud, network, owner):
    theirs = cloud.other.make("router")["id"]
    refused = (
        409,
        "DeviceIDNotOwnedByTenant",
        f"The following device_id {theirs} is not owned by your project or matches another project router.",
    )
    fake = {"device_owner": owner, "device_id": theirs}
    answer = cloud.member("POST", "/ports", {"port": fake | {"network_id": network["id"]}})
    assert error_of(answer) == refused
    # Nor bit by bit.
    for first in ({"device_owner": owner}, {"device_id": theirs}, {}):
        port = cloud.member.make("port", network_id=network["id"], **first)
        assert error_of(cloud.member("PUT", f"/ports/{port['id']}", {"port": fake})) == refused
        rest = {name: value for name, value in fake.items() if name not in first}
        assert error_of(cloud.member("PUT", f"/ports/{port['id']}", {"port": rest})) == refused
    # Nor another project's port to one's own router.
    mine = cloud.member.make("router")["id"]
    port = cloud.admin.make("port", network_id=network["id"], project_id=TWO)
    answer = cloud.member("PUT", f"/routers/{mine}/add_router_interface", {"port_id": port["id"]})
    assert error_of(answer)[:2] == (409, "DeviceIDNotOwnedByTenant")
    # An administrator may, and everybody with a router of its own.
    answer = cloud.admin("PUT", f"/routers/{mine}/add_router_interface", {"port_id": port["id"]})
    assert answer.status_code == 200
    cloud.member.make("port", network_id=network["id"], device_owner=owner, device_id=mine)


def test_a_new_port(cloud, network):
    port = cloud.member.make("port", network_id=network["id"], name="web", tags=["a"])
    assert port["status"] == "DOWN" and port["name"] == "web" and port["tags"] == ["a"]
    assert port["project_id"] == port["tenant_id"] == ONE
    assert re.fullmatch("fa:16:3e(:[0-9a-f]{2}){3}", port["mac_address"])
    assert port["fixed_ips"][0]["ip_address"].startswith("10.0.0.")
    assert len(port["security_groups"]) == 1 and port["port_security_enabled"] is True
    assert port["binding:vnic_type"] == "normal"
    assert not set(HIDDEN) & set(port)
    seen = cloud.admin("GET", f"/ports/{port['id']}").json()["port"]
    assert {name: seen[name] for name in HIDDEN} == {
        "binding:host_id": "",
        "binding:vif_type": "unbound",
        "binding:vif_details": {},
        "binding:profile": {},
    }


def test_8_ports_of_others(cloud, network):
    port = cloud.member.make("port", network_id=network["id"])
    for method, body in (("GET", None), ("PUT", {"port": {"name": "x"}}), ("DELETE", None)):
        code, kind, _ = error_of(cloud.other(method, f"/ports/{port['id']}", body))
        assert (code, kind) == (404, "PortNotFound")
    code, kind, _ = error_of(cloud.other("POST", "/ports", {"port": {"network_id": network["id"]}}))
    assert (code, kind) == (404, "NetworkNotFound")
    assert cloud.other.list("/ports") == []


def test_18_20_bulk_is_all_or_nothing(cloud, network):
    good = {"network_id": network["id"], "name": "bulk"}
    answer = cloud.member(
        "POST", "/ports", {"ports": [good, good | {"fixed_ips": [{"ip_address": "1.2.3.4"}]}]}
    )
    assert error_of(answer)[:2] == (400, "InvalidIpForNetwork")
    assert cloud.member.list("/ports?name=bulk") == []
    answer = cloud.member("POST", "/ports", {"ports": [good, good]})
    assert answer.status_code == 201 and len(answer.json()["ports"]) == 2


def test_26_filters_on_addresses_and_groups(cloud, network):
    first = cloud.member.make(
        "port", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.77"}]
    )
    group = cloud.member.make("security_group", name="g")
    second = cloud.member.make("port", network_id=network["id"], security_groups=[group["id"]])
    subnet = first["fixed_ips"][0]["subnet_id"]

    def ids(query):
        return {port["id"] for port in cloud.member.list(f"/ports?{query}")}

    assert ids("fixed_ips=ip_address%3D10.0.0.77") == {first["id"]}
    assert ids("fixed_ips=ip_address_substr%3D0.77") == {first["id"]}
    assert ids(f"fixed_ips=subnet_id%3D{subnet}") == {first["id"], second["id"]}
    assert ids(f"security_groups={group['id']}") == {second["id"]}
    assert ids(f"mac_address={first['mac_address']}") == {first["id"]}


def test_59_ports_on_an_external_network(cloud):
    external = cloud.admin.make("network", **{"router:external": True})
    answer = cloud.other("POST", "/ports", {"port": {"network_id": external["id"]}})
    assert error_of(answer)[:2] == (403, "PolicyNotAuthorized")


@pytest.mark.parametrize(
    ("attrs", "error"),
    [
        ({"fixed_ips": [{"ip_address": "11.0.0.7"}]}, (400, "InvalidIpForNetwork")),
        ({"fixed_ips": [{"ip_address": "10.0.0.255"}]}, (400, "InvalidIpForNetwork")),
        ({"fixed_ips": [{"subnet_id": UNKNOWN}]}, (404, "SubnetNotFound")),
        ({"fixed_ips": [{}]}, (400, "InvalidInput")),
        ({"fixed_ips": [{"ip_address": "10.0.0.8"}] * 2}, (400, "HTTPBadRequest")),
        ({"fixed_ips": None}, (400, "HTTPBadRequest")),
        ({"fixed_ips": "x"}, (400, "HTTPBadRequest")),
        ({"mac_address": "00:00:00:00:00:00"}, (400, "HTTPBadRequest")),
        ({"mac_address": "x"}, (400, "HTTPBadRequest")),
        ({"security_groups": ["x"]}, (400, "HTTPBadRequest")),
        ({"security_groups": [UNKNOWN]}, (404, "SecurityGroupNotFound")),
        (
            {"allowed_address_pairs": [{"mac_address": "fa:16:3e:00:00:01"}]},
            (400, "AllowedAddressPairsMissingIP"),
        ),
        (
            {"allowed_address_pairs": [{"ip_address": "1.2.3.4"}] * 2},
            (400, "DuplicateAddressPairInRequest"),
        ),
        (
            {"allowed_address_pairs": [{"ip_address": f"1.2.3.{n}"} for n in range(11)]},
            (400, "AllowedAddressPairExhausted"),
        ),
        ({"allowed_address_pairs": [{"ip_address": "224.0.0.1"}]}, (400, "HTTPBadRequest")),
        ({"extra_dhcp_opts": [{"opt_name": "mtu"}]}, (400, "InvalidInput")),
        ({"port_security_enabled": "maybe"}, (400, "InvalidInput")),
        ({"dns_name": "x"}, (400, "HTTPBadRequest")),
        ({"foo": 1}, (400, "HTTPBadRequest")),
    ],
)
def test_93_to_115_what_is_refused(cloud, network, attrs, error):
    answer = cloud.member("POST", "/ports", {"port": {"network_id": network["id"]} | attrs})
    assert error_of(answer)[:2] == error
    assert cloud.member.list("/ports") == []


@pytest.mark.parametrize("mac", ["fa:16:3e:00:00:09", None])
def test_the_mac_address_of_a_port_of_the_network_itself_stays(cloud, network, mac):
    port = cloud.member.make(
        "port", network_id=network["id"], device_owner="network:router_interface"
    )
    answer = cloud.admin("PUT", f"/ports/{port['id']}", {"port": {"mac_address": mac}})
    assert error_of(answer) == (
        409,
        "UnsupportedPortDeviceOwner",
        f"Operation mac address update is not supported for device_owner network:router_interface on port {port['id']}.",
    )
    same = {"port": {"mac_address": port["mac_address"].upper(), "name": "same"}}
    assert cloud.admin("PUT", f"/ports/{port['id']}", same).status_code == 200


def test_100_a_mac_address_in_use(cloud, network):
    port = cloud.member.make("port", network_id=network["id"])
    answer = cloud.member(
        "POST",
        "/ports",
        {"port": {"network_id": network["id"], "mac_address": port["mac_address"]}},
    )
    assert error_of(answer) == (
        409,
        "MacAddressInUse",
        f"Unable to complete operation for network {network['id']}. "
        f"The mac address {port['mac_address']} is in use.",
    )


@pytest.mark.parametrize(
    "attrs",
    [
        {"mac_address": "fa:16:3e:00:00:01"},
        {"fixed_ips": [{"ip_address": "10.9.0.7"}]},
        {"port_security_enabled": False},
        {"allowed_address_pairs": [{"ip_address": "1.2.3.4"}]},
        {"device_owner": "network:dhcp"},
    ],
)
def test_102_104_what_only_the_networks_owner_may_on_a_shared_one(cloud, shared, attrs):
    answer = cloud.member("POST", "/ports", {"port": {"network_id": shared["id"]} | attrs})
    assert error_of(answer)[:2] == (403, "PolicyNotAuthorized")
    cloud.other.make("port", network_id=shared["id"], **attrs)


def test_103_a_subnet_may_be_named_on_a_shared_network(cloud, shared):
    port = cloud.member.make(
        "port", network_id=shared["id"], fixed_ips=[{"subnet_id": shared["subnet_id"]}]
    )
    assert port["fixed_ips"][0]["ip_address"].startswith("10.9.0.")
    # 164: the network's owner sees the ports of others on it.
    assert [seen["id"] for seen in cloud.other.list("/ports")] == [port["id"]]


def test_105_106_binding_is_for_operators(cloud, network):
    body = {"port": {"network_id": network["id"], "binding:host_id": "c1"}}
    assert error_of(cloud.member("POST", "/ports", body))[:2] == (403, "PolicyNotAuthorized")
    port = cloud.admin("POST", "/ports", body).json()["port"]
    assert (port["binding:host_id"], port["binding:vif_type"]) == ("c1", "binding_failed")
    free = cloud.admin("PUT", f"/ports/{port['id']}", {"port": {"binding:host_id": ""}}).json()[
        "port"
    ]
    assert (free["binding:host_id"], free["binding:vif_type"]) == ("", "unbound")


def test_110_a_member_does_not_delete_the_port_of_an_instance(cloud, network):
    port = cloud.member.make("port", network_id=network["id"], device_owner="compute:nova")
    assert error_of(cloud.member("DELETE", f"/ports/{port['id']}"))[:2] == (
        403,
        "PolicyNotAuthorized",
    )
    assert cloud.client("service")("DELETE", f"/ports/{port['id']}").status_code == 204


def test_112_the_codes_differ_between_create_and_update(cloud, network):
    port = cloud.member.make("port", network_id=network["id"])
    off = {"port": {"port_security_enabled": False}}
    assert error_of(cloud.member("PUT", f"/ports/{port['id']}", off)) == (
        409,
        "PortSecurityPortHasSecurityGroup",
        "Port has security group associated. Cannot disable port security or IP address until security "
        "group is removed.",
    )
    body = {"network_id": network["id"], "security_groups": port["security_groups"]} | off["port"]
    assert error_of(cloud.member("POST", "/ports", {"port": body}))[:2] == (
        400,
        "PortSecurityAndIPRequiredForSecurityGroups",
    )
    bare = cloud.member(
        "PUT", f"/ports/{port['id']}", {"port": off["port"] | {"security_groups": []}}
    )
    assert bare.json()["port"]["security_groups"] == []


def test_166_over_quota_counts_a_bulk_request_whole(cloud, network):
    cloud.admin("PUT", f"/quotas/{ONE}", {"quota": {"port": 2}})
    answer = cloud.member("POST", "/ports", {"ports": [{"network_id": network["id"]}] * 3})
    assert error_of(answer) == (409, "OverQuota", "Quota exceeded for resources: ['port'].")
    assert cloud.member.list("/ports") == []
