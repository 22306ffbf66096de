"""What hosts say of themselves, and what one host must know: HostFacts and HostView."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct, field

from netloom.model import bounds
from netloom.model.cloud import Image, Server
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import (
    AddressGroup,
    FloatingIP,
    Network,
    Port,
    PortForwarding,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from netloom.model.qos import QosPolicy

EPOCH_HEADER = "x-netloom-epoch"
"""Which feed the numbers of a stream belong to; an agent gives it back with the last it applied."""

AGENT_HEADER = "x-netloom-agent"
"""Which process speaks for the host: a word that it draws when it starts."""

HEARTBEAT_HEADER = "x-netloom-heartbeat"
"""Seconds between two reports of a host that has nothing to say: the server's wish, with the stream."""

FAILOVER_HEADER = "x-netloom-failover"
"""Seconds after which ordinary routers of a host that is not heard of move to another one; 0: they stay."""


Role = Literal["network", "compute"]
TunnelType = Literal["vxlan", "gre", "geneve"]
InstanceType = Literal["container"]
Backend = Literal["ovs", "linuxbridge", "none"]
"""What carries networks on a host: Open vSwitch, Linux bridges, or nothing (a simulated host)."""
Aspect = Literal[
    "l2", "l3", "dhcp", "metadata", "security", "instance", "tunnel", "state", "repair", "ha", "qos"
]
"""What of an object a host reports on; see Status."""
State = Literal["ok", "pending", "error", "gone"]
Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The number of a change: what a column of SQLite holds."""

ACTIVE_HERE, STANDBY_HERE = "active", "standby"
"""What a host says of an HA router: it forwards packets there, or it waits for the others to fall silent."""

ASPECTS: frozenset[str] = frozenset(get_args(Aspect))

MOST_ROWS = 2000
"""Status rows of one report; an agent with more to say sends several."""

MOST_MAPPED = 64
"""Physical networks of one host, and its capabilities."""


MOST_MEMBERS = 8
"""Cards of one bond."""


class HostFacts(Struct, frozen=True, kw_only=True):
    """What an agent reports of its host at start and whenever it changes.

    Whoever makes one, from JSON too, gets a valid one or a ValueError (in msgspec: a ValidationError): these words
    are a stranger's, and they reach other hosts' switches, this server's plans and people's terminals.
    The name alone is checked where a host is registered (`bounds.host_name`): rules ask for hosts by any name.

    `backend`: what carries networks there. `bridge_mappings`: physical network → bridge. `physical_interfaces`: that bridge → the interface
    that leads out of it. `bonds`: of these interfaces those that are bonds → the cards in each. `capabilities`: what probing found, name → value as text (`openvswitch` version,
    `datapath_type` system or netdev, `metering` …). `roles`: `network` and/or `compute`.
    `instance_types`: those that the host's setting allows (`container`). `plan_version`: digest of the
    plan's sources, so that explain knows whether the host would plan as the server does.
    """

    host: str
    backend: Backend = "ovs"
    tunnel_ip: str | None = None
    tunnel_types: tuple[TunnelType, ...] = ("vxlan",)
    bridge_mappings: dict[str, str] = field(default_factory=dict)
    physical_interfaces: dict[str, str] = field(default_factory=dict)
    bonds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: dict[str, str] = field(default_factory=dict)
    roles: tuple[Role, ...] = ("compute",)
    instance_types: tuple[InstanceType, ...] = ()
    availability_zone: str = "nova"
    plan_version: str = ""
    started_at: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for what types alone cannot say."""
        if self.tunnel_ip is not None:
            bounds.tunnel_end(self.tunnel_ip)
        _distinct("tunnel_types", self.tunnel_types)
        _distinct("roles", self.roles)
        _distinct("instance_types", self.instance_types)
        if max(map(len, (self.bridge_mappings, self.physical_interfaces, self.capabilities))) > (
            MOST_MAPPED
        ):
            raise ValueError(f"more than {MOST_MAPPED} physical networks or capabilities")
        for network, bridge in self.bridge_mappings.items():
            bounds.physical_network(network)
            if bounds.device_name(bridge) == INTEGRATION_BRIDGE:
                raise ValueError(
                    f"physical network {network} is mapped to {bridge}, the bridge that joins instances:"
                    " give it a bridge of its own"
                )
        bridges = tuple(self.bridge_mappings.values())
        _distinct("bridges of physical networks", bridges)
        for bridge, device in self.physical_interfaces.items():
            if bridge not in bridges:
                raise ValueError(
                    f"an interface is named for {bounds.shown(bridge)}, no bridge of a physical network"
                )
            bounds.device_name(device)
        _distinct("interfaces", tuple(self.physical_interfaces.values()))
        cards = tuple(card for members in self.bonds.values() for card in members)
        for bond, members in self.bonds.items():
            if bond not in self.physical_interfaces.values():
                raise ValueError(
                    f"{bounds.shown(bond)} leads out of no bridge of a physical network"
                )
            if not 2 <= len(members) <= MOST_MEMBERS:
                raise ValueError(
                    f"bond {bounds.shown(bond)}: it takes 2 to {MOST_MEMBERS} interfaces"
                )
        for card in cards:
            bounds.device_name(card)
        _distinct("interfaces of bonds", (*cards, *self.physical_interfaces.values()))
        for name, value in self.capabilities.items():
            bounds.line("the name of a capability", name, 64)
            bounds.line(f"capability {name}", value, 200)
        if self.capabilities.get("datapath_type", "netdev") not in ("system", "netdev"):
            raise ValueError("the datapath_type of Open vSwitch is system or netdev")
        bounds.line("availability_zone", self.availability_zone, 255)
        bounds.line("plan_version", self.plan_version, 200)
        bounds.line("started_at", self.started_at, 40)


def _distinct(what: str, names: tuple[str, ...]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"{what}: one of them is there twice")


class HostGrant(Struct, frozen=True, kw_only=True):
    """What the operator lets a host be (`netloom host add`, `netloom host grant`), whatever it says of itself.

    `physical_networks`: those it may be connected to; `*` is any. `instance_types`: instances it may run.
    """

    roles: tuple[Role, ...] = ("compute",)
    physical_networks: tuple[str, ...] = ()
    instance_types: tuple[InstanceType, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for what is no physical network."""
        for name in self.physical_networks:
            if name != "*":
                bounds.physical_network(name)

    def lacks(self, facts: HostFacts) -> HostGrant | None:
        """Return what of these facts is not granted; None where all is."""
        networks = () if "*" in self.physical_networks else tuple(facts.bridge_mappings)
        beyond = HostGrant(
            roles=tuple(role for role in facts.roles if role not in self.roles),
            physical_networks=tuple(n for n in networks if n not in self.physical_networks),
            instance_types=tuple(t for t in facts.instance_types if t not in self.instance_types),
        )
        return (
            beyond if any((beyond.roles, beyond.physical_networks, beyond.instance_types)) else None
        )


class Chassis(Struct, frozen=True, kw_only=True):
    """What other hosts may know of a host: where to send its tunnels."""

    host: str
    tunnel_ip: str | None = None
    tunnel_types: tuple[TunnelType, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where no tunnel can end there: the address becomes part of other hosts' flows."""
        if self.tunnel_ip is not None:
            bounds.tunnel_end(self.tunnel_ip)


class HostView(Struct, frozen=True, kw_only=True):
    """All that one host must know, as of change `seq`; `plan` is a function of it alone.

    Tables are by id (chassis by host name, itself included). `ports` holds every port of every network
    that is present on this host, wherever it is bound: their addresses answer ARP, their hosts are
    tunnel ends. It also holds ports that are members of remote security groups which local rules name.
    `servers` and `images` are those of instances on this host only.
    """

    seq: Seq
    facts: HostFacts
    chassis: dict[str, Chassis] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    floatingips: dict[str, FloatingIP] = field(default_factory=dict)
    port_forwardings: dict[str, PortForwarding] = field(default_factory=dict)
    security_groups: dict[str, SecurityGroup] = field(default_factory=dict)
    security_group_rules: dict[str, SecurityGroupRule] = field(default_factory=dict)
    address_groups: dict[str, AddressGroup] = field(default_factory=dict)
    qos_policies: dict[str, QosPolicy] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)


class ViewDelta(Struct, frozen=True, kw_only=True):
    """A step of the stream: apply `upsert` and `delete`, then the view is as of `seq`.

    Both are by table name of HostView (`networks`, `ports`, `chassis`, …). A snapshot is a delta with
    `snapshot` true: it replaces the whole view. `request_ids`: the API requests behind the step, where the
    server knows them; the agent's log lines about the step carry them.
    """

    seq: Seq
    snapshot: bool = False
    upsert: dict[str, list[Any]] = field(default_factory=dict)
    delete: dict[str, list[str]] = field(default_factory=dict)
    request_ids: tuple[str, ...] = ()

    @property
    def bare(self) -> bool:
        """Whether the step is a sequence number alone: the view stays as it is, the host has nothing to do."""
        return not (self.snapshot or self.upsert or self.delete)


class Status(Struct, frozen=True, kw_only=True):
    """What a host reports of one object: `aspect` reached `seq`, well (`ok`) or not, and why not.

    Aspects: `l2` (device plugged, flows in place), `dhcp`, `metadata`, `l3`, `security`, `instance`; of a host: `tunnel`
    (the way to another one); of an HA router: `ha`, where `detail` is ACTIVE_HERE or STANDBY_HERE; `repair` (what others damaged and the host put right); `state` (what this one keeps on its disk and makes of its view).
    `state`: `ok`, `pending` (waiting for something outside, as a device that is not plugged), `error`, or `gone`:
    the host has nothing to do with it any more, so whatever was wrong is not.
    `detail`: one line of at most `bounds.LONGEST_DETAIL` characters.
    """

    kind: str
    id: str
    aspect: Aspect
    seq: Seq
    state: State
    detail: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for what is no short line: people read it, in logs and in the API."""
        bounds.line("the kind", self.kind, 40)
        bounds.line("the id", self.id, 255)
        bounds.line("the detail", self.detail, bounds.LONGEST_DETAIL)


TABLES: dict[str, type[Struct]] = {
    "chassis": Chassis,
    "networks": Network,
    "subnets": Subnet,
    "ports": Port,
    "routers": Router,
    "floatingips": FloatingIP,
    "port_forwardings": PortForwarding,
    "security_groups": SecurityGroup,
    "security_group_rules": SecurityGroupRule,
    "address_groups": AddressGroup,
    "qos_policies": QosPolicy,
    "servers": Server,
    "images": Image,
}
"""Table of HostView → the struct of its rows."""
