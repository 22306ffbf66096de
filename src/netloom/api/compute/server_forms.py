"""How servers look on the wire, at each microversion."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from starlette.requests import Request

from netloom.api.compute.flavors import flavor_links
from netloom.api.compute.hosts import host_is_up
from netloom.api.compute.microversions import at_least
from netloom.api.http import caller_of, services_of
from netloom.model import FloatingIP, Network, Port, SecurityGroup
from netloom.model.cloud import ROOT_DEVICE, Server
from netloom.network import server_ports
from netloom.store import HostRow, Reader

STATES = {
    "ACTIVE": ("active", 1),
    "BUILD": ("building", 0),
    "ERROR": ("error", 0),
    "SHUTOFF": ("stopped", 4),
    "REBOOT": ("active", 1),
    "HARD_REBOOT": ("active", 1),
}
"""Status → (vm_state, power_state: 1 running, 4 shut down, 0 no state)."""


def task_state(status: str, power: str) -> str | None:
    """Return what is being done with a server of this status, which is to be `power` (on, off)."""
    return {
        ("BUILD", "on"): "spawning",
        ("ACTIVE", "off"): "powering-off",
        ("SHUTOFF", "on"): "powering-on",
        ("REBOOT", "on"): "rebooting",
        ("HARD_REBOOT", "on"): "rebooting_hard",
    }.get((status, power))


class Around(Struct, frozen=True, kw_only=True):
    """All that is shown of servers and is not in their own documents, by server id where it can be."""

    status: dict[str, str]
    ports: dict[str, list[Port]]
    networks: dict[str, Network]
    floatingips: dict[str, list[FloatingIP]]
    """By port id."""
    groups: dict[str, SecurityGroup]
    hosts: dict[str, HostRow]


def around(reader: Reader, servers: Sequence[Server]) -> Around:
    """Read it, in a number of statements that does not depend on how many servers there are."""
    ids = [server.id for server in servers]
    ports = server_ports.ports_of(reader, servers)
    every = [port for some in ports.values() for port in some]
    floatingips: dict[str, list[FloatingIP]] = defaultdict(list)
    for fip in reader.list(FloatingIP, port_id={port.id for port in every}):
        floatingips[fip.port_id or ""].append(fip)
    return Around(
        status=reader.api_status(Server, ids),
        ports=ports,
        networks=reader.get_many(Network, {port.network_id for port in every}),
        floatingips=floatingips,
        groups=reader.get_many(
            SecurityGroup, {group for port in every for group in port.security_groups}
        ),
        hosts=reader.hosts({server.host for server in servers}),
    )


def links(request: Request, server_id: str) -> list[dict[str, str]]:
    """Return the links of a server."""
    url = services_of(request).settings.server.url + "/compute"
    return [
        {"rel": "self", "href": f"{url}/v2.1/servers/{server_id}"},
        {"rel": "bookmark", "href": f"{url}/servers/{server_id}"},
    ]


def brief(request: Request, server: Server) -> dict[str, Any]:
    """Return what the short list shows."""
    return {"id": server.id, "name": server.name, "links": links(request, server.id)}


def addresses(server: Server, near: Around) -> dict[str, list[dict[str, Any]]]:
    """Return a server's addresses by network name, floating ones beside the fixed ones they stand for."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for port in near.ports.get(server.id, ()):
        network = near.networks.get(port.network_id)
        shown = found[network.name if network else port.network_id]
        more = {"OS-EXT-IPS-MAC:mac_addr": port.mac_address}
        for fixed in port.fixed_ips:
            version = 6 if ":" in fixed.ip_address else 4
            shown.append(
                {"version": version, "addr": fixed.ip_address, "OS-EXT-IPS:type": "fixed", **more}
            )
        for fip in near.floatingips.get(port.id, ()):
            shown.append(
                {
                    "version": 4,
                    "addr": fip.floating_ip_address,
                    "OS-EXT-IPS:type": "floating",
                    **more,
                }
            )
    return found


def form(request: Request, server: Server, near: Around) -> dict[str, Any]:
    """Return the server as show and the long list have it."""
    caller = caller_of(request)
    status = near.status.get(server.id) or "BUILD"
    vm_state, power_state = STATES.get(status, (status.lower(), 0))
    shown: dict[str, Any] = {
        "id": server.id,
        "name": server.name,
        "status": status,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": server.metadata,
        "hostId": _host_id(server),
        "image": {"id": server.image_id, "links": [_bookmark(request, "images", server.image_id)]},
        "flavor": _flavor(request, server),
        "created": server.created_at,
        "updated": server.updated_at,
        "addresses": addresses(server, near),
        "accessIPv4": "",
        "accessIPv6": "",
        "links": links(request, server.id),
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": server.availability_zone if server.host else "",
        "config_drive": "",
        "key_name": server.key_name,
        "OS-SRV-USG:launched_at": None,
        "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": task_state(status, server.power),
        "OS-EXT-STS:vm_state": vm_state,
        "OS-EXT-STS:power_state": power_state,
        "os-extended-volumes:volumes_attached": [],
    }
    if status in ("ACTIVE", "BUILD"):
        shown["progress"] = 100 if status == "ACTIVE" else 0
    names = {
        near.groups[group].name
        for port in near.ports.get(server.id, ())
        for group in port.security_groups
        if group in near.groups
    }
    if names:
        shown["security_groups"] = [{"name": name} for name in sorted(names)]
    if status == "ERROR" and server.fault:
        shown["fault"] = {"code": 500, "created": server.updated_at, "message": "", **server.fault}
    if caller.is_admin:
        shown |= _for_admins(request, server)
        if at_least(request, 16):
            shown["host_status"] = _host_status(server, near, request)
    _later(request, server, shown)
    return shown


def _later(request: Request, server: Server, shown: dict[str, Any]) -> None:
    """Add what microversions after the first brought, for everybody."""
    if at_least(request, 9):
        shown["locked"] = False
    if at_least(request, 19):
        shown["description"] = server.description or None
    if at_least(request, 26):
        shown["tags"] = server.tags
    if at_least(request, 63):
        shown["trusted_image_certificates"] = None
    if at_least(request, 71):
        shown["server_groups"] = []
    if at_least(request, 73):
        shown["locked_reason"] = None
    if at_least(request, 90):
        shown["OS-EXT-SRV-ATTR:hostname"] = server.hostname


def _flavor(request: Request, server: Server) -> dict[str, Any]:
    flavor = server.flavor
    if not at_least(request, 47):
        return {"id": flavor.id, "links": flavor_links(request, flavor.id)[1:]}
    return {
        "original_name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "ephemeral": flavor.ephemeral,
        "swap": flavor.swap,
        "extra_specs": flavor.extra_specs,
    }


def _for_admins(request: Request, server: Server) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "OS-EXT-SRV-ATTR:host": server.host or None,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host or None,
        "OS-EXT-SRV-ATTR:instance_name": "instance-" + server.id[:8],
    }
    if at_least(request, 3):
        shown |= {
            "OS-EXT-SRV-ATTR:reservation_id": server.reservation,
            "OS-EXT-SRV-ATTR:launch_index": server.launch_index,
            "OS-EXT-SRV-ATTR:hostname": server.hostname,
            "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:root_device_name": ROOT_DEVICE,
            "OS-EXT-SRV-ATTR:user_data": server.user_data,
        }
    return shown


def _host_status(server: Server, near: Around, request: Request) -> str:
    row = near.hosts.get(server.host)
    if row is None:
        return ""
    if not row.admin_state_up:
        return "MAINTENANCE"
    return "UP" if host_is_up(request, row) else "DOWN"


def _host_id(server: Server) -> str:
    """Return what lets a project tell its servers' hosts apart without knowing them."""
    if not server.host:
        return ""
    return hashlib.sha224((server.project_id + server.host).encode()).hexdigest()


def _bookmark(request: Request, collection: str, ident: str) -> dict[str, str]:
    url = services_of(request).settings.server.url
    return {"rel": "bookmark", "href": f"{url}/compute/{collection}/{ident}"}
