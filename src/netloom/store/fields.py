"""By what objects can be found: columns, indexed fields of the document, links and terms.

`Reader.list(Port, device_id=…)` takes any plain field of the struct; those in INDEXED have an
index (made by a migration; a test compares), the others make SQLite look at every object of the kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from netloom.model import KINDS, QOS_RULES, Port, Resource, Router, Server
from netloom.model.placement import places

COLUMNS = frozenset({"id", "project_id", "name", "status"})
"""Fields that are columns of `resource` of the same name."""

INDEXED: dict[str, tuple[str, ...]] = {
    "network": (
        "external",
        "is_default",
        "admin_state_up",
        "network_type",
        "physical_network",
        "segmentation_id",
    ),
    "subnet": ("network_id", "cidr", "gateway_ip"),
    "port": ("network_id", "device_id", "device_owner", "mac_address", "host", "admin_state_up"),
    "router": ("gw_port_id", "admin_state_up"),
    "floatingip": (
        "floating_network_id",
        "floating_ip_address",
        "fixed_ip_address",
        "floating_port_id",
        "port_id",
        "router_id",
    ),
    "security_group_rule": (
        "security_group_id",
        "remote_group_id",
        "remote_ip_prefix",
        "protocol",
    ),
    "rbac_policy": ("object_id", "target_tenant"),
    "project": ("domain_id",),
    "user": ("domain_id",),
    "role_assignment": ("user_id", "role_id", "scope_id"),
    "keypair": ("user_id",),
    "server": ("user_id", "image_id", "host"),
}
"""Kind → fields of the struct that have an index of their own."""

LINKED: dict[str, dict[str, str]] = {
    "network": {"qos_policy_id": "network.qos_policy_id"},
    "port": {
        "subnet_id": "port.subnet_id",
        "security_group_id": "port.security_group_id",
        "qos_policy_id": "port.qos_policy_id",
    },
    "floatingip": {"qos_policy_id": "floatingip.qos_policy_id"},
    "router": {
        "network_id": "router.gateway_network_id",
        "qos_policy_id": "router.gateway_qos_policy_id",
    },
    "security_group_rule": {
        "remote_address_group_id": "security_group_rule.remote_address_group_id"
    },
    "trunk": {"port_id": "trunk.port_id"},
    "port_forwarding": {
        "floatingip_id": "port_forwarding.floatingip_id",
        "internal_port_id": "port_forwarding.internal_port_id",
        "router_id": "port_forwarding.router_id",
    },
    **{kind.KIND: {"qos_policy_id": f"{kind.KIND}.qos_policy_id"} for kind in QOS_RULES},
}
"""Kind → what a filter is called → the role in `link` that answers it."""

TERMS: dict[str, tuple[str, ...]] = {
    "port": ("fixed_ip",),
    "router": ("host",),
    "server": ("port_id",),
}
"""Kind → values inside arrays that are filters, beside `tag` and `seen_by`, which every kind has."""

SEEN_BY = "seen_by"
"""Term that names a project which sees an object of another project: `links.Link.owner_sees`."""

How = Literal["column", "json", "link", "term"]


def terms(obj: Resource) -> Iterator[tuple[str, str]]:
    """Yield (field, value) of all that an object is found by in `term`, each once."""
    if isinstance(obj, Port):
        for address in dict.fromkeys(fixed.ip_address for fixed in obj.fixed_ips):
            yield "fixed_ip", address
    if isinstance(obj, Router):
        # A router that waits for a host is found by the empty name.
        for host in dict.fromkeys(places(obj) or ("",)):
            yield "host", host
    if isinstance(obj, Server):
        for port_id in dict.fromkeys(obj.port_ids):
            yield "port_id", port_id
    for tag in dict.fromkeys(obj.tags):
        yield "tag", tag


@cache
def how(kind: str, field: str) -> tuple[How, str]:
    """Say how a filter is answered: what kind of place, and the column, JSON name, role or term there.

    Raises ValueError for a filter that the kind does not have: that is a programming error.
    """
    if field in COLUMNS:
        return "column", field
    if role := LINKED.get(kind, {}).get(field):
        return "link", role
    if field in ("tag", SEEN_BY) or field in TERMS.get(kind, ()):
        return "term", field
    if (name := encoded_names(kind).get(field)) is not None:
        return "json", name
    raise ValueError(f"{kind} cannot be found by {field!r}")


@cache
def encoded_names(kind: str) -> dict[str, str]:
    """Field of the struct → its name in the document."""
    struct: Any = KINDS[kind]
    return dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))


@cache
def nullable(kind: str, field: str) -> bool:
    """Tell whether a field may be null."""
    how_found, _ = how(kind, field)
    return how_found == "json" and type(None) in get_args(get_type_hints(KINDS[kind])[field])


def expression(name: str) -> str:
    """SQL of one field of the document, NULL where a damaged document is no JSON.

    Without the guard one damaged row fails each statement that looks at it: every list of its kind, and its own
    delete. An index serves only where it is written in the same words.
    """
    return f"CASE WHEN json_valid(doc) THEN json_extract(doc, '$.\"{name}\"') END"


def index_statements() -> dict[str, str]:
    """Name → statement of every index that INDEXED asks for."""
    return {
        f"{kind}_{field}": f"CREATE INDEX {kind}_{field} ON resource "
        f"({expression(encoded_names(kind)[field])}, id) WHERE kind = '{kind}'"
        for kind, fields in INDEXED.items()
        for field in fields
    }
