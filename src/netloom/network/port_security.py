"""Port security, security groups and allowed address pairs of a port: what goes with what.

Pure functions over what a port shall have. The codes differ between create (400) and update (409) as
they do in Neutron.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from neutron_lib.exceptions.allowedaddresspairs import (
    AddressPairAndPortSecurityRequired,
    AllowedAddressPairExhausted,
    AllowedAddressPairsMissingIP,
    DuplicateAddressPairInRequest,
)
from neutron_lib.exceptions.port_security import (
    PortSecurityAndIPRequiredForSecurityGroups,
    PortSecurityPortHasSecurityGroup,
)

from netloom.contract.errors import HTTPBadRequest
from netloom.model import AddressPair

MAX_PAIRS = 10


def is_trusted(device_owner: str) -> bool:
    """True for ports of the network itself (routers, DHCP): nothing they send is checked."""
    return device_owner.startswith("network:")


def pairs(asked: Sequence[dict[str, Any]] | None, mac_address: str) -> tuple[AddressPair, ...]:
    """Return address pairs with the port's own MAC where none is given. Raises the API's errors."""
    found: set[tuple[str, str]] = set()
    for entry in asked or ():
        address = entry.get("ip_address")
        if not address:
            raise AllowedAddressPairsMissingIP()
        mac = entry.get("mac_address") or mac_address
        if (mac, address) in found:
            raise DuplicateAddressPairInRequest(
                mac_address=entry.get("mac_address"), ip_address=address
            )
        found.add((mac, address))
        if ip_network(address, strict=False).is_multicast:
            raise HTTPBadRequest(f"IP {address} is a multicast address, which is not supported.")
    if len(found) > MAX_PAIRS:
        raise AllowedAddressPairExhausted(quota=MAX_PAIRS)
    return tuple(AddressPair(ip_address=address, mac_address=mac) for mac, address in sorted(found))


def check_create(enabled: bool, groups: Sequence[str], has_pairs: bool) -> None:
    """Raise for a new port whose parts do not go together."""
    if enabled:
        return
    if has_pairs:
        raise AddressPairAndPortSecurityRequired()
    if groups:
        raise PortSecurityAndIPRequiredForSecurityGroups()


def check_update(
    enabled: bool, groups: Sequence[str], has_pairs: bool, *, groups_given: bool
) -> None:
    """Raise for a changed port whose parts do not go together; `groups_given`: the request names groups."""
    if enabled:
        return
    if has_pairs:
        raise AddressPairAndPortSecurityRequired()
    if groups and groups_given:
        raise PortSecurityAndIPRequiredForSecurityGroups()
    if groups:
        raise PortSecurityPortHasSecurityGroup()
