"""A HostView, indexed once for all planners: what is here, what is elsewhere, in a fixed order.

Everything is sorted by id here, so that no planner depends on the order of a dict or set.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import cached_property

from netloom.model.cloud import Server
from netloom.model.hosts import HostView
from netloom.model.names import (
    OWNER_DHCP,
    OWNER_FLOATING_IP,
    OWNER_ROUTER_GATEWAY,
    ROUTER_OWNERS,
    router_device,
    tap,
)
from netloom.model.networking import FloatingIP, Network, Port, Router, Subnet

TUNNELS = frozenset({"vxlan", "gre", "geneve"})
"""Network types that travel in tunnels between hosts; all others use a physical network."""


class Index:
    """Lookups over one HostView; computed lazily, never changed.

    A port is *local* when its device is on this host: instances' ports bound here, ports of routers
    that are placed here, and the DHCP port of every network (it is everywhere at once).
    """

    def __init__(self, view: HostView) -> None:
        self.view = view
        self.host = view.facts.host

    def location(self, port: Port) -> str | None:
        """The host that carries a port; None for those without one place (DHCP, floating IPs, unbound)."""
        if port.device_owner in (OWNER_DHCP, OWNER_FLOATING_IP):
            return None
        if port.device_owner in ROUTER_OWNERS:
            router = self.view.routers.get(port.device_id)
            return (router.host or None) if router else None
        return port.host or None

    @cached_property
    def ports_of(self) -> dict[str, list[Port]]:
        """Network id → its ports, by id."""
        grouped: dict[str, list[Port]] = {
            network_id: [] for network_id in sorted(self.view.networks)
        }
        for _, port in sorted(self.view.ports.items()):
            if port.network_id in grouped:
                grouped[port.network_id].append(port)
        return grouped

    @cached_property
    def subnets_of(self) -> dict[str, list[Subnet]]:
        """Network id → its IPv4 subnets, by id."""
        grouped: dict[str, list[Subnet]] = {network_id: [] for network_id in self.view.networks}
        for _, subnet in sorted(self.view.subnets.items()):
            if subnet.network_id in grouped and subnet.ip_version == 4:
                grouped[subnet.network_id].append(subnet)
        return grouped

    @cached_property
    def local_ports(self) -> dict[str, list[Port]]:
        """Network id → ports with a device here, DHCP ports left out, by id."""
        return {
            network_id: [port for port in ports if self.location(port) == self.host]
            for network_id, ports in self.ports_of.items()
        }

    @cached_property
    def networks(self) -> list[Network]:
        """Networks that are present here (a local port makes it so), by id."""
        return [self.view.networks[i] for i in sorted(self.view.networks) if self.local_ports[i]]

    @cached_property
    def dhcp_port_of(self) -> dict[str, Port]:
        """Network id → its DHCP port (the first by id, were there several)."""
        found: dict[str, Port] = {}
        for network_id, ports in self.ports_of.items():
            for port in ports:
                # Ports that users give this owner are none of the network's own.
                ours = port.device_id.startswith("dhcp") and port.device_id.endswith(network_id)
                if port.device_owner == OWNER_DHCP and ours and port.admin_state_up:
                    found.setdefault(network_id, port)
        return found

    @cached_property
    def local_routers(self) -> list[Router]:
        """Routers placed on this host, by id."""
        return [r for _, r in sorted(self.view.routers.items()) if r.host == self.host]

    @cached_property
    def router_ports(self) -> dict[str, list[Port]]:
        """Router id → its ports, gateway port included, by id."""
        grouped: dict[str, list[Port]] = {router_id: [] for router_id in self.view.routers}
        for _, port in sorted(self.view.ports.items()):
            if port.device_owner in ROUTER_OWNERS and port.device_id in grouped:
                grouped[port.device_id].append(port)
        return grouped

    @cached_property
    def floating_of(self) -> dict[str, list[FloatingIP]]:
        """Router id → associated floating IPs that go through it, by id."""
        grouped: dict[str, list[FloatingIP]] = {}
        for _, fip in sorted(self.view.floatingips.items()):
            if fip.router_id and fip.port_id and fip.fixed_ip_address:
                grouped.setdefault(fip.router_id, []).append(fip)
        return grouped

    @cached_property
    def server_of(self) -> dict[str, Server]:
        """Port id → the server of this host that has it, as compute recorded it.

        Never by `device_id`: the port's owner may set that to another project's server.
        """
        return {
            port_id: server
            for _, server in sorted(self.view.servers.items())
            for port_id in server.port_ids
        }

    @cached_property
    def fixed_numbers(self) -> dict[tuple[str, int], list[int]]:
        """(network id, IP version) → fixed addresses of the network's known ports as numbers, sorted.

        Ports of networks that are not present here are known where they are members of groups.
        """
        found: dict[tuple[str, int], list[int]] = {}
        for port in self.view.ports.values():
            for fixed in port.fixed_ips:
                address = ipaddress.ip_address(fixed.ip_address)
                found.setdefault((port.network_id, address.version), []).append(int(address))
        return {key: sorted(numbers) for key, numbers in found.items()}

    def remote_hosts(self, network_id: str) -> list[str]:
        """Tunnel addresses of the other hosts on which a network is present, sorted by host."""
        hosts = {self.location(port) for port in self.ports_of[network_id]} - {None, self.host}
        return self.tunnel_ips(host for host in hosts if host)

    def tunnel_ips(self, hosts: Iterable[str]) -> list[str]:
        """Tunnel addresses of hosts, in the hosts' order by name; hosts that have none are left out."""
        found = (self.tunnel_ip(host) for host in sorted(hosts))
        return [ip for ip in found if ip]

    def tunnel_ip(self, host: str) -> str | None:
        """Where to send a host's tunnels."""
        chassis = self.view.chassis.get(host)
        return chassis.tunnel_ip if chassis else None

    def is_up(self, port: Port) -> bool:
        """A port forwards when it and its network are up."""
        return port.admin_state_up and self.view.networks[port.network_id].admin_state_up

    @cached_property
    def shared_addresses(self) -> dict[str, list[ipaddress.IPv4Network]]:
        """Network id → address ranges that allowed address pairs let ports share; nobody answers ARP for them."""
        found: dict[str, list[ipaddress.IPv4Network]] = {}
        for network_id, ports in self.ports_of.items():
            for port in ports:
                for pair in port.allowed_address_pairs:
                    if ":" not in pair.ip_address and not own_pair(port, pair.ip_address):
                        cidr = ipaddress.IPv4Network(pair.ip_address, strict=False)
                        found.setdefault(network_id, []).append(cidr)
        return found

    def is_shared(self, network_id: str, address: str) -> bool:
        """Whether another port's allowed address pairs name this very address (not a wide range)."""
        ip = ipaddress.IPv4Address(address)
        ranges = self.shared_addresses.get(network_id, ())
        return any(ip in cidr and cidr.prefixlen >= 30 for cidr in ranges)


def own_pair(port: Port, address: str) -> bool:
    """Whether an allowed address pair only repeats a fixed address of its own port."""
    return address.removesuffix("/32") in {fixed.ip_address for fixed in port.fixed_ips}


def device_of(port: Port) -> str:
    """Name of a port's device on its host."""
    if port.device_owner in ROUTER_OWNERS:
        return router_device(port.id, gateway=port.device_owner == OWNER_ROUTER_GATEWAY)
    return tap(port.id)


def is_trusted(port: Port) -> bool:
    """Ports that nothing is checked for: routers' own, and those with port security switched off."""
    return port.device_owner in ROUTER_OWNERS or not port.port_security_enabled


def addresses_of(port: Port) -> list[str]:
    """A port's IPv4 addresses, in the port's order."""
    return [fixed.ip_address for fixed in port.fixed_ips if ":" not in fixed.ip_address]


def origin(*things: Network | Port | Router | FloatingIP | Subnet) -> tuple[str, ...]:
    """What caused an object, as `kind/id`."""
    return tuple(f"{thing.KIND}/{thing.id}" for thing in things)
