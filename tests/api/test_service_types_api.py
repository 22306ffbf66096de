"""Subnets for ports of some owners alone, against what Neutron 29 answered (asked of the oracle): behaviour 87."""

import pytest

from tests.support.networking import error_of

NOBODY = "IpAddressGenerationFailureNoMatchingSubnet"


@pytest.fixture
def network(cloud):
    return cloud.member.make("network")["id"]


def subnet(cloud, network, cidr, *types, **attrs):
    version = 6 if ":" in cidr else 4
    made = cloud.member.make(
        "subnet",
        network_id=network,
        ip_version=version,
        cidr=cidr,
        service_types=list(types),
        **attrs,
    )
    assert made["service_types"] == list(types)
    return made["id"]


def ask(cloud, network, owner, **attrs):
    body = {"network_id": network, "device_owner": owner} | attrs
    return cloud.admin("POST", "/ports", {"port": body})


def used(answer):
    return [fixed["subnet_id"] for fixed in answer.json()["port"]["fixed_ips"]]


def test_87_a_port_gets_addresses_of_subnets_for_its_owner(cloud, network):
    compute = subnet(cloud, network, "10.0.0.0/24", "compute:nova")
    refused = error_of(ask(cloud, network, "compute:other"))
    assert refused[:2] == (409, NOBODY)
    assert "service type compute:other" in refused[2]
    assert error_of(ask(cloud, network, "", fixed_ips=[]))[1] == NOBODY
    anyone = subnet(cloud, network, "10.0.1.0/24")
    for _ in range(3):
        assert used(ask(cloud, network, "compute:nova")) == [compute]
        assert used(ask(cloud, network, "compute:other")) == [anyone]
    named = ask(cloud, network, "compute:other", fixed_ips=[{"subnet_id": compute}])
    assert error_of(named)[:2] == (400, "InvalidInput")
    outside = ask(cloud, network, "compute:other", fixed_ips=[{"ip_address": "10.0.0.7"}])
    assert error_of(outside)[:2] == (400, "InvalidIpForNetwork")


def test_dhcp_serves_every_subnet(cloud, network):
    compute = subnet(cloud, network, "10.0.0.0/24", "compute:nova")
    assert used(ask(cloud, network, "network:dhcp")) == [compute]


def test_prefixes_are_for_those_owners_too(cloud, network):
    anyone = subnet(cloud, network, "10.0.0.0/24")
    port = ask(cloud, network, "compute:other").json()["port"]
    slaac = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    prefix = subnet(cloud, network, "fd01::/64", "compute:nova", **slaac)
    again = cloud.admin("GET", f"/ports/{port['id']}")
    assert used(again) == [anyone]
    assert used(ask(cloud, network, "compute:nova")) == [anyone, prefix]


def test_service_types_change_and_ports_keep_what_they_have(cloud, network):
    anyone = subnet(cloud, network, "10.0.0.0/24")
    port = ask(cloud, network, "compute:other").json()["port"]
    body = {"subnet": {"service_types": ["compute:nova"]}}
    changed = cloud.member("PUT", f"/subnets/{anyone}", body).json()["subnet"]
    assert changed["service_types"] == ["compute:nova"]
    renamed = cloud.admin("PUT", f"/ports/{port['id']}", {"port": {"name": "x"}})
    assert used(renamed) == [anyone]
    assert error_of(ask(cloud, network, "compute:other"))[1] == NOBODY


@pytest.mark.parametrize("types", [["x"], [5], "compute:nova"])
def test_what_is_refused(cloud, network, types):
    body = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24", "service_types": types}
    assert cloud.member("POST", "/subnets", {"subnet": body}).status_code == 400
