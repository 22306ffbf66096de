"""Which addresses a port gets, keeps and loses: what is asked for, and what its MAC address makes in announced prefixes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.contract.port_errors import (
    IpAddressAlreadyAllocated,
    IPAddressChangeNotAllowed,
    IpAddressGenerationFailureNoMatchingSubnet,
)
from netloom.model import Context, FixedIP, FloatingIP, Network, Port, Router, Subnet
from netloom.model.names import INTERFACE_OWNERS, OWNER_DHCP
from netloom.network import access, ipam, slaac
from netloom.store import Reader, Writer


def first(
    w: Writer,
    network: Network,
    asked: Sequence[Any] | None,
    owner: str,
    mac_address: str,
    id: str,
    ctx: Context | None = None,
) -> tuple[FixedIP, ...]:
    """Take the addresses of a new port. `ctx`: of a caller, who gets them of subnets that he sees; None: of all."""
    port = ipam.PortFacts(owner, mac_address)
    subnets, known = _subnets(w, network, asked, ctx, owner)
    wanted = ipam.wishes(network.id, subnets, asked, known, port)
    wanted += ipam.automatic(subnets, port)
    return ipam.ordered(ipam.allocate(w, network.id, wanted, id, lowest=owner == OWNER_DHCP))


def changed(
    w: Writer,
    ctx: Context | None,
    network: Network,
    old: Port,
    asked: Sequence[Any] | None,
    mac_address: str,
) -> tuple[FixedIP, ...]:
    """Take and give back addresses as a port shall have them; `asked` None: those that it has.

    What the port has by itself stays although it is not named, and is made anew where the MAC address changes.
    Raises BadRequest for addresses that a router or a floating IP needs.
    """
    old_ips = old.fixed_ips
    moved: set[str] = set()
    if mac_address != old.mac_address:
        moved = {fixed.subnet_id for fixed in old_ips if slaac.is_derived(fixed.ip_address)}
    gone = {fixed.ip_address for fixed in old_ips if fixed.subnet_id in moved}
    if asked is None:
        entries: list[dict[str, Any]] = [
            {"subnet_id": fixed.subnet_id, "ip_address": fixed.ip_address} for fixed in old_ips
        ]
    else:
        entries = list(asked)
    entries = [
        entry
        for entry in entries
        if entry.get("subnet_id") not in moved and entry.get("ip_address") not in gone
    ]
    held = frozenset(fixed.ip_address for fixed in old_ips)
    port = ipam.PortFacts(old.device_owner, mac_address, held)
    subnets, known = _subnets(w, network, entries, ctx, old.device_owner, old_ips)
    stays = [fixed for fixed in old_ips if fixed.subnet_id not in moved]
    kept, rest = ipam.keep(stays, ipam.wishes(network.id, subnets, entries, known, port))
    by_id = {subnet.id: subnet for subnet in w.list(Subnet, network_id=network.id)}
    if old.device_owner not in slaac.WITHOUT:
        kept += [f for f in stays if f not in kept and slaac.is_automatic(by_id[f.subnet_id])]
    rest += [ipam.Wish((by_id[id],)) for id in sorted(moved) if not slaac.is_automatic(by_id[id])]
    has = {fixed.subnet_id for fixed in kept} | {
        subnet.id for wish in rest if wish.address for subnet in wish.subnets
    }
    rest += ipam.automatic([s for s in subnets if s.id not in moved], port, has)
    rest += ipam.automatic([by_id[id] for id in sorted(moved)], port)
    lost = [fixed for fixed in old_ips if fixed not in kept]
    if not lost and not rest:
        return old_ips
    _check_free(w, old, lost, rest)
    got = ipam.allocate(w, network.id, rest, old.id, lowest=old.device_owner == OWNER_DHCP)
    ipam.release(w, network.id, lost)
    return ipam.ordered([*kept, *got])


def _check_free(
    r: Reader, port: Port, lost: Sequence[FixedIP], wanted: Iterable[ipam.Wish]
) -> None:
    """Raise BadRequest where a router or a floating IP needs the addresses as they are."""
    touched = any(":" not in fixed.ip_address for fixed in lost) or any(
        subnet.ip_version == 4 for wish in wanted for subnet in wish.subnets
    )
    # A router's interface keeps its address; that of a floating IP's port is the floating IP itself.
    if touched and (
        port.device_owner in INTERFACE_OWNERS or r.count(FloatingIP, floating_port_id=port.id)
    ):
        raise lib.BadRequest(resource="ports", msg=str(IPAddressChangeNotAllowed(port_id=port.id)))
    gone = {fixed.ip_address for fixed in lost}
    if any(fip.fixed_ip_address in gone for fip in r.list(FloatingIP, port_id=port.id)):
        raise lib.BadRequest(
            resource="port",
            msg=(
                f"Cannot update the fixed_ips of the port {port.id}, because its original fixed_ip has "
                "been associated to a floating ip"
            ),
        )


def _subnets(
    r: Reader,
    network: Network,
    asked: Sequence[Any] | None,
    ctx: Context | None,
    owner: str,
    held: Sequence[FixedIP] = (),
) -> tuple[list[Subnet], set[str]]:
    """Return the subnets that addresses may come from, and of those that are named the ids of others that exist.

    A network's owner does not see others' subnets on it; a port that `held` an address of one may keep it. Subnets for
    ports of this owner alone come first. Raises IpAddressGenerationFailureNoMatchingSubnet where all are for others.
    """
    every = r.list(Subnet, network_id=network.id)
    here = {fixed.subnet_id for fixed in held}
    on_network = [s for s in every if s.id in here or serves(s, owner)]
    if every and not any(serves(subnet, owner) for subnet in every):
        raise IpAddressGenerationFailureNoMatchingSubnet(network_id=network.id, service_type=owner)
    on_network.sort(key=lambda subnet: not subnet.service_types)
    if ctx is None:
        subnets, hidden = on_network, set[str]()
    else:
        seen = {subnet.id for subnet in access.seen(r, ctx, on_network)}
        has = {None, *(fixed.ip_address for fixed in held)}
        wants = {
            entry.get("subnet_id") for entry in asked or () if entry.get("ip_address") not in has
        }
        seen |= {fixed.subnet_id for fixed in held} - wants
        subnets = [subnet for subnet in on_network if subnet.id in seen]
        hidden = {subnet.id for subnet in on_network} - seen
    hidden -= {subnet.id for subnet in every if not serves(subnet, owner)}
    named = {str(entry["subnet_id"]) for entry in asked or () if entry.get("subnet_id")}
    known = r.get_many(Subnet, named - {subnet.id for subnet in subnets} - hidden)
    return subnets, set(known)


def serves(subnet: Subnet, owner: str) -> bool:
    """Tell whether ports of this owner get addresses of the subnet: `service_types` names all, where it names any."""
    types = subnet.service_types
    return not types or owner in types or (subnet.enable_dhcp and owner == OWNER_DHCP)


def announce(w: Writer, subnet: Subnet) -> None:
    """Give each port of the network its address in a new subnet whose addresses are made from MAC addresses."""
    for port in w.list(Port, network_id=subnet.network_id):
        if port.device_owner in slaac.WITHOUT or not serves(subnet, port.device_owner):
            continue
        if any(fixed.subnet_id == subnet.id for fixed in port.fixed_ips):
            continue
        # Another port may have been given this very address in the same moment: only one has it.
        with suppress(IpAddressAlreadyAllocated):
            address = slaac.address(subnet, port.mac_address)
            fixed = ipam.claim(w, subnet.network_id, subnet, address, port.id)
            put(w, port, [*port.fixed_ips, fixed])


def withdraw(w: Writer, subnet: Subnet, ports: Iterable[Port]) -> None:
    """Take their addresses in a subnet that goes from these ports."""
    for port in ports:
        gone = [fixed for fixed in port.fixed_ips if fixed.subnet_id == subnet.id]
        ipam.release(w, subnet.network_id, gone)
        put(w, port, [fixed for fixed in port.fixed_ips if fixed not in gone])


def put(w: Writer, port: Port, fixed_ips: Iterable[FixedIP]) -> Port:
    """Store a port with other addresses, which are claimed; where it is a gateway its router shows them."""
    new = w.update(replace(port, fixed_ips=ipam.ordered(fixed_ips)))
    tell_router(w, new)
    return new


def tell_router(w: Writer, port: Port) -> None:
    """Write a gateway port's addresses into its router; by the router, for owners can be changed."""
    for router in w.list(Router, gw_port_id=port.id):
        if router.external_gateway_info is not None:
            info = replace(router.external_gateway_info, external_fixed_ips=port.fixed_ips)
            w.update(replace(router, external_gateway_info=info))
