"""Addresses: gaps, random picks, what a port keeps; items 91 to 98 of the behaviours."""

from __future__ import annotations

import tracemalloc
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neutron_lib import exceptions as lib

from netloom.contract.errors import HTTPBadRequest
from netloom.contract.port_errors import IpAddressAlreadyAllocated
from netloom.model import AllocationPool, FixedIP, Subnet
from netloom.network import ipam
from tests.support.records import Records

numbers = st.integers(0, 300)
pools = st.lists(st.tuples(numbers, numbers).map(lambda p: (min(p), max(p))), max_size=4)


def disjoint(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if not kept or start > kept[-1][1]:
            kept.append((start, end))
    return kept


@given(pools.map(disjoint), st.lists(numbers))
def test_gaps_are_exactly_what_is_free(ranges: list[tuple[int, int]], taken: list[int]) -> None:
    free = ipam.gaps(ranges, taken)
    expected = [n for start, end in ranges for n in range(start, end + 1) if n not in set(taken)]
    assert [n for start, end in free for n in range(start, end + 1)] == expected
    assert ipam.size(free) == len(expected)
    assert [ipam.pick(free, i) for i in range(len(expected))] == expected


@given(st.lists(st.integers(2, 250), unique=True, min_size=1, max_size=6), st.data())
def test_an_update_keeps_what_it_names_and_no_address_twice(
    hosts: list[int], data: st.DataObject
) -> None:
    subnet = Subnet(id="s", network_id="n", cidr="10.0.0.0/24")
    old = [FixedIP("s", f"10.0.0.{host}") for host in hosts]
    wanted = [
        ipam.Wish((subnet,), address)
        for address in data.draw(
            st.lists(
                st.sampled_from([None, "10.0.0.251", *(f.ip_address for f in old)]), max_size=6
            )
        )
    ]
    named = [wish.address for wish in wanted if wish.address]
    if len(set(named)) != len(named):
        return
    kept, rest = ipam.keep(old, wanted)
    assert len(kept) + len(rest) == len(wanted)
    assert len({fixed.ip_address for fixed in kept}) == len(kept)
    assert {a for a in named if a in {f.ip_address for f in old}} <= {f.ip_address for f in kept}
    assert all(
        wish.address is None or wish.address not in {f.ip_address for f in old} for wish in rest
    )


def test_91_addresses_are_random_within_the_pool_and_all_of_it_can_be_used(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(network, "10.0.0.0/28")
    got = [ipam.take_any(world.w, network.id, subnet, f"p{i}") for i in range(13)]
    addresses = [fixed.ip_address for fixed in got if fixed]
    assert sorted(addresses, key=ip_address) == [f"10.0.0.{n}" for n in range(2, 15)]
    assert addresses != sorted(addresses, key=ip_address)
    assert ipam.take_any(world.w, network.id, subnet, "late") is None


def test_a_large_pool_costs_no_more_than_a_small_one(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(network, "10.0.0.0/8")
    tracemalloc.start()
    try:
        for i in range(200):
            assert ipam.take_any(world.w, network.id, subnet, f"p{i}")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20, "the pool was written out"
    finally:
        tracemalloc.stop()


def test_addresses_taken_outside_of_the_pools_do_not_confuse_the_count(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(
        network, "10.0.0.0/24", allocation_pools=(AllocationPool("10.0.0.10", "10.0.0.11"),)
    )
    for address in ("10.0.0.5", "10.0.0.99", "10.0.0.10"):
        ipam.claim(world.w, network.id, subnet, address, "x")
    assert ipam.take_any(world.w, network.id, subnet, "y") == FixedIP(subnet.id, "10.0.0.11")
    assert ipam.take_any(world.w, network.id, subnet, "z") is None


def test_dhcp_gets_the_lowest_free_address(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(network, "10.0.0.0/24")
    ipam.claim(world.w, network.id, subnet, "10.0.0.2", "x")
    assert ipam.take_any(world.w, network.id, subnet, "d", lowest=True) == FixedIP(
        subnet.id, "10.0.0.3"
    )


def test_93_addresses_taken_or_outside(world: Records) -> None:
    network = world.network()
    subnet, other = world.subnet(network, "10.0.0.0/24"), world.subnet(network, "10.0.1.0/24")
    both = [subnet, other]
    ipam.claim(world.w, network.id, subnet, "10.0.0.7", "x")
    with pytest.raises(
        IpAddressAlreadyAllocated, match=f"10.0.0.7 already allocated in subnet {subnet.id}"
    ):
        ipam.claim(world.w, network.id, subnet, "10.0.0.7", "y")
    for address in ("11.0.0.7", "10.0.0.0", "10.0.0.255", "fe80::1"):
        with pytest.raises(lib.InvalidIpForNetwork):
            ipam.wishes(network.id, both, [{"ip_address": address}])
    for address in ("10.0.1.7", "10.0.0.0", "10.0.0.255"):
        with pytest.raises(lib.InvalidIpForSubnet):
            ipam.wishes(network.id, both, [{"subnet_id": subnet.id, "ip_address": address}])


def test_94_the_gateway_address_may_be_named(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(network, "10.0.0.0/24")
    wanted = ipam.wishes(network.id, [subnet], [{"ip_address": "10.0.0.1"}])
    assert ipam.allocate(world.w, network.id, wanted, "p") == [FixedIP(subnet.id, "10.0.0.1")]


def test_95_wrong_subnets_and_duplicates(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(network, "10.0.0.0/24")
    with pytest.raises(lib.InvalidInput, match="fixed_ips included invalid subnet foreign"):
        ipam.wishes(network.id, [subnet], [{"subnet_id": "foreign"}], known=["foreign"])
    with pytest.raises(lib.SubnetNotFound):
        ipam.wishes(network.id, [subnet], [{"subnet_id": "nowhere"}])
    with pytest.raises(HTTPBadRequest, match="Duplicate IP address"):
        ipam.wishes(network.id, [subnet], [{"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.9"}])
    with pytest.raises(lib.InvalidInput, match="requires subnet_id or ip_address"):
        ipam.wishes(network.id, [subnet], [{}])
    with pytest.raises(lib.InvalidInput, match="requires subnets for network"):
        ipam.wishes(network.id, [], [{"ip_address": "10.0.0.9"}])


def test_98_an_exhausted_pool(world: Records) -> None:
    network = world.network()
    full = world.subnet(network, "10.0.0.0/30")
    wish = ipam.wishes(network.id, [full], [{"subnet_id": full.id}])
    assert ipam.allocate(world.w, network.id, wish, "p") == [FixedIP(full.id, "10.0.0.2")]
    with pytest.raises(lib.IpAddressGenerationFailure, match=network.id):
        ipam.allocate(world.w, network.id, wish, "q")
    second = world.subnet(network, "10.0.1.0/30")
    anywhere = ipam.wishes(network.id, [full, second], None)
    assert ipam.allocate(world.w, network.id, anywhere, "r") == [FixedIP(second.id, "10.0.1.2")]


def test_a_random_address_does_not_take_one_that_the_request_names(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(network, "10.0.0.0/29")
    for n in range(20):
        wanted = ipam.wishes(
            network.id, [subnet], [{"subnet_id": subnet.id}, {"ip_address": "10.0.0.3"}]
        )
        got = ipam.allocate(world.w, network.id, wanted, f"p{n}")
        assert len({fixed.ip_address for fixed in got}) == 2
        ipam.release(world.w, network.id, got)
