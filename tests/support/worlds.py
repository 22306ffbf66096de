"""Small clouds for tests, made of real model structs: what the API would hold, and each host's view."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from netloom.model import (
    AddressGroup,
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
    PortForwarding,
    QosPolicy,
    Replica,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)
from netloom.model.family import link_local
from netloom.model.qos import PolicyRule


@dataclass
class World:
    """API objects by table, and hosts. Ids are short readable names."""

    hosts: dict[str, HostFacts] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: int = 0
    port_keys: int = 0

    def add(self, table: str, thing: Any) -> Any:
        self.tables.setdefault(table, {})[thing.id] = thing
        return thing

    def host(
        self, name: str, *, mappings: dict[str, str] | None = None, network: bool = False
    ) -> HostFacts:
        number = len(self.hosts) + 1
        mappings = mappings or {}
        facts = HostFacts(
            host=name,
            tunnel_ip=f"192.0.2.{number}",
            bridge_mappings=mappings,
            physical_interfaces={
                bridge: f"eth{i}" for i, bridge in enumerate(mappings.values(), start=1)
            },
            capabilities={"datapath_type": "netdev"},
            roles=("network",) if network else ("compute",),
            instance_types=("container",),
        )
        self.hosts[name] = facts
        return facts

    def network(
        self, id: str, type: str = "vxlan", segment: int | None = None, **more: Any
    ) -> Network:
        self.keys += 1
        if type == "vxlan":
            segment = segment or 1000 + self.keys
        return self.add(
            "networks",
            Network(
                id=id, name=id, key=self.keys, network_type=type, segmentation_id=segment, **more
            ),
        )

    def subnet(
        self, id: str, network: str, cidr: str, dhcp_port: bool = True, **more: Any
    ) -> Subnet:
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

    def subnet6(
        self, id: str, network: str, cidr: str, mode: str | None = "slaac", **more: Any
    ) -> Subnet:
        """An IPv6 subnet whose addresses hosts get as `mode` says; the network's DHCP port has one, too, where it serves."""
        prefix = ipaddress.IPv6Network(cidr)
        values = {"gateway_ip": str(prefix[1]), "ipv6_ra_mode": mode, "ipv6_address_mode": mode}
        values |= {"enable_dhcp": mode is not None, **more}
        subnet = self.add(
            "subnets",
            Subnet(id=id, name=id, network_id=network, cidr=cidr, ip_version=6, **values),
        )
        ports = [p for p in self.tables.get("ports", {}).values() if p.network_id == network]
        for port in ports if subnet.enable_dhcp else ():
            if port.device_owner == "network:dhcp":
                own = FixedIP(id, eui64(cidr, port.mac_address))
                self.change("ports", port.id, fixed_ips=(*port.fixed_ips, own))
        return subnet

    def port(
        self, id: str, network: str, ips: list[tuple[str, str]], host: str = "", **more: Any
    ) -> Port:
        number = len(self.tables.get("ports", {})) + 1
        more.setdefault("mac_address", f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}")
        self.port_keys += 1
        more.setdefault("key", self.port_keys)
        fixed = tuple(FixedIP(subnet, ip) for subnet, ip in ips)
        return self.add(
            "ports", Port(id=id, name=id, network_id=network, fixed_ips=fixed, host=host, **more)
        )

    def server(self, id: str, host: str, *ports: Port, **more: Any) -> Server:
        self.add(
            "images",
            Image(
                id="image",
                name="image",
                disk_format="raw",
                container_format="bare",
                status="active",
            ),
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

    def addresses(self, id: str, *addresses: str) -> AddressGroup:
        return self.add("address_groups", AddressGroup(id=id, name=id, addresses=addresses))

    def default_group(self, id: str) -> SecurityGroup:
        """As a project's default group: everything out, members of the group in."""
        group = self.group(id)
        self.rule(f"{id}-out", id, "egress")
        self.rule(f"{id}-in", id, "ingress", remote_group_id=id)
        return group

    def router(self, id: str, *hosts: str, **more: Any) -> Router:
        return self.add("routers", Router(id=id, name=id, replicas=replicas(*hosts), **more))

    def interface(self, router: str, network: str, subnet: str, ip: str) -> Port:
        return self.port(
            f"if{len(self.tables['ports'])}-{router}-{subnet}",
            network,
            [(subnet, ip)],
            device_id=router,
            device_owner="network:router_interface",
            port_security_enabled=False,
        )

    def gateway(
        self, router: str, network: str, subnet: str, ip: str, enable_snat: bool = True
    ) -> Port:
        port = self.port(
            f"gw-{router}",
            network,
            [(subnet, ip)],
            device_id=router,
            device_owner="network:router_gateway",
            port_security_enabled=False,
        )
        old = self.tables["routers"][router]
        info = Gateway(
            network_id=network, enable_snat=enable_snat, external_fixed_ips=port.fixed_ips
        )
        self.add(
            "routers",
            Router(**{**_fields(old), "external_gateway_info": info, "gw_port_id": port.id}),
        )
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

    def forwarding(
        self, id: str, floating: str, ports: str, port: str, to: str, **more: Any
    ) -> PortForwarding:
        """Lead `ports` of a floating IP, `FIRST:LAST`, to ports `to` of a port's first address."""
        return self.add(
            "port_forwardings",
            PortForwarding(
                **{
                    "id": id,
                    "floatingip_id": floating,
                    "router_id": self.tables["floatingips"][floating].router_id,
                    "protocol": "tcp",
                    "internal_port_id": port,
                    "internal_ip_address": self.tables["ports"][port].fixed_ips[0].ip_address,
                    "internal_port_range": to,
                    "external_port_range": ports,
                    **more,
                }
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


def eui64(cidr: str, mac: str) -> str:
    """The address that a host with a MAC address makes of a prefix (RFC 4291)."""
    low = int(ipaddress.IPv6Address(link_local(mac))) & ((1 << 64) - 1)
    return str(ipaddress.IPv6Network(cidr)[low])


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def replicas(*hosts: str) -> tuple[Replica, ...]:
    """A router's replicas on hosts, the one that should be active first."""
    return tuple(Replica(host, 50 - number) for number, host in enumerate(hosts))


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
            f"port{number}",
            "net-a",
            [("sub-a", f"10.0.0.1{number}")],
            security_groups=("sg-default",),
        )
        world.server(f"vm{number}", f"compute{number}", port)
    return world


def three_hosts() -> World:
    """A network host and two compute hosts; physical networks extnet and public on all of them."""
    world = World()
    mappings = {"extnet": "br-extnet", "public": "br-public"}
    world.host("network1", mappings=mappings, network=True)
    world.host("compute1", mappings=mappings)
    world.host("compute2", mappings=mappings)
    return world


def open_group(world: World) -> None:
    """The walkthrough's security group: all TCP and ICMP from anywhere."""
    world.group("sg-all")
    world.rule("all-out", "sg-all", "egress")
    world.rule(
        "all-tcp",
        "sg-all",
        "ingress",
        protocol="tcp",
        port_range_min=1,
        port_range_max=65535,
        remote_ip_prefix="0.0.0.0/0",
    )
    world.rule("all-icmp", "sg-all", "ingress", protocol="icmp", remote_ip_prefix="0.0.0.0/0")


def walkthrough_a() -> World:
    """A provider network: instance my1 on compute1 sits on the physical network extnet."""
    world = three_hosts()
    open_group(world)
    world.network("external", "flat", physical_network="extnet", mtu=1500)
    world.subnet("ext-sub", "external", "203.0.113.0/24", dns_nameservers=("203.0.113.1",))
    port = world.port("my1", "external", [("ext-sub", "203.0.113.50")], security_groups=("sg-all",))
    world.server("vm-my1", "compute1", port)
    return world


def walkthrough_b() -> World:
    """A private network, a router on network1, and instance my2 on compute1 with a floating IP."""
    world = three_hosts()
    open_group(world)
    world.network("private")
    world.subnet("priv-sub", "private", "10.0.0.0/24")
    world.network("public", "flat", physical_network="public", mtu=1500, external=True)
    world.subnet("pub-sub", "public", "198.51.100.0/24", enable_dhcp=False)
    world.router("router1", "network1")
    world.interface("router1", "private", "priv-sub", "10.0.0.1")
    world.gateway("router1", "public", "pub-sub", "198.51.100.10")
    port = world.port("my2", "private", [("priv-sub", "10.0.0.5")], security_groups=("sg-all",))
    world.server("vm-my2", "compute1", port)
    world.floating(
        "fip1",
        "public",
        "pub-sub",
        "198.51.100.20",
        port_id="my2",
        fixed_ip_address="10.0.0.5",
        router_id="router1",
    )
    return world


def limited() -> World:
    """Limits and marks on all that can have them: an instance's port, its network, a floating IP, a gateway."""
    world = walkthrough_b()

    def policy(id: str, *rules: PolicyRule) -> None:
        world.add("qos_policies", QosPolicy(id=id, name=id, rules=rules))

    def rate(direction: str, max_kbps: int, **more: Any) -> PolicyRule:
        id = f"{direction}{max_kbps}"
        return PolicyRule(
            id=id, type="bandwidth_limit", direction=direction, max_kbps=max_kbps, **more
        )

    policy(
        "of-port",
        rate("egress", 1000),
        rate("ingress", 2000, max_burst_kbps=100),
        PolicyRule(id="mark", type="dscp_marking", dscp_mark=26),
        PolicyRule(id="out", type="packet_rate_limit", direction="egress", max_kpps=1),
        PolicyRule(
            id="in", type="packet_rate_limit", direction="ingress", max_kpps=2, max_burst_kpps=1
        ),
        PolicyRule(id="least", type="minimum_bandwidth", direction="egress", min_kbps=500),
    )
    policy("of-network", PolicyRule(id="also", type="dscp_marking", dscp_mark=8))
    policy("of-address", rate("egress", 3000), rate("ingress", 4000))
    policy("of-gateway", rate("egress", 5000), rate("ingress", 0))
    world.change("ports", "my2", qos_policy_id="of-port")
    world.change("networks", "private", qos_policy_id="of-network")
    world.change("floatingips", "fip1", qos_policy_id="of-address")
    gateway = world.tables["routers"]["router1"].external_gateway_info
    info = replace(gateway, qos_policy_id="of-gateway")
    world.change("routers", "router1", external_gateway_info=info)
    beside = world.port("my3", "private", [("priv-sub", "10.0.0.6")], security_groups=("sg-all",))
    world.server("vm-my3", "compute2", beside)
    return world


def remote_group() -> World:
    """Two instances on one host and one elsewhere; ssh is open to members of the group `web` only."""
    world = two_hosts()
    world.group("web")
    world.group("db")
    world.rule("web-out", "web", "egress")
    world.rule("db-out", "db", "egress", protocol="tcp")
    for number, port in enumerate((22, 5432)):
        world.rule(
            f"db-{number}",
            "db",
            "ingress",
            protocol="tcp",
            port_range_min=port,
            port_range_max=port,
            remote_group_id="web",
        )
    world.change("ports", "port1", security_groups=("web",))
    world.change("ports", "port2", security_groups=("db",))
    extra = world.port(
        "port3", "net-a", [("sub-a", "10.0.0.13")], security_groups=("db", "sg-default")
    )
    world.server("vm3", "compute2", extra)
    return world


def address_pairs() -> World:
    """port1 may also use a virtual address, with its own MAC and with a VRRP one, and an IPv6 range."""
    world = two_hosts()
    pairs = (
        pair("10.0.0.100", "fa:16:3e:00:00:02"),
        pair("10.0.0.200/31", "00:00:5e:00:01:01"),
        pair("2001:db8::/64", "fa:16:3e:00:00:02"),
    )
    world.change("ports", "port1", allowed_address_pairs=pairs)
    return world


def provider_vlan() -> World:
    """A VLAN of the physical network extnet, an instance on each compute host, one without port security."""
    world = three_hosts()
    open_group(world)
    world.network("vlan", "vlan", 101, physical_network="extnet", mtu=1500)
    world.subnet("vlan-sub", "vlan", "172.16.0.0/24")
    one = world.port("v1", "vlan", [("vlan-sub", "172.16.0.11")], security_groups=("sg-all",))
    two = world.port("v2", "vlan", [("vlan-sub", "172.16.0.12")], port_security_enabled=False)
    world.server("vm-v1", "compute1", one)
    world.server("vm-v2", "compute2", two)
    return world


def dual_stack() -> World:
    """A network of both families, with an IPv6 subnet of each mode, behind a router on a; a port on each host."""
    world = World()
    world.host("a", mappings={"public": "br-public"}, network=True)
    world.host("b")
    world.network("public", "flat", physical_network="public", mtu=1500, external=True)
    world.subnet("pub4", "public", "198.51.100.0/24", enable_dhcp=False)
    world.subnet6("pub6", "public", "2001:db8:ff::/64", None, gateway_ip="fe80::1")
    world.network("net")
    world.subnet("four", "net", "10.0.0.0/24")
    world.router("router", "a")
    world.interface("router", "net", "four", "10.0.0.1")
    modes = ("slaac", "dhcpv6-stateless", "dhcpv6-stateful")
    for number, mode in enumerate(modes, 1):
        cidr, servers = f"2001:db8:{number}::/64", (f"2001:db8::{number}",)
        world.subnet6(mode, "net", cidr, mode, dns_nameservers=servers)
        world.interface("router", "net", mode, f"2001:db8:{number}::1")
    world.gateway("router", "public", "pub6", "2001:db8:ff::10")
    world.default_group("default")
    world.rule("ping", "default", "ingress", ethertype="IPv6", protocol="ipv6-icmp")
    for number, host in enumerate("ab", 11):
        mac = f"fa:16:3e:aa:00:{number}"
        fixed = [(mode, eui64(f"2001:db8:{n}::/64", mac)) for n, mode in enumerate(modes[:2], 1)]
        fixed += [("four", f"10.0.0.{number}"), (modes[2], f"2001:db8:3::{number}")]
        more = {"mac_address": mac, "security_groups": ("default",)}
        world.port(f"port{number}", "net", fixed, host, **more)
    return world


def distributed() -> World:
    """A distributed router between two networks: vm-a on compute1 with a floating IP there, vm-b on compute2, SNAT on network1."""
    world = three_hosts()
    open_group(world)
    world.network("public", "flat", physical_network="public", mtu=1500, external=True)
    world.subnet("pub-sub", "public", "198.51.100.0/24", enable_dhcp=False)
    world.router("router1", "network1", distributed=True)
    for number, (net, host) in enumerate((("red", "compute1"), ("blue", "compute2")), start=1):
        world.network(net)
        world.subnet(f"{net}-sub", net, f"10.0.{number}.0/24")
        leg = world.interface("router1", net, f"{net}-sub", f"10.0.{number}.1")
        world.change("ports", leg.id, device_owner="network:router_interface_distributed")
        world.port(
            f"snat-{net}",
            net,
            [(f"{net}-sub", f"10.0.{number}.3")],
            device_id="router1",
            device_owner="network:router_centralized_snat",
            port_security_enabled=False,
        )
        address = (f"{net}-sub", f"10.0.{number}.5")
        port = world.port(f"port-{net}", net, [address], security_groups=("sg-all",))
        world.server(f"vm-{net}", host, port)
    world.gateway("router1", "public", "pub-sub", "198.51.100.10")
    world.floating(
        "fip1",
        "public",
        "pub-sub",
        "198.51.100.20",
        port_id="port-red",
        fixed_ip_address="10.0.1.5",
        router_id="router1",
    )
    world.change("ports", "fip1-port", entry="compute1", port_security_enabled=False)
    return world


PLAIN = (two_hosts, walkthrough_a, walkthrough_b, remote_group, address_pairs, provider_vlan)
"""Worlds without anything that one backend alone can carry."""
