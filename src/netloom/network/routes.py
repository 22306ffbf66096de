"""Extra routes of a router: pure checks, and adding to and taking from a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from neutron_lib.exceptions.extraroute import InvalidRoutes

from netloom.contract.errors import HTTPBadRequest
from netloom.model import Route


def parse(asked: Any) -> list[Route]:
    """Return routes from a request of `add_extraroutes`, which the contract does not check."""
    if not isinstance(asked, list):
        raise HTTPBadRequest(
            f"Invalid input for routes. Reason: Invalid data format for hostroute: '{asked}'."
        )
    found: list[Route] = []
    for entry in asked:
        if not isinstance(entry, dict) or not {"destination", "nexthop"} <= entry.keys():
            raise HTTPBadRequest(
                f"Invalid input for routes. Reason: Invalid data format for hostroute: '{entry}'."
            )
        found.append(Route(_cidr(entry["destination"]), _address(entry["nexthop"])))
    return found


def _cidr(value: Any) -> str:
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError
        return str(ip_network(value))
    except ValueError:
        raise HTTPBadRequest(
            f"Invalid input for routes. Reason: '{value}' is not a valid CIDR."
        ) from None


def _address(value: Any) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(ip_address(value))
    except ValueError:
        raise HTTPBadRequest(
            f"Invalid input for routes. Reason: '{value}' is not a valid IP address."
        ) from None


def as_text(routes: Iterable[Route]) -> str:
    """Return routes as the API's messages show them."""
    return str([{"destination": route.destination, "nexthop": route.nexthop} for route in routes])


def check(routes: Sequence[Route], cidrs: Iterable[str], addresses: Iterable[str]) -> None:
    """Raise InvalidRoutes unless every next hop is on a connected network and not the router itself.

    `cidrs` of the subnets that the router has an address in, `addresses` its own.
    """
    connected = [ip_network(cidr) for cidr in cidrs]
    own = {ip_address(address) for address in addresses}
    for route in routes:
        nexthop = ip_address(route.nexthop)
        if not any(nexthop.version == cidr.version and nexthop in cidr for cidr in connected):
            raise InvalidRoutes(
                routes=as_text(routes), reason="the nexthop is not connected with router"
            )
        if nexthop in own:
            raise InvalidRoutes(routes=as_text(routes), reason="the nexthop is used by router")


def ordered(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return each route once, in the API's order: by destination, then next hop."""
    return tuple(sorted(set(routes), key=lambda route: (route.destination, route.nexthop)))
