"""Which hosts a change of the inventory concerns, and how much."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from netloom.model import Port
from netloom.scope.inventory import ROUTER_OWNERS, Inventory


class Effect(Struct):
    """What changes do to views: of the hosts in `again` anything may differ.

    Of those in `ports` only these ports do, by id: their new rows, or None where the host no longer has them.
    A host in both is one for `again`.
    """

    again: set[str] = field(default_factory=set)
    ports: dict[str, dict[str, Port | None]] = field(default_factory=dict)

    def add(self, later: Effect) -> None:
        """Take in what a later change does."""
        self.again |= later.again
        for host, ports in later.ports.items():
            self.ports.setdefault(host, {}).update(ports)


def replace(inventory: Inventory, table: str, id: str, row: Any | None) -> Effect:
    """Put a row in its old one's place (None: take it out); returns what that does to views."""
    old = inventory.table(table).get(id)
    if table == "ports":
        return _replace_port(inventory, id, old, row)
    again: set[str] = set()
    if old is not None:
        again |= concerned(inventory, table, old)
    if row is None:
        inventory.remove(table, id)
    else:
        inventory.put(table, row)
        again |= concerned(inventory, table, row)
    return Effect(again=again)


def _replace_port(inventory: Inventory, id: str, old: Port | None, new: Port | None) -> Effect:
    """As `replace`; where no network comes to a host or leaves one, others only see the port itself change."""
    rows = [port for port in (old, new) if port is not None]
    networks = {port.network_id for port in rows}
    presence = {network: inventory.hosts_of_network(network) for network in networks}
    before = concerned(inventory, "ports", old) if old is not None else set[str]()
    places = {inventory.place(old)} if old is not None else set[str]()
    if new is None:
        inventory.remove("ports", id)
    else:
        inventory.put("ports", new)
    after = concerned(inventory, "ports", new) if new is not None else set[str]()
    places |= {inventory.place(new)} if new is not None else set[str]()
    moved = any(inventory.hosts_of_network(network) != hosts for network, hosts in presence.items())
    if moved or any(port.device_owner in ROUTER_OWNERS for port in rows):
        return Effect(again=before | after)
    others = (before | after) - places
    return Effect(
        again=places, ports={host: {id: new if host in after else None} for host in others}
    )


def concerned(inventory: Inventory, table: str, row: Any) -> set[str]:
    """Hosts whose view may differ for `row` being as it is in this inventory.

    A change of a row can alter only the views of hosts concerned by the old row in the inventory before, or
    by the new one in the inventory after. More hosts than needed cost time; one too few is a wrong view.
    """
    found: set[str] = set()
    if table == "ports":
        found.update(inventory.hosts_of_network(row.network_id))
        found.update(_users(inventory, row.security_groups))
        for fip in inventory.by("floatingips_of_port", row.id).values():
            found.add(_host_of_router(inventory, fip.router_id))
    elif table == "networks":
        found.update(inventory.hosts_of_network(row.id))
    elif table == "subnets":
        found.update(inventory.hosts_of_network(row.network_id))
    elif table == "routers":
        found.add(row.host)
        for port in inventory.by("ports_of_router", row.id).values():
            found.update(inventory.hosts_of_network(port.network_id))
    elif table == "floatingips":
        found.add(_host_of_router(inventory, row.router_id))
        found.update(s.host for s in inventory.by("servers_of_port", row.port_id or "").values())
    elif table == "security_groups":
        found.update(inventory.hosts_of_group(row.id))
        found.update(_users(inventory, (row.id,)))
    elif table == "security_group_rules":
        found.update(inventory.hosts_of_group(row.security_group_id))
    elif table == "servers":
        found.add(row.host)
    elif table == "images":
        found.update(server.host for server in inventory.by("servers_of_image", row.id).values())
    return found


def neighbours(inventory: Inventory, host: str) -> set[str]:
    """Hosts that know `host`: those that share a network with it, and itself."""
    return {host}.union(
        *(inventory.hosts_of_network(network) for network in inventory.networks_of_host(host))
    )


def _users(inventory: Inventory, groups: tuple[str, ...]) -> set[str]:
    """Hosts with a port whose rules name one of these groups."""
    return {
        host
        for group in groups
        for rule in inventory.by("rules_naming_group", group).values()
        for host in inventory.hosts_of_group(rule.security_group_id)
    }


def _host_of_router(inventory: Inventory, router_id: str | None) -> str:
    router = inventory.routers.get(router_id or "")
    return router.host if router else ""
