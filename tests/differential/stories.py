"""What clients really do: several requests in a row, each of which builds on the one before.

Drawn one by one such chains hardly ever come about. A story is a generator: it yields a request and gets
the twin that it made, None where it made none.
"""

from __future__ import annotations

from typing import Any

from tests.differential import pick, qos_stories, router_stories, steps
from tests.differential.operations import COLLECTIONS, UNKNOWN, Request, Text, Twin, Twins, both
from tests.differential.pick import Draw


def shared_with_others(world: Twins, draw: Draw) -> steps.Story:
    """Another project uses a network that is shared; then its owner wants it back."""
    admin, member, reader, other, service, manager = world.identities
    network = yield steps.make(
        admin, "network", name="common", shared=True, project_id=member.project
    )
    base = steps.some(draw, "10.4.0", "10.0.0")
    subnet = yield steps.make(
        steps.some(draw, member, admin),
        "subnet",
        network_id=network,
        ip_version=4,
        cidr=f"{base}.0/24",
        allocation_pools=steps.pool(base),
    )
    port = yield steps.make(
        other,
        "port",
        network_id=network,
        **steps.some(
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
    router = yield steps.make(other, "router", name="o")
    for _ in range(draw(pick.integers(3, 9))):
        who = steps.some(draw, other, other, member, member, admin, reader, service, manager)
        step = draw(pick.integers(0, 9))
        if step <= 3:
            yield steps.change(who, port, **_port_change(world, draw, subnet, base))
        elif step == 4:
            yield steps.change(admin, network, shared=steps.some(draw, False, False, True))
        elif step == 5:
            yield steps.act(
                who,
                router,
                "add_router_interface",
                steps.some(draw, {"subnet_id": subnet}, {"port_id": port}),
            )
        elif step == 6:
            yield steps.show(who, steps.some(draw, port, network, subnet))
        elif step == 7:
            yield steps.delete(who, steps.some(draw, port, subnet, network))
        elif step == 8:
            yield steps.change(
                who, steps.some(draw, network, subnet), name=steps.some(draw, "n", "m")
            )
        else:
            yield steps.make(
                who,
                "port",
                network_id=network,
                project_id=steps.some(draw, who.project, member.project),
            )
    yield Request(
        steps.some(draw, member, other, reader), "GET", ("ports?network_id=", network or UNKNOWN)
    )


def _port_change(world: Twins, draw: Draw, subnet: Any, base: str) -> dict[str, Any]:
    return steps.some(
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


def secured(world: Twins, draw: Draw) -> steps.Story:
    """Port security, groups and address pairs of one port, in every order."""
    admin, member, *_ = world.identities
    who = steps.some(draw, member, admin)
    network = yield steps.make(
        who, "network", name="s", port_security_enabled=draw(pick.booleans())
    )
    group = yield steps.make(who, "security_group", name="g", stateful=draw(pick.booleans()))
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
    port = yield steps.make(who, "port", network_id=network, **draw(secure))
    for _ in range(draw(pick.integers(2, 6))):
        yield steps.change(who, port, **draw(secure))
    yield steps.change(who, group, stateful=draw(pick.booleans()))
    yield steps.delete(who, group)


def counted(world: Twins, draw: Draw) -> steps.Story:
    """A project at the edge of its quota, with single requests and bulks."""
    admin, member, _, other, *_ = world.identities
    who = steps.some(draw, other, other, member)
    kind = steps.some(
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
    outside = steps.outside(world, draw)
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
            yield steps.make(who, kind, **attributes)
        else:
            yield Request(
                who, "POST", (COLLECTIONS[kind],), {kind + "s": [attributes] * many}, makes=kind
            )
    yield Request(steps.some(draw, who, admin), "GET", (quota + steps.some(draw, "", "/details"),))
    yield Request(admin, "PUT", (quota,), {"quota": {kind: steps.some(draw, 0, 1, 50)}})
    yield Request(admin, "DELETE", (quota,))


def subnet_in_use(world: Twins, draw: Draw) -> steps.Story:
    """A subnet's gateway, pools and options change under its ports and routers."""
    admin, member, *_ = world.identities
    who = steps.some(draw, member, member, admin)
    base = "10.5.0"
    network = yield steps.make(who, "network", name="u")
    subnet = yield steps.make(
        who,
        "subnet",
        network_id=network,
        ip_version=4,
        cidr=f"{base}.0/24",
        allocation_pools=steps.pool(base),
    )
    router = yield steps.make(who, "router", name="u")
    if draw(pick.booleans()):
        yield steps.act(who, router, "add_router_interface", {"subnet_id": subnet})
    port = yield steps.make(
        who,
        "port",
        network_id=network,
        fixed_ips=[{"ip_address": f"{base}.{steps.some(draw, 5, 70)}"}],
    )
    for _ in range(draw(pick.integers(2, 6))):
        yield steps.change(
            who,
            subnet,
            **steps.some(
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
    yield steps.delete(who, steps.some(draw, subnet, port, network))
    yield steps.show(who, network)


def by_name(world: Twins, draw: Draw) -> steps.Story:
    """How command line clients find an object: by id, then by name."""
    who = world.who(draw)
    collection = COLLECTIONS[draw(pick.sampled_from(sorted(COLLECTIONS)))]
    name = steps.some(draw, "inside", "web", "a", "default", "outside", "nobody")
    yield Request(who, "GET", (f"{collection}/{name}",))
    yield Request(who, "GET", (f"{collection}?name={name}",))
    yield Request(who, "GET", (f"{collection}?id={name}&fields=id",))
    yield Request(who, "DELETE", (f"{collection}/{name}",))
    yield Request(
        who, "PUT", (f"{collection}/{name}",), {collection[:-1].replace("-", "_"): {"name": "z"}}
    )


def guarded(world: Twins, draw: Draw) -> steps.Story:
    """Change or delete an object only at the revision that it has, or at another one."""
    kind = steps.some(draw, *sorted(COLLECTIONS))
    twin = world.some(draw, kind)
    if not isinstance(twin, Twin):
        return
    yield steps.show(world.identities[0], twin)
    theirs, ours = twin.facts.get("revision_number", (0, 0))
    step = steps.some(draw, 0, 0, 0, 1, -1)
    guard: dict[str, str | Text] = {
        "If-Match": ("revision_number=", both(theirs + step, ours + step))
    }
    path = (COLLECTIONS[kind], "/", twin)
    if draw(pick.integers(0, 2)):
        body = {kind: {"description": f"guarded {draw(pick.integers(1, 9))}"}}
        yield Request(world.who(draw), "PUT", path, body, guard)
    else:
        yield Request(world.who(draw), "DELETE", path, headers=guard, removes=twin)


def mixed_owners(world: Twins, draw: Draw) -> steps.Story:
    """An administrator puts subnets and ports of several projects on one network; each of them works with it."""
    admin, member, reader, other, service, manager = world.identities
    network = yield steps.make(member, "network", name="mixed")
    subnets: list[Twin | None] = []
    for number, owner in enumerate(
        draw(pick.permutations([member, other]))[: draw(pick.integers(1, 2))]
    ):
        base = f"10.6.{number}"
        subnets.append(
            (
                yield steps.make(
                    admin,
                    "subnet",
                    network_id=network,
                    project_id=owner.project,
                    ip_version=4,
                    cidr=f"{base}.0/24",
                    allocation_pools=steps.pool(base),
                )
            )
        )
    # Who sees several subnets names one: which of them gives an address is chance.
    fixed = [{"subnet_id": subnets[0]}]
    project = steps.some(draw, member, other).project
    port = yield steps.make(admin, "port", network_id=network, project_id=project, fixed_ips=fixed)
    router = yield steps.make(steps.some(draw, member, other), "router", name="mixed")
    for _ in range(draw(pick.integers(3, 9))):
        who = steps.some(draw, member, member, other, other, admin, reader, service, manager)
        subnet = steps.some(draw, *subnets)
        asked = steps.some(
            draw,
            {},
            {"fixed_ips": [{"subnet_id": subnet}]},
            {"fixed_ips": [{"ip_address": "10.6.0.9"}]},
            {"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.6.1.9"}]},
            {"fixed_ips": []},
        )
        if who in (admin, service) and not asked:
            asked = {"fixed_ips": fixed}
        yield steps.some(
            draw,
            steps.make(who, "port", network_id=network, **asked),
            steps.change(who, port, **(asked or {"name": "m"})),
            steps.act(who, router, "add_router_interface", {"subnet_id": subnet}),
            steps.act(who, router, "add_router_interface", {"port_id": port}),
            steps.act(who, router, "remove_router_interface", {"subnet_id": subnet}),
            steps.show(who, steps.some(draw, subnet, port, network)),
            Request(
                who,
                "GET",
                (steps.some(draw, "ports", "subnets") + "?network_id=", network or UNKNOWN),
            ),
            steps.change(
                who,
                subnet,
                **steps.some(draw, {"name": "m"}, {"enable_dhcp": False}, {"gateway_ip": None}),
            ),
            steps.delete(who, steps.some(draw, subnet, port, network)),
        )


STORIES = [
    router_stories.behind_a_router,
    by_name,
    counted,
    router_stories.gateways,
    guarded,
    mixed_owners,
    router_stories.outside_in_use,
    qos_stories.limited,
    qos_stories.ruled,
    router_stories.routed,
    secured,
    shared_with_others,
    subnet_in_use,
]
