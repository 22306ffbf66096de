"""What hosts say of themselves, and what one host must know: HostFacts and HostView."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from netloom.model.cloud import Image, Server
from netloom.model.networking import (
    FloatingIP,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)

EPOCH_HEADER = "x-netloom-epoch"
"""Which feed the numbers of a stream belong to; an agent gives it back with the last it applied."""

AGENT_HEADER = "x-netloom-agent"
"""Which process speaks for the host: a word that it draws when it starts."""


class HostFacts(Struct, frozen=True, kw_only=True):
    """What an agent reports of its host at start and whenever it changes.

    `bridge_mappings`: physical network → bridge. `physical_interfaces`: that bridge → the interface
    that leads out of it. `capabilities`: what probing found, name → value as text (`openvswitch` version,
    `datapath_type` system or netdev, `metering` …). `roles`: `network` and/or `compute`.
    `instance_types`: those that the host's setting allows (`container`). `plan_version`: digest of the
    plan's sources, so that explain knows whether the host would plan as the server does.
    """

    host: str
    tunnel_ip: str | None = None
    tunnel_types: tuple[str, ...] = ("vxlan",)
    bridge_mappings: dict[str, str] = field(default_factory=dict)
    physical_interfaces: dict[str, str] = field(default_factory=dict)
    capabilities: dict[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ("compute",)
    instance_types: tuple[str, ...] = ()
    availability_zone: str = "nova"
    plan_version: str = ""
    started_at: str = ""


class Chassis(Struct, frozen=True, kw_only=True):
    """What other hosts may know of a host: where to send its tunnels."""

    host: str
    tunnel_ip: str | None = None
    tunnel_types: tuple[str, ...] = ()


class HostView(Struct, frozen=True, kw_only=True):
    """All that one host must know, as of change `seq`; `plan` is a function of it alone.

    Tables are by id (chassis by host name, itself included). `ports` holds every port of every network
    that is present on this host, wherever it is bound: their addresses answer ARP, their hosts are
    tunnel ends. It also holds ports that are members of remote security groups which local rules name.
    `servers` and `images` are those of instances on this host only.
    """

    seq: int
    facts: HostFacts
    chassis: dict[str, Chassis] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    floatingips: dict[str, FloatingIP] = field(default_factory=dict)
    security_groups: dict[str, SecurityGroup] = field(default_factory=dict)
    security_group_rules: dict[str, SecurityGroupRule] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)


class ViewDelta(Struct, frozen=True, kw_only=True):
    """A step of the stream: apply `upsert` and `delete`, then the view is as of `seq`.

    Both are by table name of HostView (`networks`, `ports`, `chassis`, …). A snapshot is a delta with
    `snapshot` true: it replaces the whole view. `request_ids`: the API requests behind the step, where the
    server knows them; the agent's log lines about the step carry them.
    """

    seq: int
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

    Aspects: `l2` (device plugged, flows in place), `dhcp`, `metadata`, `l3`, `instance`.
    `state`: `ok`, `pending` (waiting for something outside, as a device that is not plugged), `error`, or `gone`:
    the host has nothing to do with it any more, so whatever was wrong is not.
    """

    kind: str
    id: str
    aspect: str
    seq: int
    state: str
    detail: str = ""


TABLES: dict[str, type[Struct]] = {
    "chassis": Chassis,
    "networks": Network,
    "subnets": Subnet,
    "ports": Port,
    "routers": Router,
    "floatingips": FloatingIP,
    "security_groups": SecurityGroup,
    "security_group_rules": SecurityGroupRule,
    "servers": Server,
    "images": Image,
}
"""Table of HostView → the struct of its rows."""
