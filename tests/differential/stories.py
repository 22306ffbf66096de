"""What clients really do: several requests in a row, each of which builds on the one before.

Drawn one by one such chains hardly ever come about. A story is a generator: it yields a request and gets
the twin that it made, None where it made none.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from differential import pick
from differential.operations import COLLECTIONS, UNKNOWN, Request, Text, Twin, World, both
from differential.pick import Draw
from differential.sides import Identity

Story = Generator[Request, Twin | None]


def _make(who: Identity, kind: str, **attributes: Any) -> Request:
    body = {kind: {name.replace("__", ":"): value for name, value in attributes.items()}}
    return Request(who, "POST", (COLLECTIONS[kind],), body, makes=kind)


def _set(who: Identity, twin: Twin | None, **attributes: Any) -> Request:
    kind = twin.kind if twin else "network"
    body = {kind: {name.replace("__", ":"): value for name, value in attributes.items()}}
    return Request(who, "PUT", (COLLECTIONS[kind], "/", twin or UNKNOWN), body)


def _act(who: Identity, router: Twin | None, action: str, body: Any) -> Request:
    return Request(who, "PUT", ("routers/", router or UNKNOWN, "/", action), body)


def _delete(who: Identity, twin: Twin | None) -> Request:
    kind = twin.kind if twin else "network"
    return Request(who, "DELETE", (COLLECTIONS[kind], "/", twin or UNKNOWN), removes=twin)


def _show(who: Identity, twin: Twin | None) -> Request:
    kind = twin.kind if twin else "network"
    return Request(who, "GET", (COLLECTIONS[kind], "/", twin or UNKNOWN))


def _pool(base: str) -> list[dict[str, str]]:
    return [{"start": f"{base}.64", "end": f"{base}.99"}]


def _some(draw: Draw, *choices: Any) -> Any:
    return draw(pick.sampled_from(choices))


def _outside(world: World, draw: Draw) -> Any:
    return world.likely(draw, "network", "router:external", True)


def behind_a_router(world: World, draw: Draw) -> Story:
    """A network behind a router, a floating IP on its port, and all of it taken apart again in some order."""
    admin, member, *_ = world.identities
    who = _some(draw, member, member, member, admin)
    base = _some(draw, "10.2.0", "10.3.0", "10.0.0")
    outside = _outside(world, draw)
    network = yield _make(who, "network", name="story")
    subnet = yield _make(
        who,
        "subnet",
        network_id=network,
        ip_version=4,
        cidr=f"{base}.0/24",
        allocation_pools=_pool(base),
    )
    router = yield _make(who, "router", name="story", external_gateway_info={"network_id": outside})
    yield _act(who, router, "add_router_interface", {"subnet_id": subnet})
    address = _some(draw, [], [{"fixed_ips": [{"ip_address": f"{base}.{n}"} for n in (5, 6)]}])
    port = yield _make(who, "port", network_id=network, **dict(*address) if address else {})
    more = (
        {"fixed_ip_address": _some(draw, f"{base}.5", f"{base}.7")} if draw(pick.booleans()) else {}
    )
    fip = yield _make(who, "floatingip", floating_network_id=outside, port_id=port, **more)
    for step in draw(pick.permutations(range(12)))[: draw(pick.integers(3, 12))]:
        requests = [
            lambda: _act(who, router, "remove_router_interface", {"subnet_id": subnet}),
            lambda: _act(who, router, "add_router_interface", {"subnet_id": subnet}),
            lambda: _set(who, router, external_gateway_info={}),
            lambda: _set(who, router, external_gateway_info={"network_id": outside}),
            lambda: _set(who, fip, port_id=None),
            lambda: _set(who, fip, port_id=port, **more),
            lambda: _set(who, fip, fixed_ip_address=f"{base}.6"),
            lambda: _set(who, port, fixed_ips=[{"ip_address": f"{base}.{_some(draw, 5, 6, 8)}"}]),
            lambda: _delete(who, port),
            lambda: _set(
                who,
                router,
                routes=[{"destination": "192.0.2.0/24", "nexthop": f"{base}.{_some(draw, 5, 1)}"}],
            ),
            lambda: _delete(who, _some(draw, router, subnet, network)),
            lambda: _delete(who, fip),
        ]
        yield requests[step]()
    for twin in (router, fip, port, network):
        yield _show(who, twin)


def shared_with_others(world: World, draw: Draw) -> Story:
    """Another project uses a network that is shared; then its owner wants it back."""
    admin, member, reader, other, service, manager = world.identities
    network = yield _make(admin, "network", name="common", shared=True, project_id=member.project)
    base = _some(draw, "10.4.0", "10.0.0")
    subnet = yield _make(
        _some(draw, member, admin),
        "subnet",
        network_id=network,
        ip_version=4,
        cidr=f"{base}.0/24",
        allocation_pools=_pool(base),
    )
    port = yield _make(
        other,
        "port",
        network_id=network,
        **_some(
            draw,
            {},
            {},
            {"fixed_ips": [{"subnet_id": subnet}]},
            {"fixed_ips": [{"subnet_id": subnet, "ip_address": f"{base}.5"}]},
            {"port_security_enabled": False},
            {"device_owner": "network:dhcp"},
            {"device_owner": "compute:nova"},
        ),
    )
    router = yield _make(other, "router", name="o")
    for _ in range(draw(pick.integers(3, 9))):
        who = _some(draw, other, other, member, member, admin, reader, service, manager)
        step = draw(pick.integers(0, 9))
        if step <= 3:
            yield _set(who, port, **_port_change(world, draw, subnet, base))
        elif step == 4:
            yield _set(admin, network, shared=_some(draw, False, False, True))
        elif step == 5:
            yield _act(
                who,
                router,
                "add_router_interface",
                _some(draw, {"subnet_id": subnet}, {"port_id": port}),
            )
        elif step == 6:
            yield _show(who, _some(draw, port, network, subnet))
        elif step == 7:
            yield _delete(who, _some(draw, port, subnet, network))
        elif step == 8:
            yield _set(who, _some(draw, network, subnet), name=_some(draw, "n", "m"))
        else:
            yield _make(
                who, "port", network_id=network, project_id=_some(draw, who.project, member.project)
            )
    yield Request(
        _some(draw, member, other, reader), "GET", ("ports?network_id=", network or UNKNOWN)
    )


def _port_change(world: World, draw: Draw, subnet: Any, base: str) -> dict[str, Any]:
    return _some(
        draw,
        {"name": "changed"},
        {"admin_state_up": False},
        {"fixed_ips": [{"subnet_id": subnet}]},
        {"fixed_ips": [{"subnet_id": subnet, "ip_address": f"{base}.9"}]},
        {"fixed_ips": []},
        {"mac_address": "fa:16:3e:11:22:35"},
        {"port_security_enabled": False, "security_groups": []},
        {"port_security_enabled": True},
        {"port_security_enabled": False},
        {"security_groups": []},
        {"security_groups": [world.some(draw, "security_group")]},
        {"allowed_address_pairs": [{"ip_address": f"{base}.50"}]},
        {"allowed_address_pairs": []},
        {"device_owner": "network:dhcp"},
        {"device_id": "vm", "device_owner": "compute:nova"},
        {"binding:host_id": "nowhere"},
        {"binding:vnic_type": "direct"},
        {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}]},
        {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": None}]},
    )


def secured(world: World, draw: Draw) -> Story:
    """Port security, groups and address pairs of one port, in every order."""
    admin, member, *_ = world.identities
    who = _some(draw, member, admin)
    network = yield _make(who, "network", name="s", port_security_enabled=draw(pick.booleans()))
    group = yield _make(who, "security_group", name="g", stateful=draw(pick.booleans()))
    pair = {"ip_address": "10.0.0.50"}
    secure = pick.some_of(
        {
            "port_security_enabled": pick.booleans(),
            "security_groups": pick.sampled_from([[], [group], None]),
            "allowed_address_pairs": pick.sampled_from(
                [
                    [],
                    [pair],
                    None,
                    [{**pair, "mac_address": "fa:16:3e:00:00:50"}],
                    [{"ip_address": "0.0.0.0/0"}],
                ]
            ),
        },
    )
    port = yield _make(who, "port", network_id=network, **draw(secure))
    for _ in range(draw(pick.integers(2, 6))):
        yield _set(who, port, **draw(secure))
    yield _set(who, group, stateful=draw(pick.booleans()))
    yield _delete(who, group)


def counted(world: World, draw: Draw) -> Story:
    """A project at the edge of its quota, with single requests and bulks."""
    admin, member, _, other, *_ = world.identities
    who = _some(draw, other, other, member)
    kind = _some(
        draw,
        "network",
        "port",
        "subnet",
        "router",
        "security_group",
        "security_group_rule",
        "floatingip",
    )
    limit = draw(pick.integers(0, 3))
    quota = f"quotas/{who.project}"
    yield Request(admin, "PUT", (quota,), {"quota": {kind: limit, "force": True}})
    network = world.likely(draw, "network", "project_id", who.project)
    outside = _outside(world, draw)
    group = world.likely(draw, "security_group", "project_id", who.project)
    for number in range(draw(pick.integers(1, 4))):
        attributes: dict[str, Any] = {
            "network": {"name": "q"},
            "port": {"network_id": network},
            "subnet": {"network_id": network, "ip_version": 4, "cidr": f"10.{200 + number}.0.0/24"},
            "router": {"name": "q"},
            "security_group": {"name": "q"},
            "security_group_rule": {
                "security_group_id": group,
                "direction": "ingress",
                "protocol": "tcp",
                "port_range_min": number + 1,
                "port_range_max": number + 1,
            },
            "floatingip": {"floating_network_id": outside},
        }[kind]
        many = draw(pick.integers(1, 4))
        if many == 1 or kind in ("subnet", "security_group_rule"):
            yield _make(who, kind, **attributes)
        else:
            yield Request(
                who, "POST", (COLLECTIONS[kind],), {kind + "s": [attributes] * many}, makes=kind
            )
    yield Request(_some(draw, who, admin), "GET", (quota + _some(draw, "", "/details"),))
    yield Request(admin, "PUT", (quota,), {"quota": {kind: _some(draw, 0, 1, 50)}})
    yield Request(admin, "DELETE", (quota,))


def subnet_in_use(world: World, draw: Draw) -> Story:
    """A subnet's gateway, pools and options change under its ports and routers."""
    admin, member, *_ = world.identities
    who = _some(draw, member, member, admin)
    base = "10.5.0"
    network = yield _make(who, "network", name="u")
    subnet = yield _make(
        who,
        "subnet",
        network_id=network,
        ip_version=4,
        cidr=f"{base}.0/24",
        allocation_pools=_pool(base),
    )
    router = yield _make(who, "router", name="u")
    if draw(pick.booleans()):
        yield _act(who, router, "add_router_interface", {"subnet_id": subnet})
    port = yield _make(
        who, "port", network_id=network, fixed_ips=[{"ip_address": f"{base}.{_some(draw, 5, 70)}"}]
    )
    for _ in range(draw(pick.integers(2, 6))):
        yield _set(
            who,
            subnet,
            **_some(
                draw,
                {"gateway_ip": f"{base}.2"},
                {"gateway_ip": None},
                {"gateway_ip": f"{base}.70"},
                {"gateway_ip": f"{base}.5"},
                {"gateway_ip": f"{base}.1"},
                {"allocation_pools": [{"start": f"{base}.80", "end": f"{base}.90"}]},
                {"allocation_pools": [{"start": f"{base}.1", "end": f"{base}.90"}]},
                {"allocation_pools": [{"start": f"{base}.64", "end": f"{base}.99"}]},
                {"allocation_pools": []},
                {
                    "allocation_pools": [{"start": f"{base}.80", "end": f"{base}.90"}],
                    "gateway_ip": f"{base}.70",
                },
                {"dns_nameservers": ["9.9.9.9", "8.8.8.8", "1.1.1.1"]},
                {"dns_nameservers": []},
                {"dns_nameservers": None},
                {"host_routes": [{"destination": "192.0.2.0/24", "nexthop": f"{base}.7"}]},
                {"host_routes": None},
                {"enable_dhcp": False},
                {"enable_dhcp": True},
                {"name": "v", "description": "w"},
            ),
        )
    yield _delete(who, _some(draw, subnet, port, network))
    yield _show(who, network)


def gateways(world: World, draw: Draw) -> Story:
    """A router's gateway in all its forms, by member and administrator."""
    admin, member, *_, manager = world.identities
    outside = yield _make(admin, "network", name="out", router__external=True)
    subnet = yield _make(
        admin,
        "subnet",
        network_id=outside,
        ip_version=4,
        cidr="172.25.0.0/24",
        enable_dhcp=False,
        allocation_pools=_pool("172.25.0"),
    )
    router = yield _make(member, "router", name="g")
    for number in range(draw(pick.integers(2, 6))):
        who = _some(draw, member, admin, admin, manager)
        info = _some(
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
            router = yield _make(who, "router", external_gateway_info=info)
        else:
            yield _set(who, router, external_gateway_info=info)
    yield _set(admin, outside, router__external=False)
    yield _show(_some(draw, member, admin), router)
    yield Request(admin, "GET", ("ports?network_id=", outside or UNKNOWN))
    yield _delete(member, router)


def by_name(world: World, draw: Draw) -> Story:
    """How command line clients find an object: by id, then by name."""
    who = world.who(draw)
    collection = COLLECTIONS[draw(pick.sampled_from(sorted(COLLECTIONS)))]
    name = _some(draw, "inside", "web", "a", "default", "outside", "nobody")
    yield Request(who, "GET", (f"{collection}/{name}",))
    yield Request(who, "GET", (f"{collection}?name={name}",))
    yield Request(who, "GET", (f"{collection}?id={name}&fields=id",))
    yield Request(who, "DELETE", (f"{collection}/{name}",))
    yield Request(
        who, "PUT", (f"{collection}/{name}",), {collection[:-1].replace("-", "_"): {"name": "z"}}
    )


def guarded(world: World, draw: Draw) -> Story:
    """Change or delete an object only at the revision that it has, or at another one."""
    kind = _some(draw, *sorted(COLLECTIONS))
    twin = world.some(draw, kind)
    if not isinstance(twin, Twin):
        return
    yield _show(world.identities[0], twin)
    theirs, ours = twin.facts.get("revision_number", (0, 0))
    step = _some(draw, 0, 0, 0, 1, -1)
    guard: dict[str, str | Text] = {
        "If-Match": ("revision_number=", both(theirs + step, ours + step))
    }
    path = (COLLECTIONS[kind], "/", twin)
    if draw(pick.integers(0, 2)):
        body = {kind: {"description": f"guarded {draw(pick.integers(1, 9))}"}}
        yield Request(world.who(draw), "PUT", path, body, guard)
    else:
        yield Request(world.who(draw), "DELETE", path, headers=guard, removes=twin)


def mixed_owners(world: World, draw: Draw) -> Story:
    """An administrator puts subnets and ports of several projects on one network; each of them works with it."""
    admin, member, reader, other, service, manager = world.identities
    network = yield _make(member, "network", name="mixed")
    subnets: list[Twin | None] = []
    for number, owner in enumerate(
        draw(pick.permutations([member, other]))[: draw(pick.integers(1, 2))]
    ):
        base = f"10.6.{number}"
        subnets.append(
            (
                yield _make(
                    admin,
                    "subnet",
                    network_id=network,
                    project_id=owner.project,
                    ip_version=4,
                    cidr=f"{base}.0/24",
                    allocation_pools=_pool(base),
                )
            )
        )
    # Who sees several subnets names one: which of them gives an address is chance.
    fixed = [{"subnet_id": subnets[0]}]
    project = _some(draw, member, other).project
    port = yield _make(admin, "port", network_id=network, project_id=project, fixed_ips=fixed)
    router = yield _make(_some(draw, member, other), "router", name="mixed")
    for _ in range(draw(pick.integers(3, 9))):
        who = _some(draw, member, member, other, other, admin, reader, service, manager)
        subnet = _some(draw, *subnets)
        asked = _some(
            draw,
            {},
            {"fixed_ips": [{"subnet_id": subnet}]},
            {"fixed_ips": [{"ip_address": "10.6.0.9"}]},
            {"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.6.1.9"}]},
            {"fixed_ips": []},
        )
        if who in (admin, service) and not asked:
            asked = {"fixed_ips": fixed}
        yield _some(
            draw,
            _make(who, "port", network_id=network, **asked),
            _set(who, port, **(asked or {"name": "m"})),
            _act(who, router, "add_router_interface", {"subnet_id": subnet}),
            _act(who, router, "add_router_interface", {"port_id": port}),
            _act(who, router, "remove_router_interface", {"subnet_id": subnet}),
            _show(who, _some(draw, subnet, port, network)),
            Request(
                who, "GET", (_some(draw, "ports", "subnets") + "?network_id=", network or UNKNOWN)
            ),
            _set(
                who,
                subnet,
                **_some(draw, {"name": "m"}, {"enable_dhcp": False}, {"gateway_ip": None}),
            ),
            _delete(who, _some(draw, subnet, port, network)),
        )


def outside_in_use(world: World, draw: Draw) -> Story:
    """Two subnets of an external network, with gateways and floating IPs of several projects on them."""
    admin, member, reader, other, _, manager = world.identities
    outside = yield _make(admin, "network", name="busy", router__external=True)
    subnets: list[Twin | None] = []
    for base in ("172.26.0", "172.27.0"):
        cidr, few = (
            f"{base}.0/24",
            [{"start": f"{base}.64", "end": f"{base}.{_some(draw, 64, 65, 99)}"}],
        )
        subnets.append(
            (
                yield _make(
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
    router = yield _make(admin, "router", name="busy", external_gateway_info=gateway, **mine)
    fip = yield _make(
        _some(draw, member, other), "floatingip", floating_network_id=outside, subnet_id=subnets[1]
    )
    for _ in range(draw(pick.integers(3, 9))):
        who, subnet = (
            _some(draw, member, member, other, admin, admin, reader, manager),
            _some(draw, *subnets),
        )
        named = _some(
            draw,
            {"subnet_id": subnet},
            {"floating_ip_address": "172.26.0.9"},
            {"subnet_id": UNKNOWN},
        )
        fixed = _some(
            draw,
            [{"subnet_id": subnet}],
            [{"ip_address": "172.27.0.9"}],
            [{"subnet_id": each} for each in subnets],
        )
        yield _some(
            draw,
            _make(who, "floatingip", floating_network_id=outside, **named),
            _make(admin, "router", external_gateway_info=gateway, project_id=who.project),
            _set(
                who,
                router,
                external_gateway_info={"network_id": outside, "external_fixed_ips": fixed},
            ),
            _set(_some(draw, who, admin), router, external_gateway_info=_some(draw, {}, gateway)),
            _set(who, fip, port_id=world.some(draw, "port")),
            _set(who, fip, **_some(draw, {"port_id": None}, {"description": "f"}, {})),
            _delete(who, _some(draw, subnet, subnet, outside, router, fip)),
            _set(
                admin,
                outside,
                **_some(draw, {"router__external": False}, {"shared": True}, {"name": "o"}),
            ),
            _set(
                who,
                subnet,
                **_some(
                    draw, {"gateway_ip": "172.26.0.2"}, {"allocation_pools": []}, {"name": "s"}
                ),
            ),
            Request(who, "GET", ("ports?network_id=", outside or UNKNOWN)),
            Request(who, "GET", ("floatingips?floating_network_id=", outside or UNKNOWN)),
        )
    for twin in (router, fip, outside):
        yield _show(_some(draw, member, other, admin), twin)


def routed(world: World, draw: Draw) -> Story:
    """A router's extra routes, set whole and bit by bit, while its interfaces come and go."""
    admin, member, *_ = world.identities
    who = _some(draw, member, member, admin)
    router = yield _make(who, "router", name="routed")
    subnets: list[Twin | None] = []
    for base in ("10.7.0", "10.8.0"):
        network = yield _make(who, "network", name="routed")
        cidr = f"{base}.0/24"
        subnets.append(
            (
                yield _make(
                    who,
                    "subnet",
                    network_id=network,
                    ip_version=4,
                    cidr=cidr,
                    allocation_pools=_pool(base),
                )
            )
        )
        yield _act(who, router, "add_router_interface", {"subnet_id": subnets[-1]})
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
        yield _some(
            draw,
            _set(who, router, routes=routes),
            _act(who, router, "add_extraroutes", {"router": {"routes": routes}}),
            _act(who, router, "add_extraroutes", {"router": {"routes": routes}}),
            _act(who, router, "remove_extraroutes", {"router": {"routes": routes}}),
            _act(who, router, "remove_router_interface", {"subnet_id": _some(draw, *subnets)}),
            _act(who, router, "add_router_interface", {"subnet_id": _some(draw, *subnets)}),
        )
    yield _show(who, router)


STORIES = [
    behind_a_router,
    by_name,
    counted,
    gateways,
    guarded,
    mixed_owners,
    outside_in_use,
    routed,
    secured,
    shared_with_others,
    subnet_in_use,
]
