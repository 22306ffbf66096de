"""What an explanation needs of the API's objects, and of how hosts are doing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from netloom.explain.cause import Cause
from netloom.model.cloud import Server
from netloom.model.hosts import HostFacts
from netloom.model.names import OWNER_DHCP, OWNER_ROUTER_GATEWAY, OWNER_SNAT
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
from netloom.model.origin import Origin
from netloom.plan import VERSION
from netloom.plan.index import ROUTER_OWNERS
from netloom.scope import Moment
from netloom.scope.inventory import TABLE_OF_KIND
from netloom.store import StatusRow


@dataclass(frozen=True, kw_only=True)
class Health:
    """How far one host can be trusted to be as planned. `wanted_seq`: the newest change that concerns it.

    `away`: its stream to this server has ended and no other was opened since. `enabled`: it takes new routers.
    `agent`: the id by which the API switches it on and off.
    """

    alive: bool
    applied_seq: int
    wanted_seq: int
    plan_version: str
    away: bool = False
    enabled: bool = True
    agent: str = ""

    @property
    def doubt(self) -> tuple[Cause, str] | None:
        """Why its present state is not known; None where it is."""
        if not self.alive:
            return Cause.HOST_SILENT, "does not report any more"
        if self.away:
            return Cause.HOST_AWAY, "has lost its connection to the server"
        if self.plan_version != VERSION:
            version = self.plan_version or "unknown"
            return Cause.HOST_PLAN, f"plans with version {version}, this server with {VERSION}"
        if self.applied_seq < self.wanted_seq:
            return (
                Cause.HOST_BEHIND,
                f"has applied change {self.applied_seq}, but change {self.wanted_seq} concerns it",
            )
        return None


class Reports(Protocol):
    """What hosts report, and the API's statuses of servers: read as far as a question needs them."""

    def of(self, ids: Collection[str]) -> Sequence[StatusRow]:
        """What all hosts say of these objects, by id, host and aspect."""
        ...

    def by(self, host: str) -> Sequence[StatusRow]:
        """All that one host says."""
        ...

    def state(self, server: str) -> str:
        """The API's status of a server; empty where it has none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """All objects by kind and id, what hosts are and how they do, and what they report.

    `largest_mtu`: network type → the largest MTU that the API takes.
    """

    objects: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, HostFacts]
    reports: Reports
    health: Mapping[str, Health] = field(default_factory=dict)
    largest_mtu: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def moment(self) -> Moment:
        """The objects as hosts see them."""
        tables = {table: self.objects.get(kind, {}) for kind, table in TABLE_OF_KIND.items()}
        return Moment(tables, self.facts)

    def ports_where(self, fits: Callable[[Port], bool]) -> list[Port]:
        """Ports by id, found by looking at each."""
        found = [port for port in self.ports.values() if fits(port)]
        return sorted(found, key=lambda port: port.id)

    def ports_with(self, address: str) -> list[Port]:
        """Ports that have a fixed address, by id."""
        return self.ports_where(lambda port: any(f.ip_address == address for f in port.fixed_ips))

    def ports_named(self, word: str) -> list[Port]:
        """Ports whose id or name a word is, by id."""
        found = {port.id: port for port in self._named.get(word, ())}
        if word in self.ports:
            found[word] = self.ports[word]
        return sorted(found.values(), key=lambda port: port.id)

    @cached_property
    def _named(self) -> Mapping[str, list[Port]]:
        found: dict[str, list[Port]] = {}
        for port in self.ports.values():
            if port.name:
                found.setdefault(port.name, []).append(port)
        return found

    def ports_of_network(self, network: str) -> list[Port]:
        """A network's ports, by id."""
        return self.moment.ports_of_network(network)

    @property
    def ports(self) -> Mapping[str, Port]:
        """Ports by id."""
        return self.objects.get(Port.KIND, {})

    @property
    def servers(self) -> Mapping[str, Server]:
        """Servers by id."""
        return self.objects.get(Server.KIND, {})

    @property
    def networks(self) -> Mapping[str, Network]:
        """Networks by id."""
        return self.objects.get(Network.KIND, {})

    @property
    def subnets(self) -> Mapping[str, Subnet]:
        """Subnets by id."""
        return self.objects.get(Subnet.KIND, {})

    @property
    def routers(self) -> Mapping[str, Router]:
        """Routers by id."""
        return self.objects.get(Router.KIND, {})

    @property
    def rules(self) -> Mapping[str, SecurityGroupRule]:
        """Security group rules by id."""
        return self.objects.get(SecurityGroupRule.KIND, {})

    @property
    def groups(self) -> Mapping[str, SecurityGroup]:
        """Security groups by id."""
        return self.objects.get(SecurityGroup.KIND, {})

    @cached_property
    def routed(self) -> Mapping[str, list[Port]]:
        """Subnet id → the router interfaces that have an address in it, by id."""
        found: dict[str, list[Port]] = {}
        for port in self.ports_where(lambda port: port.device_owner in ROUTER_OWNERS):
            if port.device_owner not in (OWNER_ROUTER_GATEWAY, OWNER_SNAT):
                for fixed in port.fixed_ips:
                    found.setdefault(fixed.subnet_id, []).append(port)
        return found

    def interfaces(self, router: str) -> list[Port]:
        """The ports by which a router is on its networks, its gateway apart."""
        ports = self.moment.ports_of_router(router)
        others = OWNER_ROUTER_GATEWAY, OWNER_SNAT
        return [port for port in ports if port.device_owner not in others]

    @cached_property
    def server_of(self) -> Mapping[str, Server]:
        """Port id → the server that compute gave it to; a port's `device_id` is only what its owner says."""
        return {ident: server for server in self.servers.values() for ident in server.port_ids}

    @property
    def floatingips(self) -> Mapping[str, FloatingIP]:
        """Floating IPs by id."""
        return self.objects.get(FloatingIP.KIND, {})

    @cached_property
    def forwardings_of(self) -> Mapping[str, list[PortForwarding]]:
        """Floating IP's id → its port forwardings, by id; floating IPs without any are not there."""
        found: dict[str, list[PortForwarding]] = {}
        for _, forwarding in sorted(self.objects.get(PortForwarding.KIND, {}).items()):
            found.setdefault(forwarding.floatingip_id, []).append(forwarding)
        return found

    def name(self, origin: Origin) -> str:
        """An origin as a person calls it: kind and name, or id where it has none."""
        kind, ident = origin.kind, origin.id
        if kind == SecurityGroupRule.KIND and ident in self.objects.get(kind, {}):
            rule: SecurityGroupRule = self.objects[kind][ident]
            remote = rule.remote_group_id
            group = self.name(Origin(SecurityGroup.KIND, remote)) if remote else ""
            if listed := rule.remote_address_group_id:
                group = self.name(Origin(AddressGroup.KIND, listed))
            return f"rule {rule_text(rule, group)}"
        thing = self.objects.get(kind, {}).get(ident)
        named = getattr(thing, "name", "") or ident
        if isinstance(thing, FloatingIP):
            named = thing.floating_ip_address
        if isinstance(thing, Port) and not thing.name:
            named = ", ".join(fixed.ip_address for fixed in thing.fixed_ips) or ident
            owner: Server | Router | None = self.server_of.get(thing.id)
            if owner is None and thing.device_owner in ROUTER_OWNERS:
                owner = self.routers.get(thing.device_id)
            if owner is not None:
                named += f" of {owner.KIND} {owner.name or owner.id}"
            elif thing.device_owner == OWNER_DHCP:
                named += f" of DHCP on {self.name(Origin(Network.KIND, thing.network_id))}"
        return f"{kind.replace('_', ' ')} {named}"


def rule_text(rule: SecurityGroupRule, group: str = "") -> str:
    """A rule in a few words: `ingress tcp 22 from 10.0.0.0/8`. `group`: its remote or address group's name."""
    parts = [rule.direction, rule.protocol or "any protocol"]
    if rule.port_range_min is not None:
        low, high = rule.port_range_min, rule.port_range_max
        parts.append(str(low) if high in (None, low) else f"{low}-{high}")
    remote = rule.remote_ip_prefix or group
    if remote:
        parts += ["from" if rule.direction == "ingress" else "to", remote]
    return " ".join(parts)
