"""Compute API: what admins see of hosts, and what everybody sees of zones, limits and extensions."""

from __future__ import annotations

import time
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from netloom.api.compute.microversions import at_least
from netloom.api.compute.pages import page
from netloom.api.http import (
    caller_of,
    context_of,
    respond,
    run_read,
    run_write,
    services_of,
)
from netloom.api.service import Handler, boolean, decoded_member, must_be_admin
from netloom.compute import quotas
from netloom.compute.placement import COMPUTE_ROLE
from netloom.model.cloud import Server
from netloom.model.errors import BadRequest, Forbidden, NotFound
from netloom.network import liveness
from netloom.store import HostRow, Reader


def host_is_up(request: Request, row: HostRow) -> bool:
    """Say whether the host reported lately."""
    return liveness.alive(row, context_of(request))


def _id(row: HostRow, request: Request) -> str | int:
    """Return the host's id: a UUID from 2.53 on, a number before."""
    ident = uuid.uuid5(uuid.NAMESPACE_DNS, f"compute.{row.name}.netloom")
    return str(ident) if at_least(request, 53) else ident.int >> 97


def _computes(reader: Reader) -> list[HostRow]:
    rows = reader.hosts()
    return [
        rows[n] for n in sorted(rows) if (facts := rows[n].facts) and COMPUTE_ROLE in facts.roles
    ]


def _state(request: Request, row: HostRow) -> dict[str, str]:
    return {
        "state": "up" if host_is_up(request, row) else "down",
        "status": "enabled" if row.admin_state_up else "disabled",
    }


def _hypervisor(request: Request, row: HostRow) -> dict[str, Any]:
    return {"id": _id(row, request), "hypervisor_hostname": row.name, **_state(request, row)}


def _hypervisor_detail(request: Request, row: HostRow, servers: list[Server]) -> dict[str, Any]:
    facts = row.facts
    shown = _hypervisor(request, row) | {
        "hypervisor_type": ",".join(facts.instance_types) if facts else "",
        "hypervisor_version": 1,
        "host_ip": (facts.tunnel_ip if facts else None) or "127.0.0.1",
        "service": {"id": _id(row, request), "host": row.name, "disabled_reason": None},
    }
    if at_least(request, 88):
        return shown | {
            "uptime": None,
            "servers": [{"uuid": s.id, "name": s.name} for s in servers],
        }
    # Hosts do not report how large they are: only what runs there is known.
    return shown | {
        "cpu_info": "",
        "vcpus": 0,
        "vcpus_used": sum(server.flavor.vcpus for server in servers),
        "memory_mb": 0,
        "memory_mb_used": sum(server.flavor.ram for server in servers),
        "free_ram_mb": 0,
        "local_gb": 0,
        "local_gb_used": sum(server.flavor.disk for server in servers),
        "free_disk_gb": 0,
        "disk_available_least": 0,
        "current_workload": 0,
        "running_vms": len(servers),
    }


async def _hypervisors(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-hypervisors:list")
    rows, links = await run_read(request, lambda r, _: _paged(request, _computes(r)))
    return respond(200, {"hypervisors": [_hypervisor(request, row) for row in rows], **links})


def _paged(request: Request, rows: list[HostRow]) -> tuple[list[HostRow], dict[str, Any]]:
    rows = _named(request, rows)
    if not at_least(request, 33):
        return rows, {}
    return page(request, rows, "hypervisors_links", lambda row: str(_id(row, request)))


def _named(request: Request, rows: list[HostRow]) -> list[HostRow]:
    pattern = request.query_params.get("hypervisor_hostname_pattern")
    if pattern is None:
        return rows
    found = [row for row in rows if pattern in row.name]
    if not found:
        raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
    return found


def _by_host(reader: Reader, rows: list[HostRow]) -> dict[str, list[Server]]:
    found: dict[str, list[Server]] = {row.name: [] for row in rows}
    for server in reader.list(Server, host=list(found)):
        found[server.host].append(server)
    return found


async def _hypervisors_detail(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-hypervisors:list-detail")

    def read(reader: Reader) -> dict[str, Any]:
        rows, links = _paged(request, _computes(reader))
        servers = _by_host(reader, rows)
        return {
            "hypervisors": [_hypervisor_detail(request, r, servers[r.name]) for r in rows],
            **links,
        }

    return respond(200, await run_read(request, lambda r, _: read(r)))


_SUMMED = (
    "vcpus",
    "vcpus_used",
    "memory_mb",
    "memory_mb_used",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "free_disk_gb",
    "disk_available_least",
    "current_workload",
    "running_vms",
)


async def _statistics(request: Request) -> Response:
    """Answer with the sums of all hosts, which Nova had until 2.87."""
    must_be_admin(caller_of(request), "os_compute_api:os-hypervisors:statistics")
    if at_least(request, 88):
        raise NotFound("The resource could not be found.")

    def read(reader: Reader) -> dict[str, int]:
        rows = [row for row in _computes(reader) if row.admin_state_up]
        servers = _by_host(reader, rows)
        details = [_hypervisor_detail(request, row, servers[row.name]) for row in rows]
        return {"count": len(rows)} | {
            name: sum(detail[name] for detail in details) for name in _SUMMED
        }

    return respond(200, {"hypervisor_statistics": await run_read(request, lambda r, _: read(r))})


async def _show_hypervisor(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-hypervisors:show")
    wanted = request.path_params["hypervisor_id"]

    def read(reader: Reader) -> dict[str, Any]:
        for row in _computes(reader):
            if str(_id(row, request)) == wanted:
                return _hypervisor_detail(request, row, _by_host(reader, [row])[row.name])
        raise NotFound(f"Compute host {wanted} could not be found.")

    return respond(200, {"hypervisor": await run_read(request, lambda r, _: read(r))})


async def _services(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-services:list")
    query = request.query_params
    rows = await run_read(request, lambda r, _: _computes(r))
    listed: list[dict[str, Any]] = []
    for row in rows:
        if (
            query.get("host", row.name) != row.name
            or query.get("binary", "nova-compute") != "nova-compute"
        ):
            continue
        service: dict[str, Any] = {
            "id": _id(row, request),
            "binary": "nova-compute",
            "host": row.name,
            "zone": row.facts.availability_zone if row.facts else "",
            "updated_at": _moment(row.heartbeat_at),
            "disabled_reason": None,
            **_state(request, row),
        }
        if at_least(request, 11):
            service["forced_down"] = False
        listed.append(service)
    return respond(200, {"services": listed})


def _moment(at: float | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime(at))


async def _zones(request: Request) -> Response:
    caller_of(request)
    return respond(200, {"availabilityZoneInfo": await _zone_forms(request, detail=False)})


async def _zones_detail(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-availability-zone:detail")
    return respond(200, {"availabilityZoneInfo": await _zone_forms(request, detail=True)})


async def _zone_forms(request: Request, detail: bool) -> list[dict[str, Any]]:
    rows = await run_read(request, lambda r, _: _computes(r))
    zones: dict[str, list[HostRow]] = {}
    for row in rows:
        if row.facts:
            zones.setdefault(row.facts.availability_zone, []).append(row)
    return [
        {
            "zoneName": name,
            "zoneState": {
                "available": any(r.admin_state_up and host_is_up(request, r) for r in zones[name])
            },
            "hosts": {
                row.name: {
                    "nova-compute": {
                        "available": host_is_up(request, row),
                        "active": row.admin_state_up,
                        "updated_at": _moment(row.heartbeat_at),
                    }
                }
                for row in zones[name]
            }
            if detail
            else None,
        }
        for name in sorted(zones)
    ]


# ---- limits and quotas


async def _limits(request: Request) -> Response:
    caller, settings = caller_of(request), services_of(request).settings.compute
    project = request.query_params.get("tenant_id", caller.project_id)
    if project != caller.project_id:
        must_be_admin(caller, "os_compute_api:os-used-limits")

    def read(reader: Reader) -> dict[str, int]:
        allowed, used = quotas.limits(reader, settings, project), quotas.used(reader, project)
        return {
            "maxTotalInstances": allowed["instances"],
            "maxTotalCores": allowed["cores"],
            "maxTotalRAMSize": allowed["ram"],
            "maxTotalKeypairs": allowed["key_pairs"],
            "maxServerMeta": allowed["metadata_items"],
            "maxServerGroups": 0,
            "maxServerGroupMembers": 0,
            "totalInstancesUsed": used["instances"],
            "totalCoresUsed": used["cores"],
            "totalRAMUsed": used["ram"],
            "totalServerGroupsUsed": 0,
        }

    absolute = await run_read(request, lambda r, _: read(r))
    return respond(200, {"limits": {"rate": [], "absolute": absolute}})


def _quota_form(project: str | None, limits: dict[str, int]) -> dict[str, Any]:
    # Server groups are not offered; clients expect the members nevertheless.
    shown: dict[str, Any] = {**limits, "server_groups": 0, "server_group_members": 0}
    return {"quota_set": shown | {"id": project} if project else shown}


async def _quota(request: Request) -> Response:
    caller, settings = caller_of(request), services_of(request).settings.compute
    project = request.path_params["project_id"]
    if project != caller.project_id:
        must_be_admin(caller, "os_compute_api:os-quota-sets:show")
    if "user_id" in request.query_params:
        raise BadRequest("Quotas of single users are not offered.")

    def read(reader: Reader) -> dict[str, Any]:
        limits = quotas.limits(reader, settings, project)
        if not request.scope["path"].endswith("/detail"):
            return _quota_form(project, limits)
        used = quotas.used(reader, project)
        detail = {
            name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
            for name, limit in _quota_form(None, limits)["quota_set"].items()
        }
        return {"quota_set": {"id": project, **detail}}

    return respond(200, await run_read(request, lambda r, _: read(r)))


async def _quota_defaults(request: Request) -> Response:
    caller_of(request)
    settings = services_of(request).settings.compute
    return respond(200, _quota_form(request.path_params["project_id"], quotas.defaults(settings)))


async def _set_quota(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-quota-sets:update")
    settings, project = services_of(request).settings.compute, request.path_params["project_id"]
    wanted = await decoded_member(request, "quota_set", dict[str, Any])
    # What is in use is never above a limit by accident here, so `force` has nothing to force.
    boolean(str(wanted.pop("force", False)), "force")
    wanted.pop("tenant_id", None)
    limits = await run_write(request, lambda w, _: quotas.update(w, settings, project, wanted))
    return respond(200, _quota_form(None, limits))


async def _delete_quota(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-quota-sets:delete")
    await run_write(request, lambda w, _: quotas.delete(w, request.path_params["project_id"]))
    return respond(202)


_EXTENSIONS = [
    "os-availability-zone",
    "os-console-output",
    "os-flavor-access",
    "os-flavor-extra-specs",
    "os-flavor-manage",
    "os-floating-ips",
    "os-hypervisors",
    "os-keypairs",
    "os-networks",
    "os-quota-sets",
    "os-security-groups",
    "os-services",
    "os-attach-interfaces",
]


async def _extensions(request: Request) -> Response:
    caller_of(request)
    listed = [
        {
            "alias": alias,
            "name": alias.removeprefix("os-").replace("-", " ").title().replace(" ", ""),
            "description": "",
            "namespace": "",
            "links": [],
            "updated": "2014-12-03T00:00:00Z",
        }
        for alias in _EXTENSIONS
    ]
    return respond(200, {"extensions": listed})


async def _no_aggregates(request: Request) -> Response:
    """Aggregates are not offered, which is what an empty list says to clients that ask on their way."""
    must_be_admin(caller_of(request), "os_compute_api:os-aggregates:index")
    return respond(200, {"aggregates": []})


async def _no_server_groups(request: Request) -> Response:
    caller_of(request)
    return respond(200, {"server_groups": []})


async def _refuse_server_group(request: Request) -> Response:
    caller_of(request)
    raise Forbidden("Server groups are not offered.")


TABLE: list[tuple[str, str, Handler]] = [
    ("GET", "/os-hypervisors", _hypervisors),
    ("GET", "/os-hypervisors/detail", _hypervisors_detail),
    ("GET", "/os-hypervisors/statistics", _statistics),
    ("GET", "/os-hypervisors/{hypervisor_id}", _show_hypervisor),
    ("GET", "/os-services", _services),
    ("GET", "/os-availability-zone", _zones),
    ("GET", "/os-availability-zone/detail", _zones_detail),
    ("GET", "/limits", _limits),
    ("GET", "/os-quota-sets/{project_id}", _quota),
    ("GET", "/os-quota-sets/{project_id}/detail", _quota),
    ("GET", "/os-quota-sets/{project_id}/defaults", _quota_defaults),
    ("PUT", "/os-quota-sets/{project_id}", _set_quota),
    ("DELETE", "/os-quota-sets/{project_id}", _delete_quota),
    ("GET", "/extensions", _extensions),
    ("GET", "/os-aggregates", _no_aggregates),
    ("GET", "/os-server-groups", _no_server_groups),
    ("POST", "/os-server-groups", _refuse_server_group),
]
"""(methods, path below /v2.1, handler)."""
