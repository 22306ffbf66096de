"""Which hosts a change concerns, written down by hand: the oracle of what `scope` derives from its reads.

Everything is looked for in all rows, so nothing here depends on the inventory's indexes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netloom.model.names import OWNER_DISTRIBUTED
from netloom.model.placement import anchors, is_bound_itself, places
from netloom.scope.inventory import Inventory


def concerned(inventory: Inventory, table: str, row: Any) -> set[str]:
    """Hosts whose view may differ for `row` being as it is in this inventory."""
    found: set[str] = set()
    if table == "ports":
        found |= hosts_of_network(inventory, row.network_id) | _users(
            inventory, row.security_groups
        )
        fips = [fip for fip in inventory.floatingips.values() if fip.port_id == row.id]
        found |= {host for fip in fips for host in _hosts_of_router(inventory, fip.router_id)}
    elif table == "networks":
        found |= hosts_of_network(inventory, row.id)
    elif table == "subnets":
        found |= hosts_of_network(inventory, row.network_id)
    elif table == "routers":
        found |= set(places(row))
        for port in inventory.by("ports_of_router", row.id).values():
            found |= hosts_of_network(inventory, port.network_id)
    elif table == "floatingips":
        servers = inventory.servers.values()
        found |= _hosts_of_router(inventory, row.router_id)
        found |= {s.host for s in servers if row.port_id and row.port_id in s.port_ids}
    elif table == "port_forwardings":
        found |= _hosts_of_router(inventory, row.router_id)
    elif table == "security_groups":
        found |= hosts_of_group(inventory, row.id) | _users(inventory, (row.id,))
    elif table == "address_groups":
        rules = inventory.security_group_rules.values()
        users = {r.security_group_id for r in rules if r.remote_address_group_id == row.id}
        found |= {host for user in users for host in hosts_of_group(inventory, user)}
    elif table == "security_group_rules":
        found |= hosts_of_group(inventory, row.security_group_id)
    elif table == "qos_policies":
        found |= _hosts_of_policy(inventory, row.id)
    elif table == "servers":
        found.add(row.host)
    elif table == "images":
        found |= {s.host for s in inventory.servers.values() if s.image_id == row.id}
    return found - {""}


def _hosts_of_policy(inventory: Inventory, policy: str) -> set[str]:
    """Hosts with something that has a QoS policy."""
    found: set[str] = set()
    for port in inventory.ports.values():
        if port.qos_policy_id == policy:
            found |= set(inventory.places(port))
    for network in inventory.networks.values():
        if network.qos_policy_id == policy:
            found |= hosts_of_network(inventory, network.id)
    for router in inventory.routers.values():
        if router.external_gateway_info and router.external_gateway_info.qos_policy_id == policy:
            found |= set(places(router))
    for fip in inventory.floatingips.values():
        if fip.qos_policy_id == policy:
            found |= _hosts_of_router(inventory, fip.router_id)
    return found


def neighbours(inventory: Inventory, host: str) -> set[str]:
    """Hosts that know `host`: those that share a network with it, and itself."""
    networks = {
        network
        for network in {p.network_id for p in inventory.ports.values()}
        if host in hosts_of_network(inventory, network)
    }
    return {host}.union(*(hosts_of_network(inventory, network) for network in networks))


def hosts_of_network(inventory: Inventory, network: str) -> set[str]:
    ports = [port for port in inventory.ports.values() if port.network_id == network]
    own = {host for port in ports for host in inventory.places(port)}
    # A distributed router is where an instance, or a central router, is on any of its networks.
    for port in ports:
        if port.device_owner == OWNER_DISTRIBUTED:
            for leg in inventory.ports.values():
                if (leg.device_id, leg.device_owner) == (port.device_id, OWNER_DISTRIBUTED):
                    own |= {
                        host
                        for beside in inventory.ports.values()
                        if beside.network_id == leg.network_id
                        for host in anchors(beside, inventory.routers.get(beside.device_id))
                    }
    return own


def hosts_of_group(inventory: Inventory, group: str) -> set[str]:
    ports = [port for port in inventory.ports.values() if group in port.security_groups]
    return {port.host for port in ports if is_bound_itself(port)} - {""}


def _users(inventory: Inventory, groups: Iterable[str]) -> set[str]:
    """Hosts with a port whose rules name one of these groups."""
    rules = [r for r in inventory.security_group_rules.values() if r.remote_group_id in groups]
    return {host for r in rules for host in hosts_of_group(inventory, r.security_group_id)}


def _hosts_of_router(inventory: Inventory, router_id: str | None) -> set[str]:
    router = inventory.routers.get(router_id or "")
    return set(places(router)) if router else set()
