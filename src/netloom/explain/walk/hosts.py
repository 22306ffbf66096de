"""The whole cloud as the walker sees it: every host's state, and who sits at the ends of its wires."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from netloom.explain.walk.trace import Way
from netloom.model.hosts import HostFacts, HostView
from netloom.model.hoststate import (
    AttachedNetwork,
    Bucket,
    Device,
    FloatingNat,
    Flow,
    HostState,
    Namespace,
    NsRoute,
    SourceNat,
)
from netloom.model.names import METADATA_ADDRESS
from netloom.model.networking import Port
from netloom.plan import plan
from netloom.plan.index import ROUTER_OWNERS, Index, device_of

EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An instance's card: its addresses, and the routes that its DHCP answer gave it."""

    port_id: str
    host: str
    device: str
    mac: str
    networks: tuple[tuple[str, str], ...]
    """(address, CIDR of its subnet)"""
    routes: tuple[Way, ...] = ()
    """The most specific first."""
    device_id: str = ""
    """The instance whose card it is."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own addresses."""
        return tuple(address for address, _ in self.networks)

    def is_near(self, destination: str) -> bool:
        """Whether an address is on one of its own subnets."""
        target = ipaddress.IPv4Address(destination)
        return any(target in ipaddress.IPv4Network(cidr) for _, cidr in self.networks)

    def way(self, destination: str) -> Way | None:
        """The route to an address that is not near; None where no route leads."""
        target = ipaddress.IPv4Address(destination)
        return next(
            (w for w in self.routes if target in ipaddress.IPv4Network(w.destination)), None
        )

    def source_for(self, destination: str) -> str:
        """The address that it speaks to `destination` from."""
        target = ipaddress.IPv4Address(destination)
        near = [a for a, cidr in self.networks if target in ipaddress.IPv4Network(cidr)]
        return (near or list(self.addresses))[0]


@dataclass
class Host:
    """One host's state, in the shape in which the walker asks for it."""

    name: str
    facts: HostFacts
    state: HostState
    seq: int
    tables: dict[tuple[str, int], list[Flow]] = field(default_factory=dict)
    groups: dict[tuple[str, int], list[Bucket]] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    routes: dict[str, list[NsRoute]] = field(default_factory=dict)
    floating: dict[str, list[FloatingNat]] = field(default_factory=dict)
    source_nat: dict[str, list[SourceNat]] = field(default_factory=dict)
    attached: dict[str, list[AttachedNetwork]] = field(default_factory=dict)

    @classmethod
    def of(cls, view: HostView) -> Host:
        """Plan a host's view and index what comes out."""
        state = plan(view)
        host = cls(view.facts.host, view.facts, state, view.seq)
        tables: dict[tuple[str, int], list[Flow]] = defaultdict(list)
        for flow in state.each(Flow):
            tables[flow.bridge, flow.table].append(flow)
        for flows in tables.values():
            flows.sort(key=lambda flow: -flow.priority)
        host.tables = dict(tables)
        for bucket in state.each(Bucket):
            host.groups.setdefault((bucket.bridge, bucket.group), []).append(bucket)
        host.devices = {device.name: device for device in state.each(Device)}
        host.namespaces = {namespace.name: namespace for namespace in state.each(Namespace)}
        for route in state.each(NsRoute):
            host.routes.setdefault(route.namespace, []).append(route)
        for nat in state.each(FloatingNat):
            host.floating.setdefault(nat.namespace, []).append(nat)
        for nat in state.each(SourceNat):
            host.source_nat.setdefault(nat.namespace, []).append(nat)
        for network in state.each(AttachedNetwork):
            host.attached.setdefault(network.namespace, []).append(network)
        return host

    def devices_in(self, namespace: str) -> list[Device]:
        """Devices of a namespace."""
        return [device for device in self.devices.values() if device.namespace == namespace]


@dataclass(frozen=True)
class Beyond:
    """A range that machines on a physical network may know to be behind a router's address there."""

    physical_network: str
    vlan: int
    cidr: str
    via: str
    router_id: str


@dataclass
class World:
    """Hosts by name, endpoints by port id, and what machines outside are taken to have routes to."""

    hosts: dict[str, Host]
    endpoints: dict[str, Endpoint]
    views: Mapping[str, HostView]
    beyond: tuple[Beyond, ...] = ()

    @classmethod
    def of(cls, views: Mapping[str, HostView], beyond: tuple[Beyond, ...] = ()) -> World:
        """Plan every host."""
        hosts = {name: Host.of(view) for name, view in sorted(views.items())}
        endpoints: dict[str, Endpoint] = {}
        for name, view in sorted(views.items()):
            index = Index(view)
            for network in index.networks():
                for port in index.local_ports(network.id):
                    if port.device_owner not in ROUTER_OWNERS:
                        endpoints[port.id] = endpoint(view, name, port)
        return cls(hosts, endpoints, views, beyond)

    def host_of_tunnel(self, address: str) -> Host | None:
        """The host that has a tunnel address."""
        return next((host for host in self.hosts.values() if host.facts.tunnel_ip == address), None)

    def beyond_at(self, physical_network: str, vlan: int, address: str) -> Beyond | None:
        """The range behind a router that a machine on a physical network sends an address to."""
        target = ipaddress.IPv4Address(address)
        for known in self.beyond:
            here = (known.physical_network, known.vlan) == (physical_network, vlan)
            if here and target in ipaddress.IPv4Network(known.cidr):
                return known
        return None

    def without(self, way: Way) -> World:
        """The same world in which nobody has a route."""
        return self._changed(way, lambda own: own != way, lambda item: not _is(item, way))

    def with_way(self, way: Way, device: str = "") -> World:
        """The same world in which the route's owner has it: the instances of its subnet, or a router by `device`."""
        world = self._changed(
            way, lambda own: True, lambda item: item.destination != way.destination
        )
        if way.place[0]:
            host, namespace = way.place
            item = NsRoute(
                namespace=namespace,
                destination=way.destination,
                device=device,
                gateway=way.via,
                origin=(way.owner,),
                aspect="l3",
            )
            routes = world.hosts[host].routes
            routes[namespace] = [*routes.get(namespace, []), item]
            return world
        endpoints = {
            ident: replace(e, routes=(way, *e.routes))
            if any(own.owner == way.owner for own in e.routes)
            else e
            for ident, e in world.endpoints.items()
        }
        return replace(world, endpoints=endpoints)

    def _changed(
        self, way: Way, keeps: Callable[[Way], bool], stays: Callable[[NsRoute], bool]
    ) -> World:
        """A copy with other routes: instances' where the route is a subnet's, else those of one namespace."""
        host, namespace = way.place
        if not host:
            endpoints = {
                ident: replace(e, routes=tuple(own for own in e.routes if keeps(own)))
                for ident, e in self.endpoints.items()
            }
            return replace(self, endpoints=endpoints)
        old = self.hosts[host]
        kept = [item for item in old.routes.get(namespace, []) if stays(item)]
        changed = replace(old, routes={**old.routes, namespace: kept})
        return replace(self, hosts={**self.hosts, host: changed})

    def endpoint_at(self, host: str, device: str) -> Endpoint | None:
        """Who sits behind a device."""
        return next(
            (e for e in self.endpoints.values() if (e.host, e.device) == (host, device)), None
        )


def _is(item: NsRoute, way: Way) -> bool:
    return (item.destination, item.gateway) == (way.destination, way.via)


def endpoint(view: HostView, host: str, port: Port) -> Endpoint:
    """The card that a port gives to an instance."""
    networks: list[tuple[str, str]] = []
    routes: dict[str, Way] = {}
    for fixed in port.fixed_ips:
        subnet = view.subnets.get(fixed.subnet_id)
        if subnet is None or subnet.ip_version != 4:
            continue
        networks.append((fixed.ip_address, subnet.cidr))
        owner, metadata = f"subnet/{subnet.id}", f"{METADATA_ADDRESS}/32"
        for route in subnet.host_routes:
            chosen = Way(owner, route.destination, route.nexthop, chosen=True)
            routes.setdefault(route.destination, chosen)
        if subnet.gateway_ip:
            routes.setdefault(EVERYWHERE, Way(owner, EVERYWHERE, subnet.gateway_ip, chosen=False))
        # The DHCP answer has a route to the metadata address; on-link does as well (ARP is answered).
        routes.setdefault(metadata, Way(owner, metadata, METADATA_ADDRESS, chosen=False))
    ordered = sorted(
        routes.values(),
        key=lambda way: (-int(way.destination.partition("/")[2] or 32), way.destination),
    )
    return Endpoint(
        port_id=port.id,
        host=host,
        device=device_of(port),
        mac=port.mac_address,
        networks=tuple(networks),
        routes=tuple(ordered),
        device_id=port.device_id,
    )
