"""What 169.254.169.254 answers to an instance, in the formats of EC2 and OpenStack.

Who asks is known as a port (see `MetadataListener.askers`), and whose port that is from what compute recorded
(`Server.port_ids`). Nothing here is secret to the instance that asks, and nothing of another instance is reachable.
What each version of a format has is Nova's list: the Nova metadata page («OpenStack format», «EC2-compatible»),
`nova/api/metadata/base.py`, and what cloud-init's data sources ask for.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from typing import Any

from netloom.model.cloud import ROOT_DEVICE, Server
from netloom.model.hosts import HostView
from netloom.model.names import tap
from netloom.model.networking import Port, Subnet

OPENSTACK_VERSIONS = (
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22",
    "2018-08-27", "2020-10-14",
)  # fmt: skip
EC2_VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01",
    "2008-09-01", "2009-04-04",
)  # fmt: skip
FILES_SINCE = {
    "meta_data.json": "2012-08-10",
    "password": "2013-04-04",
    "vendor_data.json": "2013-10-17",
    "network_data.json": "2015-10-15",
    "vendor_data2.json": "2016-10-06",
}
"""File of the OpenStack format → the first version that has it. `user_data` is there where there is any."""

KEYS_SINCE = {
    "random_seed": "2013-04-04",
    "project_id": "2015-10-15",
    "devices": "2016-06-30",
    "dedicated_cpus": "2020-10-14",
}
"""Key of `meta_data.json` → the first version that has it; all others are in every version."""

EC2_SINCE = {
    "local-hostname": "2007-01-19",
    "public-hostname": "2007-01-19",
    "public-ipv4": "2007-01-19",
    "mac": "2007-01-19",
    "instance-type": "2007-08-29",
    "block-device-mapping": "2007-12-15",
    "placement": "2008-02-01",
    "instance-action": "2008-09-01",
}
"""Name below `meta-data/` → the first version that has it; all others are in every version."""

TEXT, JSON, BYTES = "text/plain; charset=utf-8", "application/json", "application/octet-stream"

Answer = tuple[str, bytes]
"""Content type and body."""


def answer(view: HostView, port_id: str, path: str, seed: bytes = b"") -> Answer | None:
    """Answer a GET of `path` by the instance that has the port; None where there is nothing (404).

    `seed`: random bytes for the instance's generator, fresh for each question. A port without a server of ours
    (bound by hand, or by an outside Nova) has no metadata, whatever its `device_id` says.
    """
    port = view.ports.get(port_id)
    server = next((s for _, s in sorted(view.servers.items()) if port_id in s.port_ids), None)
    if port is None or server is None:
        return None
    words = [word for word in path.partition("?")[0].split("/") if word]
    if words[:1] == ["openstack"]:
        return _openstack(view, server, words[1:], seed)
    if words[:1] == ["ec2"]:
        words = words[1:]
    if not words:
        return _listing([*EC2_VERSIONS, "latest"])
    version = EC2_VERSIONS[-1] if words[0] == "latest" else words[0]
    if version in EC2_VERSIONS:
        return _ec2(view, server, port, version, words[1:])
    return None


def _listing(names: list[str]) -> Answer:
    return TEXT, "\n".join(names).encode()


def _json(value: Any) -> Answer:
    return JSON, json.dumps(value, sort_keys=True).encode()


def user_data(server: Server) -> bytes | None:
    """The user data as its owner wrote it; None when there is none."""
    if not server.user_data:
        return None
    try:
        return base64.b64decode(server.user_data, validate=False)
    except binascii.Error:
        return None


def _openstack(view: HostView, server: Server, words: list[str], seed: bytes) -> Answer | None:
    if not words:
        return _listing([*OPENSTACK_VERSIONS, "latest"])
    version = OPENSTACK_VERSIONS[-1] if words[0] == "latest" else words[0]
    if version not in OPENSTACK_VERSIONS:
        return None
    data = user_data(server)
    names = [name for name, since in FILES_SINCE.items() if version >= since]
    names += ["user_data"] if data is not None else []
    match words[1:]:
        case []:
            return _listing(sorted(names))
        case [name] if name not in names:
            return None
        case ["meta_data.json"]:
            document = meta_data(server, seed)
            return _json({k: v for k, v in document.items() if version >= KEYS_SINCE.get(k, "")})
        case ["network_data.json"]:
            return _json(network_data(view, server))
        case ["vendor_data.json"]:
            return _json({})
        case ["vendor_data2.json"]:
            return _json({"static": {}})
        case ["password"]:
            # No instance here is given one, and none can leave one: a POST is refused.
            return TEXT, b""
        case ["user_data"] if data is not None:
            return BYTES, data
        case _:
            return None


def meta_data(server: Server, seed: bytes = b"") -> dict[str, Any]:
    """`meta_data.json` of the newest version: who the instance is, and the public key it must let in."""
    document: dict[str, Any] = {
        "uuid": server.id,
        "name": server.name,
        "hostname": server.hostname or server.name,
        "launch_index": server.launch_index,
        "availability_zone": server.availability_zone,
        "project_id": server.project_id,
        "meta": dict(server.metadata),
        "devices": [],
        "dedicated_cpus": [],
    }
    if seed:
        document["random_seed"] = base64.b64encode(seed).decode()
    if server.public_key:
        key_name = server.key_name or "default"
        document["public_keys"] = {key_name: server.public_key}
        document["keys"] = [{"name": key_name, "type": "ssh", "data": server.public_key}]
    return document


def network_data(view: HostView, server: Server) -> dict[str, Any]:
    """`network_data.json`: links, networks and name servers."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    services: list[str] = []
    for port in _ports(view, server):
        network = view.networks.get(port.network_id)
        links.append(
            {
                "id": tap(port.id),
                "vif_id": port.id,
                "type": port.vif_type,
                "mtu": network.mtu if network else None,
                "ethernet_mac_address": port.mac_address,
            }
        )
        for fixed in port.fixed_ips:
            subnet = view.subnets.get(fixed.subnet_id)
            if subnet is not None and subnet.ip_version == 4:
                networks.append(_network(len(networks), port, fixed.ip_address, subnet))
                services += [name for name in subnet.dns_nameservers if name not in services]
    return {
        "links": links,
        "networks": networks,
        "services": [{"type": "dns", "address": name} for name in services],
    }


def _network(number: int, port: Port, address: str, subnet: Subnet) -> dict[str, Any]:
    routes = [(r.destination, r.nexthop) for r in subnet.host_routes]
    if subnet.gateway_ip:
        routes.append(("0.0.0.0/0", subnet.gateway_ip))
    parsed = [
        (ipaddress.IPv4Network(to, strict=False), via) for to, via in routes if ":" not in via
    ]
    return {
        "id": f"network{number}",
        "link": tap(port.id),
        "network_id": port.network_id,
        "type": "ipv4_dhcp" if subnet.enable_dhcp else "ipv4",
        "ip_address": address,
        "netmask": str(ipaddress.IPv4Network(subnet.cidr).netmask),
        "routes": [
            {"network": str(to.network_address), "netmask": str(to.netmask), "gateway": via}
            for to, via in parsed
        ],
    }


def _ports(view: HostView, server: Server) -> list[Port]:
    return [view.ports[port_id] for port_id in server.port_ids if port_id in view.ports]


def floating_address(view: HostView, server: Server) -> str:
    """The first floating IP of the server's ports that this host knows of; empty when there is none."""
    ids = set(server.port_ids)
    found = [
        fip.floating_ip_address for _, fip in sorted(view.floatingips.items()) if fip.port_id in ids
    ]
    return found[0] if found else ""


def _ec2(
    view: HostView, server: Server, port: Port, version: str, words: list[str]
) -> Answer | None:
    data = user_data(server)
    if not words:
        return _listing(["meta-data/", "user-data"] if data is not None else ["meta-data/"])
    if words == ["user-data"]:
        return (BYTES, data) if data is not None else None
    if words[0] != "meta-data":
        return None
    tree = ec2_tree(view, server, port)
    node: Any = {name: value for name, value in tree.items() if version >= EC2_SINCE.get(name, "")}
    for word in words[1:]:
        if not isinstance(node, dict) or word not in node:
            return None
        node = node[word]
    if isinstance(node, dict):
        return _listing(
            [_entry(name, value) for name, value in sorted(node.items()) if name != "_name"]
        )
    return TEXT, str(node).encode()


def _entry(name: str, value: Any) -> str:
    """A listing's line: folders end in a slash; a key's number is followed by its name (EC2's way)."""
    if isinstance(value, dict):
        title = value.get("_name")
        return f"{name}={title}" if title else f"{name}/"
    return name


def ec2_tree(view: HostView, server: Server, port: Port) -> dict[str, Any]:
    """`meta-data/` of the newest version as a tree of texts."""
    addresses = [
        f.ip_address for p in _ports(view, server) for f in p.fixed_ips if ":" not in f.ip_address
    ]
    hostname = server.hostname or server.name
    number = int(server.id.replace("-", "")[:8], 16) if _is_hex(server.id) else 0
    tree: dict[str, Any] = {
        "ami-id": f"ami-{server.image_id[:8]}",
        "ami-launch-index": str(server.launch_index),
        "ami-manifest-path": "",
        # One disk, no others: what Nova says of a server without volumes, swap and ephemeral disks.
        "block-device-mapping": {"ami": ROOT_DEVICE.removeprefix("/dev/"), "root": ROOT_DEVICE},
        "hostname": hostname,
        "instance-action": "none",
        "instance-id": f"i-{number:08x}",
        "instance-type": server.flavor.name,
        "local-hostname": hostname,
        "local-ipv4": addresses[0] if addresses else "",
        "mac": port.mac_address,
        "placement": {"availability-zone": server.availability_zone},
        "public-hostname": hostname,
        "public-ipv4": floating_address(view, server),
        "reservation-id": server.reservation,
        "security-groups": "\n".join(_group_names(view, server)),
    }
    if server.public_key:
        tree["public-keys"] = {
            "0": {"_name": server.key_name or "default", "openssh-key": server.public_key}
        }
    return tree


def _is_hex(text: str) -> bool:
    head = text.replace("-", "")[:8]
    return len(head) == 8 and all(character in "0123456789abcdef" for character in head.lower())


def _group_names(view: HostView, server: Server) -> list[str]:
    ids = {group for port in _ports(view, server) for group in port.security_groups}
    groups = [view.security_groups[group] for group in sorted(ids) if group in view.security_groups]
    return sorted(group.name for group in groups)
