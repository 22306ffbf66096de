"""One request of each sort, drawn from the world as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.differential import pick
from tests.differential.attributes import (
    floatingip_attributes,
    maybe,
    names,
    network_attributes,
    port_attributes,
    router_attributes,
    rule_attributes,
    subnet_attributes,
    switches,
    texts,
)
from tests.differential.operations import COLLECTIONS, PATHS, UNKNOWN, Request, Text, Twin, Twins
from tests.differential.pick import Draw

Sort = Callable[[Twins, Draw], Request]
"""A sort of request."""


def _create(
    world: Twins, draw: Draw, kind: str, attributes: dict[str, Any], bulk: bool = False
) -> Request:
    who = world.who(draw)
    path = (PATHS[kind],)
    if bulk and draw(pick.integers(1, 8)) == 1:
        second = attributes | maybe(draw, {}, 3, name=texts, foo=1)
        return Request(who, "POST", path, {kind + "s": [attributes, second]}, makes=kind)
    return Request(who, "POST", path, {kind: attributes}, makes=kind)


def _change(world: Twins, draw: Draw, kind: str, attributes: dict[str, Any]) -> Request:
    headers: dict[str, str | Text] = {}
    if draw(pick.integers(1, 20)) == 1:
        headers["If-Match"] = draw(
            pick.sampled_from(
                [
                    "revision_number=0",
                    "revision_number=x",
                    "5",
                    "",
                    "*",
                    '"revision_number=0"',
                    "revision_number=1, revision_number=2",
                    "revision_number=",
                    "revision_number=-1",
                    "x, revision_number=0",
                ]
            )
        )
    path = (PATHS[kind], "/", world.some(draw, kind))
    return Request(world.who(draw), "PUT", path, {kind: attributes}, headers)


def create_network(world: Twins, draw: Draw) -> Request:
    return _create(world, draw, "network", network_attributes(world, draw), bulk=True)


def create_external(world: Twins, draw: Draw) -> Request:
    attributes = {"router:external": True, "name": "ext"} | maybe(
        draw, {}, 4, shared=True, is_default=True
    )
    return Request(
        world.identities[0], "POST", ("networks",), {"network": attributes}, makes="network"
    )


def update_network(world: Twins, draw: Draw) -> Request:
    return _change(world, draw, "network", network_attributes(world, draw, updating=True))


def create_subnet(world: Twins, draw: Draw) -> Request:
    attributes = subnet_attributes(world, draw, world.some(draw, "network"))
    return _create(world, draw, "subnet", attributes, bulk=True)


def update_subnet(world: Twins, draw: Draw) -> Request:
    network = world.some(draw, "network")
    return _change(world, draw, "subnet", subnet_attributes(world, draw, network, updating=True))


def create_port(world: Twins, draw: Draw) -> Request:
    return _create(
        world, draw, "port", port_attributes(world, draw, world.some(draw, "network")), bulk=True
    )


def update_port(world: Twins, draw: Draw) -> Request:
    network = world.some(draw, "network")
    return _change(world, draw, "port", port_attributes(world, draw, network, updating=True))


def create_router(world: Twins, draw: Draw) -> Request:
    return _create(world, draw, "router", router_attributes(world, draw), bulk=True)


def update_router(world: Twins, draw: Draw) -> Request:
    return _change(world, draw, "router", router_attributes(world, draw))


def router_action(world: Twins, draw: Draw) -> Request:
    action = draw(
        pick.sampled_from(
            ["add_router_interface"] * 3
            + ["remove_router_interface"] * 2
            + ["add_extraroutes", "remove_extraroutes"]
        )
    )
    subnet, port, network = (world.some(draw, kind) for kind in ("subnet", "port", "network"))
    body: Any = draw(
        pick.sampled_from(
            [
                {"subnet_id": subnet},
                {"subnet_id": subnet},
                {"port_id": port},
                {},
                {"subnet_id": 5},
                {"foo": 1},
                {"subnet_id": subnet, "port_id": port},
                {"subnet_id": None},
                {"subnet_id": "x", "port_id": port},
                {"network_id": network},
                {"router": {"subnet_id": subnet}},
                [],
                None,
            ]
        )
    )
    if action.endswith("extraroutes"):
        body = {"router": {"routes": draw(extra_routes)}}
        if draw(pick.integers(1, 8)) == 1:
            body = draw(
                pick.sampled_from(
                    [{}, {"router": {}}, {"router": {"foo": 1}}, {"routes": []}, [], None]
                )
            )
    return Request(
        world.who(draw), "PUT", ("routers/", world.some(draw, "router"), "/", action), body
    )


extra_routes = pick.one_of(
    pick.lists(
        pick.sampled_from(
            [
                {"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"},
                {"destination": "192.0.2.0/24", "nexthop": "10.0.0.10"},
                {"destination": "198.51.100.0/24", "nexthop": "172.24.4.9"},
                {"destination": "0.0.0.0/0", "nexthop": "10.0.0.9"},
                {"destination": "198.51.100.0/24", "nexthop": "10.0.0.1"},
            ]
        ),
        max_size=3,
    ),
    pick.sampled_from(
        [
            [{"destination": "192.0.2.0/24"}],
            [{"destination": "198.51.100.7/24", "nexthop": "10.0.0.9"}],
            [{"destination": "x", "nexthop": "10.0.0.9"}],
            [{"destination": "192.0.2.0/24", "nexthop": "x"}],
            [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9", "foo": 1}],
            "x",
            None,
            5,
            ["x"],
        ]
    ),
)


def set_gateway(world: Twins, draw: Draw) -> Request:
    network = world.likely(draw, "network", "router:external", True)
    subnet = world.some(draw, "subnet")
    info = draw(
        pick.sampled_from(
            [
                {},
                None,
                {"network_id": network},
                {"network_id": network},
                {"network_id": network, "enable_snat": False},
                {"network_id": network, "external_fixed_ips": [{"subnet_id": subnet}]},
                {"network_id": network, "external_fixed_ips": [{"ip_address": "172.24.4.9"}]},
                {
                    "network_id": network,
                    "external_fixed_ips": [{"ip_address": "172.24.4.9", "subnet_id": subnet}],
                },
                {"network_id": network, "external_fixed_ips": None},
                {"network_id": network, "foo": 1},
                {"network_id": "x"},
                {"network_id": None},
                5,
                [],
            ]
        )
    )
    return _change(world, draw, "router", {"external_gateway_info": info})


def share(world: Twins, draw: Draw) -> Request:
    """Share a network, or take it back; open it to routers, or close it."""
    attributes = draw(
        pick.sampled_from(
            [
                {"shared": True},
                {"shared": True},
                {"shared": False},
                {"router:external": True},
                {"router:external": False},
            ]
        )
    )
    path = (COLLECTIONS["network"], "/", world.some(draw, "network"))
    return Request(world.identities[0], "PUT", path, {"network": attributes})


def create_floatingip(world: Twins, draw: Draw) -> Request:
    return _create(world, draw, "floatingip", floatingip_attributes(world, draw))


def update_floatingip(world: Twins, draw: Draw) -> Request:
    return _change(world, draw, "floatingip", floatingip_attributes(world, draw, updating=True))


def create_group(world: Twins, draw: Draw) -> Request:
    attributes = maybe(
        draw, {"name": draw(names)}, 6, description=texts, stateful=switches, name="default", foo=1
    )
    return _create(world, draw, "security_group", attributes, bulk=True)


def update_group(world: Twins, draw: Draw) -> Request:
    return _change(
        world,
        draw,
        "security_group",
        maybe(draw, {"name": draw(texts)}, 5, stateful=switches, foo=1),
    )


def create_rule(world: Twins, draw: Draw) -> Request:
    return _create(world, draw, "security_group_rule", rule_attributes(world, draw), bulk=True)


def create_policy(world: Twins, draw: Draw) -> Request:
    attributes = maybe(draw, {"name": draw(names)}, 5, shared=switches, is_default=switches, foo=1)
    return _create(world, draw, "policy", attributes)


def update_policy(world: Twins, draw: Draw) -> Request:
    attributes = maybe(draw, {}, 3, name=texts, shared=switches, is_default=switches, rules=[])
    return _change(world, draw, "policy", attributes)


def show(world: Twins, draw: Draw) -> Request:
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    path: tuple[str | Twin, ...] = (COLLECTIONS[kind], "/", world.some(draw, kind))
    if draw(pick.integers(1, 5)) == 1:
        path = (
            *path,
            draw(pick.sampled_from(["?fields=id&fields=name", "?fields=foo", "?fields=status"])),
        )
    return Request(world.who(draw), "GET", path)


def remove(world: Twins, draw: Draw) -> Request:
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    twin = world.some(draw, kind)
    return Request(
        world.who(draw),
        "DELETE",
        (COLLECTIONS[kind], "/", twin),
        removes=twin if isinstance(twin, Twin) else None,
    )


def listing(world: Twins, draw: Draw) -> Request:
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    who = world.who(draw)
    query = [f"project_id={world.identities[1].project}"] if who.name == "admin" else []
    query += draw(
        pick.lists(
            pick.sampled_from(
                [
                    "name=a",
                    "name=",
                    "fields=id",
                    "fields=name",
                    "foo=1",
                    "admin_state_up=true",
                    "shared=x",
                    "status=ACTIVE",
                    "limit=x",
                    "limit=-1",
                    "sort_key=name&sort_dir=up",
                    "sort_key=name",
                    "sort_key=foo&sort_dir=asc",
                    "description=a&description=b",
                    "id=" + UNKNOWN,
                    "mtu=1450",
                    "marker=" + UNKNOWN,
                    "tags=blue",
                    "not-tags=blue",
                    "revision_number=1",
                    "network_id=x",
                    "device_owner=network:dhcp",
                    "fixed_ips=ip_address=10.0.0.5",
                    "router:external=True",
                    "ip_version=4",
                    "enable_dhcp=False",
                    "direction=ingress",
                    "protocol=tcp",
                    "limit=0",
                ]
            ),
            max_size=2,
        )
    )
    if draw(pick.integers(1, 6)) == 1 and world.of("network"):
        return Request(who, "GET", (COLLECTIONS[kind], "?network_id=", world.some(draw, "network")))
    return Request(who, "GET", (COLLECTIONS[kind] + ("?" if query else "") + "&".join(query),))
