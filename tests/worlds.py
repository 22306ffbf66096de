"""Small clouds for tests, made of real model structs: what the API would hold, and each host's view."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from netloom.model import (
    AddressPair,
    Chassis,
    FixedIP,
    Flavor,
    FloatingIP,
    Gateway,
    HostFacts,
    HostView,
    Image,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)


@dataclass
class World:
    """API objects by table, and hosts. Ids are short readable names."""

    hosts: dict[str, HostFacts] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: int = 0

    def add(self, table: str, thing: Any) -> Any:
        self.tables.setdefault(table, {})[thing.id] = thing
        return thing

    def host(self, name: str, *, mappings: dict[str, str] | None = None, network: bool = False) -> HostFacts:
        number = len(self.hosts) + 1
        mappings = mappings or {}
        facts = HostFacts(
            host=name,
            tunnel_ip=f"192.0.2.{number}",
            bridge_mappings=mappings,
            physical_interfaces={bridge: f"eth{i}" for i, bridge in enumerate(mappings.values(), start=1)},
            capabilities={"datapath_type": "netdev"},
            roles=("network",) if network else ("compute",),
            instance_types=("container",),
        )
        self.hosts[name] = facts
        return facts

    def network(self, id: str, type: str = "vxlan", segment: int | None = None, **more: Any) -> Network:
        self.keys += 1
        if type == "vxlan":
            segment = segment or 1000 + self.keys
        return self.add(
            "networks",
            Network(id=id, name=id, key=self.keys, network_type=type, segmentation_id=segment, **more),
        )

    def subnet(self, id: str, network: str, cidr: str, dhcp_port: bool = True, **more: Any) -> Subnet:
        first = str(ipaddress.IPv4Network(cidr)[1])
        more.setdefault("gateway_ip", first)
        subnet = self.add("subnets", Subnet(id=id, name=id, network_id=network, cidr=cidr, **more))
        if dhcp_port and subnet.enable_dhcp:
            self.port(
                f"dhcp-{id}",
                network,
                [(id, str(ipaddress.IPv4Network(cidr)[2]))],
                device_owner="network:dhcp",
                device_id=f"dhcp-{network}",
                port_security_enabled=False,
            )
        return subnet

    def port(self, id: str, network: str, ips: list[tuple[str, str]], host: str = "", **more: Any) -> Port:
        number = len(self.tables.get("ports", {})) + 1
        more.setdefault("mac_address", f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}")
        fixed = tuple(FixedIP(subnet, ip) for subnet, ip in ips)
        return self.add("ports", Port(id=id, name=id, network_id=network, fixed_ips=fixed, host=host, **more))

    def server(self, id: str, host: str, *ports: Port, **more: Any) -> Server:
        self.add(
            "images",
            Image(id="image", name="image", disk_format="raw", container_format="bare", status="active"),
        )
        for port in ports:
            bound = {**_fields(port), "device_id": id, "device_owner": "compute:nova", "host": host}
            self.add("ports", Port(**bound))
        return self.add(
            "servers",
            Server(
                id=id,
                name=id,
                hostname=id,
                user_id="user",
                image_id="image",
                flavor=Flavor(id="1", name="m1.tiny"),
                host=host,
                port_ids=tuple(port.id for port in ports),
                **more,
            ),
        )

    def group(self, id: str, **more: Any) -> SecurityGroup:
        return self.add("security_groups", SecurityGroup(id=id, name=id, **more))

    def rule(self, id: str, group: str, direction: str, **more: Any) -> SecurityGroupRule:
        return self.add(
            "security_group_rules",
            SecurityGroupRule(id=id, security_group_id=group, direction=direction, **more),
        )

    def default_group(self, id: str) -> SecurityGroup:
        """As a project's default group: everything out, members of the group in."""
        group = self.group(id)
        self.rule(f"{id}-out", id, "egress")
        self.rule(f"{id}-in", id, "ingress", remote_group_id=id)
        return group

    def router(self, id: str, host: str, **more: Any) -> Router:
        return self.add("routers", Router(id=id, name=id, host=host, **more))

    def interface(self, router: str, network: str, subnet: str, ip: str) -> Port:
        return self.port(
            f"if-{router}-{subnet}",
            network,
            [(subnet, ip)],
            device_id=router,
            device_owner="network:router_interface",
            port_security_enabled=False,
        )

    def gateway(self, router: str, network: str, subnet: str, ip: str, enable_snat: bool = True) -> Port:
        port = self.port(
            f"gw-{router}",
            network,
            [(subnet, ip)],
            device_id=router,
            device_owner="network:router_gateway",
            port_security_enabled=False,
        )
        old = self.tables["routers"][router]
        info = Gateway(network_id=network, enable_snat=enable_snat, external_fixed_ips=port.fixed_ips)
        self.add("routers", Router(**{**_fields(old), "external_gateway_info": info, "gw_port_id": port.id}))
        return port

    def floating(self, id: str, network: str, subnet: str, ip: str, **more: Any) -> FloatingIP:
        port = self.port(
            f"{id}-port", network, [(subnet, ip)], device_id=id, device_owner="network:floatingip"
        )
        return self.add(
            "floatingips",
            FloatingIP(
                id=id,
                floating_network_id=network,
                floating_ip_address=ip,
                floating_port_id=port.id,
                **more,
            ),
        )

    def change(self, table: str, id: str, **values: Any) -> Any:
        """Replace fields of one object."""
        old = self.tables[table][id]
        return self.add(table, type(old)(**{**_fields(old), **values}))

    def view(self, host: str) -> HostView:
        """What a host knows: here, everything but others' instances."""
        tables = {name: dict(rows) for name, rows in self.tables.items()}
        tables["servers"] = {i: s for i, s in tables.get("servers", {}).items() if s.host == host}
        chassis = {
            name: Chassis(host=name, tunnel_ip=facts.tunnel_ip, tunnel_types=facts.tunnel_types)
            for name, facts in self.hosts.items()
        }
        return HostView(seq=1, facts=self.hosts[host], chassis=chassis, **tables)

    def views(self) -> dict[str, HostView]:
        return {host: self.view(host) for host in self.hosts}


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def pair(address: str, mac: str) -> AddressPair:
    return AddressPair(address, mac)


def two_hosts() -> World:
    """One private network, an instance on each of two compute hosts, the project's default group."""
    world = World()
    world.host("compute1")
    world.host("compute2")
    world.network("net-a")
    world.subnet("sub-a", "net-a", "10.0.0.0/24", dns_nameservers=("9.9.9.9",))
    world.default_group("sg-default")
    for number in (1, 2):
        port = world.port(
            f"port{number}", "net-a", [("sub-a", f"10.0.0.1{number}")], security_groups=("sg-default",)
        )
        world.server(f"vm{number}", f"compute{number}", port)
    return world
