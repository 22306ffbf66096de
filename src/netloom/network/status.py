"""The API's status of an object, from what hosts report: the one place where it is decided.

`port_status`, `floatingip_status`, `router_status` and `server_status` are pure. `refresh` reads what they
need for the objects that may have changed and writes the statuses that did; the API calls it when a host
reports and when the change feed shows that an object changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from netloom.model import FloatingIP, Port, Router, Server
from netloom.store import StatusRow, Writer

ACTIVE, DOWN, ERROR, BUILD, SHUTOFF = "ACTIVE", "DOWN", "ERROR", "BUILD", "SHUTOFF"

NOT_APPLICABLE = "N/A"
"""Neutron's status of the ports that hold floating addresses."""

KINDS = frozenset({Port.KIND, FloatingIP.KIND, Router.KIND, Server.KIND})
"""The kinds whose status depends on hosts."""


def port_status(port: Port, router_host: str, rows: Sequence[StatusRow]) -> str:
    """ACTIVE when its host has it on the wire (`l2` ok) and reports nothing of it as failed.

    A router's port is on the wire where its router is (`router_host`), a DHCP port on any host of its
    network; any other port where it is bound.
    """
    if port.device_owner == "network:floatingip":
        return NOT_APPLICABLE
    if not port.admin_state_up:
        return DOWN
    if port.device_owner.startswith("network:router_"):
        rows = [row for row in rows if row.host == router_host]
    elif port.device_owner != "network:dhcp":
        rows = [row for row in rows if row.host == port.host]
    if any(row.state == "error" for row in rows):
        return ERROR
    return ACTIVE if any(row.aspect in ("l2", "l3") and row.state == "ok" for row in rows) else DOWN


def floatingip_status(floatingip: FloatingIP, router_host: str, rows: Sequence[StatusRow]) -> str:
    """ACTIVE when it points to a port and its router's host has the NAT in place."""
    if floatingip.port_id is None or floatingip.router_id is None:
        return DOWN
    rows = [row for row in rows if row.host == router_host]
    if any(row.state == "error" for row in rows):
        return ERROR
    return ACTIVE if any(row.aspect == "l3" and row.state == "ok" for row in rows) else DOWN


def router_status(router: Router, rows: Sequence[StatusRow]) -> str:
    """ACTIVE (as Neutron has it from the start) unless its host failed to make it."""
    return ERROR if any(row.host == router.host and row.state == "error" for row in rows) else ACTIVE


def server_status(
    server: Server, ports: Sequence[str], rows: Sequence[StatusRow], before: str
) -> tuple[str, str]:
    """Return (status, why it failed): ACTIVE when its instance runs and its ports' statuses are ACTIVE.

    A server that was ACTIVE stays so while its instance runs, whatever becomes of its ports: the machine
    is there. A fault that something else put (the build took too long) stands until the instance runs.
    """
    rows = [row for row in rows if row.host == server.host and row.aspect == "instance"]
    failed = next((row for row in rows if row.state == "error"), None)
    if failed is not None:
        return ERROR, failed.detail or "the host could not run the instance"
    running = any(row.state == "ok" for row in rows)
    if server.power != "on":
        return SHUTOFF, ""
    if running and (before == ACTIVE or all(status == ACTIVE for status in ports)):
        return ACTIVE, ""
    return (ERROR if server.fault else BUILD), ""


def refresh(writer: Writer, touched: Iterable[tuple[str, str]]) -> int:
    """Bring the status of these (kind, id) and of what depends on them up to date; return how many changed.

    A port's server, a router's ports and floating IPs depend on it. Objects that are gone are skipped.
    """
    ids: dict[str, set[str]] = defaultdict(set)
    for kind, ident in touched:
        ids[kind].add(ident)
    routers = writer.get_many(Router, ids[Router.KIND])
    if routers:
        ids[Port.KIND].update(port.id for port in writer.list(Port, device_id=list(routers)))
        ids[FloatingIP.KIND].update(fip.id for fip in writer.list(FloatingIP, router_id=list(routers)))
    ports = writer.get_many(Port, ids[Port.KIND])
    servers = writer.get_many(
        Server,
        ids[Server.KIND] | {p.device_id for p in ports.values() if p.device_owner.startswith("compute:")},
    )
    if servers:
        ports |= {port.id: port for port in writer.list(Port, device_id=list(servers))}
    floatingips = writer.get_many(FloatingIP, ids[FloatingIP.KIND])
    needed = {p.device_id for p in ports.values() if p.device_owner.startswith("network:router_")}
    needed |= {fip.router_id for fip in floatingips.values() if fip.router_id}
    hosts = {ident: r.host for ident, r in (routers | writer.get_many(Router, needed - set(routers))).items()}

    rows: dict[str, list[StatusRow]] = defaultdict(list)
    for row in writer.status_rows({*ports, *floatingips, *routers, *servers}):
        rows[row.id].append(row)

    for port in ports.values():
        if not port.device_owner.startswith("network:"):
            # A host that it left has nothing to say of it any more, should it ever come back there.
            for row in rows[port.id]:
                if row.host != port.host:
                    writer.drop_status(row.host, port.id)

    wanted: dict[str, dict[str, str]] = {
        Port.KIND: {i: port_status(p, hosts.get(p.device_id, ""), rows[i]) for i, p in ports.items()},
        FloatingIP.KIND: {
            i: floatingip_status(f, hosts.get(f.router_id or "", ""), rows[i]) for i, f in floatingips.items()
        },
        Router.KIND: {i: router_status(r, rows[i]) for i, r in routers.items()},
    }
    changed = sum(_write(writer, kind, statuses) for kind, statuses in wanted.items())
    return changed + _servers(writer, servers, ports, wanted[Port.KIND], rows)


def _write(writer: Writer, kind: str, wanted: Mapping[str, str]) -> int:
    present = writer.api_status(kind, list(wanted)) if wanted else {}
    changed = {ident: status for ident, status in wanted.items() if present.get(ident) != status}
    for ident, status in changed.items():
        writer.set_api_status(kind, ident, status)
    return len(changed)


def _servers(
    writer: Writer,
    servers: Mapping[str, Server],
    ports: Mapping[str, Port],
    port_statuses: Mapping[str, str],
    rows: Mapping[str, Sequence[StatusRow]],
) -> int:
    """Write the servers' statuses, and into their documents why an instance failed, or that it runs again."""
    present = writer.api_status(Server.KIND, list(servers)) if servers else {}
    changed = 0
    for ident, server in servers.items():
        own = [port_statuses[port.id] for port in ports.values() if port.device_id == ident]
        status, reason = server_status(server, own, rows.get(ident, ()), present.get(ident, ""))
        if present.get(ident) != status:
            writer.set_api_status(Server.KIND, ident, status)
            changed += 1
        fault = _fault(server, status, reason)
        if fault != server.fault:
            writer.update(msgspec.structs.replace(server, fault=fault))
    return changed


def _fault(server: Server, status: str, reason: str) -> dict[str, Any] | None:
    if status == ACTIVE:
        return None
    if not reason or (server.fault and server.fault.get("message") == reason):
        return server.fault
    # Without the time, which the document's own updated_at says: the same failure is then the same fault.
    return {"code": 500, "message": reason}
