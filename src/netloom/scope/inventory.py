"""All objects that any host may need, in memory, with the references between them followed backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView
from typing import Any

from netloom.model import (
    TABLES,
    AddressGroup,
    FloatingIP,
    HostFacts,
    Image,
    Network,
    Port,
    PortForwarding,
    QosPolicy,
    Resource,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)
from netloom.model.names import OWNER_DISTRIBUTED, OWNER_FLOATING_IP, ROUTER_OWNERS
from netloom.model.placement import anchors, is_bound_itself, places

TABLE_OF_KIND: dict[str, str] = {
    struct.KIND: table for table, struct in TABLES.items() if issubclass(struct, Resource)
}
"""Kind in the store → table of HostView."""

Keys = Callable[[Any], Iterable[str | None]]

Read = tuple[str, str]
"""(name of an index or a set, key), or (table, id) for one row."""

INDEXES: dict[str, tuple[str, Keys]] = {
    "ports_of_network": ("ports", lambda p: (p.network_id,)),
    "ports_of_group": ("ports", lambda p: p.security_groups),
    "ports_of_router": (
        "ports",
        lambda p: (p.device_id,) if p.device_owner in ROUTER_OWNERS else (),
    ),
    "subnets_of_network": ("subnets", lambda s: (s.network_id,)),
    "routers_of_host": ("routers", lambda r: places(r)),
    "floatingips_of_router": ("floatingips", lambda f: (f.router_id,)),
    "floatingips_of_port": ("floatingips", lambda f: (f.port_id,)),
    "port_forwardings_of_router": ("port_forwardings", lambda f: (f.router_id,)),
    "rules_of_group": ("security_group_rules", lambda r: (r.security_group_id,)),
    "servers_of_host": ("servers", lambda s: (s.host,)),
}
"""Index → its table, and what a row is found by there; an empty key is none."""


def found_by(table: str, row: Any) -> Iterator[Read]:
    """The indexes and keys by which a row is found."""
    for name, keys in _OF_TABLE.get(table, ()):
        for key in keys(row):
            if key:
                yield name, key


_OF_TABLE: dict[str, list[tuple[str, Keys]]] = {
    table: [(name, keys) for name, (of, keys) in INDEXES.items() if of == table]
    for table in {table for table, _ in INDEXES.values()}
}


class Inventory:
    """Tables by id, indexes over them, and counted sets. `put` and `remove` change one row; the rest reads.

    Rows may name others that are not (or no longer) there: nothing here minds the order of changes.

    ======================= ================================================================
    set                     members
    ======================= ================================================================
    networks_of_host        networks that are present there by themselves: a port that the host realises makes them so
    hosts_of_network        hosts on which a network is present
    routers_of_network      routers that have a port in a network
    anchored_networks       networks whose distributed routers are on a host
    anchors_of_network      hosts on which the distributed routers of a network are
    spread_of_network       distributed routers that have an interface in a network
    networks_of_spread      networks in which a distributed router has an interface
    entries_of_host         floating IPs that enter at a host
    groups_of_host          security groups of ports bound there; nothing is checked for routers' ports
    own_routers             routers with a replica on a host
    ports_of_floatingips    ports that floating IPs of a router stand for
    remotes_of_group        groups that the rules of a group name
    addresses_of_group      address groups that the rules of a group name
    ports_of_servers        ports of the servers on a host
    images_of_host          images of the servers on a host
    policies_of_host        QoS policies of ports there, and of the gateways of routers there
    policies_of_network     the QoS policy of a network
    policies_of_router      QoS policies of a router's floating IPs
    policies_of_floatingip  the QoS policy of a floating IP
    ======================= ================================================================
    """

    def __init__(self) -> None:
        self.facts: dict[str, HostFacts] = {}
        self.networks: dict[str, Network] = {}
        self.subnets: dict[str, Subnet] = {}
        self.ports: dict[str, Port] = {}
        self.routers: dict[str, Router] = {}
        self.floatingips: dict[str, FloatingIP] = {}
        self.port_forwardings: dict[str, PortForwarding] = {}
        self.security_groups: dict[str, SecurityGroup] = {}
        self.security_group_rules: dict[str, SecurityGroupRule] = {}
        self.address_groups: dict[str, AddressGroup] = {}
        self.qos_policies: dict[str, QosPolicy] = {}
        self.servers: dict[str, Server] = {}
        self.images: dict[str, Image] = {}
        self._indexes: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in INDEXES}
        self._sets: dict[Read, dict[str, int]] = {}

    def table(self, name: str) -> dict[str, Any]:
        """Rows of one table of HostView by id."""
        return getattr(self, name)

    def put(self, table: str, row: Any) -> set[Read]:
        """Add a row, or replace the one of the same id; returns the sets that are not as before."""
        return self._replace(table, row.id, row)

    def remove(self, table: str, id: str) -> set[Read]:
        """Take a row out, where it is there; returns the sets that are not as before."""
        return self._replace(table, id, None)

    def _replace(self, table: str, id: str, row: Any | None) -> set[Read]:
        rows = self.table(table)
        old = rows.get(id)
        was: dict[tuple[Read, str], bool] = {}
        # The ports of a router are where the router is.
        beside = list(self.by("ports_of_router", id).values()) if table == "routers" else []
        for port in beside:
            self._count("ports", port, -1, was)
        if old is not None:
            self._count(table, old, -1, was)
            for name, key in found_by(table, old):
                found = self._indexes[name][key]
                found.pop(id, None)
                if not found:
                    del self._indexes[name][key]
        if row is None:
            rows.pop(id, None)
        else:
            rows[id] = row
            for name, key in found_by(table, row):
                self._indexes[name].setdefault(key, {})[id] = row
            self._count(table, row, 1, was)
        for port in beside:
            self._count("ports", port, 1, was)
        return {
            read for (read, member), had in was.items() if (member in self.members(*read)) != had
        }

    def _count(self, table: str, row: Any, by: int, was: dict[tuple[Read, str], bool]) -> None:
        for read, member in self._sets_of(table, row):
            counts = self._sets.setdefault(read, {})
            was.setdefault((read, member), member in counts)
            number = counts.get(member, 0) + by
            if number:
                counts[member] = number
                continue
            del counts[member]
            if not counts:
                del self._sets[read]

    def _sets_of(self, table: str, row: Any) -> Iterator[tuple[Read, str]]:
        """The sets that a row is counted in, and as which member."""
        if table == "ports":
            for place in self.places(row):
                yield ("networks_of_host", place), row.network_id
                yield ("hosts_of_network", row.network_id), place
                if row.qos_policy_id:
                    yield ("policies_of_host", place), row.qos_policy_id
            router = self._router_of(row)
            for place in anchors(row, router):
                yield ("anchored_networks", place), row.network_id
                yield ("anchors_of_network", row.network_id), place
            if row.device_owner == OWNER_DISTRIBUTED:
                yield ("spread_of_network", row.network_id), row.device_id
                yield ("networks_of_spread", row.device_id), row.network_id
            if row.device_owner == OWNER_FLOATING_IP and row.entry:
                yield ("entries_of_host", row.entry), row.device_id
            if row.device_owner in ROUTER_OWNERS:
                yield ("routers_of_network", row.network_id), row.device_id
            elif row.host and is_bound_itself(row):
                for group in row.security_groups:
                    yield ("groups_of_host", row.host), group
        elif table == "routers":
            for place in places(row):
                yield ("own_routers", place), row.id
                if row.external_gateway_info and row.external_gateway_info.qos_policy_id:
                    yield ("policies_of_host", place), row.external_gateway_info.qos_policy_id
        elif table == "networks":
            if row.qos_policy_id:
                yield ("policies_of_network", row.id), row.qos_policy_id
        elif table == "floatingips":
            if row.router_id and row.port_id:
                yield ("ports_of_floatingips", row.router_id), row.port_id
            if row.qos_policy_id:
                yield ("policies_of_floatingip", row.id), row.qos_policy_id
                if row.router_id:
                    yield ("policies_of_router", row.router_id), row.qos_policy_id
        elif table == "security_group_rules":
            if row.remote_group_id:
                yield ("remotes_of_group", row.security_group_id), row.remote_group_id
            if row.remote_address_group_id:
                yield ("addresses_of_group", row.security_group_id), row.remote_address_group_id
        elif table == "servers" and row.host:
            yield ("images_of_host", row.host), row.image_id
            for port_id in row.port_ids:
                yield ("ports_of_servers", row.host), port_id

    def by(self, index: str, key: str) -> dict[str, Any]:
        """Rows by id that an index of INDEXES finds; not to be changed."""
        return self._indexes[index].get(key, {})

    def members(self, name: str, key: str) -> KeysView[str]:
        """The members of a set; not to be kept."""
        return self._sets.get((name, key), _NOBODY).keys()

    def places(self, port: Port) -> tuple[str, ...]:
        """Hosts on which a port makes its network present; none for one that is wherever its network is."""
        return places(port, self._router_of(port))

    def _router_of(self, port: Port) -> Router | None:
        return self.routers.get(port.device_id) if port.device_owner in ROUTER_OWNERS else None


_NOBODY: dict[str, int] = {}
