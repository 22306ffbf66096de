"""MAC addresses of ports: unique in their network, by the claim `mac:<network id>`."""

from __future__ import annotations

import random

from neutron_lib import exceptions as lib

from netloom.contract.port_errors import MacAddressGenerationFailure
from netloom.model import Context
from netloom.store import Claimed, Writer

TRIES = 16
"""More than ever needed: of the 16 million addresses of a base, a network uses thousands."""


def scope(network_id: str) -> str:
    """Scope of the claims of a network's MAC addresses."""
    return f"mac:{network_id}"


def claim(w: Writer, network_id: str, mac: str, owner: str) -> str:
    """Take this MAC address; raises MacAddressInUse."""
    mac = mac.lower()
    try:
        w.claim(scope(network_id), mac, owner)
    except Claimed:
        raise lib.MacAddressInUse(net_id=network_id, mac=mac) from None
    return mac


def claim_any(w: Writer, ctx: Context, network_id: str, owner: str) -> str:
    """Take a random address of the settings' `base_mac`: its first three bytes, or four if the fourth is not 0."""
    base = ctx.settings.base_mac.lower().split(":")
    fixed = base[:3] if base[3] == "00" else base[:4]
    for _ in range(TRIES):
        mac = ":".join([*fixed, *(f"{random.randrange(256):02x}" for _ in range(6 - len(fixed)))])
        try:
            w.claim(scope(network_id), mac, owner)
        except Claimed:
            continue
        return mac
    raise MacAddressGenerationFailure(net_id=network_id)
