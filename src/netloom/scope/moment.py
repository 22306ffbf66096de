"""All that there is at one change, to look at for as long as one likes, whole or a part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any

from netloom.model import (
    FloatingIP,
    HostFacts,
    HostView,
    Network,
    Port,
    Router,
    SecurityGroupRule,
    Subnet,
)
from netloom.model.names import OWNER_DISTRIBUTED, ROUTER_OWNERS
from netloom.scope.inventory import TABLE_OF_KIND, Inventory
from netloom.scope.select import select


class Moment:
    """Rows by table and id at one change: no later one alters them.

    `wanted`: host → the newest change that concerns it (`Scope.wanted`). What is looked up by something else than the id
    is found in one pass over a table, when it is asked for first.
    """

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        facts: Mapping[str, HostFacts],
        seq: int = 0,
        wanted: Mapping[str, int] | None = None,
    ) -> None:
        self.tables = {table: tables.get(table, {}) for table in TABLE_OF_KIND.values()}
        self.facts = facts
        self.seq = seq
        self.wanted = wanted or {}

    def view(self, host: str) -> HostView:
        """What the host must know."""
        return select(self._whole, host, self.seq)

    def views(self) -> dict[str, HostView]:
        """The views of all hosts that have reported facts."""
        return {host: self.view(host) for host in self.facts}

    @cached_property
    def _whole(self) -> Inventory:
        return _inventory(
            self.facts, ((t, r) for t, rows in self.tables.items() for r in rows.values())
        )

    def ports_of_network(self, network: str) -> list[Port]:
        """Ports of a network, by id."""
        return sorted(self._by_network.get(network, ()), key=attrgetter("id"))

    def ports_of_router(self, router: str) -> list[Port]:
        """Interfaces and gateways of a router, by id."""
        return sorted(self._by_router.get(router, ()), key=attrgetter("id"))

    @cached_property
    def _by_network(self) -> Mapping[str, list[Port]]:
        return _by(self.tables["ports"].values(), "network_id")

    @cached_property
    def _by_router(self) -> Mapping[str, list[Port]]:
        ports = self.tables["ports"].values()
        return _by((port for port in ports if port.device_owner in ROUTER_OWNERS), "device_id")

    @cached_property
    def _subnets(self) -> Mapping[str, list[Subnet]]:
        return _by(self.tables["subnets"].values(), "network_id")

    @cached_property
    def _rules(self) -> Mapping[str, list[SecurityGroupRule]]:
        return _by(self.tables["security_group_rules"].values(), "security_group_id")

    @cached_property
    def wires(self) -> Mapping[tuple[str, int], list[Network]]:
        """Networks by physical network and VLAN there (0: untagged)."""
        found: dict[tuple[str, int], list[Network]] = {}
        for network in self.tables["networks"].values():
            if network.physical_network:
                vlan = network.segmentation_id if network.network_type == "vlan" else 0
                found.setdefault((network.physical_network, vlan or 0), []).append(network)
        return found

    def networks_with(self, address: str) -> set[str]:
        """Networks on which a port has an address."""
        return {
            port.network_id
            for port in self.tables["ports"].values()
            for fixed in port.fixed_ips
            if fixed.ip_address == address
        }

    def networks_of_device(self, device_id: str) -> set[str]:
        """Networks on which a device has a card."""
        ports = self.tables["ports"].values()
        return {port.network_id for port in ports if port.device_id == device_id}

    def spread(self, networks: Collection[str]) -> tuple[set[str], set[str]]:
        """These networks and those beside them by distributed routers, which pass packets on within a switch; and these routers."""
        routers = {
            port.device_id
            for network in networks
            for port in self.ports_of_network(network)
            if port.device_owner == OWNER_DISTRIBUTED
        }
        beside = {
            port.network_id
            for router in routers
            for port in self.ports_of_router(router)
            if port.device_owner == OWNER_DISTRIBUTED
        }
        return {*networks, *beside}, routers

    def part(self, networks: Collection[str], routers: Collection[str]) -> Inventory | None:
        """The rows that decide what happens on these networks, and in these routers; None where no part would do.

        A host's view of this part and its whole view are planned alike, as far as packets of these networks can tell.
        The router of another network's port is known, but not what it is beside.
        """
        rows: dict[tuple[str, str], Any] = {}

        def take(table: str, found: Iterable[Any]) -> None:
            rows.update({(table, row.id): row for row in found if row is not None})

        groups: set[str] = set()
        legs: set[str] = set()
        for ident in networks:
            ports = self.ports_of_network(ident)
            take("networks", [self.tables["networks"].get(ident)])
            take("subnets", self._subnets.get(ident, []))
            take("ports", ports)
            for port in ports:
                if port.device_owner in ROUTER_OWNERS:
                    legs.add(port.device_id)
                else:
                    groups.update(port.security_groups)
        take("routers", (self.tables["routers"].get(ident) for ident in sorted({*legs, *routers})))
        for ident in routers:
            for port in self.ports_of_router(ident):
                take("ports", [port])
                take("networks", [self.tables["networks"].get(port.network_id)])
                take("subnets", self._subnets.get(port.network_id, []))
        within, inside = frozenset(networks), frozenset(routers)
        fips: list[FloatingIP] = [
            fip
            for fip in self.tables["floatingips"].values()
            if fip.floating_network_id in within or fip.router_id in inside
        ]
        take("floatingips", fips)
        led = {fip.id for fip in fips}
        forwardings = self.tables["port_forwardings"].values()
        take("port_forwardings", (each for each in forwardings if each.floatingip_id in led))
        take("ports", (self.tables["ports"].get(fip.port_id or "") for fip in fips))
        remote: set[str] = set()
        listed: set[str] = set()
        for ident in groups:
            rules = self._rules.get(ident, [])
            take("security_group_rules", rules)
            remote.update(rule.remote_group_id for rule in rules if rule.remote_group_id)
            listed.update(r.remote_address_group_id for r in rules if r.remote_address_group_id)
        take("security_groups", (self.tables["security_groups"].get(g) for g in groups | remote))
        take("address_groups", (self.tables["address_groups"].get(each) for each in listed))
        members = [
            port
            for port in (self.tables["ports"].values() if remote else ())
            if not remote.isdisjoint(port.security_groups)
        ]
        if any(_has_range(port) for port in members):
            # Whether a range counts hangs on who else is in it, on whatever network.
            return None
        take("ports", members)
        policies = {policy for (_, _), row in rows.items() if (policy := _policy_of(row))}
        take("qos_policies", (self.tables["qos_policies"].get(each) for each in sorted(policies)))
        return _inventory(self.facts, ((table, row) for (table, _), row in rows.items()))


def _policy_of(row: Any) -> str | None:
    """The QoS policy that a row names."""
    if isinstance(row, Router):
        row = row.external_gateway_info
    return getattr(row, "qos_policy_id", None) or None


def _has_range(port: Port) -> bool:
    """Whether an allowed address pair of a port is more than one address."""
    pairs = (pair.ip_address.partition("/")[2] for pair in port.allowed_address_pairs)
    return any(length not in ("", "32", "128") for length in pairs)


def _by(rows: Iterable[Any], field: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    key = attrgetter(field)
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _inventory(facts: Mapping[str, HostFacts], rows: Iterable[tuple[str, Any]]) -> Inventory:
    made = Inventory()
    made.facts = dict(facts)
    for table, row in rows:
        made.put(table, row)
    return made
