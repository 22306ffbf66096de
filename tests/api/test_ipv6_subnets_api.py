"""IPv6 subnets over HTTP, against what Neutron 29 answered (asked of the oracle): behaviours 63, 66–75, 79, 85."""

import pytest

from tests.support.networking import error_of

SLAAC, STATELESS, STATEFUL = "slaac", "dhcpv6-stateless", "dhcpv6-stateful"
INVALID = "Invalid input for operation: "
AUTO = {"cidr": "fd01::/64", "ipv6_ra_mode": SLAAC, "ipv6_address_mode": SLAAC}


def pool(start, end):
    return {"start": start, "end": end}


@pytest.fixture
def network(cloud):
    return cloud.member.make("network")["id"]


def post(cloud, network, **attrs):
    body = {"network_id": network, "ip_version": 6, "cidr": "fd01::/64"} | attrs
    return cloud.member("POST", "/subnets", {"subnet": body})


def made(cloud, network, **attrs):
    answer = post(cloud, network, **attrs)
    assert answer.status_code == 201, answer.text
    return answer.json()["subnet"]


@pytest.mark.parametrize(
    ("attrs", "cidr", "gateway", "pools"),
    [
        ({}, "fd01::/64", "fd01::", [pool("fd01::1", "fd01::ffff:ffff:ffff:ffff")]),
        ({"cidr": "FD01::5/64"}, "fd01::/64", "fd01::", None),
        ({"cidr": "fd01::/126"}, "fd01::/126", "fd01::", [pool("fd01::1", "fd01::3")]),
        (
            {"cidr": "fd01::/127", "enable_dhcp": False},
            "fd01::/127",
            "fd01::",
            [pool("fd01::1", "fd01::1")],
        ),
        (
            {"cidr": "fd01::7/128", "enable_dhcp": False},
            "fd01::7/128",
            "fd01::7",
            [pool("fd01::7", "fd01::7")],
        ),
        ({"gateway_ip": "fe80::1"}, "fd01::/64", "fe80::1", None),
        ({"gateway_ip": "2001:db8::1"}, "fd01::/64", "2001:db8::1", None),
        (
            {"gateway_ip": "fd01:0:0::FF"},
            "fd01::/64",
            "fd01::ff",
            [pool("fd01::1", "fd01::fe"), pool("fd01::100", "fd01::ffff:ffff:ffff:ffff")],
        ),
        ({"gateway_ip": None}, "fd01::/64", None, None),
    ],
)
def test_range_gateway_and_pools(cloud, network, attrs, cidr, gateway, pools):
    subnet = made(cloud, network, **attrs)
    assert (subnet["ip_version"], subnet["cidr"], subnet["gateway_ip"]) == (6, cidr, gateway)
    if pools is not None:
        assert subnet["allocation_pools"] == pools


def test_modes(cloud):
    """Every pair of modes, with DHCP and without, of prefixes of 64 bits and of others."""
    modes = (None, SLAAC, STATELESS, STATEFUL)
    for ra, address in ((ra, address) for ra in modes for address in modes):
        given = {"ipv6_ra_mode": ra, "ipv6_address_mode": address}
        given = {name: mode for name, mode in given.items() if mode}
        for dhcp, length in ((True, 64), (True, 80), (False, 64)):
            network = cloud.member.make("network")["id"]
            answer = post(cloud, network, cidr=f"fd01::/{length}", enable_dhcp=dhcp, **given)
            if given and not dhcp:
                says = "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"
            elif ra and address and ra != address:
                says = (
                    f"ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{address}' is not valid. "
                    "If both attributes are set, they must be the same value"
                )
            elif length != 64 and {ra, address} & {SLAAC, STATELESS}:
                says = (
                    "Invalid CIDR fd01::/80 for IPv6 address mode. OpenStack uses the EUI-64 address "
                    "format, which requires the prefix to be /64"
                )
            else:
                assert answer.status_code == 201, (given, dhcp, length)
                shown = answer.json()["subnet"]
                assert (shown["ipv6_ra_mode"], shown["ipv6_address_mode"]) == (ra, address)
                continue
            assert error_of(answer) == (400, "InvalidInput", f"{INVALID}{says}."), given


@pytest.mark.parametrize(
    ("attrs", "code", "kind", "says"),
    [
        ({"cidr": "::/64"}, 400, "InvalidInput", "IPv6 subnet '::' is not supported"),
        ({"cidr": "ff02::/64"}, 400, "InvalidInput", "Multicast IP subnet is not supported"),
        ({"cidr": "fd01::/127"}, 400, "InvalidInput", "incompatible with DHCP service"),
        ({"gateway_ip": "10.0.0.1"}, 400, "InvalidInput", "does not match the ip_version '6'"),
        ({"dns_nameservers": ["1.1.1.1"]}, 400, "InvalidInput", "dns_nameserver '1.1.1.1'"),
        (
            {"host_routes": [{"destination": "10.0.0.0/8", "nexthop": "fd01::9"}]},
            400,
            "InvalidInput",
            "destination '10.0.0.0/8'",
        ),
        (
            {"host_routes": [{"destination": "10.0.0.0/8", "nexthop": "10.0.0.1"}]},
            400,
            "InvalidInput",
            "nexthop '10.0.0.1'",
        ),
        (
            {"allocation_pools": [pool("10.0.0.1", "10.0.0.5")]},
            400,
            "InvalidAllocationPool",
            "10.0.0.1-10.0.0.5 is not valid",
        ),
        (
            {"allocation_pools": [pool("fd01::", "fd01::5")]},
            400,
            "OutOfBoundsAllocationPool",
            "fd01::-fd01::5 spans beyond the subnet cidr fd01::/64",
        ),
        (
            {"allocation_pools": [pool("fd01::1", "fd01::5"), pool("fd01::3", "fd01::6")]},
            409,
            "OverlappingAllocationPools",
            "fd01::1-fd01::5 fd01::3-fd01::6",
        ),
        (
            {"gateway_ip": "fd01::3", "allocation_pools": [pool("fd01::1", "fd01::5")]},
            409,
            "GatewayConflictWithAllocationPools",
            "fd01::3 conflicts with allocation pool fd01::1-fd01::5",
        ),
        ({"ipv6_ra_mode": "x"}, 400, "HTTPBadRequest", "x is not in valid_values"),
        (
            {"cidr": None, "subnetpool_id": "prefix_delegation"},
            400,
            "BadRequest",
            "IPv6 RA Mode must be SLAAC or Stateless for Prefix Delegation",
        ),
        (
            {"subnetpool_id": "prefix_delegation", "ipv6_ra_mode": SLAAC, "cidr": None},
            400,
            "BadRequest",
            "IPv6 Address Mode must be SLAAC or Stateless for Prefix Delegation",
        ),
        (
            AUTO | {"subnetpool_id": "prefix_delegation", "cidr": None},
            400,
            "BadRequest",
            "Prefix Delegation is not supported by this server",
        ),
    ],
)
def test_what_is_refused(cloud, network, attrs, code, kind, says):
    body = {"network_id": network, "ip_version": 6, "cidr": "fd01::/64"} | attrs
    body = {name: value for name, value in body.items() if name != "cidr" or value}
    answer = cloud.member("POST", "/subnets", {"subnet": body})
    assert error_of(answer)[:2] == (code, kind), answer.text
    assert says in error_of(answer)[2]


def test_a_prefix_overlaps_only_prefixes(cloud, network):
    made(cloud, network)
    made(cloud, network, cidr="10.0.0.0/24", ip_version=4)
    made(cloud, network, cidr="fd02::/64")
    answer = post(cloud, network, cidr="fd01::/80")
    assert error_of(answer)[1] == "InvalidInput"
    assert "overlaps with another subnet" in error_of(answer)[2]


def test_servers_and_routes_are_of_ipv6(cloud, network):
    subnet = made(
        cloud,
        network,
        dns_nameservers=["2001:DB8::53", "fd00::1"],
        host_routes=[{"destination": "2001:DB8::/32", "nexthop": "fd01:0::9"}],
    )
    assert subnet["dns_nameservers"] == ["2001:DB8::53", "fd00::1"]
    assert subnet["host_routes"] == [{"destination": "2001:DB8::/32", "nexthop": "fd01::9"}]


def test_updates(cloud, network):
    subnet = made(cloud, network, **AUTO)

    def put(**attrs):
        return cloud.member("PUT", f"/subnets/{subnet['id']}", {"subnet": attrs})

    for attrs, kind in (
        ({"ipv6_ra_mode": SLAAC}, "HTTPBadRequest"),
        ({"enable_dhcp": False}, "InvalidInput"),
        ({"gateway_ip": "10.0.0.1"}, "InvalidInput"),
        ({"dns_nameservers": ["1.1.1.1"]}, "InvalidInput"),
        ({"gateway_ip": "fd01::5"}, "GatewayConflictWithAllocationPools"),
    ):
        assert error_of(put(**attrs))[1] == kind, attrs
    for gateway in ("fe80::7", None, "fd01::"):
        assert put(gateway_ip=gateway).json()["subnet"]["gateway_ip"] == gateway
    pools = [pool("fd01::10", "fd01::20")]
    assert put(allocation_pools=pools).json()["subnet"]["allocation_pools"] == pools


def test_dhcp_can_be_switched_where_there_are_no_modes(cloud, network):
    subnet = made(cloud, network)
    for wanted in (False, True):
        answer = cloud.member(
            "PUT", f"/subnets/{subnet['id']}", {"subnet": {"enable_dhcp": wanted}}
        )
        assert answer.json()["subnet"]["enable_dhcp"] is wanted


def test_mtu(cloud):
    """IPv6 asks 1280 bytes of every link (RFC 8200)."""
    small = cloud.member.make("network", mtu=1279)["id"]
    assert error_of(post(cloud, small))[:2] == (409, "NetworkMTUSubnetConflict")
    made(cloud, small, cidr="10.0.0.0/24", ip_version=4)
    large = cloud.member.make("network", mtu=1280)["id"]
    made(cloud, large)
    for mtu, least in ((1279, 1280), (60, 68)):
        answer = cloud.member("PUT", f"/networks/{large}", {"network": {"mtu": mtu}})
        assert error_of(answer)[1] == "NetworkMTUSubnetConflict"
        assert str(least) in error_of(answer)[2]


def test_lists(cloud, network):
    made(cloud, network, **AUTO)
    made(cloud, network, cidr="10.0.0.0/24", ip_version=4)
    for query in ("ip_version=6", f"ipv6_ra_mode={SLAAC}", "gateway_ip=fd01::", "cidr=fd01::/64"):
        assert [s["cidr"] for s in cloud.member.list(f"/subnets?{query}")] == ["fd01::/64"], query
