"""Floating IPs: items 151 to 157 of the behaviours."""

from __future__ import annotations

import re
from typing import Any

import pytest
from neutron_lib import exceptions as lib
from neutron_lib.exceptions import l3

from netloom.contract.errors import code_of
from netloom.contract.port_errors import IpAddressAlreadyAllocated
from netloom.model import FloatingIP, Network, Port, Router, Subnet
from netloom.network import floatingips, routers
from tests.support.records import ALICE, BOB, Records, as_json, context

UNKNOWN = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


class Routed:
    """A private network behind a router with a gateway on an external one."""

    def __init__(self, world: Records):
        self.world = world
        self.network, self.subnet = world.private()
        self.external, self.outside = world.external()
        self.router: Router = world.router(external_gateway_info={"network_id": self.external.id})
        routers.add_interface(world.w, world.ctx, self.router, {"subnet_id": self.subnet.id})

    def port(self, **attrs: Any) -> Port:
        return self.world.port(self.network, **attrs)

    def fip(self, **attrs: Any) -> FloatingIP:
        return self.world.floatingip(self.external, **attrs)

    def update(self, fip: FloatingIP, **attrs: Any) -> FloatingIP:
        return floatingips.update(self.world.w, self.world.ctx, fip, attrs)


@pytest.fixture
def routed(world: Records) -> Routed:
    return Routed(world)


def bad(message: str) -> Any:
    return pytest.raises(lib.BadRequest, match=message)


def test_151_networks_that_give_no_floating_ip(world: Records) -> None:
    internal, _ = world.private()
    bare = world.network("e" * 32, external=True)
    with bad(rf"Bad floatingip request: Network {internal.id} is not a valid external network\."):
        world.floatingip(internal)
    with bad(f"Network {bare.id} does not contain any IPv4 subnet"):
        world.floatingip(bare)
    with pytest.raises(lib.NetworkNotFound):
        world.floatingip(Network(id=UNKNOWN))


def test_151_named_addresses_and_subnets(world: Records) -> None:
    external, subnet = world.external()
    _, elsewhere = world.private()
    assert world.floatingip(external, floating_ip_address="203.0.113.50").floating_ip_address == (
        "203.0.113.50"
    )
    with pytest.raises(IpAddressAlreadyAllocated):
        world.floatingip(external, floating_ip_address="203.0.113.50")
    with pytest.raises(lib.InvalidIpForNetwork):
        world.floatingip(external, floating_ip_address="9.0.113.50")
    with pytest.raises(lib.InvalidIpForSubnet):
        world.floatingip(external, subnet_id=subnet.id, floating_ip_address="9.0.113.50")
    with pytest.raises(lib.InvalidInput, match="included invalid subnet"):
        world.floatingip(external, subnet_id=elsewhere.id)
    with pytest.raises(lib.SubnetNotFound):
        world.floatingip(external, subnet_id=UNKNOWN)
    assert world.floatingip(external, subnet_id=subnet.id).floating_ip_address.startswith(
        "203.0.113."
    )


def test_152_157_what_the_api_shows(routed: Routed) -> None:
    world = routed.world
    port = routed.port(name="web")
    fip = routed.fip(port_id=port.id, description="d")
    shown = as_json(floatingips.show(world.w, world.ctx, [fip, routed.fip()]))
    assert shown[0]["status"] == "DOWN" and shown[0]["router_id"] == routed.router.id
    assert shown[0]["fixed_ip_address"] == port.fixed_ips[0].ip_address
    assert shown[0]["port_details"] == {
        "name": "web",
        "network_id": routed.network.id,
        "mac_address": port.mac_address,
        "admin_state_up": True,
        "status": "DOWN",
        "device_id": "",
        "device_owner": "",
    }
    assert shown[1]["port_details"] is None and shown[1]["port_id"] is None
    assert "floating_port_id" not in shown[0] and shown[0]["tenant_id"] == ALICE
    own = world.w.get(Port, fip.floating_port_id)
    assert own is not None and (own.device_id, own.project_id) == (fip.id, "")
    assert [fixed.ip_address for fixed in own.fixed_ips] == [fip.floating_ip_address]


def test_153_ports_that_cannot_be_reached(routed: Routed) -> None:
    world = routed.world
    island, _ = world.private("10.5.0.0/24")
    port = world.port(island)
    with pytest.raises(l3.ExternalGatewayForFloatingIPNotFound) as caught:
        routed.fip(port_id=port.id)
    assert code_of(caught.value) == 404
    # The gateway is on another external network.
    other, _ = world.external("198.51.100.0/24")
    with pytest.raises(l3.ExternalGatewayForFloatingIPNotFound):
        world.floatingip(other, port_id=routed.port(fixed_ips=[{"ip_address": "10.0.0.50"}]).id)
    with pytest.raises(lib.PortNotFound):
        routed.fip(port_id=UNKNOWN)
    with bad("that has no fixed IPv4 addresses"):
        routed.fip(port_id=routed.port(fixed_ips=[]).id)
    two = routed.port(fixed_ips=[{"ip_address": "10.0.0.200"}, {"ip_address": "10.0.0.201"}])
    with bad("has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address"):
        routed.fip(port_id=two.id)
    with bad(f"Port {two.id} does not have fixed ip 10.0.0.99"):
        routed.fip(port_id=two.id, fixed_ip_address="10.0.0.99")
    with bad("since that is not an IPv4 address"):
        routed.fip(port_id=two.id, fixed_ip_address="fd00::1")
    with bad("fixed_ip_address cannot be specified without a port_id"):
        routed.fip(fixed_ip_address="10.0.0.200")
    assert (
        routed.fip(port_id=two.id, fixed_ip_address="10.0.0.201").fixed_ip_address == "10.0.0.201"
    )


def test_153_a_fixed_address_has_one_floating_ip_per_network(routed: Routed) -> None:
    port = routed.port()
    first = routed.fip(port_id=port.id)
    with pytest.raises(l3.FloatingIPPortAlreadyAssociated) as caught:
        routed.fip(port_id=port.id)
    assert code_of(caught.value) == 409
    second = routed.fip()
    with pytest.raises(
        l3.FloatingIPPortAlreadyAssociated, match=rf"{re.escape(second.floating_ip_address)}\b"
    ):
        routed.update(second, port_id=port.id)
    assert routed.update(first, port_id=port.id) == first


def test_ports_of_others(world: Records) -> None:
    bob = context(BOB)
    shared = world.network(shared=True)
    subnet = world.subnet(shared, "10.1.0.0/24")
    external, _ = world.external()
    router = world.router(external_gateway_info={"network_id": external.id})
    routers.add_interface(world.w, world.ctx, router, {"subnet_id": subnet.id})
    mine, theirs = world.port(shared), world.port(shared, bob)
    with pytest.raises(lib.PortNotFound):
        world.floatingip(external, bob, port_id=mine.id)
    with bad("that port is owned by a different project"):
        world.floatingip(external, port_id=theirs.id)
    assert world.floatingip(external, bob, port_id=theirs.id).router_id == router.id


def test_154_155_dissociating_and_associating_again(routed: Routed) -> None:
    one, two = routed.port(), routed.port()
    fip = routed.fip(port_id=one.id)
    fip = routed.update(fip, port_id=two.id)
    assert (fip.port_id, fip.fixed_ip_address) == (two.id, two.fixed_ips[0].ip_address)
    fip = routed.update(fip, description="kept")
    assert (fip.port_id, fip.description) == (two.id, "kept")
    with bad("fixed_ip_address cannot be specified without a port_id"):
        routed.update(fip, fixed_ip_address=two.fixed_ips[0].ip_address)
    for nothing in ({}, {"port_id": None}):
        fip = routed.update(fip, port_id=one.id)
        fip = routed.update(fip, **nothing)
        assert (fip.port_id, fip.fixed_ip_address, fip.router_id) == (None, None, None)


def test_a_deleted_floating_ip_gives_its_address_back(routed: Routed) -> None:
    world = routed.world
    fip = routed.fip(port_id=routed.port().id)
    floatingips.delete(world.w, world.ctx, fip)
    assert world.w.get(FloatingIP, fip.id) is None
    assert world.w.get(Port, fip.floating_port_id) is None
    routed.fip(floating_ip_address=fip.floating_ip_address)


def test_of_two_routers_the_one_at_the_gateway_address_is_taken(routed: Routed) -> None:
    world = routed.world
    second = world.router(external_gateway_info={"network_id": routed.external.id})
    side = routed.port()
    routers.add_interface(world.w, world.ctx, second, {"port_id": side.id})
    for _ in range(3):
        assert routed.fip(port_id=routed.port().id).router_id == routed.router.id


def test_an_exhausted_external_network(world: Records) -> None:
    external, subnet = world.external("198.51.100.0/30")
    world.floatingip(external)
    with pytest.raises(lib.IpAddressGenerationFailure):
        world.floatingip(external)
    assert world.w.get(Subnet, subnet.id) is not None
