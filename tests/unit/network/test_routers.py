"""Routers: interfaces, gateways, routes and where they are; items 137 to 149 of the behaviours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neutron_lib import exceptions as lib
from neutron_lib.exceptions import extraroute, l3
from neutron_lib.exceptions.availability_zone import AvailabilityZoneNotFound

from netloom.contract.errors import HTTPBadRequest, code_of
from netloom.contract.port_errors import IpAddressAlreadyAllocated
from netloom.model import FixedIP, Network, Port, Route, Router
from netloom.model.placement import places
from netloom.network import dhcp, placement, ports, routers, routes
from netloom.network.access import SHARED
from tests.support.records import ALICE, BOB, Records, as_json, context

UNKNOWN = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def placed(router: Router) -> str:
    """The one host that carries a router, or nothing."""
    return "".join(places(router))


def add(world: Records, router: Router, ctx: Any = None, **attrs: Any) -> dict[str, Any]:
    return routers.add_interface(world.w, ctx or world.ctx, router, attrs)


def remove(world: Records, router: Router, **attrs: Any) -> dict[str, Any]:
    return routers.remove_interface(world.w, world.ctx, world.again(router), attrs)


def at(external: Network, address: str) -> dict[str, Any]:
    """The gateway at an address: one that is drawn may be the next hop of a test's route."""
    return {"network_id": external.id, "external_fixed_ips": [{"ip_address": address}]}


def update(world: Records, router: Router, **attrs: Any) -> Router:
    return routers.update(world.w, world.ctx, world.again(router), attrs)


def test_137_an_interface_takes_the_gateway_address(world: Records) -> None:
    network, subnet = world.private()
    router = world.router()
    answer = add(world, router, subnet_id=subnet.id)
    port = world.w.get(Port, answer["port_id"])
    assert port is not None and port.fixed_ips == (FixedIP(subnet.id, "10.0.0.1"),)
    assert (port.device_owner, port.device_id) == ("network:router_interface", router.id)
    assert (
        port.security_groups == () and not port.port_security_enabled and port.project_id == ALICE
    )
    assert answer == {
        "id": router.id,
        "project_id": ALICE,
        "port_id": port.id,
        "network_id": network.id,
        "subnet_id": subnet.id,
        "subnet_ids": [subnet.id],
    }
    assert world.again(router).revision_number == router.revision_number + 1


def bad(message: str) -> Any:
    return pytest.raises(lib.BadRequest, match=message)


def test_138_interfaces_that_are_refused(world: Records) -> None:
    network, subnet = world.private()
    router = world.router()
    none = world.subnet(network, "10.0.9.0/24", gateway_ip=None)
    _, overlapping = world.private("10.0.0.0/25")
    for body in ({}, None, [], {"foo": 1}):
        with bad("Bad router request: Either subnet_id or port_id must be specified."):
            routers.add_interface(world.w, world.ctx, router, body)
    with bad("Cannot specify both subnet-id and port-id"):
        add(world, router, subnet_id=subnet.id, port_id=UNKNOWN)
    for value in ("x", None, 5, ["x"]):
        with bad("is not a valid UUID"):
            add(world, router, subnet_id=value)
    with bad("must have a gateway IP"):
        add(world, router, subnet_id=none.id)
    with pytest.raises(lib.SubnetNotFound):
        add(world, router, subnet_id=UNKNOWN)
    with pytest.raises(lib.PortNotFound):
        add(world, router, port_id=UNKNOWN)
    add(world, router, subnet_id=subnet.id)
    with bad(f"Router already has a port on subnet {subnet.id}"):
        add(world, router, subnet_id=subnet.id)
    with bad(f"Cidr 10.0.0.0/25 of subnet {overlapping.id} overlaps with cidr 10.0.0.0/24"):
        add(world, router, subnet_id=overlapping.id)
    with bad("Router port must have at least one fixed IP"):
        add(world, router, port_id=world.port(network, fixed_ips=[]).id)
    other, second = world.private("10.7.0.0/24")
    twice = world.port(other, fixed_ips=[{"subnet_id": second.id}] * 2)
    with bad("Cannot have multiple IPv4 subnets on router port"):
        add(world, router, port_id=twice.id)


def test_139_a_port_of_a_device_is_in_use(world: Records) -> None:
    network, _ = world.private()
    port = world.port(network, device_id="server")
    with pytest.raises(lib.PortInUse, match="attached device server"):
        add(world, world.router(), port_id=port.id)


def test_an_interface_by_port_keeps_the_port_as_it_is(world: Records) -> None:
    network, _ = world.private()
    router, port = world.router(), world.port(network, name="mine")
    assert add(world, router, port_id=port.id)["port_id"] == port.id
    found = world.w.get(Port, port.id)
    assert found is not None and (found.name, found.device_id) == ("mine", router.id)
    assert found.fixed_ips == port.fixed_ips


def test_the_gateway_address_is_taken_already(world: Records) -> None:
    network, subnet = world.private()
    world.port(network, fixed_ips=[{"ip_address": "10.0.0.1"}])
    with pytest.raises(IpAddressAlreadyAllocated):
        add(world, world.router(), subnet_id=subnet.id)


def test_141_networks_of_others(world: Records) -> None:
    bob = context(BOB)
    named = world.network()
    world.w.grant(named.id, BOB, SHARED)
    by_name, hidden = world.subnet(named, "10.1.0.0/24"), world.private("10.2.0.0/24")[1]
    for_all = world.subnet(world.network(shared=True), "10.3.0.0/24")
    _, external = world.external()
    router = world.router(bob)
    assert add(world, router, bob, subnet_id=by_name.id)["project_id"] == BOB
    with pytest.raises(lib.SubnetNotFound):
        add(world, router, bob, subnet_id=hidden.id)
    with bad("is not owned by project making the request"):
        add(world, router, bob, subnet_id=external.id)
    # Shared with everyone is not for everyone's routers: the first would take its gateway.
    with bad("is not owned by project making the request"):
        add(world, router, bob, subnet_id=for_all.id)


def test_142_removing_interfaces(world: Records) -> None:
    network, subnet = world.private()
    _, other = world.private("10.9.0.0/24")
    router = world.router()
    mine = world.port(network, fixed_ips=[{"ip_address": "10.0.0.5"}])
    add(world, router, port_id=mine.id)
    with pytest.raises(l3.RouterInterfaceNotFoundForSubnet):
        remove(world, router, subnet_id=other.id)
    with pytest.raises(l3.RouterInterfaceNotFound):
        remove(world, router, port_id=UNKNOWN)
    with pytest.raises(lib.SubnetMismatchForPort):
        remove(world, router, port_id=mine.id, subnet_id=other.id)
    with pytest.raises(lib.SubnetNotFound):
        remove(world, router, subnet_id=UNKNOWN)
    update(world, router, routes=[{"destination": "192.168.0.0/24", "nexthop": "10.0.0.99"}])
    with pytest.raises(extraroute.RouterInterfaceInUseByRoute):
        remove(world, router, subnet_id=subnet.id)
    update(world, router, routes=[])
    assert remove(world, router, subnet_id=subnet.id)["port_id"] == mine.id
    assert world.w.get(Port, mine.id) is None


def test_143_deleting_a_router(world: Records) -> None:
    _, subnet = world.private()
    external, _ = world.external()
    router = world.router(external_gateway_info=at(external, "203.0.113.5"))
    answer = add(world, router, subnet_id=subnet.id)
    with pytest.raises(l3.RouterInUse, match=f"has ports still attached: {answer['port_id']}"):
        routers.delete(world.w, world.ctx, world.again(router))
    remove(world, router, subnet_id=subnet.id)
    update(world, router, routes=[{"destination": "192.168.0.0/24", "nexthop": "203.0.113.99"}])
    routers.delete(world.w, world.ctx, world.again(router))
    assert world.w.get(Router, router.id) is None
    assert world.w.count(Port, network_id=external.id) == 0


def test_144_gateways(world: Records) -> None:
    internal, _ = world.private()
    bare = world.network("e" * 32, external=True)
    with bad(f"Network {internal.id} is not an external network"):
        world.router(external_gateway_info={"network_id": internal.id})
    with pytest.raises(lib.NetworkNotFound):
        world.router(external_gateway_info={"network_id": UNKNOWN})
    router = world.router(external_gateway_info={"network_id": bare.id})
    shown = as_json(routers.show(world.w, world.ctx, [router]))[0]
    assert shown["external_gateway_info"] == {
        "network_id": bare.id,
        "enable_snat": True,
        "external_fixed_ips": [],
    }
    assert shown["status"] == "ACTIVE" and "gw_port_id" not in shown and "host" not in shown


def test_145_the_same_gateway_keeps_its_address_and_turns_snat_on(world: Records) -> None:
    external, subnet = world.external()
    router = world.router(external_gateway_info={"network_id": external.id, "enable_snat": False})
    before = router.external_gateway_info
    assert before is not None and not before.enable_snat
    after = update(
        world, router, external_gateway_info={"network_id": external.id}
    ).external_gateway_info
    assert after is not None and after.enable_snat
    assert after.external_fixed_ips == before.external_fixed_ips
    moved = update(
        world,
        router,
        external_gateway_info={
            "network_id": external.id,
            "external_fixed_ips": [{"ip_address": "203.0.113.77"}],
        },
    )
    info = moved.external_gateway_info
    assert info is not None and info.external_fixed_ips == (FixedIP(subnet.id, "203.0.113.77"),)
    port = world.w.get(Port, moved.gw_port_id or "")
    assert port is not None and port.fixed_ips == info.external_fixed_ips
    for empty in ([], [{"subnet_id": subnet.id}]):
        same = {"network_id": external.id, "external_fixed_ips": empty}
        assert update(world, router, external_gateway_info=same).external_gateway_info == info


def test_gateway_addresses_that_are_refused(world: Records) -> None:
    external, _ = world.external()

    def at(address: str) -> Router:
        info = {"network_id": external.id, "external_fixed_ips": [{"ip_address": address}]}
        return world.router(external_gateway_info=info)

    with bad("External IP 203.0.113.1 is the same as the gateway IP"):
        at("203.0.113.1")
    at("203.0.113.9")
    with pytest.raises(IpAddressAlreadyAllocated):
        at("203.0.113.9")
    with pytest.raises(lib.InvalidIpForNetwork):
        at("203.0.114.9")


def test_146_a_gateway_that_floating_ips_need(world: Records) -> None:
    network, subnet = world.private()
    external, _ = world.external()
    second, _ = world.external("198.51.100.0/24")
    router = world.router(external_gateway_info={"network_id": external.id})
    add(world, router, subnet_id=subnet.id)
    world.floatingip(external, port_id=world.port(network).id)
    for info in ({}, None, {"network_id": second.id}):
        with pytest.raises(l3.RouterExternalGatewayInUseByFloatingIp) as caught:
            update(world, router, external_gateway_info=info)
        assert code_of(caught.value) == 409
    with pytest.raises(l3.RouterInterfaceInUseByFloatingIP):
        remove(world, router, subnet_id=subnet.id)


def test_a_gateway_changes_its_network_and_is_cleared(world: Records) -> None:
    first, _ = world.external()
    second, _ = world.external("198.51.100.0/24")
    router = world.router(external_gateway_info={"network_id": first.id})
    moved = update(world, router, external_gateway_info={"network_id": second.id})
    assert world.w.count(Port, network_id=first.id) == 0
    assert moved.external_gateway_info and moved.external_gateway_info.network_id == second.id
    cleared = update(world, router, external_gateway_info={})
    assert (cleared.external_gateway_info, cleared.gw_port_id) == (None, None)
    assert world.w.count(Port, network_id=second.id) == 0


def test_a_gateway_that_routes_need_stays(world: Records) -> None:
    external, _ = world.external()
    router = world.router(external_gateway_info=at(external, "203.0.113.5"))
    update(world, router, routes=[{"destination": "192.168.0.0/24", "nexthop": "203.0.113.200"}])
    with pytest.raises(extraroute.InvalidRoutes, match="not connected"):
        update(world, router, external_gateway_info={})


def test_147_routes(world: Records) -> None:
    _, subnet = world.private()
    router = world.router()
    add(world, router, subnet_id=subnet.id)

    def route(nexthop: str, destination: str = "192.168.0.0/24") -> dict[str, str]:
        return {"destination": destination, "nexthop": nexthop}

    with pytest.raises(extraroute.InvalidRoutes, match="the nexthop is used by router"):
        update(world, router, routes=[route("10.0.0.1")])
    with pytest.raises(extraroute.InvalidRoutes) as caught:
        update(world, router, routes=[route("99.0.0.1")])
    assert str(caught.value) == (
        "Invalid format for routes: [{'destination': '192.168.0.0/24', 'nexthop': '99.0.0.1'}], "
        "the nexthop is not connected with router"
    )
    many = [route("10.0.0.9", f"192.168.{n}.0/24") for n in range(31)]
    with pytest.raises(lib.OverQuota, match="router_route"):
        update(world, router, routes=many)
    assert len(update(world, router, routes=many[:30]).routes) == 30


def test_148_routes_one_by_one(world: Records) -> None:
    _, subnet = world.private()
    router = world.router()
    add(world, router, subnet_id=subnet.id)
    one = {"destination": "1.0.0.0/8", "nexthop": "10.0.0.9"}
    two = {"destination": "2.0.0.0/8", "nexthop": "10.0.0.9"}
    for body in ([one], [one], [one, two]):
        routers.add_extraroutes(world.w, world.ctx, world.again(router), {"routes": body})
    assert [r.destination for r in world.again(router).routes] == ["1.0.0.0/8", "2.0.0.0/8"]
    gone = [one, {"destination": "9.0.0.0/8", "nexthop": "10.0.0.9"}]
    routers.remove_extraroutes(world.w, world.ctx, world.again(router), {"routes": gone})
    assert world.again(router).routes == (Route("2.0.0.0/8", "10.0.0.9"),)
    for wrong in ({}, None, [], "x"):
        with pytest.raises(lib.BadRequest):
            routers.add_extraroutes(world.w, world.ctx, router, wrong)


entries = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.fixed_dictionaries(
        {},
        optional={
            "destination": st.one_of(
                st.sampled_from(["1.0.0.0/8", "1.0.0.1/8", "::/0"]), st.text(), st.none()
            ),
            "nexthop": st.one_of(
                st.sampled_from(["10.0.0.9", "fe80::1"]), st.text(), st.integers()
            ),
        },
    ),
)


@given(st.one_of(entries, st.lists(entries, max_size=3)))
def test_150_routes_of_any_shape_are_refused_in_the_api_s_words(asked: Any) -> None:
    try:
        found = routes.parse(asked)
        routes.check(found, ["10.0.0.0/24"], ["10.0.0.1"])
    except (HTTPBadRequest, extraroute.InvalidRoutes) as error:
        assert code_of(error) == 400
    else:
        assert all(route.nexthop == "10.0.0.9" for route in found)


def test_149_addresses_of_an_interface_do_not_change(world: Records) -> None:
    _, subnet = world.private()
    router = world.router()
    port = world.w.get(Port, add(world, router, subnet_id=subnet.id)["port_id"])
    assert port is not None
    with bad(rf"Bad ports request: IP updates for port {port.id} are not allowed\."):
        ports.update(world.w, world.ctx, port, {"fixed_ips": [{"ip_address": "10.0.0.66"}]})
    assert ports.update(world.w, world.ctx, port, {"name": "x"}).name == "x"


def test_a_distributed_router_has_ports_of_snat_while_it_has_a_gateway(world: Records) -> None:
    external, _ = world.external()
    _, subnet = world.private()
    router = world.router(distributed=True)
    port_id = add(world, router, subnet_id=subnet.id)["port_id"]
    leg = world.w.get(Port, port_id)
    assert leg is not None and leg.device_owner == "network:router_interface_distributed"

    def snat() -> list[Port]:
        owner = "network:router_centralized_snat"
        return [p for p in world.w.list(Port, device_id=router.id) if p.device_owner == owner]

    def change(**attrs: Any) -> Router:
        return routers.update(world.w, world.ctx, world.w.get(Router, router.id) or router, attrs)

    assert not snat()
    change(external_gateway_info={"network_id": external.id})
    (one,) = snat()
    assert (one.project_id, one.name, one.network_id) == ("", "", leg.network_id)
    assert [fixed.subnet_id for fixed in one.fixed_ips] == [subnet.id]
    with bad("Cannot change the 'distributed' attribute of active routers"):
        change(distributed=False)
    with bad("Cannot change the 'distributed' attribute of active routers"):
        change(admin_state_up=False, distributed=False)
    change(admin_state_up=False)
    change(distributed=False)
    leg = world.w.get(Port, port_id)
    assert leg is not None and leg.device_owner == "network:router_interface"
    assert not snat()
    change(distributed=True)
    assert len(snat()) == 1
    change(external_gateway_info=None)
    assert not snat()


def test_a_router_is_placed_where_its_networks_are(world: Records) -> None:
    external, _ = world.external(
        network_type="flat", physical_network="public", segmentation_id=None
    )
    network, subnet = world.private()
    router = world.router()
    assert placed(router) == ""
    world.host("compute", bridge_mappings={"public": "br-public"})
    world.host("n1", "network", bridge_mappings={"other": "br-other"})
    world.host("n2", "network", bridge_mappings={"public": "br-public"})
    world.host("n3", "network", bridge_mappings={"public": "br-public"}, alive=False)
    assert placed(update(world, router, external_gateway_info={"network_id": external.id})) == "n2"
    add(world, router, subnet_id=subnet.id)
    assert placed(world.again(router)) == "n2"
    assert dhcp.dhcp_port(world.w, network.id) is not None
    assert dhcp.dhcp_port(world.w, external.id) is None
    assert routers.show(world.w, world.ctx, [world.again(router)])[0]["availability_zones"] == [
        "nova"
    ]


def test_a_router_waits_for_a_host(world: Records) -> None:
    external, _ = world.external(
        network_type="flat", physical_network="public", segmentation_id=None
    )
    router = world.router(external_gateway_info={"network_id": external.id})
    idle = world.router()
    assert placed(router) == "" and placement.place_unplaced(world.w, world.ctx) == []
    world.host("n1", "network", bridge_mappings={"public": "br-public"})
    assert [each.id for each in placement.place_unplaced(world.w, world.ctx)] == [router.id]
    assert (placed(world.again(router)), placed(world.again(idle))) == ("n1", "")


def test_routers_are_spread_over_hosts(world: Records) -> None:
    external, _ = world.external()
    world.host("n1", "network")
    world.host("n2", "network")
    found = [
        placed(world.router(external_gateway_info={"network_id": external.id})) for _ in range(4)
    ]
    assert sorted(found) == ["n1", "n1", "n2", "n2"]
    world.w.put_host("n1", admin_state_up=False)
    assert placed(world.router(external_gateway_info={"network_id": external.id})) == "n2"


def test_a_router_moves_from_a_dead_host_but_not_from_one_that_is_switched_off(
    world: Records,
) -> None:
    external, _ = world.external()
    world.host("n1", "network")
    router = world.router(external_gateway_info={"network_id": external.id})
    world.host("n2", "network")
    world.w.put_host("n1", admin_state_up=False)
    add(world, router, subnet_id=world.private()[1].id)
    assert placed(world.again(router)) == "n1"
    world.host("n1", "network", alive=False)
    add(world, router, subnet_id=world.private("10.1.0.0/24")[1].id)
    assert placed(world.again(router)) == "n2"


def test_availability_zones(world: Records) -> None:
    external, _ = world.external()
    gateway = {"external_gateway_info": {"network_id": external.id}}
    world.host("n1", "network")
    world.host("n2", "network", availability_zone="west")
    with pytest.raises(AvailabilityZoneNotFound, match="AvailabilityZone east could not be found"):
        world.router(availability_zone_hints=["east"])
    assert placed(world.router(availability_zone_hints=["west"], **gateway)) == "n2"


def test_a_gateway_on_a_network_whose_subnet_is_an_interface(world: Records) -> None:
    external, subnet = world.external()
    admin = context("e" * 32, "admin")
    router = world.router(admin)
    add(world, router, admin, subnet_id=subnet.id)
    with bad("Router already has a port on subnet"):
        routers.update(
            world.w, admin, router, {"external_gateway_info": {"network_id": external.id}}
        )
    assert world.w.get(Network, external.id) is not None
