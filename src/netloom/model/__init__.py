"""Frozen structs for every object: the API's nouns, HostFacts, HostView, HostState."""

from netloom.model.base import Resource, to_doc
from netloom.model.cloud import (
    ComputeQuota,
    Domain,
    Flavor,
    Host,
    Image,
    Keypair,
    Project,
    Role,
    RoleAssignment,
    Server,
    User,
)
from netloom.model.context import Caller, Context, NetworkSettings
from netloom.model.hosts import TABLES, Chassis, HostFacts, HostView, Status, ViewDelta
from netloom.model.networking import (
    AddressPair,
    AllocationPool,
    DhcpOption,
    FixedIP,
    FloatingIP,
    Gateway,
    Network,
    Port,
    Quota,
    Route,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)

KINDS: dict[str, type[Resource]] = {
    cls.KIND: cls
    for cls in (
        Network,
        Subnet,
        Port,
        Router,
        FloatingIP,
        SecurityGroup,
        SecurityGroupRule,
        Quota,
        Domain,
        Project,
        User,
        Role,
        RoleAssignment,
        Image,
        Flavor,
        Keypair,
        Server,
        ComputeQuota,
    )
}
"""Kind → struct, for the store, the change feed and the stream."""

__all__ = [
    "KINDS",
    "TABLES",
    "AddressPair",
    "AllocationPool",
    "Caller",
    "Chassis",
    "ComputeQuota",
    "Context",
    "DhcpOption",
    "Domain",
    "FixedIP",
    "Flavor",
    "FloatingIP",
    "Gateway",
    "Host",
    "HostFacts",
    "HostView",
    "Image",
    "Keypair",
    "Network",
    "NetworkSettings",
    "Port",
    "Project",
    "Quota",
    "Resource",
    "Role",
    "RoleAssignment",
    "Route",
    "Router",
    "SecurityGroup",
    "SecurityGroupRule",
    "Server",
    "Status",
    "Subnet",
    "User",
    "ViewDelta",
    "to_doc",
]
