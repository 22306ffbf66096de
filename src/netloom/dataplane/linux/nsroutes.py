"""Routes in a namespace: which of them are ours, and putting them in and out."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable
from typing import Any

from netloom.dataplane.linux import netns
from netloom.dataplane.linux.netlink import index_of, open_netlink
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.process import run
from netloom.model.family import V4, of
from netloom.model.hoststate import Key, NsRoute

_STATIC, KERNEL = 4, 2
"""rtnetlink's «protocol static»: routes that an administrator, here we, put in; and those of the kernel itself."""
_MAIN, _LOCAL, _UNICAST, OF_LINK = 254, 255, 1, 253
FAMILIES = (socket.AF_INET, socket.AF_INET6)
CONNECTED_METRIC, _IPV6_METRIC = 256, 1024
"""What the kernel gives its own IPv6 routes, and those of others."""


def destination_of(route: Any) -> str:
    """A route's destination with its length."""
    anywhere = "::" if route["family"] == socket.AF_INET6 else "0.0.0.0"
    return f"{route.get('dst') or anywhere}/{route['dst_len']}"


def _has_metric(route: Any) -> bool:
    """Whether a route has another metric than those that we put in: in IPv6 the kernel gives each one."""
    given = _IPV6_METRIC if route["family"] == socket.AF_INET6 else 0
    return (route.get("priority") or 0) != given


def _table(route: Any) -> int:
    table: int = route.get("table") or route["table"]
    return table


def static(
    routes: Iterable[Any], namespace: str, devices: dict[int, str], held: Collection[str]
) -> dict[Key, str]:
    """Our routes but those to destinations that others hold, each with its mark."""
    found: dict[Key, str] = {}
    for item in routes:
        ours = item["proto"] == _STATIC and _table(item) == _MAIN
        if ours and destination_of(item) not in held:
            route = NsRoute(
                namespace=namespace,
                destination=destination_of(item),
                device=devices.get(item.get("oif"), ""),
                gateway=item.get("gateway"),
            )
            plain = item["type"] == _UNICAST and not _has_metric(item)
            wrong = "" if plain else "its type or metric was another"
            found.setdefault(route.key, broken(wrong) if wrong else fingerprint(route))
    return found


def foreign(routes: Iterable[Any], devices: dict[int, str], held: Collection[str]) -> list[str]:
    """Routes that neither the kernel nor Netloom made, in words."""
    found: list[str] = []
    for item in routes:
        ours = item["proto"] == KERNEL or (item["proto"] == _STATIC and _table(item) == _MAIN)
        if ours or _table(item) == _LOCAL or destination_of(item) in held:
            continue
        via = f" via {item.get('gateway')}" if item.get("gateway") else ""
        device = f" dev {devices[item.get('oif')]}" if item.get("oif") in devices else ""
        table = "" if _table(item) == _MAIN else f" table {_table(item)}"
        found.append(f"{destination_of(item)}{via}{device}{table}")
    return found


def not_connected(routes: Iterable[Any], index: int, addresses: Iterable[str]) -> list[str]:
    """Addresses whose network is not reached by the device that has them: the kernel's own route is gone."""
    there = {destination_of(i) for i in routes if i.get("oif") == index and _table(i) == _MAIN}
    return [
        address
        for address in addresses
        if int(address.partition("/")[2]) != of(address).bits
        and str(ipaddress.ip_interface(address).network) not in there
    ]


def ensure_route(item: NsRoute) -> None:
    """Put the route in, in the place of another one of ours to the same destination.

    The kernel's own route to a connected network stays behind it: nobody would put that one back. A route that another
    program holds is left to that one, and ours goes.
    """
    if item.held_by != "agent":
        remove_route(item.namespace, item.destination)
        return
    with netns.inside(item.namespace), open_netlink() as link:
        index = index_of(link, item.device)
        there = _routes_to(link, item.destination)
        if there and there[0]["proto"] != _STATIC and of(item.destination) is V4:
            via = ["via", item.gateway] if item.gateway else ["scope", "link"]
            run(
                [
                    "ip",
                    "route",
                    "prepend",
                    item.destination,
                    *via,
                    "dev",
                    item.device,
                    "proto",
                    "static",
                ]
            )
            return
        where = {"gateway": item.gateway} if item.gateway else {"scope": OF_LINK}
        if there and there[0]["proto"] == _STATIC and _is_odd(there[0]):
            odd = there[0].get("priority") or 0
            link.route(
                "del", dst=item.destination, proto=_STATIC, type=there[0]["type"], priority=odd
            )
        link.route("replace", dst=item.destination, oif=index, proto=_STATIC, **where)


def _is_odd(route: Any) -> bool:
    return route["type"] != _UNICAST or _has_metric(route)


def _routes_to(link: Any, destination: str) -> list[Any]:
    """Routes of the main table to exactly this destination, the one that is used first."""
    family = socket.AF_INET if of(destination) is V4 else socket.AF_INET6
    routes = link.get_routes(family=family, table=254)
    return [item for item in routes if destination_of(item) == destination]


def remove_route(namespace: str, destination: str) -> None:
    """Take a route of ours out."""
    if not netns.exists(namespace):
        return
    with netns.inside(namespace), open_netlink() as link:
        for item in _routes_to(link, destination):
            if item["proto"] == _STATIC:
                # The scope as well: the kernel would look for a route by a gateway, and not find one on the link.
                link.route("del", dst=destination, proto=_STATIC, scope=item["scope"])
