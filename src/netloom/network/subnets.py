"""Subnets: ranges of addresses on a network, with their gateway, pools and DHCP options. IPv4."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import uuid4

import netaddr
from msgspec.structs import replace
from neutron_lib import exceptions as lib

from netloom.contract.errors import IpamValueInvalid, invalid
from netloom.model import Context, FixedIP, Network, Port, Route, Subnet, to_doc
from netloom.model.names import INTERFACE_OWNERS
from netloom.network import dhcp, ipam, networks, pools, quotas
from netloom.network.access import SHARED
from netloom.network.networks import AUTO_DELETED_OWNERS, SMALLEST_MTU
from netloom.store import Reader, Writer

MAX_DNS_NAMESERVERS = 5
MAX_HOST_ROUTES = 20


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> Subnet:
    """Make a subnet on a network; the network's revision goes up with it."""
    network = networks.get(w, attrs["network_id"])
    quotas.check(w, ctx, attrs["project_id"], Subnet.KIND)
    cidr = _cidr(attrs)
    _check_dhcp(cidr, attrs["enable_dhcp"])
    gateway = _gateway(cidr, attrs["gateway_ip"]) if "gateway_ip" in attrs else None
    nameservers = _nameservers(attrs.get("dns_nameservers") or [], "new subnet")
    routes = _routes(attrs.get("host_routes") or [], "new subnet")
    _check_ipv4_only(attrs)
    if network.mtu < SMALLEST_MTU:
        raise lib.NetworkMTUSubnetConflict(net_id=network.id, mtu=SMALLEST_MTU)
    asked = (
        pools.check_pools(cidr, attrs["allocation_pools"]) if attrs.get("allocation_pools") else ()
    )
    if "gateway_ip" not in attrs:
        gateway = _default_gateway(cidr)
    if asked and gateway:
        pools.check_gateway_outside(gateway, asked)
    _check_overlap(w, network, cidr)
    subnet = w.insert(
        Subnet(
            id=str(uuid4()),
            project_id=attrs["project_id"],
            name=attrs["name"],
            description=attrs["description"],
            network_id=network.id,
            cidr=str(cidr),
            gateway_ip=gateway,
            enable_dhcp=attrs["enable_dhcp"],
            allocation_pools=asked or pools.default_pools(cidr, gateway),
            dns_nameservers=nameservers,
            host_routes=routes,
        )
    )
    w.bump(Network, network.id)
    dhcp.refresh(w, ctx, network)
    return subnet


def update(w: Writer, ctx: Context, old: Subnet, attrs: dict[str, Any]) -> Subnet:
    """Change a subnet; its gateway only while no router holds the old one."""
    cidr = IPv4Network(old.cidr)
    new = replace(old, **{name: attrs[name] for name in ("name", "description") if name in attrs})
    if "enable_dhcp" in attrs:
        if attrs["enable_dhcp"] and not old.enable_dhcp:
            _check_dhcp(cidr, True)
        new = replace(new, enable_dhcp=attrs["enable_dhcp"])
    if "gateway_ip" in attrs:
        new = replace(new, gateway_ip=_gateway(cidr, attrs["gateway_ip"]))
        if new.gateway_ip != old.gateway_ip:
            _check_gateway_free(w, old)
    if "dns_nameservers" in attrs:
        new = replace(new, dns_nameservers=_nameservers(attrs["dns_nameservers"], old.id))
    if "host_routes" in attrs:
        new = replace(new, host_routes=_routes(attrs["host_routes"], old.id))
    if attrs.get("allocation_pools") is not None:
        new = replace(new, allocation_pools=pools.check_pools(cidr, attrs["allocation_pools"]))
    if new.gateway_ip and (new.gateway_ip, new.allocation_pools) != (
        old.gateway_ip,
        old.allocation_pools,
    ):
        pools.check_gateway_outside(new.gateway_ip, new.allocation_pools)
    updated = w.update(new)
    if updated.revision_number != old.revision_number:
        w.bump(Network, old.network_id)
    if updated.enable_dhcp != old.enable_dhcp:
        dhcp.refresh(w, ctx, networks.get(w, old.network_id))
    return updated


def delete(w: Writer, ctx: Context, old: Subnet) -> None:
    """Delete a subnet; DHCP ports lose their address in it, any other port with one is in the way."""
    ports = w.list(Port, subnet_id=old.id)
    if any(port.device_owner not in AUTO_DELETED_OWNERS for port in ports):
        raise lib.SubnetInUse(subnet_id=old.id)
    for port in ports:
        kept = tuple(fixed for fixed in port.fixed_ips if fixed.subnet_id != old.id)
        gone = [fixed for fixed in port.fixed_ips if fixed.subnet_id == old.id]
        ipam.release(w, old.network_id, gone)
        w.update(replace(port, fixed_ips=kept))
    w.delete(Subnet, old.id)
    w.bump(Network, old.network_id)


def show(r: Reader, ctx: Context, objs: Sequence[Subnet]) -> list[dict[str, Any]]:
    """Return subnets as the API shows them."""
    parents = r.get_many(Network, {subnet.network_id for subnet in objs})
    shared = r.accessible(ctx.caller.project_id, SHARED)
    docs: list[dict[str, Any]] = []
    for subnet in objs:
        doc = to_doc(subnet)
        network = parents.get(subnet.network_id)
        doc["tenant_id"] = subnet.project_id
        doc["router:external"] = network is not None and network.external
        # Not visible, but lists are filtered by it.
        doc["shared"] = subnet.network_id in shared
        docs.append(doc)
    return docs


def _cidr(attrs: dict[str, Any]) -> IPv4Network:
    """Return the range that a client asked for; what cannot be done yet is refused here."""
    if attrs.get("subnetpool_id") is not None:
        if attrs["subnetpool_id"] == "prefix_delegation":
            raise lib.BadRequest(
                resource="subnets", msg="Prefix Delegation can only be used with IPv6 subnets."
            )
        raise lib.SubnetPoolNotFound(subnetpool_id=attrs["subnetpool_id"])
    if attrs.get("cidr") is None:
        raise lib.BadRequest(
            resource="subnets", msg="a subnetpool must be specified in the absence of a cidr"
        )
    if "prefixlen" in attrs:
        raise lib.BadRequest(
            resource="subnets", msg="cidr and prefixlen must not be supplied together"
        )
    network = netaddr.IPNetwork(attrs["cidr"])
    cidr = f"{network.network}/{network.prefixlen}"
    _check_version(attrs["ip_version"], cidr, "cidr")
    if attrs["ip_version"] != 4:
        raise invalid("IPv6 subnets are not supported by this server, ip_version must be 4")
    return IPv4Network(cidr)


def _check_version(version: int, value: str, name: str) -> None:
    if netaddr.IPNetwork(value).version != version:
        raise invalid(f"{name} '{value}' does not match the ip_version '{version}'")


def _check_dhcp(cidr: IPv4Network, enabled: bool) -> None:
    """Refuse DHCP where it has no addresses to give."""
    if not enabled:
        return
    if cidr.prefixlen > 30:
        raise invalid("Subnet has a prefix length that is incompatible with DHCP service enabled")
    if cidr.is_multicast:
        raise invalid("Multicast IP subnet is not supported if enable_dhcp is True")
    if cidr.is_loopback:
        raise invalid("Loopback IP subnet is not supported if enable_dhcp is True")
    if int(cidr.network_address) == 0:
        raise invalid("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")


def _gateway(cidr: IPv4Network, asked: str | None) -> str | None:
    """Return the gateway that a client named; it may lie outside of the range."""
    if not asked:
        return None
    _check_version(4, asked, "gateway_ip")
    address = IPv4Address(asked)
    if pools.is_reserved(cidr, address):
        raise invalid("Gateway is not valid on subnet")
    return str(address)


def _default_gateway(cidr: IPv4Network) -> str:
    gateway = pools.default_gateway(cidr)
    if pools.is_reserved(cidr, IPv4Address(gateway)):
        raise IpamValueInvalid(
            message=f"Gateway IP {gateway} cannot be the network or broadcast IP address {cidr}"
        )
    return gateway


def _nameservers(asked: Sequence[str], subnet_id: str) -> tuple[str, ...]:
    """Return DNS servers, in the client's order."""
    if len(asked) > MAX_DNS_NAMESERVERS:
        raise lib.DNSNameServersExhausted(subnet_id=subnet_id, quota=MAX_DNS_NAMESERVERS)
    for address in asked:
        _check_version(4, address, "dns_nameserver")
    return tuple(asked)


def _routes(asked: Sequence[dict[str, str]], subnet_id: str) -> tuple[Route, ...]:
    """Return host routes, ordered as Neutron shows them."""
    if len(asked) > MAX_HOST_ROUTES:
        raise lib.HostRoutesExhausted(subnet_id=subnet_id, quota=MAX_HOST_ROUTES)
    for route in asked:
        _check_version(4, route["destination"], "destination")
        _check_version(4, route["nexthop"], "nexthop")
    routes = [Route(route["destination"], route["nexthop"]) for route in asked]
    return tuple(sorted(routes, key=lambda route: (route.destination, route.nexthop)))


def _check_ipv4_only(attrs: dict[str, Any]) -> None:
    for name in ("ipv6_ra_mode", "ipv6_address_mode"):
        if attrs.get(name) is not None:
            raise invalid(f"{name} is not valid when ip_version is 4")


def _check_overlap(r: Reader, network: Network, cidr: IPv4Network) -> None:
    """Refuse a range that shares addresses with another subnet of the network."""
    if cidr.prefixlen == 0:
        raise invalid("0 is not allowed as CIDR prefix length")
    for other in r.list(Subnet, network_id=network.id):
        if cidr.overlaps(IPv4Network(other.cidr)):
            raise invalid(
                f"Requested subnet with cidr: {cidr} for network: {network.id} overlaps with another subnet"
            )


def _check_gateway_free(r: Reader, subnet: Subnet) -> None:
    """Refuse to change the gateway while a router's port holds it."""
    if subnet.gateway_ip is None:
        return
    for port in r.list(Port, subnet_id=subnet.id, device_owner=INTERFACE_OWNERS):
        if FixedIP(subnet.id, subnet.gateway_ip) in port.fixed_ips:
            raise lib.GatewayIpInUse(ip_address=subnet.gateway_ip, port_id=port.id)
