"""The whole cloud as the walker sees it: every host's state, and who sits at the ends of its wires."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from netloom.explain.walk.linuxbridge import Bridged
from netloom.explain.walk.reach import Around, Further, Later, Reach
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
from netloom.model.names import METADATA_ADDRESS, NAMESPACE_OWNERS
from netloom.model.networking import Port, Subnet
from netloom.model.origin import Origin
from netloom.model.placement import places
from netloom.plan import plan
from netloom.plan.index import Index, device_of
from netloom.plan.sets import wire_of
from netloom.scope import Moment, select

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
    """One host's state, in the shape in which the walker asks for it.

    Of a router's replicas the first is taken to be active: which one is, a plan cannot say (`api/explain.py` puts first the one
    whose host says so). `standbys`: namespace of an HA router → the hosts of the others. `subports`: a subport's name → the device of its trunk's parent,
    and its tag there. `bridged`: its bridges, where it has no Open vSwitch.
    """

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
    standbys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    subports: dict[str, tuple[str, int]] = field(default_factory=dict)
    bridged: Bridged | None = None

    @classmethod
    def of(cls, view: HostView) -> Host:
        """Plan a host's view and index what comes out."""
        state = plan(view)
        host = cls(view.facts.host, view.facts, state, view.seq)
        if view.facts.backend == "linuxbridge":
            host.bridged = Bridged.of(view.facts, state)
        tables: dict[tuple[str, int], list[Flow]] = defaultdict(list)
        for flow in state.each(Flow):
            tables[flow.bridge, flow.table].append(flow)
        for flows in tables.values():
            flows.sort(key=lambda flow: -flow.priority)
        host.tables = dict(tables)
        for bucket in state.each(Bucket):
            host.groups.setdefault((bucket.bridge, bucket.group), []).append(bucket)
        # A standby gets a copy of what is for its router and does nothing with it.
        idle = {
            router.namespace for router in view.routers.values() if host.name in places(router)[1:]
        }
        host.standbys = {
            router.namespace: places(router)[1:] for router in view.routers.values() if router.ha
        }
        host.subports = {
            device_of(port): (wire_of(port), port.trunk_vlan)
            for port in view.ports.values()
            if port.trunk_parent and port.host == host.name
        }
        host.devices = {d.name: d for d in state.each(Device) if d.namespace not in idle}
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
    """Hosts by name, endpoints by port id, and what machines outside are taken to have routes to.

    A host is planned when it is asked for first. `facts`: of all hosts. `present`: network → the hosts that it is on, of
    the networks that are planned; None where all are. `around`: what is not planned.
    """

    hosts: Mapping[str, Host]
    endpoints: Mapping[str, Endpoint]
    facts: Mapping[str, HostFacts]
    beyond: tuple[Beyond, ...] = ()
    around: Around | None = None
    present: Callable[[str], Collection[str]] | None = None
    _behind: dict[tuple[str, str], Endpoint] | None = None

    @classmethod
    def of(cls, views: Mapping[str, HostView], beyond: tuple[Beyond, ...] = ()) -> World:
        """All of it: every host as it plans its whole view."""
        hosts = Later(sorted(views), lambda name: Host.of(views[name]))
        endpoints: dict[str, Endpoint] = {}
        for name, view in sorted(views.items()):
            index = Index(view)
            for network in index.networks():
                for port in index.local_ports(network.id):
                    if port.device_owner not in NAMESPACE_OWNERS:
                        endpoints[port.id] = endpoint(view.subnets, name, port)
        return cls(hosts, endpoints, {name: view.facts for name, view in views.items()}, beyond)

    @classmethod
    def within(cls, moment: Moment, reach: Reach, beyond: tuple[Beyond, ...] = ()) -> World:
        """As much of it as `reach` says, with the same outcome for a packet that stays there; else it raises Further."""
        networks, routers = moment.spread(reach.networks)
        wider = reach | Reach(frozenset(networks), frozenset(routers))
        if wider != reach:
            raise Further(wider)
        part = moment.part(reach.networks, reach.routers)
        if part is None:
            everything = Reach(
                frozenset(moment.tables["networks"]), frozenset(moment.tables["routers"])
            )
            if everything | reach != reach:
                raise Further(everything)
            return cls.of(moment.views(), beyond)
        hosts = Later(sorted(part.facts), lambda name: Host.of(select(part, name, moment.seq)))
        bound = [
            (place, port.network_id, port.id)
            for port in part.ports.values()
            if port.network_id in reach.networks and port.device_owner not in NAMESPACE_OWNERS
            for place in part.places(port)
            if place in part.facts
        ]
        endpoints = {
            ident: endpoint(part.subnets, place, part.ports[ident])
            for place, _, ident in sorted(bound)
        }
        router_ports = [p for p in part.ports.values() if p.device_owner in NAMESPACE_OWNERS]
        around = Around(moment, reach, router_ports)
        return cls(
            hosts,
            endpoints,
            part.facts,
            beyond,
            around,
            lambda network: part.members("hosts_of_network", network),
        )

    def host_of_tunnel(self, address: str) -> Host | None:
        """The host that has a tunnel address."""
        found = (name for name in self.hosts if self.facts[name].tunnel_ip == address)
        name = next(found, None)
        return None if name is None else self.hosts[name]

    def on_wire(self, physical_network: str, vlan: int) -> Iterator[Host]:
        """The hosts that a frame on a physical network comes to, by name.

        All that have no network for it do the same with it, which is nothing: the first of them stands for the others.
        """
        there: set[str] | None = None
        if self.around is not None and self.present is not None:
            networks = self.around.wire(physical_network, vlan)
            there = {host for network in networks for host in self.present(network)}
        idle = False
        for name in self.hosts:
            facts = self.facts[name]
            bridge = facts.bridge_mappings.get(physical_network)
            if bridge is None or bridge not in facts.physical_interfaces:
                continue
            if there is not None and name not in there:
                if idle:
                    continue
                idle = True
            yield self.hosts[name]

    def is_ours(self, address: str) -> bool:
        """Whether an address belongs to the cloud, so that nobody outside can have it."""
        if self.around is not None:
            self.around.asks_for(address)
        if any(address in each.addresses for each in self.endpoints.values()):
            return True
        return any(
            address == own.ip
            for name in self._somewhere()
            for device in self.hosts[name].devices.values()
            for own in device.addresses
        )

    def _somewhere(self) -> Iterable[str]:
        """The hosts on which something may be planned."""
        if self.around is None or self.present is None:
            return self.hosts
        there = {name for network in self.around.networks for name in self.present(network)}
        return [name for name in self.hosts if name in there]

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
        return world.with_endpoints(endpoints)

    def with_endpoints(self, endpoints: Mapping[str, Endpoint]) -> World:
        """The same world with other endpoints."""
        return replace(self, endpoints=endpoints, _behind=None)

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
            return self.with_endpoints(endpoints)
        old = self.hosts[host]
        kept = [item for item in old.routes.get(namespace, []) if stays(item)]
        changed = replace(old, routes={**old.routes, namespace: kept})
        others = self.hosts
        hosts = Later(others, lambda name: changed if name == host else others[name])
        return replace(self, hosts=hosts)

    def endpoint_at(self, host: str, device: str) -> Endpoint | None:
        """Who sits behind a device."""
        if self._behind is None:
            found = {
                (each.host, each.device): each for each in reversed(list(self.endpoints.values()))
            }
            self._behind = found
        return self._behind.get((host, device))


def _is(item: NsRoute, way: Way) -> bool:
    return (item.destination, item.gateway) == (way.destination, way.via)


def endpoint(subnets: Mapping[str, Subnet], host: str, port: Port) -> Endpoint:
    """The card that a port gives to an instance."""
    networks: list[tuple[str, str]] = []
    routes: dict[str, Way] = {}
    for fixed in port.fixed_ips:
        subnet = subnets.get(fixed.subnet_id)
        if subnet is None or subnet.ip_version != 4:
            continue
        networks.append((fixed.ip_address, subnet.cidr))
        owner, metadata = Origin.of(subnet), f"{METADATA_ADDRESS}/32"
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
