"""Subnets: ranges of addresses on a network, with their gateway, pools and DHCP options."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

import netaddr
from msgspec.structs import replace
from neutron_lib import constants
from neutron_lib import exceptions as lib

from netloom.contract.errors import IpamValueInvalid, invalid
from netloom.model import Context, FixedIP, Network, Port, Route, Subnet, to_doc
from netloom.model.names import INTERFACE_OWNERS
from netloom.network import addresses, dhcp, gateways, networks, pools, quotas, router_checks, slaac
from netloom.network.access import SHARED
from netloom.network.networks import AUTO_DELETED_OWNERS
from netloom.network.pools import IPNetwork
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
    nameservers = _nameservers(cidr, attrs.get("dns_nameservers") or [], "new subnet")
    routes = _routes(cidr, attrs.get("host_routes") or [], "new subnet")
    _check_modes(cidr, attrs)
    networks.check_mtu(network.id, network.mtu, {cidr.version})
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
            ip_version=cidr.version,
            gateway_ip=gateway,
            enable_dhcp=attrs["enable_dhcp"],
            allocation_pools=asked or pools.default_pools(cidr, gateway),
            dns_nameservers=nameservers,
            host_routes=routes,
            ipv6_ra_mode=attrs.get("ipv6_ra_mode"),
            ipv6_address_mode=attrs.get("ipv6_address_mode"),
            service_types=tuple(dict.fromkeys(attrs.get("service_types") or ())),
        )
    )
    w.bump(Network, network.id)
    if network.external:
        gateways.join(w, network, subnet)
    if slaac.is_automatic(subnet):
        addresses.announce(w, subnet)
    dhcp.refresh(w, ctx, network)
    return subnet


def update(w: Writer, ctx: Context, old: Subnet, attrs: dict[str, Any]) -> Subnet:
    """Change a subnet; its gateway only while no router holds the old one."""
    cidr = ip_network(old.cidr)
    new = replace(old, **{name: attrs[name] for name in ("name", "description") if name in attrs})
    if "enable_dhcp" in attrs:
        if attrs["enable_dhcp"] and not old.enable_dhcp:
            _check_dhcp(cidr, True)
        new = replace(new, enable_dhcp=attrs["enable_dhcp"])
    if "gateway_ip" in attrs:
        new = replace(new, gateway_ip=_gateway(cidr, attrs["gateway_ip"]))
        if new.gateway_ip != old.gateway_ip:
            _check_gateway_free(w, old)
    if "service_types" in attrs:
        new = replace(new, service_types=tuple(dict.fromkeys(attrs["service_types"] or ())))
    if "dns_nameservers" in attrs:
        new = replace(new, dns_nameservers=_nameservers(cidr, attrs["dns_nameservers"], old.id))
    if "host_routes" in attrs:
        new = replace(new, host_routes=_routes(cidr, attrs["host_routes"], old.id))
    if not attrs.get("enable_dhcp", True) and (old.ipv6_ra_mode or old.ipv6_address_mode):
        raise invalid("Cannot disable enable_dhcp with ipv6 attributes set")
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
    """Delete a subnet: DHCP ports lose their address in it, and all ports the one that their MAC address made.

    A router's interface, and any other port with an address of the pools, is in the way.
    """
    ports = w.list(Port, subnet_id=old.id)
    automatic = slaac.is_automatic(old)
    for port in ports:
        owner = port.device_owner
        if owner in INTERFACE_OWNERS or (not automatic and owner not in AUTO_DELETED_OWNERS):
            raise lib.SubnetInUse(subnet_id=old.id)
    addresses.withdraw(w, old, ports)
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


def _cidr(attrs: dict[str, Any]) -> IPNetwork:
    """Return the range that a client asked for; what cannot be done yet is refused here."""
    if attrs.get("cidr") is not None and "prefixlen" in attrs:
        raise lib.BadRequest(
            resource="subnets", msg="cidr and prefixlen must not be supplied together"
        )
    pool_id = attrs.get("subnetpool_id")
    if pool_id == constants.IPV6_PD_POOL_ID:
        # As in Neutron: whoever names a prefix has one, and waits for none.
        if attrs.get("cidr") is None:
            raise _no_prefix_delegation(attrs)
    elif pool_id is not None:
        raise lib.SubnetPoolNotFound(subnetpool_id=pool_id)
    if attrs.get("cidr") is None:
        raise lib.BadRequest(
            resource="subnets", msg="a subnetpool must be specified in the absence of a cidr"
        )
    network = netaddr.IPNetwork(attrs["cidr"])
    cidr = f"{network.network}/{network.prefixlen}"
    _check_version(attrs["ip_version"], cidr, "cidr")
    if network.version == 6 and int(network.network) == 0:
        raise invalid("IPv6 subnet '::' is not supported")
    return ip_network(cidr)


def _no_prefix_delegation(attrs: dict[str, Any]) -> lib.BadRequest:
    """Return the error for a prefix that another router shall delegate: no host asks one for prefixes."""
    if attrs["ip_version"] != 6:
        msg = "Prefix Delegation can only be used with IPv6 subnets."
    elif attrs.get("ipv6_ra_mode") not in slaac.MODES:
        msg = "IPv6 RA Mode must be SLAAC or Stateless for Prefix Delegation."
    elif attrs.get("ipv6_address_mode") not in slaac.MODES:
        msg = "IPv6 Address Mode must be SLAAC or Stateless for Prefix Delegation."
    else:
        msg = "Prefix Delegation is not supported by this server."
    return lib.BadRequest(resource="subnets", msg=msg)


def _check_version(version: int, value: str, name: str) -> None:
    if netaddr.IPNetwork(value).version != version:
        raise invalid(f"{name} '{value}' does not match the ip_version '{version}'")


def _check_dhcp(cidr: IPNetwork, enabled: bool) -> None:
    """Refuse DHCP where it has no addresses to give."""
    if not enabled:
        return
    if cidr.prefixlen > cidr.max_prefixlen - 2:
        raise invalid("Subnet has a prefix length that is incompatible with DHCP service enabled")
    if cidr.is_multicast:
        raise invalid("Multicast IP subnet is not supported if enable_dhcp is True")
    if cidr.is_loopback:
        raise invalid("Loopback IP subnet is not supported if enable_dhcp is True")
    if int(cidr.network_address) == 0:
        raise invalid("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")


def _gateway(cidr: IPNetwork, asked: str | None) -> str | None:
    """Return the gateway that a client named; it may lie outside of the range."""
    if not asked:
        return None
    _check_version(cidr.version, asked, "gateway_ip")
    address = ip_address(asked)
    if pools.is_reserved(cidr, address):
        raise invalid("Gateway is not valid on subnet")
    return str(address)


def _default_gateway(cidr: IPNetwork) -> str:
    gateway = pools.default_gateway(cidr)
    if pools.is_reserved(cidr, ip_address(gateway)):
        raise IpamValueInvalid(
            message=f"Gateway IP {gateway} cannot be the network or broadcast IP address {cidr}"
        )
    return gateway


def _nameservers(cidr: IPNetwork, asked: Sequence[str], subnet_id: str) -> tuple[str, ...]:
    """Return DNS servers, in the client's order."""
    if len(asked) > MAX_DNS_NAMESERVERS:
        raise lib.DNSNameServersExhausted(subnet_id=subnet_id, quota=MAX_DNS_NAMESERVERS)
    for address in asked:
        _check_version(cidr.version, address, "dns_nameserver")
    return tuple(asked)


def _routes(cidr: IPNetwork, asked: Sequence[dict[str, str]], subnet_id: str) -> tuple[Route, ...]:
    """Return host routes, ordered as Neutron shows them."""
    if len(asked) > MAX_HOST_ROUTES:
        raise lib.HostRoutesExhausted(subnet_id=subnet_id, quota=MAX_HOST_ROUTES)
    for route in asked:
        # The next hop is the one that is looked at first.
        _check_version(cidr.version, route["nexthop"], "nexthop")
        _check_version(cidr.version, route["destination"], "destination")
    routes = [Route(route["destination"], str(ip_address(route["nexthop"]))) for route in asked]
    return tuple(sorted(routes, key=lambda route: (route.destination, route.nexthop)))


def _check_modes(cidr: IPNetwork, attrs: dict[str, Any]) -> None:
    """Refuse modes of IPv6 that do not go together, or not with the subnet."""
    modes = {name: attrs.get(name) for name in ("ipv6_ra_mode", "ipv6_address_mode")}
    if cidr.version == 4:
        for name, mode in modes.items():
            if mode is not None:
                raise invalid(f"{name} is not valid when ip_version is 4")
        return
    given = {mode for mode in modes.values() if mode is not None}
    if given and not attrs["enable_dhcp"]:
        raise invalid(
            "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"
        )
    if len(given) == 2:
        raise invalid(
            f"ipv6_ra_mode set to '{modes['ipv6_ra_mode']}' with ipv6_address_mode set to "
            f"'{modes['ipv6_address_mode']}' is not valid. If both attributes are set, they must be "
            "the same value"
        )
    if given & slaac.MODES and cidr.prefixlen != 64:
        raise invalid(
            f"Invalid CIDR {cidr} for IPv6 address mode. OpenStack uses the EUI-64 address format, "
            "which requires the prefix to be /64"
        )


def _check_overlap(r: Reader, network: Network, cidr: IPNetwork) -> None:
    """Refuse a range that shares addresses with another subnet of the network."""
    if cidr.prefixlen == 0:
        raise invalid("0 is not allowed as CIDR prefix length")
    for other in r.list(Subnet, network_id=network.id):
        if router_checks.overlap(str(cidr), other.cidr):
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
