"""What one host must know of the inventory. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from netloom.model import TABLES, Chassis, HostFacts, HostView
from netloom.scope.inventory import INDEXES, Inventory, Read, found_by

Tables = dict[str, dict[str, Any]]
"""Table of HostView → id → row."""


def select(inventory: Inventory, host: str, seq: int = 0) -> HostView:
    """All that `host` must know, as HostView's docstring promises."""
    facts = inventory.facts.get(host) or HostFacts(host=host)
    return HostView(seq=seq, facts=facts, **tables(inventory, host))


class Needs(Struct, frozen=True):
    """What a host needs. `covers`: what its view has the rows of; `because`: the sets that this was worked out from.

    As long as none of these sets changes, the host needs the same.
    """

    covers: frozenset[Read]
    because: frozenset[Read]


def needs(inventory: Inventory, host: str) -> Needs:
    """What `host` needs.

    A network is present where the host realises one of its ports, and beside such a one by a distributed router. Of present
    networks the host gets
    all subnets and ports, the routers that have ports there (their hosts are tunnel ends), and the
    chassis of every host they are present on. Of routers with a replica here it gets the floating IPs, the
    ports these stand for and the port forwardings; of instances here the floating IPs of their ports; of the security groups of its own ports the rules, the groups these name and
    all ports in them, and the address groups. Of all of these the QoS policies.
    """
    because: set[Read] = set()

    def members(name: str, key: str) -> Iterable[str]:
        because.add((name, key))
        return inventory.members(name, key)

    covers: set[Read] = {("chassis", host), ("routers_of_host", host), ("servers_of_host", host)}
    present = set(members("networks_of_host", host))
    for network in members("anchored_networks", host):
        for router in members("spread_of_network", network):
            present.update(members("networks_of_spread", router))
    spread: set[str] = set()
    for network in present:
        covers |= {(name, network) for name in _OF_PRESENT_NETWORKS}
        covers.update(("routers", id) for id in members("routers_of_network", network))
        covers.update(("chassis", name) for name in members("hosts_of_network", network))
        covers.update(("qos_policies", id) for id in members("policies_of_network", network))
        spread.update(members("spread_of_network", network))
    for beside in {
        network for router in spread for network in members("networks_of_spread", router)
    }:
        covers.update(("chassis", name) for name in members("anchors_of_network", beside))
    for entry in members("entries_of_host", host):
        covers.add(("floatingips", entry))
        covers.update(("qos_policies", id) for id in members("policies_of_floatingip", entry))
    for router in members("own_routers", host):
        covers |= {("floatingips_of_router", router), ("port_forwardings_of_router", router)}
        covers.update(("ports", id) for id in members("ports_of_floatingips", router))
        covers.update(("qos_policies", id) for id in members("policies_of_router", router))
    covers.update(("qos_policies", id) for id in members("policies_of_host", host))
    for group in members("groups_of_host", host):
        covers |= {("rules_of_group", group), ("security_groups", group)}
        for remote in members("remotes_of_group", group):
            covers |= {("ports_of_group", remote), ("security_groups", remote)}
        covers.update(("address_groups", id) for id in members("addresses_of_group", group))
    # The instance asks its own host for its public address.
    covers.update(("floatingips_of_port", id) for id in members("ports_of_servers", host))
    covers.update(("images", id) for id in members("images_of_host", host))
    return Needs(frozenset(covers), frozenset(because))


_OF_PRESENT_NETWORKS = ("networks", "subnets_of_network", "ports_of_network")


def covering(table: str, row: Any) -> Iterator[Read]:
    """The covers that would bring a row into a view."""
    yield table, row.host if table == "chassis" else row.id
    yield from found_by(table, row)


def row_of(inventory: Inventory, table: str, id: str) -> Any | None:
    """One row of a table of HostView as it is now."""
    return _chassis(inventory, id) if table == "chassis" else inventory.table(table).get(id)


def covered(inventory: Inventory, cover: Read) -> Iterator[tuple[str, str]]:
    """(table, id) of the rows that a cover may bring into a view."""
    name, key = cover
    if name in INDEXES:
        table = INDEXES[name][0]
        yield from ((table, id) for id in inventory.by(name, key))
    else:
        yield name, key


def tables(inventory: Inventory, host: str) -> Tables:
    """Tables of the host's view: the rows of what it needs."""
    found: Tables = {table: {} for table in TABLES}
    for cover in needs(inventory, host).covers:
        name, key = cover
        if name in INDEXES:
            found[INDEXES[name][0]].update(inventory.by(name, key))
        elif (row := row_of(inventory, name, key)) is not None:
            found[name][key] = row
    return found


def _chassis(inventory: Inventory, host: str) -> Chassis:
    facts = inventory.facts.get(host)
    if facts is None:
        return Chassis(host=host)
    return Chassis(host=host, tunnel_ip=facts.tunnel_ip, tunnel_types=facts.tunnel_types)
