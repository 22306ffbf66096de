"""Which hosts a change of the world concerns, and how much."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from netloom.model import Port
from netloom.scope.inventory import ROUTER_OWNERS, World


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


def replace(world: World, table: str, id: str, row: Any | None) -> Effect:
    """Put a row in its old one's place (None: take it out); returns what that does to views."""
    old = world.table(table).get(id)
    if table == "ports":
        return _replace_port(world, id, old, row)
    again: set[str] = set()
    if old is not None:
        again |= concerned(world, table, old)
    if row is None:
        world.remove(table, id)
    else:
        world.put(table, row)
        again |= concerned(world, table, row)
    return Effect(again=again)


def _replace_port(world: World, id: str, old: Port | None, new: Port | None) -> Effect:
    """As `replace`; where no network comes to a host or leaves one, others only see the port itself change."""
    rows = [port for port in (old, new) if port is not None]
    networks = {port.network_id for port in rows}
    presence = {network: world.hosts_of_network(network) for network in networks}
    before = concerned(world, "ports", old) if old is not None else set[str]()
    places = {world.place(old)} if old is not None else set[str]()
    if new is None:
        world.remove("ports", id)
    else:
        world.put("ports", new)
    after = concerned(world, "ports", new) if new is not None else set[str]()
    places |= {world.place(new)} if new is not None else set[str]()
    moved = any(world.hosts_of_network(network) != hosts for network, hosts in presence.items())
    if moved or any(port.device_owner in ROUTER_OWNERS for port in rows):
        return Effect(again=before | after)
    others = (before | after) - places
    return Effect(
        again=places, ports={host: {id: new if host in after else None} for host in others}
    )


def concerned(world: World, table: str, row: Any) -> set[str]:
    """Hosts whose view may differ for `row` being as it is in this world.

    A change of a row can alter only the views of hosts concerned by the old row in the world before, or
    by the new one in the world after. More hosts than needed cost time; one too few is a wrong view.
    """
    found: set[str] = set()
    if table == "ports":
        found.update(world.hosts_of_network(row.network_id))
        found.update(_users(world, row.security_groups))
        for fip in world.by("floatingips_of_port", row.id).values():
            found.add(_host_of_router(world, fip.router_id))
    elif table == "networks":
        found.update(world.hosts_of_network(row.id))
    elif table == "subnets":
        found.update(world.hosts_of_network(row.network_id))
    elif table == "routers":
        found.add(row.host)
        for port in world.by("ports_of_router", row.id).values():
            found.update(world.hosts_of_network(port.network_id))
    elif table == "floatingips":
        found.add(_host_of_router(world, row.router_id))
        found.update(s.host for s in world.by("servers_of_port", row.port_id or "").values())
    elif table == "security_groups":
        found.update(world.hosts_of_group(row.id))
        found.update(_users(world, (row.id,)))
    elif table == "security_group_rules":
        found.update(world.hosts_of_group(row.security_group_id))
    elif table == "servers":
        found.add(row.host)
    elif table == "images":
        found.update(server.host for server in world.by("servers_of_image", row.id).values())
    return found


def neighbours(world: World, host: str) -> set[str]:
    """Hosts that know `host`: those that share a network with it, and itself."""
    return {host}.union(
        *(world.hosts_of_network(network) for network in world.networks_of_host(host))
    )


def _users(world: World, groups: tuple[str, ...]) -> set[str]:
    """Hosts with a port whose rules name one of these groups."""
    return {
        host
        for group in groups
        for rule in world.by("rules_naming_group", group).values()
        for host in world.hosts_of_group(rule.security_group_id)
    }


def _host_of_router(world: World, router_id: str | None) -> str:
    router = world.routers.get(router_id or "")
    return router.host if router else ""
