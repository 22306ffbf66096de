"""Lists asked for in every way: filters and fields of all attributes, sorted and unsorted, page by page."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from netloom.contract.attributes import MAPS
from tests.differential import pick
from tests.differential.operations import COLLECTIONS, UNKNOWN, Request, Text, Twin, Twins, both
from tests.differential.pick import Draw
from tests.differential.sides import Answer, Identity, Side

ATTRIBUTES = {kind: sorted(MAPS[name.replace("-", "_")]) for kind, name in COLLECTIONS.items()}

DRAWN = {
    "mac_address",
    "fixed_ips",
    "floating_ip_address",
    "fixed_ip_address",
    "provider:segmentation_id",
    "revision_number",
    "created_at",
    "updated_at",
}
"""Values that each side draws for itself, or counts otherwise: another object may have the same by chance."""

LACKING = {"is_default", "shared"}
"""Not asked of networks and groups by everyone: known_differences.py says why they are shown otherwise."""

GARBAGE = pick.sampled_from(
    ["", "x", "true", "False", "0", "1", "None", "null", "a,b", "%", UNKNOWN]
)

SORTABLE = {
    "network": [
        "name",
        "admin_state_up",
        "status",
        "mtu",
        "shared",
        "foo",
        "tenant_id",
        "project_id",
    ],
    "subnet": ["name", "enable_dhcp", "ip_version", "cidr", "gateway_ip", "description"],
    "port": ["name", "admin_state_up", "device_owner", "status", "description", "fixed_ips"],
    "router": ["name", "admin_state_up", "status", "description", "external_gateway_info"],
    "floatingip": ["status", "floating_network_id", "port_id", "description", "router_id"],
    "security_group": ["name", "description", "stateful", "project_id", "shared"],
    "security_group_rule": [
        "direction",
        "protocol",
        "port_range_min",
        "remote_ip_prefix",
        "ethertype",
    ],
}


def filtering(world: Twins, draw: Draw) -> Request:
    """Ask for the objects that have a value, mostly one that some object really has."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    parts: list[str | Twin] = []
    for _ in range(draw(pick.sampled_from([1, 1, 2, 3]))):
        name = draw(pick.sampled_from([*ATTRIBUTES[kind], "foo"]))
        for _ in range(draw(pick.sampled_from([1, 1, 1, 2]))):
            parts += [
                "&" if parts else "?",
                quote(name, safe=":"),
                "=",
                _value(world, draw, kind, name),
            ]
    return Request(_asker(world, draw), "GET", (COLLECTIONS[kind], *parts))


def _asker(world: Twins, draw: Draw) -> Identity:
    # An administrator sees what other tests on the same sides left: nothing, while they run one by one.
    return world.who(draw)


def _value(world: Twins, draw: Draw, kind: str, name: str) -> str | Twin:
    twins = [twin for twin in world.of(kind) if name in twin.facts]
    if not twins or name in DRAWN or draw(pick.integers(0, 3)) == 0:
        return draw(GARBAGE)
    theirs, ours = draw(pick.sampled_from(twins)).facts[name]
    if isinstance(theirs, list):
        if (
            not theirs
            or not isinstance(theirs[0], str)
            or len(theirs) != len(ours)
            or len(theirs) > 1
        ):
            return draw(GARBAGE)
        theirs, ours = theirs[0], ours[0]
    if isinstance(theirs, dict) or isinstance(ours, dict):
        return draw(GARBAGE)
    return both(theirs, ours)


def addresses(world: Twins, draw: Draw) -> Request:
    """Ask for ports by their addresses, in each form."""
    subnet = world.some(draw, "subnet")
    forms: list[Text] = [
        ("ports?fixed_ips=subnet_id=", subnet),
        ("ports?fixed_ips=subnet_id%3D", subnet),
        ("ports?fixed_ips=ip_address%3D10.0.0.5",),
        ("ports?fixed_ips=ip_address_substr%3D10.0.0.5",),
        ("ports?fixed_ips=ip_address%3D10.0.0.5&fixed_ips=subnet_id%3D", subnet),
        ("ports?fixed_ips=ip_address%3D10.0.0.5&fixed_ips=ip_address%3D10.0.0.6",),
        ("ports?fixed_ips=ip_address%3D",),
        ("ports?fixed_ips=x",),
        ("ports?fixed_ips=foo%3Dx",),
        ("ports?fixed_ips=ip_address%3Dx",),
        ("ports?security_groups=", world.some(draw, "security_group")),
        ("ports?device_id=", world.some(draw, "router")),
        (
            "ports?network_id=",
            world.some(draw, "network"),
            "&device_owner=network:router_interface",
        ),
        ("floatingips?port_id=", world.some(draw, "port")),
        ("floatingips?router_id=", world.some(draw, "router")),
        ("floatingips?floating_network_id=", world.some(draw, "network")),
        ("subnets?network_id=", world.some(draw, "network"), "&ip_version=4"),
        ("security-group-rules?security_group_id=", world.some(draw, "security_group")),
        ("security-group-rules?remote_group_id=", world.some(draw, "security_group")),
    ]
    return Request(_asker(world, draw), "GET", draw(pick.sampled_from(forms)))


def fields(world: Twins, draw: Draw) -> Request:
    """Ask for some attributes only, of one object or of all."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    names = draw(
        pick.lists(pick.sampled_from([*ATTRIBUTES[kind], "foo", ""]), min_size=1, max_size=3)
    )
    # Ids come along where they can: without them the objects of two lists cannot be paired.
    if draw(pick.booleans()):
        names.append("id")
    query = "?" + "&".join("fields=" + quote(name, safe=":") for name in names)
    path: Text = (COLLECTIONS[kind], query)
    if "id" not in names or draw(pick.booleans()):
        path = (COLLECTIONS[kind], "/", world.some(draw, kind), query)
    return Request(_asker(world, draw), "GET", path)


def pages(world: Twins, draw: Draw) -> Request:
    """Return the request for the first page of a list; `walk` follows its links to the end."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    query = [f"limit={draw(pick.sampled_from([1, 2, 2, 3, 1000]))}"]
    for key in draw(pick.lists(pick.sampled_from(SORTABLE[kind]), max_size=2, unique=True)):
        query += [f"sort_key={key}", f"sort_dir={draw(pick.sampled_from(['asc', 'desc']))}"]
    query += draw(
        pick.sampled_from(
            [[], [], ["page_reverse=True"], ["fields=name"], ["admin_state_up=True"], ["name=a"]]
        )
    )
    return Request(world.who(draw), "GET", (COLLECTIONS[kind] + "?" + "&".join(query),))


ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
"""Ids of objects and of projects."""

ROOT = re.compile(r"^http://[^/]+(/networking)?/v2\.0/")
MOST_PAGES = 40


def walk(side: Side, request: Request, number: int) -> Answer:
    """Follow a list's links to its end; return what all pages hold, and how they were cut and ordered.

    Ids are random, so which of two equal objects comes first differs between the sides; the sort keys do not.
    """
    path, body, headers = request.on(number)
    keys = re.findall(r"sort_key=([\w:]+)", path)
    rel = "previous" if "page_reverse" in path else "next"
    cuts: list[Any] = []
    everything: list[Any] = []
    for _ in range(MOST_PAGES):
        answer = side.ask(request.who, request.method, path, body, headers)
        if answer.status != 200 or not isinstance(answer.body, dict):
            return answer
        collection = next(name for name in answer.body if not name.endswith("_links"))
        items = answer.body[collection]
        links = {link["rel"]: link["href"] for link in answer.body.get(f"{collection}_links", ())}
        cuts.append([sorted(links), [[_plain(item.get(key)) for key in keys] for item in items]])
        everything += items
        if rel not in links or not items:
            break
        path = ROOT.sub("", links[rel])
    return Answer(200, {collection: everything, "cuts": json.dumps(cuts)}, "")


def _plain(value: Any) -> Any:
    return "·" if isinstance(value, str) and ID.search(value) else value
