"""HostState: all that shall exist on one host, object by object, each with its origin.

`plan` makes it, `agent` compares it with what is there, `dataplane` reads and applies it, `explain`
walks a packet through it. Every object has a `key`, unique over the whole state and stable over
restarts, and an `origin`: the API objects that caused it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeVar

from msgspec import Struct, field

from netloom.model.dhcp_options import Dhcp6Lease, DhcpValue
from netloom.model.hosts import Aspect, State
from netloom.model.openflow import Action, Match
from netloom.model.origin import Origin
from netloom.model.port_ranges import Span

Key = tuple[str, ...]

Holder = Literal["agent", "keepalived"]
"""Which program decides whether something is there: what keepalived holds, the agent neither adds nor removes."""


class HostObject(Struct, frozen=True, kw_only=True):
    """Base of all that exists on a host. `aspect` is the Status aspect that its fate counts towards."""

    origin: tuple[Origin, ...] = ()
    aspect: Aspect = "l2"

    @property
    def key(self) -> Key:
        """Which object this is; two objects with one key are versions of the same."""
        raise NotImplementedError


class Bridge(HostObject, frozen=True, kw_only=True):
    """An Open vSwitch bridge. `secure`: without flows it forwards nothing."""

    name: str
    datapath_type: str = "netdev"
    secure: bool = True

    @property
    def key(self) -> Key:
        return ("bridge", self.name)


class Interface(HostObject, frozen=True, kw_only=True):
    """A port of a bridge.

    `type`: `internal` (made by Open vSwitch), `veth` (our end of an instance's pair), `patch`, `vxlan`,
    `gre`, `geneve`, `system` (exists already, as the NIC of a physical network), `bond` (of the NICs in `members`: one of
    them carries all, the next one when that has no link).
    `expected` true: somebody else plugs it (Nova through os-vif): we wait for it, never make or remove it.
    """

    bridge: str
    name: str
    type: str
    options: dict[str, str] = field(default_factory=dict)
    external_ids: dict[str, str] = field(default_factory=dict)
    mtu: int | None = None
    expected: bool = False
    members: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return ("interface", self.bridge, self.name)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices behind it: its own, or the members of a bond."""
        return self.members or (self.name,)


class Flow(HostObject, frozen=True, kw_only=True):
    """One OpenFlow flow."""

    bridge: str
    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()

    @property
    def key(self) -> Key:
        return flow_key(self.bridge, self.table, self.priority, self.match)


def flow_key(bridge: str, table: int, priority: int, match: Match) -> Key:
    """The key of a flow: Open vSwitch has one for each match and priority in a table."""
    return ("flow", bridge, str(table), str(priority), repr(match))


class Group(HostObject, frozen=True, kw_only=True):
    """An OpenFlow group of type `all`: each of its Buckets gets a copy of the packet. It may have none."""

    bridge: str
    group: int

    @property
    def key(self) -> Key:
        return ("group", self.bridge, str(self.group))


class Bucket(HostObject, frozen=True, kw_only=True):
    """One receiver of a group's packets. `bucket`: its number in the group."""

    bridge: str
    group: int
    bucket: int
    actions: tuple[Action, ...] = ()

    @property
    def key(self) -> Key:
        return ("bucket", self.bridge, str(self.group), str(self.bucket))


class Zone(HostObject, frozen=True, kw_only=True):
    """A conntrack zone of the switch: what is remembered of one port's connections. `name`: as flows name it.

    A port that is down keeps its zone: what is known of its connections is right when it is up again.
    """

    name: str

    @property
    def key(self) -> Key:
        return ("zone", self.name)


class Namespace(HostObject, frozen=True, kw_only=True):
    """A network namespace as `model/sysctls.py` sets it, `lo` up. `forward`: it forwards. `ipv6`: it speaks IPv6, too."""

    name: str
    forward: bool = False
    ipv6: bool = False

    @property
    def key(self) -> Key:
        return ("namespace", self.name)


class Address(Struct, frozen=True, order=True):
    """An address of a device, as `cidr` with the length of its prefix."""

    cidr: str
    held_by: Holder = "agent"

    @property
    def ip(self) -> str:
        """The address alone."""
        return self.cidr.partition("/")[0]

    @property
    def length(self) -> int:
        """The length of its prefix."""
        return int(self.cidr.partition("/")[2])


class Device(HostObject, frozen=True, kw_only=True):
    """An internal port of `br-int` moved into a namespace, with its addresses.

    `announce`: send gratuitous ARP for an address when it is added. `held_by`: who puts its link up and down.
    """

    namespace: str
    name: str
    mac: str
    mtu: int
    addresses: tuple[Address, ...] = ()
    announce: bool = False
    held_by: Holder = "agent"

    @property
    def key(self) -> Key:
        return ("device", self.namespace, self.name)


class NsRoute(HostObject, frozen=True, kw_only=True):
    """A route in a namespace; `destination` is a CIDR, `0.0.0.0/0` for the default route."""

    namespace: str
    destination: str
    device: str
    gateway: str | None = None
    held_by: Holder = "agent"

    @property
    def key(self) -> Key:
        return ("route", self.namespace, self.destination)


class HeldAddress(Struct, frozen=True, order=True):
    """An address (as `cidr`) that a device has while its router is active here."""

    device: str
    cidr: str


class HeldRoute(Struct, frozen=True, order=True):
    """A route that is there while its router is active here; without a `gateway` the destination is on the link."""

    destination: str
    device: str
    gateway: str | None = None


TUNNEL_LINKS = "tunnels"
"""The host's cards by which its tunnels leave, whatever they are called."""


class Keepalived(HostObject, frozen=True, kw_only=True):
    """The program that decides, with its like on other hosts, whether an HA router is active here (VRRPv3, RFC 5798).

    `device`: by which it hears the others. `vrid`: the router's number there, 1 to 254. Of several that could be active the one with
    the highest `priority` (1 to 254) is; one that is active stays it while others come. `links`: what it cannot do without, TUNNEL_LINKS or
    bridges of physical networks: where one has no link, the router is not active here. `shared`: an address on each device that leads to a
    physical network, where another host that has the router's addresses, too, answers. `below`: how many replicas have a lower priority.
    """

    namespace: str
    router_id: str
    device: str
    vrid: int
    priority: int
    addresses: tuple[HeldAddress, ...] = ()
    routes: tuple[HeldRoute, ...] = ()
    links: tuple[str, ...] = ()
    shared: tuple[HeldAddress, ...] = ()
    below: int = 0

    @property
    def key(self) -> Key:
        return ("keepalived", self.namespace)

    @property
    def sign(self) -> str:
        """The address that `device` has exactly while the router is active here."""
        return f"169.254.0.{self.vrid}/32"


class ConnectionSync(HostObject, frozen=True, kw_only=True):
    """The program that tells an HA router's other replicas of the connections here, and the kernel of those there.

    `address`: that of `device`, by which it hears the others. `number`: as the router's `vrid`.
    """

    namespace: str
    device: str
    address: str
    number: int

    @property
    def key(self) -> Key:
        return ("conntrackd", self.namespace)


class Neighbour(HostObject, frozen=True, kw_only=True):
    """An address behind a device of a namespace whose MAC address is known: nobody asks for it by ARP."""

    namespace: str
    device: str
    address: str
    mac: str

    @property
    def key(self) -> Key:
        return ("neighbour", self.namespace, self.device, self.address)


class NeighbourBound(HostObject, frozen=True, kw_only=True):
    """How many neighbours that nobody knows a namespace may ask for: `rate` a second, `burst` at once.

    `known`: addresses that are not bounded, beside those of its Neighbours.
    """

    namespace: str
    known: tuple[str, ...] = ()
    rate: int = 20
    burst: int = 60

    @property
    def key(self) -> Key:
        return ("neighbour-bound", self.namespace)


class PortNat(Struct, frozen=True, kw_only=True):
    """Ports of a floating IP that lead to ports of an address; ranges are (first, last).

    `to` has as many ports as `external`, or one for all.
    """

    protocol: str
    external: Span
    internal: str
    to: Span


class FloatingNat(HostObject, frozen=True, kw_only=True):
    """One floating IP in a router: `external` to and from `internal`, one DNAT and one SNAT.

    Where it forwards single `ports` instead, `internal` is empty: these have a DNAT each, and no SNAT.
    What goes or changes has its connections cut at once.
    """

    namespace: str
    device: str
    external: str
    internal: str
    ports: tuple[PortNat, ...] = ()

    @property
    def key(self) -> Key:
        return ("floating-nat", self.namespace, self.external)


class SourceNat(HostObject, frozen=True, kw_only=True):
    """The catch-all of a router: what leaves by `device` and has no floating IP gets `address`.

    Where it is present, new connections that come in by `device` without a DNAT are dropped.
    """

    namespace: str
    device: str
    address: str

    @property
    def key(self) -> Key:
        return ("source-nat", self.namespace, self.device)


class AttachedNetwork(HostObject, frozen=True, kw_only=True):
    """A network that a router is on by `devices`, and the subnets whose addresses belong there (ingress filter, RFC 2827).

    `connected`: the router reaches them directly. A packet from one of them that comes in by another device is not
    forwarded. `others`: its further subnets; a packet from one of them may come from anywhere, as the router knows no
    way to them. But no packet from any subnet of the network leaves by `devices` unless it came in by them: hosts there
    would take it for a neighbour's.

    An `external` network is also reached by other routers: the answer to a connection that left by `devices` may come
    in by another device.
    """

    namespace: str
    network_id: str
    devices: tuple[str, ...]
    connected: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    external: bool = False

    @property
    def key(self) -> Key:
        return ("attached-network", self.namespace, self.network_id)


class DhcpLease(Struct, frozen=True, kw_only=True):
    """A static lease. `options` are this port's own; `addresses` all that it has, `ip` among them."""

    mac: str
    ip: str
    hostname: str
    port_id: str
    addresses: tuple[str, ...] = ()
    options: tuple[DhcpValue, ...] = ()


class DhcpRange(Struct, frozen=True, kw_only=True):
    """One subnet that DHCP serves, and the options for its clients: in IPv6 those of DHCPv6, which has numbers of its own."""

    subnet_id: str
    cidr: str
    options: tuple[DhcpValue, ...] = ()


class Dnsmasq(HostObject, frozen=True, kw_only=True):
    """The DHCP server of one network on this host; it answers static leases only."""

    namespace: str
    network_id: str
    device: str
    ranges: tuple[DhcpRange, ...] = ()
    leases: tuple[DhcpLease, ...] = ()
    leases6: tuple[Dhcp6Lease, ...] = ()
    lease_seconds: int = 86400
    mtu: int = 1500
    domain: str = "openstacklocal"

    @property
    def key(self) -> Key:
        return ("dnsmasq", self.network_id)


class MetadataListener(HostObject, frozen=True, kw_only=True):
    """Metadata on 169.254.169.254:80 in a namespace. `askers`: fixed IP → the port that asks."""

    namespace: str
    network_id: str
    askers: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return ("metadata", self.network_id)


class Nic(Struct, frozen=True, kw_only=True):
    """A network card of an instance: `device` is our end (tap…), the instance sees `name` (eth0 …)."""

    port_id: str
    device: str
    name: str
    mac: str
    mtu: int


class Instance(HostObject, frozen=True, kw_only=True):
    """A running instance. `project_id`: whose, so that one project's starts do not hold up all others'.

    `restarts` tells one start from the next: an instance that was started with another number is ended and started
    anew, `gently` where it is to be asked first.
    """

    server_id: str
    project_id: str = ""
    type: str
    image_id: str
    disk_format: str
    container_format: str
    hostname: str
    vcpus: int
    ram_mib: int
    disk_gib: int
    nics: tuple[Nic, ...] = ()
    power: str = "on"
    restarts: int = 0
    gently: bool = False

    @property
    def key(self) -> Key:
        return ("instance", self.server_id)


class Refusal(HostObject, frozen=True, kw_only=True):
    """Something that was asked for and that this host leaves out; all else is carried out without it.

    `detail` says what and why; it becomes the status of the objects in `origin`. `state`: `error` where a service is missing,
    `pending` where the object works and only waits for its user to mend a value.
    """

    detail: str
    state: State = "pending"

    @property
    def key(self) -> Key:
        return ("refusal", self.aspect, *map(str, self.origin), self.detail)


T = TypeVar("T", bound=HostObject)


class HostState(Struct, frozen=True, eq=False):
    """All objects of one host by key, in no order that means anything."""

    objects: Mapping[Key, HostObject] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        # Of whatever sort the two mappings are.
        return isinstance(other, HostState) and dict(self.objects) == dict(other.objects)

    @classmethod
    def of(cls, objects: Iterable[HostObject]) -> HostState:
        """Gather objects; raises ValueError where two different ones have the same key."""
        gathered: dict[Key, HostObject] = {}
        for item in objects:
            other = gathered.setdefault(item.key, item)
            if other != item:
                raise ValueError(
                    f"two versions of {item.key}: from {other.origin} and {item.origin}"
                )
        return cls(gathered)

    def each(self, kind: type[T]) -> Iterator[T]:
        """All objects of one type."""
        for item in self.objects.values():
            if type(item) is kind:
                yield item


class StateDelta(Struct, frozen=True):
    """The step from one HostState to another: objects that came or changed, and those that went, as they were."""

    put: dict[Key, HostObject] = field(default_factory=dict)
    gone: dict[Key, HostObject] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.put or self.gone)
