"""DHCP and the namespace that it shares with metadata: `qdhcp-<network>` on every host with the network.

Each host answers for its own ports only, so the leases here are those of local ports, all static.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from netloom.model.hoststate import (
    Device,
    DhcpLease,
    DhcpRange,
    Dnsmasq,
    HostObject,
    Interface,
    MetadataListener,
    Namespace,
    NsRoute,
)
from netloom.model.names import INTEGRATION_BRIDGE, METADATA_ADDRESS, dhcp_namespace
from netloom.model.networking import Network, Port, Subnet
from netloom.plan.hostnames import hostnames, name_of
from netloom.plan.index import ROUTER_OWNERS, Index, addresses_of, device_of, origin
from netloom.plan.pipeline import Stage
from netloom.plan.ports import classify

OPTION_ROUTER, OPTION_DNS, OPTION_DOMAIN, OPTION_MTU, OPTION_ROUTES = 3, 6, 15, 26, 121
DOMAIN = "openstacklocal"

OPTION_NUMBERS = {
    "netmask": 1, "time-offset": 2, "router": 3, "dns-server": 6, "log-server": 7, "lpr-server": 9,
    "hostname": 12, "boot-file-size": 13, "domain-name": 15, "swap-server": 16, "root-path": 17,
    "extension-path": 18, "ip-forward-enable": 19, "default-ttl": 23, "mtu": 26, "broadcast": 28,
    "static-route": 33, "nis-domain": 40, "nis-server": 41, "ntp-server": 42, "vendor-encap": 43,
    "netbios-ns": 44, "netbios-dd": 45, "netbios-nodetype": 46, "netbios-scope": 47, "x-windows-fs": 48,
    "x-windows-dm": 49, "lease-time": 51, "server-identifier": 54, "t1": 58, "t2": 59,
    "vendor-class": 60, "nis+-domain": 64, "nis+-server": 65, "tftp-server": 66, "tftp-server-name": 66,
    "bootfile-name": 67, "mobile-ip-home": 68, "smtp-server": 69, "pop3-server": 70, "nntp-server": 71,
    "irc-server": 74, "user-class": 77, "client-arch": 93, "client-interface-id": 94,
    "client-machine-id": 97, "posix-timezone": 100, "tzdb-timezone": 101, "subnet-select": 118,
    "domain-search": 119, "sip-server": 120, "classless-static-route": 121, "vendor-id-encap": 125,
    "tftp-server-address": 150, "path-prefix": 210, "reboot-time": 211,
}  # fmt: skip
"""Names of DHCP options (IANA's registry, in the spelling that dnsmasq and Neutron's users know)."""


def plan_dhcp(index: Index) -> Iterator[HostObject]:
    """Namespace, device, DHCP server and metadata listener of each network present and up."""
    for network in index.networks:
        port = index.dhcp_port_of.get(network.id)
        if port is None or not network.admin_state_up:
            continue
        yield from _namespace(index, network, port)
        yield from classify(index, network, port, Stage.LOCAL)
        served = [s for s in index.subnets_of[network.id] if s.enable_dhcp]
        if served:
            yield dnsmasq(index, network, port, served)
        yield metadata_listener(index, network, port)


def local_instances(index: Index, network: Network) -> list[Port]:
    """Ports here that may ask for DHCP and metadata."""
    return [
        port
        for port in index.local_ports[network.id]
        if port.device_owner not in ROUTER_OWNERS and port.admin_state_up
    ]


def _namespace(index: Index, network: Network, port: Port) -> Iterator[HostObject]:
    namespace, device = dhcp_namespace(network.id), device_of(port)
    why = origin(port, network)
    subnets = {subnet.id: subnet for subnet in index.subnets_of[network.id]}
    addresses = [
        f"{fixed.ip_address}/{subnets[fixed.subnet_id].cidr.partition('/')[2]}"
        for fixed in port.fixed_ips
        if fixed.subnet_id in subnets
    ]
    yield Namespace(name=namespace, origin=why, aspect="dhcp")
    yield Interface(
        bridge=INTEGRATION_BRIDGE,
        name=device,
        type="internal",
        external_ids={
            "attached-mac": port.mac_address,
            "iface-id": port.id,
            "iface-status": "active",
        },
        mtu=network.mtu,
        origin=why,
        aspect="dhcp",
    )
    yield Device(
        namespace=namespace,
        name=device,
        mac=port.mac_address,
        mtu=network.mtu,
        addresses=(*addresses, f"{METADATA_ADDRESS}/32"),
        origin=why,
        aspect="dhcp",
    )
    with_address = {fixed.subnet_id for fixed in port.fixed_ips}
    for subnet in subnets.values():
        if subnet.id not in with_address:
            # Metadata answers need a way back to the instances of a subnet without DHCP.
            yield NsRoute(
                namespace=namespace,
                destination=subnet.cidr,
                device=device,
                origin=origin(subnet, network),
                aspect="metadata",
            )


def dnsmasq(index: Index, network: Network, port: Port, served: list[Subnet]) -> Dnsmasq:
    """The DHCP server of a network for the ports of this host."""
    names = hostnames(index, network)
    leases = [lease for p in local_instances(index, network) for lease in _lease(p, served, names)]
    ports = [
        p for p in local_instances(index, network) if p.id in {lease.port_id for lease in leases}
    ]
    return Dnsmasq(
        namespace=dhcp_namespace(network.id),
        network_id=network.id,
        device=device_of(port),
        ranges=tuple(
            DhcpRange(subnet_id=s.id, cidr=s.cidr, options=subnet_options(network, s, port))
            for s in served
        ),
        leases=tuple(leases),
        mtu=network.mtu,
        domain=DOMAIN,
        origin=origin(network, port, *ports),
        aspect="dhcp",
    )


def _lease(port: Port, served: list[Subnet], names: dict[str, str]) -> Iterator[DhcpLease]:
    """The first of the port's addresses that DHCP serves: a client takes one address a device."""
    wanted = {subnet.id for subnet in served}
    address = next((f.ip_address for f in port.fixed_ips if f.subnet_id in wanted), None)
    if address is None:
        return
    yield DhcpLease(
        mac=port.mac_address,
        ip=address,
        hostname=name_of(names, port, address),
        port_id=port.id,
        options=tuple(sorted(own_options(port).items())),
    )


def own_options(port: Port) -> dict[str, str]:
    """A port's extra DHCP options by number.

    They are a tenant's words in a file that the DHCP server of the whole network reads: an option that
    nobody knows, or a value that would end its line, is left out.
    """
    found: dict[str, str] = {}
    for option in port.extra_dhcp_opts:
        name = option.opt_name.strip().lower()
        number = name if name.isdecimal() else str(OPTION_NUMBERS.get(name, ""))
        value = option.opt_value or ""
        if option.ip_version == 4 and number and 0 < int(number) < 255 and value.isprintable():
            found[number] = value
    return found


def subnet_options(network: Network, subnet: Subnet, port: Port) -> tuple[tuple[int, str], ...]:
    """DHCP options of a subnet, by number, as dnsmasq writes their values.

    A client that gets option 121 must not look at option 3 (RFC 3442), so the default route is in both.
    """
    gateway = subnet.gateway_ip or ""
    servers = [
        server for server in subnet.dns_nameservers if ":" not in server and server != "0.0.0.0"
    ]
    routes = {
        route.destination: route.nexthop for route in subnet.host_routes if ":" not in route.nexthop
    }
    own = next((f.ip_address for f in port.fixed_ips if f.subnet_id == subnet.id), None)
    if own:
        routes.setdefault(f"{METADATA_ADDRESS}/32", own)
    if gateway:
        routes.setdefault("0.0.0.0/0", gateway)
    options = [(OPTION_ROUTER, gateway)]
    if servers:
        options.append((OPTION_DNS, ",".join(servers)))
    options += [(OPTION_DOMAIN, DOMAIN), (OPTION_MTU, str(network.mtu))]
    if routes:
        ordered = sorted(routes.items(), key=lambda item: _most_specific(item[0]))
        options.append((OPTION_ROUTES, ",".join(f"{to},{via}" for to, via in ordered)))
    return tuple(options)


def _most_specific(cidr: str) -> tuple[int, int]:
    network = ipaddress.IPv4Network(cidr, strict=False)
    return -network.prefixlen, int(network.network_address)


def metadata_listener(index: Index, network: Network, port: Port) -> MetadataListener:
    """Metadata of a network: which local port each address stands for."""
    askers = {
        address: asker.id
        for asker in local_instances(index, network)
        for address in addresses_of(asker)
    }
    ports = [p for p in local_instances(index, network) if p.id in set(askers.values())]
    return MetadataListener(
        namespace=dhcp_namespace(network.id),
        network_id=network.id,
        askers=askers,
        origin=origin(network, port, *ports),
        aspect="metadata",
    )
