"""What one host must know of the inventory. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netloom.model import TABLES, Chassis, HostFacts, HostView, Port, Router, ViewDelta
from netloom.scope.inventory import Inventory

Tables = dict[str, dict[str, Any]]
"""Table of HostView → id → row."""


def select(inventory: Inventory, host: str, seq: int = 0) -> HostView:
    """All that `host` must know, as HostView's docstring promises."""
    facts = inventory.facts.get(host) or HostFacts(host=host)
    return HostView(seq=seq, facts=facts, **tables(inventory, host))


def tables(inventory: Inventory, host: str) -> Tables:
    """Tables of the host's view.

    A network is present where the host realises one of its ports. Of present networks the host gets
    all subnets and ports, the routers that have ports there (their hosts are tunnel ends), and the
    chassis of every host they are present on. Of routers placed here it gets the floating IPs and the
    ports these stand for; of instances here the floating IPs of their ports; of the security groups of its own ports the rules, the groups these name and
    all ports in them.
    """
    own_routers: dict[str, Router] = inventory.by("routers_of_host", host)
    present = inventory.networks_of_host(host)
    ports: dict[str, Port] = {}
    routers: dict[str, Router] = dict(own_routers)
    subnets: dict[str, Any] = {}
    hosts = {host}
    for network in present:
        ports.update(inventory.by("ports_of_network", network))
        subnets.update(inventory.by("subnets_of_network", network))
        _add(routers, inventory.routers, inventory.routers_of_network(network))
        hosts |= inventory.hosts_of_network(network)
    floatingips: dict[str, Any] = {}
    for router in own_routers:
        floatingips.update(inventory.by("floatingips_of_router", router))
    _add(ports, inventory.ports, {fip.port_id for fip in floatingips.values()})

    used = {group for port in inventory.local_ports(host) for group in port.security_groups}
    rules: dict[str, Any] = {}
    for group in used:
        rules.update(inventory.by("rules_of_group", group))
    remote = {rule.remote_group_id for rule in rules.values() if rule.remote_group_id}
    for group in remote:
        ports.update(inventory.by("ports_of_group", group))
    servers = dict(inventory.by("servers_of_host", host))
    for server in servers.values():
        # The instance asks its own host for its public address.
        for port_id in server.port_ids:
            floatingips.update(inventory.by("floatingips_of_port", port_id))
    return {
        "chassis": {name: _chassis(inventory, name) for name in hosts},
        "networks": _add({}, inventory.networks, present),
        "subnets": subnets,
        "ports": ports,
        "routers": routers,
        "floatingips": floatingips,
        "security_groups": _add({}, inventory.security_groups, used | remote),
        "security_group_rules": rules,
        "servers": servers,
        "images": _add({}, inventory.images, {server.image_id for server in servers.values()}),
    }


def _add(rows: dict[str, Any], table: dict[str, Any], ids: Iterable[str | None]) -> dict[str, Any]:
    """Add those of `ids` that are in `table`."""
    rows.update((id, table[id]) for id in ids if id and id in table)
    return rows


def _chassis(inventory: Inventory, host: str) -> Chassis:
    facts = inventory.facts.get(host)
    if facts is None:
        return Chassis(host=host)
    return Chassis(host=host, tunnel_ip=facts.tunnel_ip, tunnel_types=facts.tunnel_types)


def difference(old: Tables, new: Tables, seq: int) -> ViewDelta:
    """The step from one view's tables to another's; rows that are equal are no part of it."""
    upsert: dict[str, list[Any]] = {}
    delete: dict[str, list[str]] = {}
    for table in TABLES:
        before, after = old[table], new[table]
        changed = [
            row for id, row in after.items() if (was := before.get(id)) is not row and was != row
        ]
        gone = [id for id in before if id not in after]
        if changed:
            upsert[table] = changed
        if gone:
            delete[table] = gone
    return ViewDelta(seq=seq, upsert=upsert, delete=delete)
