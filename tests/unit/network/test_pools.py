"""Allocation pools and gateways: what must hold for every subnet."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neutron_lib import exceptions as lib

from netloom.network import pools


@st.composite
def networks(draw, shortest=16, longest=30):
    length = draw(st.integers(shortest, longest))
    address = draw(st.integers(0, 2**32 - 1)) >> (32 - length) << (32 - length)
    return IPv4Network((address, length))


def addresses(ranges):
    return {
        number
        for pool in ranges
        for number in range(int(IPv4Address(pool.start)), int(IPv4Address(pool.end)) + 1)
    }


@given(networks(shortest=22), st.data())
def test_default_pools_hold_every_address_but_the_gateway(network, data):
    gateway = data.draw(st.one_of(st.none(), st.integers(0, network.num_addresses - 1)))
    named = None if gateway is None else str(network[gateway])
    got = addresses(pools.default_pools(network, named))
    assert got == {int(host) for host in network.hosts()} - (
        {int(network[gateway])} if named else set()
    )


@given(networks(), st.data())
def test_asked_pools_are_kept_ordered_or_refused(network, data):
    last = network.num_addresses - 1
    pair = st.tuples(st.integers(0, last), st.integers(0, last))
    wanted = data.draw(st.lists(pair, min_size=1, max_size=4))
    asked = [{"start": str(network[start]), "end": str(network[end])} for start, end in wanted]
    expected = None
    if any(start > end for start, end in wanted):
        expected = lib.InvalidAllocationPool
    elif any(start < 1 or end > last - 1 for start, end in wanted):
        expected = lib.OutOfBoundsAllocationPool
    elif any(
        one != other and wanted[one][0] <= wanted[other][1] and wanted[other][0] <= wanted[one][1]
        for one in range(len(wanted))
        for other in range(len(wanted))
    ):
        expected = lib.OverlappingAllocationPools
    if expected:
        with pytest.raises(expected):
            pools.check_pools(network, asked)
    else:
        got = pools.check_pools(network, asked)
        assert [pool.start for pool in got] == [str(network[start]) for start, _ in sorted(wanted)]


@given(networks(shortest=22), st.data())
def test_a_gateway_conflicts_exactly_with_the_pools_that_hold_it(network, data):
    got = pools.default_pools(network, str(network[1]))
    index = data.draw(st.integers(0, network.num_addresses - 1))
    inside = int(network[index]) in addresses(got)
    try:
        pools.check_gateway_outside(str(network[index]), got)
    except lib.GatewayConflictWithAllocationPools:
        assert inside
    else:
        assert not inside


@pytest.mark.parametrize(
    ("cidr", "gateway", "expected"),
    [
        ("10.0.0.0/24", "10.0.0.1", [("10.0.0.2", "10.0.0.254")]),
        ("10.0.0.0/24", None, [("10.0.0.1", "10.0.0.254")]),
        ("10.3.0.0/24", "10.3.0.9", [("10.3.0.1", "10.3.0.8"), ("10.3.0.10", "10.3.0.254")]),
        ("10.4.0.0/24", "10.9.0.9", [("10.4.0.1", "10.4.0.254")]),
        ("10.6.1.4/30", "10.6.1.5", [("10.6.1.6", "10.6.1.6")]),
        ("10.6.1.0/32", "10.6.1.1", [("10.6.1.0", "10.6.1.0")]),
    ],
)
def test_as_neutron_does(cidr, gateway, expected):
    got = pools.default_pools(IPv4Network(cidr), gateway)
    assert [(pool.start, pool.end) for pool in got] == expected
