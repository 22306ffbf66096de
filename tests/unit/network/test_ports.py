"""Ports: items 92 and 99 to 115 of the behaviours, and DHCP ports."""

from __future__ import annotations

from typing import Any

import pytest
from neutron_lib import exceptions as lib
from neutron_lib.exceptions import allowedaddresspairs as pair_errors
from neutron_lib.exceptions import port_security as security_errors

from netloom.contract.errors import HTTPBadRequest, code_of
from netloom.contract.port_errors import IpAddressAlreadyAllocated, NeutronDbObjectDuplicateEntry
from netloom.contract.security_group_errors import SecurityGroupNotFound
from netloom.model import AddressPair, FloatingIP, Port, Router, Subnet
from netloom.network import binding, dhcp, ports, routers, security_groups
from tests.support.records import ALICE, BOB, Records, as_json, context


def update(world: Records, port: Port, **attrs: Any) -> Port:
    return ports.update(world.w, world.ctx, port, attrs)


def addresses(port: Port) -> list[str]:
    return [fixed.ip_address for fixed in port.fixed_ips]


def test_a_port_gets_an_address_a_mac_and_the_default_group(world: Records) -> None:
    network, subnet = world.private()
    port = world.port(network)
    default = security_groups.default_of(world.w, ALICE)
    assert default is not None and port.security_groups == (default.id,)
    assert [fixed.subnet_id for fixed in port.fixed_ips] == [subnet.id]
    assert port.mac_address.startswith("fa:16:3e:") and port.port_security_enabled
    shown = as_json(ports.show(world.w, world.ctx, [port]))[0]
    assert (shown["status"], shown["binding:vif_type"], shown["binding:host_id"]) == (
        "DOWN",
        "unbound",
        "",
    )
    assert shown["tenant_id"] == ALICE and shown["binding:vif_details"] == {}
    assert shown["fixed_ips"] == [{"subnet_id": subnet.id, "ip_address": addresses(port)[0]}]


def test_92_a_network_without_subnets(world: Records) -> None:
    port = world.port(world.network())
    assert port.fixed_ips == () and len(port.security_groups) == 1


def test_a_network_that_the_caller_does_not_see(world: Records) -> None:
    network, _ = world.private()
    with pytest.raises(lib.NetworkNotFound):
        world.port(network, context(BOB))


def test_93_a_taken_address_rolls_nothing_forward(world: Records) -> None:
    network, _ = world.private()
    world.port(network, fixed_ips=[{"ip_address": "10.0.0.7"}])
    with pytest.raises(IpAddressAlreadyAllocated):
        world.port(network, fixed_ips=[{"ip_address": "10.0.0.7"}])


def test_99_many_fixed_ips(world: Records) -> None:
    network, subnet = world.private()
    port = world.port(network, fixed_ips=[{"subnet_id": subnet.id}] * 6)
    assert len(set(addresses(port))) == 6


def test_100_macs_are_unique_per_network(world: Records) -> None:
    network, _ = world.private()
    other, _ = world.private()
    port = world.port(network, mac_address="FA:16:3E:00:00:99")
    assert port.mac_address == "fa:16:3e:00:00:99"
    world.port(other, mac_address=port.mac_address)
    with pytest.raises(lib.MacAddressInUse):
        world.port(network, mac_address=port.mac_address)
    third = world.port(network)
    with pytest.raises(lib.MacAddressInUse):
        update(world, third, mac_address=port.mac_address)
    assert update(world, third, mac_address="fa:16:3e:00:00:01").mac_address == "fa:16:3e:00:00:01"
    world.port(network, mac_address=third.mac_address)
    other_mac = update(world, port, mac_address=None).mac_address
    assert other_mac.startswith("fa:16:3e:") and other_mac != port.mac_address
    assert world.port(network, mac_address=None).mac_address != other_mac


def test_fixed_ips_on_update_keep_what_fits(world: Records) -> None:
    network, subnet = world.private()
    port = world.port(network, fixed_ips=[{"ip_address": "10.0.0.65"}])
    assert update(world, port, fixed_ips=[{"subnet_id": subnet.id}]) == port
    both = update(world, port, fixed_ips=[{"subnet_id": subnet.id}, {"ip_address": "10.0.0.33"}])
    assert addresses(both) == ["10.0.0.33", "10.0.0.65"]
    one = update(world, both, fixed_ips=[{"subnet_id": subnet.id}])
    assert addresses(one) == ["10.0.0.65"]
    assert update(world, one, fixed_ips=[]).fixed_ips == ()
    # Both are free again.
    world.port(network, fixed_ips=[{"ip_address": "10.0.0.33"}, {"ip_address": "10.0.0.65"}])


def test_101_the_mac_of_a_bound_port_stays(world: Records) -> None:
    network, _ = world.private()
    world.host("c1")
    port = world.port(network, **{"binding:host_id": "c1"})
    with pytest.raises(lib.PortBound):
        update(world, port, mac_address="fa:16:3e:00:00:22")


@pytest.mark.parametrize(
    ("host", "vif_type"), [("c1", "ovs"), ("dead", "binding_failed"), ("nowhere", "binding_failed")]
)
def test_105_107_binding_to_a_host_that_lives(world: Records, host: str, vif_type: str) -> None:
    network, _ = world.private()
    world.host("c1", capabilities={"datapath_type": "netdev"})
    world.host("dead", alive=False)
    port = world.port(network, **{"binding:host_id": host})
    assert (port.host, port.vif_type) == (host, vif_type)
    details = ports.show(world.w, world.ctx, [port])[0]["binding:vif_details"]
    if vif_type == "ovs":
        assert details["connectivity"] == "l2" and details["port_filter"] is True
        assert details["ovs_hybrid_plug"] is False and details["datapath_type"] == "netdev"
        assert details["bound_drivers"] == {"0": "openvswitch"}
    else:
        assert details == {}


def test_105_binding_needs_the_physical_network_or_a_tunnel(world: Records) -> None:
    flat = world.network(network_type="flat", physical_network="extnet", segmentation_id=None)
    tunnel = world.network()
    world.host("flat", tunnel_ip=None, bridge_mappings={"extnet": "br-extnet"})
    world.host("tunnel")
    found = [
        world.port(network, **{"binding:host_id": host}).vif_type
        for network in (flat, tunnel)
        for host in ("flat", "tunnel")
    ]
    assert found == ["ovs", "binding_failed", "binding_failed", "ovs"]


def test_a_binding_can_be_moved_taken_away_and_tried_again(world: Records) -> None:
    network, _ = world.private()
    world.host("c1")
    port = world.port(network)
    assert ports.update(world.w, world.ctx, port, {"binding:host_id": "c1"}).vif_type == "ovs"
    late = ports.update(world.w, world.ctx, port, {"binding:host_id": "c2"})
    assert late.vif_type == "binding_failed"
    world.host("c2")
    assert [p.vif_type for p in binding.retry(world.w, world.ctx, "c2")] == ["ovs"]
    free = ports.update(world.w, world.ctx, port, {"binding:host_id": ""})
    assert (free.host, free.vif_type, free.vif_details) == ("", "unbound", {})


def test_direct_ports_are_not_bound_and_a_bound_port_keeps_its_vnic_type(world: Records) -> None:
    network, _ = world.private()
    world.host("c1")
    direct = world.port(network, **{"binding:host_id": "c1", "binding:vnic_type": "direct"})
    assert direct.vif_type == "binding_failed"
    bound = world.port(network, **{"binding:host_id": "c1"})
    with pytest.raises(lib.PortInUse):
        update(world, bound, **{"binding:vnic_type": "direct"})


def test_112_port_security_without_groups_and_pairs(world: Records) -> None:
    network, _ = world.private()
    group = world.group()
    pair = [{"ip_address": "1.2.3.4"}]
    with pytest.raises(security_errors.PortSecurityAndIPRequiredForSecurityGroups) as caught:
        world.port(network, port_security_enabled=False, security_groups=[group.id])
    assert code_of(caught.value) == 400
    with pytest.raises(pair_errors.AddressPairAndPortSecurityRequired):
        world.port(network, port_security_enabled=False, allowed_address_pairs=pair)
    with pytest.raises(
        pair_errors.AddressPairAndPortSecurityRequired
    ):  # of both faults this one is said
        both = {"security_groups": [group.id], "allowed_address_pairs": pair}
        world.port(network, port_security_enabled=False, **both)
    assert world.port(network, port_security_enabled=False).security_groups == ()
    port = world.port(network, security_groups=[group.id], allowed_address_pairs=pair)
    with pytest.raises(pair_errors.AddressPairAndPortSecurityRequired):
        update(world, port, port_security_enabled=False, security_groups=[])
    with pytest.raises(security_errors.PortSecurityPortHasSecurityGroup) as caught:
        update(world, port, port_security_enabled=False, allowed_address_pairs=[])
    assert code_of(caught.value) == 409
    bare = update(
        world, port, port_security_enabled=False, security_groups=[], allowed_address_pairs=None
    )
    with pytest.raises(security_errors.PortSecurityAndIPRequiredForSecurityGroups):
        update(world, bare, security_groups=[group.id])
    with pytest.raises(pair_errors.AddressPairAndPortSecurityRequired):
        update(world, bare, allowed_address_pairs=pair)
    again = update(world, bare, port_security_enabled=True, security_groups=[group.id])
    assert again.security_groups == (group.id,)


def test_port_security_of_the_network_is_the_default(world: Records) -> None:
    network = world.network(port_security_enabled=False)
    assert not world.port(network).port_security_enabled
    assert world.port(network, port_security_enabled=True).security_groups
    with pytest.raises(security_errors.PortSecurityAndIPRequiredForSecurityGroups):
        world.port(network, security_groups=[world.group().id])


def test_113_allowed_address_pairs(world: Records) -> None:
    network, _ = world.private()

    def pairs(*entries: dict[str, str]) -> Port:
        return world.port(network, allowed_address_pairs=list(entries))

    port = pairs(
        {"ip_address": "1.2.3.4"}, {"ip_address": "0.0.0.0/0", "mac_address": "00:00:00:00:00:01"}
    )
    assert port.allowed_address_pairs == (
        AddressPair("0.0.0.0/0", "00:00:00:00:00:01"),
        AddressPair("1.2.3.4", port.mac_address),
    )
    with pytest.raises(pair_errors.AllowedAddressPairsMissingIP):
        pairs({"mac_address": "00:00:00:00:00:01"})
    with pytest.raises(pair_errors.DuplicateAddressPairInRequest, match="mac_address None"):
        pairs({"ip_address": "1.2.3.4"}, {"ip_address": "1.2.3.4"})
    with pytest.raises(pair_errors.AllowedAddressPairExhausted):
        pairs(*({"ip_address": f"1.2.3.{n}"} for n in range(11)))
    with pytest.raises(HTTPBadRequest, match="multicast"):
        pairs({"ip_address": "224.0.0.1"})


def test_115_extra_dhcp_options(world: Records) -> None:
    network, _ = world.private()
    mtu, router = (
        {"opt_name": "mtu", "opt_value": "1400"},
        {"opt_name": "router", "opt_value": "1.1.1.1"},
    )
    port = world.port(network, extra_dhcp_opts=[mtu, router])
    shown = as_json(ports.show(world.w, world.ctx, [port]))[0]["extra_dhcp_opts"]
    assert shown == [mtu | {"ip_version": 4}, router | {"ip_version": 4}]
    port = update(world, port, extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": None}])
    assert [option.opt_name for option in port.extra_dhcp_opts] == ["router"]
    assert update(world, port, extra_dhcp_opts=None).extra_dhcp_opts == port.extra_dhcp_opts
    with pytest.raises(NeutronDbObjectDuplicateEntry):
        world.port(network, extra_dhcp_opts=[mtu, mtu])


def test_109_ports_of_routers_and_floating_ips_go_with_those_only(world: Records) -> None:
    network, subnet = world.private()
    external, _ = world.external()
    router = world.router(external_gateway_info={"network_id": external.id})
    fip = world.floatingip(external)
    for port_id, owner in (
        (router.gw_port_id, "network:router_gateway"),
        (fip.floating_port_id, "network:floatingip"),
    ):
        port = world.w.get(Port, port_id)
        assert port is not None and port.project_id == ""
        with pytest.raises(lib.ServicePortInUse, match=f"has device owner {owner}"):
            ports.delete(world.w, world.ctx, port)
    # A port that only says so, for a router that is not there, goes.
    fake = world.port(network, device_owner="network:router_interface", device_id="nowhere")
    assert fake.security_groups == () and not fake.port_security_enabled
    ports.delete(world.w, world.ctx, fake)
    assert world.w.get(Port, fake.id) is None
    assert subnet.gateway_ip == "10.0.0.1"


def test_deleting_a_port_gives_its_address_and_mac_back(world: Records) -> None:
    network, _ = world.private()
    port = world.port(network, fixed_ips=[{"ip_address": "10.0.0.9"}])
    ports.delete(world.w, world.ctx, port)
    world.port(network, mac_address=port.mac_address, fixed_ips=[{"ip_address": "10.0.0.9"}])


def test_166_over_quota(world: Records) -> None:
    network, _ = world.private()
    ctx = context(quotas={"port": 1})
    world.port(network, ctx)
    with pytest.raises(lib.OverQuota, match=r"Quota exceeded for resources: \['port'\]\."):
        world.port(network, ctx)


def test_an_unknown_group_on_update(world: Records) -> None:
    network, _ = world.private()
    port = world.port(network)
    with pytest.raises(SecurityGroupNotFound):
        update(world, port, security_groups=["aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"])
    assert update(world, port, security_groups=None).security_groups == ()


def test_unbound_ports_bring_no_dhcp_port_and_the_first_bound_one_does(world: Records) -> None:
    network, subnet = world.private()
    world.host("c1")
    port = world.port(network)
    assert dhcp.dhcp_port(world.w, network.id) is None
    ports.update(world.w, world.ctx, port, {"binding:host_id": "c1"})
    found = dhcp.dhcp_port(world.w, network.id)
    assert found is not None and found.project_id == ALICE and found.host == ""
    assert found.device_owner == "network:dhcp" and found.device_id.endswith(network.id)
    world.port(network, **{"binding:host_id": "c1"})
    assert world.w.count(Port, device_owner="network:dhcp") == 1
    second = world.subnet(network, "10.0.1.0/24")
    dhcp.refresh(world.w, world.ctx, network)
    found = dhcp.dhcp_port(world.w, network.id)
    assert found is not None
    assert {fixed.subnet_id for fixed in found.fixed_ips} == {subnet.id, second.id}


def test_dhcp_that_finds_no_address_does_not_refuse_the_port(world: Records) -> None:
    network = world.network()
    subnet = world.subnet(network, "10.0.0.0/30")
    world.host("c1")
    port = world.port(network, **{"binding:host_id": "c1"})
    assert addresses(port) == ["10.0.0.2"] and port.vif_type == "ovs"
    found = dhcp.dhcp_port(world.w, network.id)
    assert found is not None and found.fixed_ips == ()
    assert world.w.get(Subnet, subnet.id) is not None


def test_156_the_address_that_a_floating_ip_points_at_stays(world: Records) -> None:
    network, subnet = world.private()
    external, _ = world.external()
    router = world.router(external_gateway_info={"network_id": external.id})
    routers.add_interface(world.w, world.ctx, router, {"subnet_id": subnet.id})
    port = world.port(network, fixed_ips=[{"ip_address": "10.0.0.5"}])
    fip = world.floatingip(external, port_id=port.id)
    with pytest.raises(lib.BadRequest, match="has been associated to a floating ip"):
        update(world, port, fixed_ips=[{"ip_address": "10.0.0.44"}])
    assert update(world, port, name="x", fixed_ips=[{"subnet_id": subnet.id}]).name == "x"
    ports.delete(world.w, world.ctx, port)
    left = world.w.get(FloatingIP, fip.id)
    assert left is not None and (left.port_id, left.router_id, left.fixed_ip_address) == (
        None,
        None,
        None,
    )
    assert world.w.get(Router, router.id) is not None


def test_the_service_port_of_a_floating_ip_has_no_status(world: Records) -> None:
    external, _ = world.external()
    fip = world.floatingip(external)
    port = world.w.get(Port, fip.floating_port_id)
    assert port is not None and ports.show(world.w, world.ctx, [port])[0]["status"] == "N/A"
