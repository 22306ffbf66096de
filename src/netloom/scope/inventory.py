"""All objects that any host may need, in memory, with the references between them followed backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from netloom.model import (
    TABLES,
    FloatingIP,
    HostFacts,
    Image,
    Network,
    Port,
    Resource,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)
from netloom.model.names import (
    OWNER_DHCP,
    OWNER_FLOATING_IP,
    ROUTER_OWNERS,
)

PLACELESS_OWNERS = frozenset({OWNER_DHCP, OWNER_FLOATING_IP})
"""Ports that are on no host of their own: a DHCP port is wherever its network is."""

TABLE_OF_KIND: dict[str, str] = {
    struct.KIND: table for table, struct in TABLES.items() if issubclass(struct, Resource)
}
"""Kind in the store → table of HostView."""

Keys = Callable[[Any], Iterable[str | None]]

_INDEXES: dict[str, dict[str, Keys]] = {
    "ports": {
        "ports_of_network": lambda p: (p.network_id,),
        "ports_of_host": lambda p: (p.host,),
        "ports_of_group": lambda p: p.security_groups,
        "ports_of_router": lambda p: (p.device_id,) if p.device_owner in ROUTER_OWNERS else (),
    },
    "subnets": {"subnets_of_network": lambda s: (s.network_id,)},
    "routers": {"routers_of_host": lambda r: (r.host,)},
    "floatingips": {
        "floatingips_of_router": lambda f: (f.router_id,),
        "floatingips_of_port": lambda f: (f.port_id,),
    },
    "security_group_rules": {
        "rules_of_group": lambda r: (r.security_group_id,),
        "rules_naming_group": lambda r: (r.remote_group_id,),
    },
    "servers": {
        "servers_of_host": lambda s: (s.host,),
        "servers_of_port": lambda s: s.port_ids,
        "servers_of_image": lambda s: (s.image_id,),
    },
}
"""Table → index → what a row is found by there; an empty key is none."""


def is_bound(port: Port) -> bool:
    """Whether the port is where its own binding says: no router's, and none that is on no host of its own."""
    return port.device_owner not in PLACELESS_OWNERS and port.device_owner not in ROUTER_OWNERS


class Inventory:
    """Tables by id and indexes over them. `put` and `remove` change one row; the rest reads.

    Rows may name others that are not (or no longer) there: nothing here minds the order of changes.
    """

    def __init__(self) -> None:
        self.facts: dict[str, HostFacts] = {}
        self.networks: dict[str, Network] = {}
        self.subnets: dict[str, Subnet] = {}
        self.ports: dict[str, Port] = {}
        self.routers: dict[str, Router] = {}
        self.floatingips: dict[str, FloatingIP] = {}
        self.security_groups: dict[str, SecurityGroup] = {}
        self.security_group_rules: dict[str, SecurityGroupRule] = {}
        self.servers: dict[str, Server] = {}
        self.images: dict[str, Image] = {}
        self._indexes: dict[str, dict[str, dict[str, Any]]] = {
            name: {} for indexes in _INDEXES.values() for name in indexes
        }
        self._hosts_of_network: dict[str, frozenset[str]] = {}
        self._routers_of_network: dict[str, frozenset[str]] = {}
        self._hosts_of_group: dict[str, frozenset[str]] = {}

    def copy(self) -> Inventory:
        """An inventory of its own with the same rows, which are shared: they never change. Costs 10 ms for 100,000 ports."""
        made = Inventory()
        made.facts = dict(self.facts)
        for table in TABLE_OF_KIND.values():
            setattr(made, table, dict(self.table(table)))
        made._indexes = {
            name: {key: dict(rows) for key, rows in index.items()}
            for name, index in self._indexes.items()
        }
        made._hosts_of_network = dict(self._hosts_of_network)
        made._routers_of_network = dict(self._routers_of_network)
        made._hosts_of_group = dict(self._hosts_of_group)
        return made

    def table(self, name: str) -> dict[str, Any]:
        """Rows of one table of HostView by id."""
        return getattr(self, name)

    def put(self, table: str, row: Any) -> None:
        """Add a row, or replace the one of the same id."""
        self.remove(table, row.id)
        self.table(table)[row.id] = row
        for name, keys in _INDEXES.get(table, {}).items():
            for key in keys(row):
                if key:
                    self._indexes[name].setdefault(key, {})[row.id] = row
        self._forget(table, row)

    def remove(self, table: str, id: str) -> None:
        """Take a row out, where it is there."""
        row = self.table(table).pop(id, None)
        if row is None:
            return
        for name, keys in _INDEXES.get(table, {}).items():
            for key in keys(row):
                if key and (found := self._indexes[name].get(key)) is not None:
                    found.pop(id, None)
                    if not found:
                        del self._indexes[name][key]
        self._forget(table, row)

    def by(self, index: str, key: str) -> dict[str, Any]:
        """Rows by id that an index of _INDEXES finds; not to be changed."""
        return self._indexes[index].get(key, {})

    def place(self, port: Port) -> str:
        """Host that realises a port; empty where there is none, or no single one."""
        if port.device_owner in PLACELESS_OWNERS:
            return ""
        if port.device_owner in ROUTER_OWNERS:
            router = self.routers.get(port.device_id)
            return router.host if router else ""
        return port.host

    def local_ports(self, host: str) -> list[Port]:
        """Ports bound to a host: instances' and other plain ones, no router's."""
        return [port for port in self.by("ports_of_host", host).values() if is_bound(port)]

    def networks_of_host(self, host: str) -> set[str]:
        """Ids of the networks that are present on a host: a port that it realises makes them so."""
        found = {port.network_id for port in self.local_ports(host)}
        for router in self.by("routers_of_host", host):
            found.update(port.network_id for port in self.by("ports_of_router", router).values())
        return found

    def hosts_of_network(self, network: str) -> frozenset[str]:
        """Hosts on which a network is present."""
        found = self._hosts_of_network.get(network)
        if found is None:
            ports: Iterable[Port] = self.by("ports_of_network", network).values()
            found = frozenset(place for place in map(self.place, ports) if place)
            self._hosts_of_network[network] = found
        return found

    def routers_of_network(self, network: str) -> frozenset[str]:
        """Ids of the routers that have a port in a network."""
        found = self._routers_of_network.get(network)
        if found is None:
            ports: Iterable[Port] = self.by("ports_of_network", network).values()
            found = frozenset(
                port.device_id for port in ports if port.device_owner in ROUTER_OWNERS
            )
            self._routers_of_network[network] = found
        return found

    def hosts_of_group(self, group: str) -> frozenset[str]:
        """Hosts to which a port with a security group is bound; nothing is checked for routers' ports."""
        found = self._hosts_of_group.get(group)
        if found is None:
            ports: Iterable[Port] = self.by("ports_of_group", group).values()
            found = frozenset(port.host for port in ports if port.host and is_bound(port))
            self._hosts_of_group[group] = found
        return found

    def _forget(self, table: str, row: Any) -> None:
        """Drop what was worked out from a row that comes or goes."""
        if table == "ports":
            self._hosts_of_network.pop(row.network_id, None)
            self._routers_of_network.pop(row.network_id, None)
            for group in row.security_groups:
                self._hosts_of_group.pop(group, None)
        elif table == "routers":
            for port in self.by("ports_of_router", row.id).values():
                self._forget("ports", port)
