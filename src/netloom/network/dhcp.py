"""The DHCP port of a network: one, realised on every host where the network is present.

It holds one address of each subnet that has DHCP on. It is made when the network first gets a place on a
host: a port is bound there, or a router that has an interface in it is placed there.
"""

from __future__ import annotations

from uuid import NAMESPACE_DNS, uuid4, uuid5

from msgspec.structs import replace

from netloom.contract.port_errors import IpAddressAlreadyAllocated
from netloom.model import Context, Network, Port, Router, Subnet
from netloom.model.names import OWNER_DHCP, ROUTER_OWNERS
from netloom.model.placement import places
from netloom.network import ipam, macs, port_keys, slaac
from netloom.store import Reader, Writer


def device_id(network_id: str) -> str:
    """Return the DHCP port's `device_id`, in the form that Neutron gives it."""
    return f"dhcp{uuid5(NAMESPACE_DNS, 'netloom')}-{network_id}"


def dhcp_port(r: Reader, network_id: str) -> Port | None:
    """Return the network's own DHCP port, or None; ports that users give this owner do not count."""
    ports = r.list(Port, network_id=network_id, device_id=device_id(network_id))
    return next((port for port in ports if port.device_owner == OWNER_DHCP), None)


def needed(r: Reader, network_id: str) -> bool:
    """True where the network is present on a host: a bound port, or the interface of a placed router."""
    ports = r.list(Port, network_id=network_id)
    if any(port.host for port in ports):
        return True
    routers = r.get_many(Router, {p.device_id for p in ports if p.device_owner in ROUTER_OWNERS})
    return any(places(router) for router in routers.values())


def lacks(r: Reader, network: Network) -> bool:
    """True where the network should have a DHCP port and has none, or one without an address of a subnet with DHCP on."""
    served = _served(r, network)
    if not served:
        return False
    port = dhcp_port(r, network.id)
    if port is not None:
        return not served.keys() <= {fixed.subnet_id for fixed in port.fixed_ips}
    if network.external:
        # A router's gateway alone does not bring DHCP to an external network.
        return any(port.host for port in r.list(Port, network_id=network.id))
    return needed(r, network.id)


def _served(r: Reader, network: Network) -> dict[str, Subnet]:
    """Return the subnets that DHCP serves, by id."""
    return {
        subnet.id: subnet for subnet in r.list(Subnet, network_id=network.id) if subnet.enable_dhcp
    }


def refresh(w: Writer, ctx: Context, network: Network) -> None:
    """Make the DHCP port fit the network's subnets; to be called after a subnet changed, came or went."""
    if dhcp_port(w, network.id) is not None or needed(w, network.id):
        ensure_dhcp_port(w, ctx, network)


def ensure_dhcp_port(w: Writer, ctx: Context, network: Network) -> Port | None:
    """Make the network's DHCP port, or make it fit the subnets; None where no subnet has DHCP on.

    A subnet whose pools are used up gets no address here and so no DHCP: that must not refuse the port that
    somebody is binding. Hosts say what is missing, and the keeper tries again when something of the network changes.
    """
    subnets = _served(w, network)
    port = dhcp_port(w, network.id)
    if port is None:
        if not subnets:
            return None
        id = str(uuid4())
        port = Port(
            id=id,
            project_id=network.project_id,
            revision_number=1,
            network_id=network.id,
            mac_address=macs.claim_any(w, ctx, network.id, id),
            key=port_keys.claim_any(w, id),
            device_id=device_id(network.id),
            device_owner=OWNER_DHCP,
            port_security_enabled=False,
        )
        return w.insert(replace(port, fixed_ips=_addresses(w, port, subnets)))
    ipam.release(w, network.id, [f for f in port.fixed_ips if f.subnet_id not in subnets])
    return w.update(replace(port, fixed_ips=_addresses(w, port, subnets)))


def _addresses(w: Writer, port: Port, subnets: dict[str, Subnet]) -> tuple[ipam.FixedIP, ...]:
    """Return the port's addresses, one of each subnet: those it has, and new ones."""
    has = {fixed.subnet_id: fixed for fixed in port.fixed_ips if fixed.subnet_id in subnets}
    for subnet in subnets.values():
        if subnet.id not in has:
            fixed = _address(w, port, subnet)
            if fixed is not None:
                has[subnet.id] = fixed
    return ipam.ordered(has.values())


def _address(w: Writer, port: Port, subnet: Subnet) -> ipam.FixedIP | None:
    if not slaac.is_automatic(subnet):
        return ipam.take_any(w, port.network_id, subnet, port.id, lowest=True)
    try:
        address = slaac.address(subnet, port.mac_address)
        return ipam.claim(w, port.network_id, subnet, address, port.id)
    except IpAddressAlreadyAllocated:
        return None
