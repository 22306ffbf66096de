"""The attributes of address groups, from neutron-lib, and what a list of addresses in the body of an action is."""

from __future__ import annotations

from typing import Any

import netaddr
from neutron_lib import exceptions as lib
from neutron_lib.api.definitions import address_group

_DEFINED: dict[str, Any] = address_group.RESOURCE_ATTRIBUTE_MAP["address_groups"]

ADDRESS_GROUPS: dict[str, dict[str, Any]] = {
    # Elsewhere the owner has both names, and is defined under the older one.
    "tenant_id" if name == "project_id" else name: facts
    for name, facts in _DEFINED.items()
}


class AddrFormatError(lib.BadRequest):
    """An address of the body is none; Neutron answers with what its library raises."""

    message = "invalid IPNetwork %(address)s"


def addresses_of(document: dict[str, Any]) -> list[str]:
    """Return the addresses that the body of an action names, each once, as CIDRs without host bits.

    Neutron answers 500 to a body without a list of texts.
    """
    asked = document.get("addresses")
    if not isinstance(asked, list):
        raise lib.InvalidInput(error_message="addresses must be a list of addresses or CIDRs")
    return normal(asked)  # pyright: ignore[reportUnknownArgumentType]


def normal(addresses: list[Any]) -> list[str]:
    """Return addresses as CIDRs without host bits, each once, in their order."""
    found: dict[str, None] = {}
    for address in addresses:
        try:
            if not isinstance(address, str):
                raise ValueError(address)
            found[str(netaddr.IPNetwork(address).cidr)] = None
        except (ValueError, netaddr.AddrFormatError):
            raise AddrFormatError(address=address) from None
    return list(found)
