"""Subnets over HTTP, against what Neutron 29 answered (asked of the oracle)."""

import pytest

from tests.support.networking import error_of

P = {"cidr": "10.7.0.0/24"}


def pool(start, end):
    return {"start": start, "end": end}


@pytest.fixture
def network(cloud):
    return cloud.member.make("network")["id"]


def post(cloud, network, **attrs):
    return cloud.member(
        "POST", "/subnets", {"subnet": {"network_id": network, "ip_version": 4} | attrs}
    )


def test_defaults(cloud, network):
    subnet = post(cloud, network, cidr="10.1.0.5/24").json()["subnet"]
    assert subnet["cidr"] == "10.1.0.0/24"
    assert subnet["gateway_ip"] == "10.1.0.1"
    assert subnet["allocation_pools"] == [pool("10.1.0.2", "10.1.0.254")]
    assert subnet["enable_dhcp"] is True
    assert subnet["dns_nameservers"] == subnet["host_routes"] == []
    assert subnet["ipv6_ra_mode"] is subnet["ipv6_address_mode"] is subnet["subnetpool_id"] is None
    assert subnet["router:external"] is False
    assert subnet["revision_number"] == 0
    shown = cloud.member("GET", f"/networks/{network}").json()["network"]
    assert shown["subnets"] == [subnet["id"]]
    assert shown["revision_number"] == 2


@pytest.mark.parametrize(
    ("attrs", "code", "kind", "message"),
    [
        (
            {},
            400,
            "BadRequest",
            "Bad subnets request: a subnetpool must be specified in the absence of a cidr.",
        ),
        (
            {"cidr": "fd00::/64"},
            400,
            "InvalidInput",
            "Invalid input for operation: cidr 'fd00::/64' does not match the ip_version '4'.",
        ),
        (
            {"cidr": "nope"},
            400,
            "InvalidInput",
            "Invalid input for operation: nope is not in a CIDR format.",
        ),
        (
            {"cidr": "10.0.0.7/24", "ip_version": 6},
            400,
            "InvalidInput",
            "Invalid input for operation: cidr '10.0.0.0/24' does not match the ip_version '6'.",
        ),
        (
            P | {"gateway_ip": "10.7.0.255"},
            400,
            "InvalidInput",
            "Invalid input for operation: Gateway is not valid on subnet.",
        ),
        (
            P | {"gateway_ip": "fd00::1"},
            400,
            "InvalidInput",
            "Invalid input for operation: gateway_ip 'fd00::1' does not match the ip_version '4'.",
        ),
        (
            {"cidr": "10.6.0.0/31"},
            400,
            "InvalidInput",
            "Invalid input for operation: Subnet has a prefix length that is incompatible with DHCP service "
            "enabled.",
        ),
        (
            {"cidr": "10.6.0.0/31", "enable_dhcp": False},
            409,
            "IpamValueInvalid",
            "Gateway IP 10.6.0.1 cannot be the network or broadcast IP address 10.6.0.0/31",
        ),
        (
            {"cidr": "224.0.0.0/24"},
            400,
            "InvalidInput",
            "Invalid input for operation: Multicast IP subnet is not supported if enable_dhcp is True.",
        ),
        (
            {"cidr": "127.0.0.0/24"},
            400,
            "InvalidInput",
            "Invalid input for operation: Loopback IP subnet is not supported if enable_dhcp is True.",
        ),
        (
            {"cidr": "0.0.0.0/0", "enable_dhcp": False},
            400,
            "InvalidInput",
            "Invalid input for operation: 0 is not allowed as CIDR prefix length.",
        ),
        (
            P | {"allocation_pools": [pool("10.7.0.1", "10.7.0.9")]},
            409,
            "GatewayConflictWithAllocationPools",
            "Gateway ip 10.7.0.1 conflicts with allocation pool 10.7.0.1-10.7.0.9.",
        ),
        (
            P | {"allocation_pools": [pool("10.7.0.2", "10.7.1.9")]},
            400,
            "OutOfBoundsAllocationPool",
            "The allocation pool 10.7.0.2-10.7.1.9 spans beyond the subnet cidr 10.7.0.0/24.",
        ),
        (
            P | {"allocation_pools": [pool("10.7.0.9", "10.7.0.3")]},
            400,
            "InvalidAllocationPool",
            "The allocation pool {'start': '10.7.0.9', 'end': '10.7.0.3'} is not valid.",
        ),
        (
            P | {"allocation_pools": [pool("10.7.0.2", "10.7.0.9"), pool("10.7.0.9", "10.7.0.20")]},
            409,
            "OverlappingAllocationPools",
            "Found overlapping allocation pools: 10.7.0.2-10.7.0.9 10.7.0.9-10.7.0.20 for subnet 10.7.0.0/24.",
        ),
        (
            P | {"allocation_pools": [pool("fd00::1", "fd00::5")]},
            400,
            "InvalidAllocationPool",
            "The allocation pool fd00::1-fd00::5 is not valid.",
        ),
        (
            P | {"dns_nameservers": [f"1.1.1.{n}" for n in range(1, 7)]},
            400,
            "DNSNameServersExhausted",
            "Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit 5.",
        ),
        (
            P | {"dns_nameservers": ["fd00::1"]},
            400,
            "InvalidInput",
            "Invalid input for operation: dns_nameserver 'fd00::1' does not match the ip_version '4'.",
        ),
        (
            P
            | {
                "host_routes": [
                    {"destination": f"10.9.{n}.0/24", "nexthop": "10.7.0.4"} for n in range(21)
                ]
            },
            400,
            "HostRoutesExhausted",
            "Unable to complete operation for new subnet. The number of host routes exceeds the limit 20.",
        ),
        (
            P | {"ipv6_ra_mode": "slaac"},
            400,
            "InvalidInput",
            "Invalid input for operation: ipv6_ra_mode is not valid when ip_version is 4.",
        ),
        (
            P | {"prefixlen": 24},
            400,
            "BadRequest",
            "Bad subnets request: cidr and prefixlen must not be supplied together.",
        ),
        (
            {"subnetpool_id": "6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01"},
            404,
            "SubnetPoolNotFound",
            "Subnet pool 6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01 could not be found.",
        ),
        (
            P | {"use_default_subnetpool": True},
            400,
            "HTTPBadRequest",
            "Unrecognized attribute(s) 'use_default_subnetpool'",
        ),
    ],
)
def test_what_is_refused(cloud, network, attrs, code, kind, message):
    assert error_of(post(cloud, network, **attrs)) == (code, kind, message)
    assert cloud.member.list("/subnets") == []


def test_ranges_of_one_network_do_not_overlap(cloud, network):
    assert post(cloud, network, cidr="10.1.0.0/24").status_code == 201
    assert error_of(post(cloud, network, cidr="10.1.0.0/25")) == (
        400,
        "InvalidInput",
        f"Invalid input for operation: Requested subnet with cidr: 10.1.0.0/25 for network: {network} "
        "overlaps with another subnet.",
    )
    other = cloud.member.make("network")["id"]
    assert post(cloud, other, cidr="10.1.0.0/25").status_code == 201


def test_bulk_overlap_leaves_nothing(cloud, network):
    entry = {"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/24"}
    answer = cloud.member("POST", "/subnets", {"subnets": [entry, entry]})
    assert error_of(answer)[:2] == (400, "InvalidInput")
    assert cloud.member.list("/subnets") == []
    assert cloud.member("GET", f"/networks/{network}").json()["network"]["revision_number"] == 1


def test_gateways(cloud, network):
    none = post(cloud, network, cidr="10.2.0.0/24", gateway_ip=None).json()["subnet"]
    assert none["gateway_ip"] is None
    assert none["allocation_pools"] == [pool("10.2.0.1", "10.2.0.254")]
    middle = post(cloud, network, cidr="10.3.0.0/24", gateway_ip="10.3.0.9").json()["subnet"]
    assert middle["allocation_pools"] == [
        pool("10.3.0.1", "10.3.0.8"),
        pool("10.3.0.10", "10.3.0.254"),
    ]
    outside = post(cloud, network, cidr="10.4.0.0/24", gateway_ip="10.9.0.9")
    assert outside.status_code == 201


def test_order_of_what_is_shown(cloud, network):
    routes = [
        {"destination": "10.8.0.0/24", "nexthop": "10.7.0.4"},
        {"destination": "10.7.9.0/24", "nexthop": "10.7.0.3"},
    ]
    pools = [pool("10.7.0.200", "10.7.0.220"), pool("10.7.0.9", "10.7.0.20")]
    subnet = post(
        cloud,
        network,
        **P,
        host_routes=routes,
        allocation_pools=pools,
        dns_nameservers=["9.9.9.9", "1.1.1.1"],
    ).json()["subnet"]
    assert subnet["host_routes"] == routes[::-1]
    assert subnet["allocation_pools"] == pools[::-1]
    assert subnet["dns_nameservers"] == ["9.9.9.9", "1.1.1.1"]


def test_whose_network(cloud, network):
    unknown = "6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01"
    assert error_of(post(cloud, unknown, **P)) == (
        404,
        "NetworkNotFound",
        f"Network {unknown} could not be found.",
    )
    body = {"subnet": {"network_id": network, "ip_version": 4} | P}
    forbidden = (403, "PolicyNotAuthorized", "rule:create_subnet is disallowed by policy")
    assert error_of(cloud.other("POST", "/subnets", body)) == forbidden
    shared = cloud.admin.make("network", shared=True, project_id="3" * 32)["id"]
    body["subnet"]["network_id"] = shared
    assert error_of(cloud.other("POST", "/subnets", body)) == forbidden
    subnet = cloud.admin.make("subnet", network_id=shared, ip_version=4, **P)
    assert [found["id"] for found in cloud.other.list("/subnets")] == [subnet["id"]]
    answer = cloud.other("PUT", f"/subnets/{subnet['id']}", {"subnet": {"name": "x"}})
    assert error_of(answer) == (
        403,
        "PolicyNotAuthorized",
        "rule:update_subnet is disallowed by policy",
    )


def test_a_subnet_of_another_project_on_ones_own_network_is_not_seen(cloud, network):
    theirs = cloud.admin.make("subnet", network_id=network, ip_version=4, project_id="3" * 32, **P)
    assert cloud.member.list("/subnets") == []
    for method, body in (("GET", None), ("PUT", {"subnet": {"name": "x"}}), ("DELETE", None)):
        answer = cloud.member(method, f"/subnets/{theirs['id']}", body)
        assert error_of(answer)[:2] == (404, "SubnetNotFound")


def test_everyone_sees_the_subnets_of_an_external_network(cloud):
    external = cloud.admin.make("network", **{"router:external": True})["id"]
    cloud.admin.make("subnet", network_id=external, ip_version=4, **P)
    assert [subnet["router:external"] for subnet in cloud.other.list("/subnets")] == [True]


def test_mtu_too_small_for_ipv4(cloud):
    network = cloud.member.make("network", mtu=60)["id"]
    assert error_of(post(cloud, network, **P)) == (
        409,
        "NetworkMTUSubnetConflict",
        f"MTU of {network} is not valid, subnet requires a minimum of 68",
    )
    cloud.member("PUT", f"/networks/{network}", {"network": {"mtu": 68}})
    assert post(cloud, network, **P).status_code == 201
    answer = cloud.member("PUT", f"/networks/{network}", {"network": {"mtu": 60}})
    assert error_of(answer)[1] == "NetworkMTUSubnetConflict"


def test_updates(cloud, network):
    subnet = post(cloud, network, cidr="10.0.0.0/24").json()["subnet"]

    def put(**attrs):
        return cloud.member("PUT", f"/subnets/{subnet['id']}", {"subnet": attrs})

    assert error_of(put(gateway_ip="10.0.0.9")) == (
        409,
        "GatewayConflictWithAllocationPools",
        "Gateway ip 10.0.0.9 conflicts with allocation pool 10.0.0.2-10.0.0.254.",
    )
    assert put(allocation_pools=[pool("10.0.0.10", "10.0.0.20")]).status_code == 200
    assert put(gateway_ip="10.0.0.9").json()["subnet"]["gateway_ip"] == "10.0.0.9"
    assert error_of(put(gateway_ip="10.0.0.15"))[1] == "GatewayConflictWithAllocationPools"
    both = put(gateway_ip="10.0.0.9", allocation_pools=[pool("10.0.0.1", "10.0.0.8")])
    assert both.json()["subnet"]["allocation_pools"] == [pool("10.0.0.1", "10.0.0.8")]
    assert put(gateway_ip=None).json()["subnet"]["gateway_ip"] is None
    assert (
        error_of(put(allocation_pools=[pool("10.0.0.10", "10.0.1.20")]))[1]
        == "OutOfBoundsAllocationPool"
    )
    assert put(dns_nameservers=["1.1.1.1"]).json()["subnet"]["dns_nameservers"] == ["1.1.1.1"]
    assert put(dns_nameservers=None, host_routes=None).json()["subnet"]["dns_nameservers"] == []
    assert put(allocation_pools=[]).json()["subnet"]["allocation_pools"] == []
    assert error_of(put(cidr="10.0.0.0/24"))[2] == "Cannot update read-only attribute cidr"
    before = cloud.member("GET", f"/networks/{network}").json()["network"]["revision_number"]
    assert put(name="x").json()["subnet"]["name"] == "x"
    assert put(name="x").status_code == 200
    after = cloud.member("GET", f"/networks/{network}").json()["network"]["revision_number"]
    assert after == before + 1


def test_deleting_a_network_takes_its_subnets(cloud, network):
    subnet = post(cloud, network, **P).json()["subnet"]["id"]
    assert cloud.member("DELETE", f"/networks/{network}").status_code == 204
    answer = cloud.member("GET", f"/subnets/{subnet}")
    assert error_of(answer) == (404, "SubnetNotFound", f"Subnet {subnet} could not be found.")
