"""What clients do with routers, their gateways and floating IPs: several requests, each of which builds on the one before."""

from __future__ import annotations

from tests.differential import pick, steps
from tests.differential.operations import UNKNOWN, Request, Twin, Twins
from tests.differential.pick import Draw


def behind_a_router(world: Twins, draw: Draw) -> steps.Story:
    """A network behind a router, a floating IP on its port, and all of it taken apart again in some order."""
    admin, member, *_ = world.identities
    who = steps.some(draw, member, member, member, admin)
    base = steps.some(draw, "10.2.0", "10.3.0", "10.0.0")
    outside = steps.outside(world, draw)
    network = yield steps.make(who, "network", name="story")
    subnet = yield steps.make(
        who,
        "subnet",
        network_id=network,
        ip_version=4,
        cidr=f"{base}.0/24",
        allocation_pools=steps.pool(base),
    )
    router = yield steps.make(
        who, "router", name="story", external_gateway_info={"network_id": outside}
    )
    yield steps.act(who, router, "add_router_interface", {"subnet_id": subnet})
    address = steps.some(draw, [], [{"fixed_ips": [{"ip_address": f"{base}.{n}"} for n in (5, 6)]}])
    port = yield steps.make(who, "port", network_id=network, **dict(*address) if address else {})
    more = (
        {"fixed_ip_address": steps.some(draw, f"{base}.5", f"{base}.7")}
        if draw(pick.booleans())
        else {}
    )
    fip = yield steps.make(who, "floatingip", floating_network_id=outside, port_id=port, **more)
    for step in draw(pick.permutations(range(12)))[: draw(pick.integers(3, 12))]:
        requests = [
            lambda: steps.act(who, router, "remove_router_interface", {"subnet_id": subnet}),
            lambda: steps.act(who, router, "add_router_interface", {"subnet_id": subnet}),
            lambda: steps.change(who, router, external_gateway_info={}),
            lambda: steps.change(who, router, external_gateway_info={"network_id": outside}),
            lambda: steps.change(who, fip, port_id=None),
            lambda: steps.change(who, fip, port_id=port, **more),
            lambda: steps.change(who, fip, fixed_ip_address=f"{base}.6"),
            lambda: steps.change(
                who, port, fixed_ips=[{"ip_address": f"{base}.{steps.some(draw, 5, 6, 8)}"}]
            ),
            lambda: steps.delete(who, port),
            lambda: steps.change(
                who,
                router,
                routes=[
                    {"destination": "192.0.2.0/24", "nexthop": f"{base}.{steps.some(draw, 5, 1)}"}
                ],
            ),
            lambda: steps.delete(who, steps.some(draw, router, subnet, network)),
            lambda: steps.delete(who, fip),
        ]
        yield requests[step]()
    for twin in (router, fip, port, network):
        yield steps.show(who, twin)


def gateways(world: Twins, draw: Draw) -> steps.Story:
    """A router's gateway in all its forms, by member and administrator."""
    admin, member, *_, manager = world.identities
    outside = yield steps.make(admin, "network", name="out", router__external=True)
    subnet = yield steps.make(
        admin,
        "subnet",
        network_id=outside,
        ip_version=4,
        cidr="172.25.0.0/24",
        enable_dhcp=False,
        allocation_pools=steps.pool("172.25.0"),
    )
    router = yield steps.make(member, "router", name="g")
    for number in range(draw(pick.integers(2, 6))):
        who = steps.some(draw, member, admin, admin, manager)
        info = steps.some(
            draw,
            {},
            None,
            {"network_id": outside},
            {"network_id": outside, "enable_snat": False},
            {"network_id": outside, "enable_snat": True},
            {"network_id": outside, "external_fixed_ips": []},
            {"network_id": outside, "external_fixed_ips": [{"subnet_id": subnet}]},
            {"network_id": outside, "external_fixed_ips": [{"ip_address": "172.25.0.5"}]},
            {"network_id": outside, "external_fixed_ips": [{"ip_address": "172.25.0.1"}]},
            {
                "network_id": outside,
                "external_fixed_ips": [{"subnet_id": subnet, "ip_address": "172.25.0.6"}],
            },
            {
                "network_id": outside,
                "external_fixed_ips": [{"ip_address": "172.25.0.7"}, {"ip_address": "172.25.0.8"}],
            },
            {"network_id": outside, "external_fixed_ips": [{"ip_address": "192.0.2.8"}]},
            {"network_id": outside, "external_fixed_ips": "x"},
            {"network_id": outside, "enable_snat": "maybe"},
            {"network_id": world.some(draw, "network")},
            {"enable_snat": False},
            {"external_fixed_ips": [{"ip_address": "172.25.0.9"}]},
        )
        if number == 0 and draw(pick.booleans()):
            router = yield steps.make(who, "router", external_gateway_info=info)
        else:
            yield steps.change(who, router, external_gateway_info=info)
    yield steps.change(admin, outside, router__external=False)
    yield steps.show(steps.some(draw, member, admin), router)
    yield Request(admin, "GET", ("ports?network_id=", outside or UNKNOWN))
    yield steps.delete(member, router)


def outside_in_use(world: Twins, draw: Draw) -> steps.Story:
    """Two subnets of an external network, with gateways and floating IPs of several projects on them."""
    admin, member, reader, other, _, manager = world.identities
    outside = yield steps.make(admin, "network", name="busy", router__external=True)
    subnets: list[Twin | None] = []
    for base in ("172.26.0", "172.27.0"):
        cidr, few = (
            f"{base}.0/24",
            [{"start": f"{base}.64", "end": f"{base}.{steps.some(draw, 64, 65, 99)}"}],
        )
        subnets.append(
            (
                yield steps.make(
                    admin,
                    "subnet",
                    network_id=outside,
                    ip_version=4,
                    cidr=cidr,
                    allocation_pools=few,
                )
            )
        )
    # Of several subnets one is named: which of them gives an address is chance.
    gateway = {"network_id": outside, "external_fixed_ips": [{"subnet_id": subnets[0]}]}
    mine = {"project_id": member.project}
    router = yield steps.make(admin, "router", name="busy", external_gateway_info=gateway, **mine)
    fip = yield steps.make(
        steps.some(draw, member, other),
        "floatingip",
        floating_network_id=outside,
        subnet_id=subnets[1],
    )
    for _ in range(draw(pick.integers(3, 9))):
        who, subnet = (
            steps.some(draw, member, member, other, admin, admin, reader, manager),
            steps.some(draw, *subnets),
        )
        named = steps.some(
            draw,
            {"subnet_id": subnet},
            {"floating_ip_address": "172.26.0.9"},
            {"subnet_id": UNKNOWN},
        )
        fixed = steps.some(
            draw,
            [{"subnet_id": subnet}],
            [{"ip_address": "172.27.0.9"}],
            [{"subnet_id": each} for each in subnets],
        )
        yield steps.some(
            draw,
            steps.make(who, "floatingip", floating_network_id=outside, **named),
            steps.make(admin, "router", external_gateway_info=gateway, project_id=who.project),
            steps.change(
                who,
                router,
                external_gateway_info={"network_id": outside, "external_fixed_ips": fixed},
            ),
            steps.change(
                steps.some(draw, who, admin),
                router,
                external_gateway_info=steps.some(draw, {}, gateway),
            ),
            steps.change(who, fip, port_id=world.some(draw, "port")),
            steps.change(who, fip, **steps.some(draw, {"port_id": None}, {"description": "f"}, {})),
            steps.delete(who, steps.some(draw, subnet, subnet, outside, router, fip)),
            steps.change(
                admin,
                outside,
                **steps.some(draw, {"router__external": False}, {"shared": True}, {"name": "o"}),
            ),
            steps.change(
                who,
                subnet,
                **steps.some(
                    draw, {"gateway_ip": "172.26.0.2"}, {"allocation_pools": []}, {"name": "s"}
                ),
            ),
            Request(who, "GET", ("ports?network_id=", outside or UNKNOWN)),
            Request(who, "GET", ("floatingips?floating_network_id=", outside or UNKNOWN)),
        )
    for twin in (router, fip, outside):
        yield steps.show(steps.some(draw, member, other, admin), twin)


def routed(world: Twins, draw: Draw) -> steps.Story:
    """A router's extra routes, set whole and bit by bit, while its interfaces come and go."""
    admin, member, *_ = world.identities
    who = steps.some(draw, member, member, admin)
    router = yield steps.make(who, "router", name="routed")
    subnets: list[Twin | None] = []
    for base in ("10.7.0", "10.8.0"):
        network = yield steps.make(who, "network", name="routed")
        cidr = f"{base}.0/24"
        subnets.append(
            (
                yield steps.make(
                    who,
                    "subnet",
                    network_id=network,
                    ip_version=4,
                    cidr=cidr,
                    allocation_pools=steps.pool(base),
                )
            )
        )
        yield steps.act(who, router, "add_router_interface", {"subnet_id": subnets[-1]})
    for _ in range(draw(pick.integers(3, 9))):
        routes = draw(
            pick.lists(
                pick.sampled_from(
                    [
                        {"destination": f"192.0.{net}.0/24", "nexthop": f"10.{octet}.0.{last}"}
                        for net in (1, 2)
                        for octet in (7, 8, 9)
                        for last in (1, 5)
                    ]
                ),
                max_size=3,
            )
        )
        yield steps.some(
            draw,
            steps.change(who, router, routes=routes),
            steps.act(who, router, "add_extraroutes", {"router": {"routes": routes}}),
            steps.act(who, router, "add_extraroutes", {"router": {"routes": routes}}),
            steps.act(who, router, "remove_extraroutes", {"router": {"routes": routes}}),
            steps.act(
                who, router, "remove_router_interface", {"subnet_id": steps.some(draw, *subnets)}
            ),
            steps.act(
                who, router, "add_router_interface", {"subnet_id": steps.some(draw, *subnets)}
            ),
        )
    yield steps.show(who, router)
