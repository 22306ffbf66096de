"""What carries a network: its type, physical network and number, all claimed so that no two are the same.

Claim scopes: `flat:<physical network>`, `vlan:<physical network>`, `vni:<tunnel type>`, and `key` for the
number under which hosts know a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct
from neutron_lib import exceptions as lib

from netloom.contract.errors import invalid
from netloom.model import NetworkSettings
from netloom.model.context import LARGEST_GRE_KEY, LARGEST_VNI, VLANS
from netloom.model.names import tunnel_overhead
from netloom.store import Claimed, Reader, Writer

TYPE = "provider:network_type"
PHYSICAL = "provider:physical_network"
ID = "provider:segmentation_id"

LARGEST_KEY = 2**24 - 1

LARGEST_TUNNEL_ID = {"vxlan": LARGEST_VNI, "gre": LARGEST_GRE_KEY, "geneve": LARGEST_VNI}
"""Tunnel type → the largest number that its header holds."""

Ranges = Sequence[tuple[int, int]]


class Segment(Struct, frozen=True):
    """A network's carrier, as the API's `provider:` attributes say it."""

    type: str
    physical_network: str | None = None
    id: int | None = None


def choose(w: Writer, settings: NetworkSettings, owner: str, attrs: dict[str, Any]) -> Segment:
    """Take a segment for a new network: the one that the attributes name, else one for projects.

    An external network without provider attributes is flat on `external_physical_network`, where that is
    set and carries no flat network yet; else it is as one for projects. A tunnel type that no host carries is none that
    there is. Raises InvalidInput, FlatNetworkInUse, VlanIdInUse, TunnelIdInUse or NoNetworkAvailable.
    """
    if any(name in attrs for name in (TYPE, PHYSICAL, ID)):
        if TYPE not in attrs:
            raise invalid("network_type required")
        asked = Segment(attrs[TYPE], attrs.get(PHYSICAL), attrs.get(ID))
        check(settings, asked)
        if not is_carried(w, asked.type):
            raise _not_supported(asked.type)
        return take(w, settings, owner, asked)
    if attrs.get("router:external") and settings.external_physical_network:
        with suppress(lib.FlatNetworkInUse):
            return take(w, settings, owner, Segment("flat", settings.external_physical_network))
    for kind in settings.project_network_types:
        if not is_carried(w, kind):
            continue
        try:
            return take(w, settings, owner, Segment(kind))
        except lib.NoNetworkAvailable:
            continue
    raise lib.NoNetworkAvailable()


def is_carried(r: Reader, network_type: str) -> bool:
    """Whether any host carries tunnels of this type; true for other types, and before any host has told of tunnels."""
    if network_type not in LARGEST_TUNNEL_ID:
        return True
    return r.has_tunnels(network_type) or not r.has_tunnels()


def _not_supported(network_type: str) -> Exception:
    return invalid(f"network_type value '{network_type}' not supported")


def check(settings: NetworkSettings, segment: Segment) -> None:
    """Raise InvalidInput where a segment cannot be asked for."""
    physical = segment.physical_network
    if segment.type == "flat":
        if not physical:
            raise invalid("physical_network required for flat provider network")
        if "*" not in settings.flat_networks and physical not in settings.flat_networks:
            raise invalid(f"physical_network '{physical}' unknown for flat provider network")
        if segment.id:
            raise invalid("segmentation_id prohibited for flat provider network")
    elif segment.type == "vlan":
        if physical:
            if physical not in settings.vlan_ranges:
                raise invalid(f"physical_network '{physical}' unknown for VLAN provider network")
            if segment.id is not None and not VLANS[0] <= segment.id <= VLANS[1]:
                raise invalid(f"segmentation_id out of range ({VLANS[0]} through {VLANS[1]})")
        elif segment.id is not None:
            raise invalid("segmentation_id requires physical_network for VLAN provider network")
    elif segment.type in LARGEST_TUNNEL_ID:
        if physical:
            raise invalid(f"provider:physical_network specified for {segment.type} network")
        # Neutron takes any number here; one that does not fit the header could never carry a frame.
        largest = LARGEST_TUNNEL_ID[segment.type]
        if segment.id is not None and not 0 <= segment.id <= largest:
            raise invalid(f"segmentation_id out of range (0 through {largest})")
    else:
        raise _not_supported(segment.type)


def take(w: Writer, settings: NetworkSettings, owner: str, segment: Segment) -> Segment:
    """Claim a segment for `owner` (a network's id), choosing what it leaves open."""
    if segment.type == "flat":
        physical = segment.physical_network or ""
        _claim(
            w, f"flat:{physical}", physical, owner, lib.FlatNetworkInUse(physical_network=physical)
        )
        return segment
    if segment.type == "vlan":
        return _take_vlan(w, settings, owner, segment)
    scope = f"vni:{segment.type}"
    if segment.id is None:
        ranges = settings.tunnel_id_ranges if segment.type == "gre" else settings.vni_ranges
        return Segment(segment.type, None, first_free(w, scope, ranges, owner))
    _claim(w, scope, str(segment.id), owner, lib.TunnelIdInUse(tunnel_id=segment.id))
    return segment


def _take_vlan(w: Writer, settings: NetworkSettings, owner: str, segment: Segment) -> Segment:
    if segment.id is not None:
        physical = segment.physical_network or ""
        taken = lib.VlanIdInUse(vlan_id=segment.id, physical_network=physical)
        _claim(w, f"vlan:{physical}", str(segment.id), owner, taken)
        return segment
    named: Iterable[str] = (
        [segment.physical_network] if segment.physical_network else settings.vlan_ranges
    )
    for physical in named:
        # A physical network without ranges of its own may carry any VLAN that an administrator asks for.
        ranges = settings.vlan_ranges[physical] or (VLANS,)
        try:
            return Segment("vlan", physical, first_free(w, f"vlan:{physical}", ranges, owner))
        except lib.NoNetworkAvailable:
            continue
    raise lib.NoNetworkAvailable()


def take_key(w: Writer, owner: str) -> int:
    """Claim the number under which hosts know a network, of whatever type."""
    return first_free(w, "key", ((1, LARGEST_KEY),), owner)


def release(w: Writer, segment: Segment) -> None:
    """Give a segment back."""
    if segment.type == "flat":
        w.release(f"flat:{segment.physical_network}", str(segment.physical_network))
    elif segment.type == "vlan":
        w.release(f"vlan:{segment.physical_network}", str(segment.id))
    else:
        w.release(f"vni:{segment.type}", str(segment.id))


def first_free(w: Writer, scope: str, ranges: Ranges, owner: str) -> int:
    """Claim the next free number of some ranges, starting after the last one given.

    So a number rests as long as possible before it is used again. Raises NoNetworkAvailable.
    """
    cursor = int(w.setting(f"cursor:{scope}") or -1)
    taken: dict[str, str] | None = None
    for tries, number in enumerate(_from(ranges, cursor)):
        # One look per number, until a long run of taken ones makes reading all claims cheaper.
        if tries == 8:
            taken = w.claims(scope)
        if (str(number) in taken) if taken is not None else w.claim_owner(scope, str(number)):
            continue
        w.claim(scope, str(number), owner)
        w.set_setting(f"cursor:{scope}", str(number))
        return number
    raise lib.NoNetworkAvailable()


def _from(ranges: Ranges, cursor: int) -> Iterable[int]:
    """Yield every number of the ranges once: those after the cursor first."""
    for first, last in ranges:
        yield from range(max(first, cursor + 1), last + 1)
    for first, last in ranges:
        yield from range(first, min(last, cursor) + 1)


def largest_mtu(settings: NetworkSettings, network_type: str) -> int:
    """Return the largest MTU, in bytes, that a network of this type can have."""
    overhead = tunnel_overhead(network_type, settings.overlay_ip_version)
    limits = [settings.global_physnet_mtu]
    if overhead and settings.path_mtu:
        limits.append(settings.path_mtu)
    return min(limits) - overhead


def _claim(w: Writer, scope: str, key: str, owner: str, taken: Exception) -> None:
    try:
        w.claim(scope, key, owner)
    except Claimed:
        raise taken from None
