"""Any attribute with any value, by anybody: what nobody would think of asking.

Each request is an ordinary one but for one or two values. `values` says which; `SHAPES` where they go inside of an
attribute that is more than one value.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from tests.differential import pick
from tests.differential.operations import COLLECTIONS, UNKNOWN, Request, Twin, Twins
from tests.differential.pick import Draw
from tests.differential.querying import ATTRIBUTES, DRAWN

DEEP: Any = json.loads('{"a":' * 60 + "1" + "}" * 60)

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    4,
    6,
    80,
    1400,
    65536,
    2**31,
    2**63,
    10**30,
    1.5,
    -0.0,
    "",
    " ",
    "x",
    "7",
    "True",
    "null",
    "Ünïcødé 网络 🕸",
    "a\0b",
    "a\nb",
    "<b>&amp;",
    "%s %(x)s {0}",
    "'; --",
    "x" * 60,
    "x" * 255,
    "x" * 256,
    "x" * 70000,
    "网" * 255,
    "10.0.0.7",
    "10.0.0.0/24",
    "10.0.0.7/24",
    "010.0.0.7",
    "10.7",
    "::1",
    "fd00::7",
    "::ffff:10.0.0.7",
    "fa:16:3e:00:00:07",
    "FA-16-3E-00-00-07",
    "ff:ff:ff:ff:ff:ff",
    "00000000-0000-4000-8000-00000000000",
    UNKNOWN,
    UNKNOWN.upper(),
    UNKNOWN.replace("-", ""),
    "network:dhcp",
    "ingress",
    "IPv4",
    "tcp",
    "ACTIVE",
    [],
    [None],
    [1],
    ["x"],
    ["x", "x"],
    [[]],
    [{}],
    {},
    {"a": 1},
    {"": None},
    {"id": UNKNOWN},
    DEEP,
]

SHAPES: dict[str, list[Any]] = {
    "fixed_ips": [
        [{"subnet_id": "?"}],
        [{"ip_address": "?"}],
        [{"subnet_id": "?", "ip_address": "10.0.0.8"}],
        ["?"],
    ],
    "allowed_address_pairs": [
        [{"ip_address": "?"}],
        [{"mac_address": "?"}],
        [{"ip_address": "10.0.0.40", "mac_address": "?"}],
        [{"ip_address": "10.0.0.40", "foo": "?"}],
        ["?"],
    ],
    "extra_dhcp_opts": [
        [{"opt_name": "?", "opt_value": "x"}],
        [{"opt_name": "mtu", "opt_value": "?"}],
        [{"opt_name": "mtu", "opt_value": "1400", "ip_version": "?"}],
        [{"opt_name": "mtu", "opt_value": "1400", "foo": "?"}],
        ["?"],
    ],
    "allocation_pools": [
        [{"start": "?", "end": "10.0.0.99"}],
        [{"start": "10.0.0.64", "end": "?"}],
        [{"start": "10.0.0.64", "end": "10.0.0.99", "foo": "?"}],
        ["?"],
    ],
    "host_routes": [
        [{"destination": "?", "nexthop": "10.0.0.7"}],
        [{"destination": "192.0.2.0/24", "nexthop": "?"}],
        [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.7", "foo": "?"}],
        ["?"],
    ],
    "external_gateway_info": [
        {"network_id": "?"},
        {"network_id": "outside", "enable_snat": "?"},
        {"network_id": "outside", "external_fixed_ips": "?"},
        {"network_id": "outside", "external_fixed_ips": [{"ip_address": "?"}]},
        {"network_id": "outside", "external_fixed_ips": [{"subnet_id": "?"}]},
        {"network_id": "outside", "external_fixed_ips": ["?"]},
        {"network_id": "outside", "foo": "?"},
    ],
    "security_groups": [["?"], ["?", "?"]],
    "dns_nameservers": [["?"], ["?", "8.8.8.8"]],
    "binding:profile": [{"a": "?"}, {"?": 1}],
    "availability_zone_hints": [["?"]],
    "tags": [["?"], ["?", "a"]],
}
SHAPES["routes"] = SHAPES["host_routes"]

NOT_HERE = {
    "network": [
        "segments",
        "vlan_transparent",
        "qos_policy_id",
        "dns_domain",
        "ipv4_address_scope",
        "ha",
        "vlan_qinq",
    ],
    "subnet": [
        "use_default_subnetpool",
        "service_types",
        "segment_id",
        "prefixlen",
        "subnetpool_id",
    ],
    "port": [
        "dns_name",
        "qos_policy_id",
        "ip_allocation",
        "trunk_details",
        "hints",
        "trusted",
        "data_plane_status",
    ],
    "router": [
        "external_gateways",
        "flavor_id",
        "enable_ndp_proxy",
        "service_type_id",
        "conntrack_helpers",
    ],
    "floatingip": ["dns_name", "dns_domain", "qos_policy_id", "distributed", "port_forwardings"],
    "security_group": ["security_group_rules"],
    "security_group_rule": ["source_ip_prefix"],
}
"""Attributes that belong to extensions, or to nothing."""


def value(world: Twins, draw: Draw) -> Any:
    """Return what some attribute might get: mostly nonsense, else what another one would be happy with."""
    if draw(pick.integers(0, 3)):
        return draw(pick.sampled_from(ODD))
    if draw(pick.integers(0, 3)) == 0:
        return draw(pick.sampled_from(world.identities)).project
    return world.some(draw, draw(pick.sampled_from(sorted(COLLECTIONS))))


def _fill(world: Twins, draw: Draw, shape: Any) -> Any:
    if shape == "?":
        return value(world, draw)
    if shape == "outside":
        return world.likely(draw, "network", "router:external", True)
    if isinstance(shape, dict):
        return {
            "a" * 30 if name == "?" else name: _fill(world, draw, each)
            for name, each in shape.items()
        }
    return [_fill(world, draw, each) for each in shape] if isinstance(shape, list) else shape


def _attribute(world: Twins, draw: Draw, kind: str) -> dict[str, Any]:
    """Return one attribute with a value of chance."""
    name = draw(
        pick.sampled_from([*ATTRIBUTES[kind], *draw(pick.sampled_from([[], NOT_HERE[kind]]))])
    )
    if name in SHAPES and draw(pick.integers(0, 3)):
        return {name: _fill(world, draw, draw(pick.sampled_from(SHAPES[name])))}
    return {name: value(world, draw)}


def ordinary(world: Twins, draw: Draw, kind: str) -> dict[str, Any]:
    """Return attributes that make an object."""
    octet = draw(pick.integers(20, 99))
    return {
        "network": {"name": "any"},
        "subnet": {
            "network_id": world.some(draw, "network"),
            "ip_version": 4,
            "cidr": f"10.{octet}.0.0/24",
            "allocation_pools": [{"start": f"10.{octet}.0.64", "end": f"10.{octet}.0.99"}],
        },
        "port": {"network_id": world.some(draw, "network"), "device_owner": "me"},
        "router": {"name": "any"},
        "floatingip": {
            "floating_network_id": world.likely(draw, "network", "router:external", True)
        },
        "security_group": {"name": "any"},
        "security_group_rule": {
            "security_group_id": world.some(draw, "security_group"),
            "direction": draw(pick.sampled_from(["ingress", "egress"])),
            "protocol": draw(pick.sampled_from(["tcp", "udp", "icmp"])),
        },
    }[kind]


def create(world: Twins, draw: Draw) -> Request:
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    attributes = ordinary(world, draw, kind)
    for _ in range(draw(pick.sampled_from([1, 1, 1, 2]))):
        attributes |= _attribute(world, draw, kind)
    if kind == "subnet" and str(attributes["cidr"])[:3] != "10.":
        del attributes["allocation_pools"]
    return Request(world.who(draw), "POST", (COLLECTIONS[kind],), {kind: attributes}, makes=kind)


def create_many(world: Twins, draw: Draw) -> Request:
    """Several at once, of every kind; mostly one of them is wrong."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    items: list[Any] = [ordinary(world, draw, kind) for _ in range(draw(pick.integers(1, 3)))]
    wrong = draw(pick.integers(0, 4))
    if wrong == 0:
        items.append(
            draw(
                pick.sampled_from(
                    [None, 5, "x", [], {}, {kind: {}}, {kind: None}, {"foo": 1}, True]
                )
            )
        )
    elif wrong < 4:
        items[-1] = items[-1] | _attribute(world, draw, kind)
    if draw(pick.integers(0, 5)) == 0:
        items = [{kind: item} for item in items]
    body: dict[str, Any] = {kind + "s": items}
    if draw(pick.integers(0, 9)) == 0:
        body |= draw(pick.sampled_from([{kind: {}}, {"foo": 1}, {kind: items[0]}]))
    return Request(world.who(draw), "POST", (COLLECTIONS[kind],), body, makes=kind)


def change(world: Twins, draw: Draw) -> Request:
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    attributes: dict[str, Any] = {}
    for _ in range(draw(pick.sampled_from([1, 1, 1, 2]))):
        attributes |= _attribute(world, draw, kind)
    return Request(
        world.who(draw), "PUT", (COLLECTIONS[kind], "/", world.some(draw, kind)), {kind: attributes}
    )


def act(world: Twins, draw: Draw) -> Request:
    """An action of a router with any body."""
    name = draw(pick.sampled_from(["subnet_id", "port_id", "network_id", "foo"]))
    action = draw(pick.sampled_from(["add_router_interface", "remove_router_interface"]))
    body: Any = {name: value(world, draw)}
    if draw(pick.integers(0, 3)) == 0:
        action = draw(pick.sampled_from(["add_extraroutes", "remove_extraroutes"]))
        body = {"router": {"routes": _fill(world, draw, draw(pick.sampled_from(SHAPES["routes"])))}}
    return Request(
        world.who(draw), "PUT", ("routers/", world.some(draw, "router"), "/", action), body
    )


def tag(world: Twins, draw: Draw) -> Request:
    """Tags of every kind, whether it has some or not."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    method = draw(pick.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH"]))
    tail, body = "/tags", None
    if draw(pick.booleans()):
        tail += "/" + quote(
            str(draw(pick.sampled_from([each for each in ODD if isinstance(each, str)]))[:300])
        )
    elif method in ("PUT", "POST"):
        body = _fill(
            world,
            draw,
            draw(pick.sampled_from([{"tags": ["?"]}, {"tags": "?"}, {"tags": ["a", "?"]}, "?"])),
        )
        body = draw(pick.sampled_from([body, body, {"tags": ["b"], "foo": 1}, {"tag": "a"}]))
    return Request(
        world.who(draw), method, (COLLECTIONS[kind], "/", world.some(draw, kind), tail), body
    )


_PLURALS = [
    "network",
    "subnet",
    "port",
    "router",
    "floatingip",
    "security_group",
    "security_group_rule",
]


def quota(world: Twins, draw: Draw) -> Request:
    """Any quota of any project, set to anything."""
    names = [identity.project for identity in world.identities]
    project = draw(pick.sampled_from([*names, "nobody", "x" * 300, "%C3%9C", "default", UNKNOWN]))
    name = draw(
        pick.sampled_from(
            [*_PLURALS, "subnetpool", "rbac_policy", "foo", "project_id", "force", "tenant_id"]
        )
    )
    body = {"quota": {name: value(world, draw)}}
    if draw(pick.integers(0, 2)) == 0:
        body["quota"] |= draw(
            pick.sampled_from([{"force": True}, {"check_limit": True}, {"port": 9}, {"force": 7}])
        )
    if draw(pick.integers(0, 2)):
        return Request(world.who(draw), "PUT", (f"quotas/{project}",), body)
    method = draw(pick.sampled_from(["GET", "GET", "DELETE", "POST", "PATCH", "HEAD"]))
    tail = draw(
        pick.sampled_from(["", "/details", "/default", "/x", ".json", "?fields=port", "?foo=1"])
    )
    return Request(
        world.who(draw), method, (f"quotas/{project}{tail}",), body if method == "POST" else None
    )


def _told(world: Twins, draw: Draw) -> str | Twin:
    """Return a value for a query."""
    if draw(pick.integers(0, 3)) == 0:
        return world.some(draw, draw(pick.sampled_from(sorted(COLLECTIONS))))
    odd = draw(pick.sampled_from(ODD))
    return quote((odd if isinstance(odd, str) else json.dumps(odd))[:300])


LIMITS = [
    "0",
    "-0",
    "%2B1000",
    "1000.0",
    "1e3",
    "01000",
    "%D9%A1000",
    " 1000",
    "1_000",
    "",
    "9" * 30,
    "x",
    "-1",
]


def query(world: Twins, draw: Draw) -> Request:
    """A list, filtered, sorted and cut by anything."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    every = [*ATTRIBUTES[kind], "foo"]
    parts: list[str | Twin] = []
    for _ in range(draw(pick.sampled_from([1, 1, 2]))):
        name = draw(
            pick.sampled_from(
                ["filter"] * 4 + ["limit", "marker", "sort", "page_reverse", "fields"]
            )
        )
        told = _told(world, draw)
        if name == "filter":
            name = draw(pick.sampled_from(every))
            told = told if name not in DRAWN else "x"
            name = quote(name, safe=":")
        elif name == "limit":
            # Numbers that no list here reaches: which objects a shorter page holds hangs on their random ids.
            told = draw(pick.sampled_from(LIMITS))
        elif name == "sort":
            name = (
                "sort_dir=" + draw(pick.sampled_from(["asc", "desc", "ASC", "", "x"])) + "&sort_key"
            )
            told = quote(draw(pick.sampled_from(every)), safe=":")
        elif name == "marker":
            name = "limit=1000&marker"
        parts += ["&" if parts else "?", name, "=", told]
    return Request(world.who(draw), "GET", (COLLECTIONS[kind], *parts))
