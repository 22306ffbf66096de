"""One request of each sort beside the objects: their tags, quotas, agents, and requests of a wrong form."""

from __future__ import annotations

from tests.differential import pick
from tests.differential.operations import COLLECTIONS, UNKNOWN, Request, Text, Twins
from tests.differential.pick import Draw


def tags(world: Twins, draw: Draw) -> Request:
    kind = draw(
        pick.sampled_from(["network", "subnet", "port", "router", "floatingip", "security_group"])
    )
    method, tail, body = draw(
        pick.sampled_from(
            [
                ("PUT", "/tags", {"tags": ["blue", "green"]}),
                ("PUT", "/tags/red", None),
                ("GET", "/tags", None),
                ("GET", "/tags/red", None),
                ("DELETE", "/tags/red", None),
                ("DELETE", "/tags", None),
                ("PUT", "/tags", {"tags": ["x" * 256]}),
                ("PUT", "/tags", {"foo": 1}),
                ("PUT", "/tags", {"tags": "blue"}),
                ("POST", "/tags", {"tags": ["more"]}),
            ]
        )
    )
    return Request(
        world.who(draw), method, (COLLECTIONS[kind], "/", world.some(draw, kind), tail), body
    )


def quotas(world: Twins, draw: Draw) -> Request:
    project = draw(pick.sampled_from(world.identities)).project
    method, tail, body = draw(
        pick.sampled_from(
            [
                ("GET", "", None),
                ("GET", "/default", None),
                ("GET", "/details", None),
                ("PUT", "", {"quota": {"network": 90}}),
                ("PUT", "", {"quota": {"network": -2}}),
                ("PUT", "", {"quota": {"foo": 1}}),
                ("PUT", "", {"quota": {"port": "x"}}),
                ("PUT", "", {"quota": {"port": None}}),
                ("PUT", "", {"quota": {"port": 1.5}}),
                ("PUT", "", {"quota": {"port": True}}),
                ("PUT", "", {"quota": {"port": 0}}),
                ("PUT", "", {"quota": {"port": 0, "force": True}}),
                ("PUT", "", {"quota": {"port": -1}}),
                ("PUT", "", {"quota": {"port": 2**31}}),
                ("PUT", "", {"quota": {}}),
                ("PUT", "", {"quota": {"network": 90, "check_limit": True}}),
                ("PUT", "", {"quota": {"security_group_rule": 90, "router": 9}}),
                ("PUT", "", {"quota": {"project_id": "x"}}),
                ("PUT", "", {"quota": 5}),
                ("POST", "", {"quota": {"port": 5}}),
                ("DELETE", "/details", None),
                ("GET", "/moon", None),
                ("GET", "/details.json", None),
                ("DELETE", "", None),
            ]
        )
    )
    return Request(world.who(draw), method, (f"quotas/{project}{tail}",), body)


def spoken(world: Twins, draw: Draw) -> Request:
    """An ordinary request with headers that say otherwise."""
    headers: dict[str, str | Text] = draw(
        pick.sampled_from(
            [
                {"Content-Type": ""},
                {"Content-Type": "text/plain"},
                {"Content-Type": "application/xml"},
                {"Content-Type": "application/json; charset=utf-8"},
                {"Content-Type": "application/x-www-form-urlencoded"},
                {"Accept": "application/xml"},
                {"Accept": "text/html"},
                {"Accept": "application/json"},
                {"Accept": "application/json;q=0.5, text/html"},
                {"Accept": "*/*"},
                {"Accept": "text/*"},
                {"Accept": ""},
                {"Accept": "x"},
            ]
        )
    )
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    who, path = world.who(draw), (COLLECTIONS[kind], "/", world.some(draw, kind))
    if draw(pick.booleans()):
        return Request(who, "GET", draw(pick.sampled_from([path, path[:1]])), headers=headers)
    if draw(pick.booleans()):
        return Request(
            who, "POST", ("networks",), {"network": {"name": "h"}}, headers, makes="network"
        )
    return Request(who, "PUT", path, {kind: {"name": "h"}}, headers)


def operating(world: Twins, draw: Draw) -> Request:
    """Agents and zones, as each role; there are no hosts here, so they are what nobody has."""
    method, path, body = draw(
        pick.sampled_from(
            [
                ("GET", f"agents/{UNKNOWN}", None),
                ("PUT", f"agents/{UNKNOWN}", {"agent": {"admin_state_up": False}}),
                ("PUT", f"agents/{UNKNOWN}", {"agent": {"foo": 1}}),
                ("PUT", f"agents/{UNKNOWN}", {"agent": {"host": "x"}}),
                ("DELETE", f"agents/{UNKNOWN}", None),
                ("POST", "agents", {"agent": {"host": "x"}}),
                ("GET", "agents?binary=x&fields=id", None),
                ("GET", "agents?foo=x", None),
                ("GET", "agents?host=nowhere", None),
                ("GET", "agents?alive=maybe&host=nowhere", None),
                ("GET", "availability_zones?name=nowhere", None),
                ("GET", "availability_zones?foo=1", None),
                ("GET", f"availability_zones/{UNKNOWN}", None),
                ("POST", "availability_zones", {"availability_zone": {"name": "x"}}),
                ("GET", "quotas", None),
                ("GET", "quotas/tenant", None),
                ("GET", "quotas/project", None),
                ("GET", "extensions/quotas", None),
                ("GET", "extensions/moon", None),
                ("POST", "extensions", {"extension": {}}),
                ("GET", f"networks/{UNKNOWN}/dhcp-agents", None),
                ("GET", "", None),
            ]
        )
    )
    return Request(world.who(draw), method, (path,), body)


def malformed(world: Twins, draw: Draw) -> Request:
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    body = draw(
        pick.sampled_from(
            [
                b"",
                b"{",
                b"[]",
                b"null",
                b"5",
                b'"x"',
                b"{}",
                b'{"foo": {}}',
                b"\xff\xfe",
                b'{"%s": 5}' % kind.encode(),
                b'{"%s": {}}' % kind.encode(),
                b'{"%s": null}' % kind.encode(),
                b'{"%ss": []}' % kind.encode(),
                b'{"%ss": [5]}' % kind.encode(),
                b'{"%s": []}' % kind.encode(),
            ]
        )
    )
    if draw(pick.booleans()):
        return Request(world.who(draw), "POST", (COLLECTIONS[kind],), body)
    return Request(world.who(draw), "PUT", (COLLECTIONS[kind], "/", world.some(draw, kind)), body)


def odd(world: Twins, draw: Draw) -> Request:
    method, path = draw(
        pick.sampled_from(
            [
                ("PUT", "networks"),
                ("PATCH", "networks/" + UNKNOWN),
                ("DELETE", "networks"),
                ("GET", "moons"),
                ("POST", "moons"),
                ("GET", "networks.json"),
                ("GET", "extensions/moon"),
                ("GET", "networks/" + UNKNOWN + "/moons"),
                ("PUT", "security-group-rules/" + UNKNOWN),
                ("PUT", "routers/" + UNKNOWN + "/moon"),
                ("GET", "quotas"),
                ("GET", "agents?binary=x"),
                ("GET", "networks?limit=1&page_reverse=moon&name=zz"),
            ]
        )
    )
    return Request(
        world.who(draw), method, (path,), {} if method in ("PUT", "POST", "PATCH") else None
    )
