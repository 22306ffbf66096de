"""The API's status of an object, from what hosts report: the one place where it is decided.

`port_status`, `floatingip_status`, `router_status` and `server_status` are pure. `differences`
reads what they need for the objects that may have changed, `refresh` writes what differs; the API calls it when a
host reports and when the change feed shows that an object changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from netloom.model import FloatingIP, Port, Router, Server, Trunk
from netloom.model.names import OWNER_DISTRIBUTED, OWNER_FLOATING_IP, ROUTER_OWNERS
from netloom.model.placement import is_everywhere, places
from netloom.network import server_ports
from netloom.network.ports import NOT_APPLICABLE
from netloom.store import Reader, StatusRow, Writer

ACTIVE, DOWN, ERROR, BUILD, SHUTOFF = "ACTIVE", "DOWN", "ERROR", "BUILD", "SHUTOFF"
DEGRADED = "DEGRADED"
REBOOTING = frozenset({"REBOOT", "HARD_REBOOT"})
"""What a server is from the request to restart it until its host says that the instance runs again."""

WIRE = frozenset({"l2", "l3"})
"""The aspects of a port that say whether it is on the wire."""

KINDS = frozenset({Port.KIND, FloatingIP.KIND, Router.KIND, Server.KIND, Trunk.KIND})
"""The kinds whose status depends on hosts."""


def port_status(port: Port, router: Router | None, rows: Sequence[StatusRow]) -> str:
    """ACTIVE when one of its hosts has it on the wire (`l2`, `l3` ok) and not all of them report it as failed.

    `router`: the one that it is a port of, if any. A port that is everywhere (DHCP) has failed where any host says so. One
    row that is not ok (a link that is down, a device that is not plugged) is enough for a host not to have it on the wire.
    """
    if port.device_owner == OWNER_FLOATING_IP:
        return NOT_APPLICABLE
    if not port.admin_state_up:
        return DOWN
    if is_everywhere(port):
        failed = any(row.state == "error" for row in rows)
    elif port.device_owner == OWNER_DISTRIBUTED:
        # It is wherever somebody says something of it.
        failed = _failed({row.host for row in rows}, rows)
    else:
        rows = _from(places(port, router), rows)
        failed = _failed(places(port, router), rows)
    if failed:
        return ERROR
    wires: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.aspect in WIRE:
            wires[row.host].append(row.state)
    return ACTIVE if any(set(states) == {"ok"} for states in wires.values()) else DOWN


def _from(hosts: Sequence[str], rows: Iterable[StatusRow]) -> list[StatusRow]:
    return [row for row in rows if row.host in hosts]


def _failed(hosts: Collection[str], rows: Iterable[StatusRow]) -> bool:
    """Whether all hosts that carry something say that they failed; of several replicas one is enough for service."""
    broken = {row.host for row in rows if row.state == "error"}
    return bool(hosts) and broken.issuperset(hosts)


def floatingip_status(
    floatingip: FloatingIP, router: Router | None, rows: Sequence[StatusRow], entry: str = ""
) -> str:
    """ACTIVE when it leads to a port, or ports of it do, and a host of its router has the NAT in place.

    `entry`: the host of its instance where it enters, if it does.
    """
    if floatingip.router_id is None or router is None:
        return DOWN
    hosts = (entry,) if entry else places(router)
    rows = _from(hosts, rows)
    if _failed(hosts, rows):
        return ERROR
    return ACTIVE if any(row.aspect == "l3" and row.state == "ok" for row in rows) else DOWN


def router_status(router: Router, rows: Sequence[StatusRow]) -> str:
    """ACTIVE (as Neutron has it from the start) unless its hosts failed to make it."""
    if router.ha and not router.vrid:
        return ERROR  # all numbers of its HA network are taken
    return ERROR if _failed(places(router), rows) else ACTIVE


def trunk_status(
    parent: Port | None, statuses: Mapping[str, str], sub_ports: Iterable[Port]
) -> str:
    """DOWN until the parent is on the wire, then ACTIVE with all subports, BUILD before, DEGRADED where one has failed.

    `statuses`: of all these ports, by id. A subport that its user has switched off is as it is wanted.
    """
    if parent is None or not parent.host or statuses.get(parent.id) != ACTIVE:
        return DOWN
    found = {statuses.get(port.id) for port in sub_ports if port.admin_state_up}
    if ERROR in found:
        return DEGRADED
    return ACTIVE if found <= {ACTIVE} else BUILD


class Card(Struct, frozen=True):
    """One port of a server: its status, and the rows of its host that say what is wrong with its wire."""

    port: Port
    status: str
    trouble: tuple[StatusRow, ...] = ()


def server_status(
    server: Server, cards: Sequence[Card], rows: Sequence[StatusRow], before: str, applied: int
) -> tuple[str, str]:
    """Return (status, why it failed): ACTIVE when its instance runs and its cards are on the wire.

    A card whose port its user has switched off holds up nothing. A server that was ACTIVE is not while its host
    says that the wire of a card is not as it must be: BUILD while the host is at it (`pending`), ERROR
    with the reason where the host has failed; it is ACTIVE again as soon as the wire is. Nova itself would go on to say ACTIVE,
    for it does not look; its users expect of ACTIVE that the instance can be used, and of ERROR a `fault`.
    A fault that something else put (the build took too long) stands until all is well. A server
    that is being started, stopped or restarted is what it was until its host, which has `applied` so many changes,
    says that it is done.
    """
    rows = [row for row in rows if row.host == server.host and row.aspect == "instance"]
    # What was reported so far is of before the change.
    if before and applied < server.power_seq:
        return before, ""
    failed = next((row for row in rows if row.state == "error"), None)
    if failed is not None:
        return ERROR, failed.detail or "the host could not run the instance"
    done = any(row.state == "ok" for row in rows)
    if server.power != "on":
        return (SHUTOFF if done else before or BUILD), ""
    wanted = [card for card in cards if card.port.admin_state_up]
    if before == ACTIVE:
        # What its host has not spoken of yet (a port that was bound anew) is no trouble.
        well = not any(card.trouble for card in wanted)
    else:
        well = all(card.status == ACTIVE for card in wanted)
    if done and well:
        return ACTIVE, ""
    # An instance is started only when its cards are ready: it runs, so one has failed since.
    broken = next((row for card in wanted for row in card.trouble if row.state == "error"), None)
    if done and broken is not None:
        return ERROR, f"port {broken.id}: {broken.detail or 'its host could not connect it'}"
    if not server.fault and before in (SHUTOFF, *REBOOTING):
        return before, ""
    return (ERROR if server.fault else BUILD), ""


class Differences(Struct, frozen=True):
    """What is written down otherwise than it should be.

    `statuses`: (kind, id) → status; `servers`: documents with the fault that they should have; `stale`:
    (host, id) of reports that all is well with ports that are bound elsewhere by now.
    """

    statuses: dict[tuple[str, str], str]
    servers: list[Server]
    stale: list[tuple[str, str]]

    def __bool__(self) -> bool:
        return bool(self.statuses or self.servers or self.stale)


def refresh(writer: Writer, touched: Iterable[tuple[str, str]]) -> int:
    """Bring the status of these (kind, id) and of what depends on them up to date; return how many changed."""
    found = differences(writer, touched)
    for host, ident in found.stale:
        writer.drop_status(host, ident)
    for (kind, ident), status in found.statuses.items():
        writer.set_api_status(kind, ident, status)
    for server in found.servers:
        writer.update(server)
    return len(found.statuses)


def differences(reader: Reader, touched: Iterable[tuple[str, str]]) -> Differences:
    """Return what `refresh` would write. Objects that are gone are skipped.

    A port's server and trunk, a router's ports and floating IPs depend on it.
    """
    ids: dict[str, set[str]] = defaultdict(set)
    for kind, ident in touched:
        ids[kind].add(ident)
    routers = reader.get_many(Router, ids[Router.KIND])
    if routers:
        ids[Port.KIND].update(port.id for port in reader.list(Port, device_id=list(routers)))
        ids[FloatingIP.KIND].update(
            fip.id for fip in reader.list(FloatingIP, router_id=list(routers))
        )
    ports = reader.get_many(Port, ids[Port.KIND])
    servers = reader.get_many(Server, ids[Server.KIND])
    servers |= {server.id: server for server in server_ports.servers_of(reader, ports).values()}
    cards = server_ports.ports_of(reader, servers.values())
    ports |= {port.id: port for own in cards.values() for port in own}
    of_trunks = {port.trunk_id for port in ports.values() if port.trunk_id}
    trunks = reader.get_many(Trunk, ids[Trunk.KIND] | of_trunks)
    carried_ports = {
        p for t in trunks.values() for p in (t.port_id, *(s.port_id for s in t.sub_ports))
    }
    ports |= reader.get_many(Port, carried_ports - ports.keys())
    floatingips = reader.get_many(FloatingIP, ids[FloatingIP.KIND])
    own = reader.get_many(Port, {f.floating_port_id for f in floatingips.values() if f.router_id})
    needed = {p.device_id for p in ports.values() if p.device_owner in ROUTER_OWNERS}
    needed |= {fip.router_id for fip in floatingips.values() if fip.router_id}
    carried = routers | reader.get_many(Router, needed - set(routers))

    rows: dict[str, list[StatusRow]] = defaultdict(list)
    for row in reader.status_rows({*ports, *floatingips, *routers, *servers}):
        rows[row.id].append(row)

    # That all was well is of no use when the port comes back to a host that it left. What is wrong there stays
    # until that host takes it back: it may be a rule about the port that the host has for its neighbours.
    stale = [
        (row.host, port.id)
        for port in ports.values()
        if not port.device_owner.startswith("network:")
        for row in rows[port.id]
        if row.host != port.host and row.state == "ok"
    ]
    wanted: dict[str, dict[str, str]] = {
        Port.KIND: {i: port_status(p, carried.get(p.device_id), rows[i]) for i, p in ports.items()},
        FloatingIP.KIND: {
            i: floatingip_status(f, carried.get(f.router_id or ""), rows[i], _entry(own, f))
            for i, f in floatingips.items()
        },
        Router.KIND: {i: router_status(r, rows[i]) for i, r in routers.items()},
        Server.KIND: {},
    }
    wanted[Trunk.KIND] = {
        ident: trunk_status(
            ports.get(trunk.port_id),
            wanted[Port.KIND],
            [ports[sub.port_id] for sub in trunk.sub_ports if sub.port_id in ports],
        )
        for ident, trunk in trunks.items()
    }
    changed_servers: list[Server] = []
    before = reader.api_status(Server.KIND, list(servers)) if servers else {}
    at = reader.hosts({server.host for server in servers.values()}) if servers else {}
    for ident, server in servers.items():
        own = [
            Card(port, wanted[Port.KIND][port.id], _trouble(server, rows[port.id]))
            for port in cards[ident]
        ]
        row = at.get(server.host)
        applied = row.applied_seq if row is not None else 0
        status, reason = server_status(server, own, rows[ident], before.get(ident, ""), applied)
        wanted[Server.KIND][ident] = status
        fault = _fault(server, status, reason)
        if fault != server.fault:
            changed_servers.append(msgspec.structs.replace(server, fault=fault))

    statuses: dict[tuple[str, str], str] = {}
    for kind, each in wanted.items():
        present = reader.api_status(kind, list(each)) if each else {}
        for ident, status in each.items():
            if status != NOT_APPLICABLE and present.get(ident) != status:
                statuses[kind, ident] = status
    return Differences(statuses, changed_servers, stale)


def _entry(ports: Mapping[str, Port], fip: FloatingIP) -> str:
    port = ports.get(fip.floating_port_id)
    return port.entry if port is not None else ""


def _trouble(server: Server, rows: Iterable[StatusRow]) -> tuple[StatusRow, ...]:
    return tuple(
        row for row in rows if row.host == server.host and row.aspect in WIRE and row.state != "ok"
    )


def _fault(server: Server, status: str, reason: str) -> dict[str, Any] | None:
    if status == ACTIVE:
        return None
    if not reason or (server.fault and server.fault.get("message") == reason):
        return server.fault
    # Without the time, which the document's own updated_at says: the same failure is then the same fault.
    return {"code": 500, "message": reason}
