"""The attributes of every resource, taken from neutron-lib and merged once.

`MAPS[collection][attribute]` is an attribute's description in neutron-lib's own terms (`allow_post`,
`allow_put`, `default`, `validate`, `convert_to`, `is_visible`, `is_filter`, `is_sort_key`, `enforce_policy`).
Attributes of extensions that are not there are absent, so that using one is refused as unknown.
"""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib.api import converters
from neutron_lib.api.definitions import (
    agent,
    agent_sort_key,
    allowedaddresspairs,
    auto_allocated_topology,
    availability_zone,
    dvr,
    expose_port_forwarding_in_fip,
    external_net,
    extra_dhcp_opt,
    extraroute,
    fip_port_details,
    l3,
    l3_ext_gw_mode,
    l3_ext_ha_mode,
    network,
    network_availability_zone,
    network_mtu,
    network_mtu_writable,
    port,
    port_security,
    portbindings,
    provider_net,
    qos,
    qos_fip,
    qos_gateway_ip,
    qos_port_network_policy,
    qos_rule_type_details,
    qos_rule_type_filter,
    router_availability_zone,
    subnet,
    subnet_external_network,
    subnet_service_types,
    trunk,
    trunk_details,
)

from netloom.contract.address_groups import ADDRESS_GROUPS
from netloom.contract.default_rules import DEFAULT_RULES
from netloom.contract.port_forwarding import PORT_FORWARDINGS
from netloom.contract.qos import QOS_POLICIES, RULE_MAPS, RULE_SINGULARS
from netloom.contract.rbac import RBAC_POLICIES
from netloom.contract.security_groups import (
    PORT_SECURITY_GROUPS,
    SECURITY_GROUP_RULES,
    SECURITY_GROUPS,
    SHARED,
    STATEFUL,
)

UNSET: Any = constants.ATTR_NOT_SPECIFIED
"""Default of an attribute that the rules decide when the client does not."""

MAX_TAGS = 50
"""Tags of one object."""

Attributes = dict[str, dict[str, Any]]

_REVISION: Attributes = {
    "revision_number": {
        "allow_post": False,
        "allow_put": False,
        "is_visible": True,
        "default": None,
        "is_filter": True,
    }
}
_TIMES: Attributes = {
    name: {"allow_post": False, "allow_put": False, "is_visible": True, "default": None}
    for name in ("created_at", "updated_at")
}
_DESCRIPTION: Attributes = {
    "description": {
        "allow_post": True,
        "allow_put": True,
        "validate": {"type:string": 255},
        "is_visible": True,
        "default": "",
        "is_filter": True,
    }
}
_TAGS: Attributes = {
    name: {"allow_post": False, "allow_put": False, "is_visible": name == "tags", "is_filter": True}
    for name in ("tags", "tags-any", "not-tags", "not-tags-any")
}
# A port alone may get its tags when it is created.
_PORT_TAGS: Attributes = _TAGS | {
    "tags": {
        "allow_post": True,
        "allow_put": False,
        "validate": {"type:list_of_unique_strings": 255},
        "default": [],
        "is_visible": True,
        "is_filter": True,
    }
}


def _text(value: Any) -> str | None:
    """Return a host's name as text: neutron-lib lets anything through here."""
    return None if value is None else str(value)


_HOST: Attributes = {
    "binding:host_id": {"convert_to": _text, "validate": {"type:string_or_none": 255}}
}


def _mac(value: Any) -> Any:
    """Return a MAC address in its usual spelling; None stays and asks for a new one."""
    return None if value is None else converters.convert_to_sanitized_mac_address(value)


# neutron-lib leaves this filter as the text that it comes as, which no agent's state is.
_ALIVE: Attributes = {"alive": {"convert_to": converters.convert_to_boolean}}

# The extension port-mac-address-regenerate; neutron-lib's own converter draws the address from Neutron's settings.
_MAC: Attributes = {
    "mac_address": {"convert_to": _mac, "validate": {"type:mac_address_or_none": None}}
}
_STANDARD = (_REVISION, _TAGS, _TIMES, _DESCRIPTION)


def _merge(*maps: Attributes) -> Attributes:
    """Return one map; a later map changes single facts of an attribute, as extensions do in Neutron.

    The order is Neutron's: it decides which fault is said of a body that has several.
    """
    merged: Attributes = {}
    for attributes in maps:
        for name, facts in attributes.items():
            merged[name] = merged.get(name, {}) | facts
    # Both names of the owner are accepted and shown everywhere, the newer one in the older one's place.
    owned: Attributes = {}
    for name, facts in merged.items():
        owned |= {"tenant_id": facts, "project_id": facts} if name == "tenant_id" else {name: facts}
    return owned


def _of(definition: Any, collection: str) -> Attributes:
    """Return what a neutron-lib definition adds to a collection."""
    return definition.RESOURCE_ATTRIBUTE_MAP[collection]


MAPS: dict[str, Attributes] = {
    "networks": _merge(
        _of(network, "networks"),
        _of(external_net, "networks"),
        _of(network_mtu, "networks"),
        _of(network_mtu_writable, "networks"),
        _of(network_availability_zone, "networks"),
        _of(port_security, "networks"),
        _of(qos, "networks"),
        _of(provider_net, "networks"),
        _of(auto_allocated_topology, "networks"),
        *_STANDARD,
    ),
    "subnets": _merge(
        _of(subnet, "subnets"),
        _of(subnet_service_types, "subnets"),
        _of(subnet_external_network, "subnets"),
        *_STANDARD,
    ),
    "ports": _merge(
        _of(port, "ports"),
        _of(allowedaddresspairs, "ports"),
        _of(extra_dhcp_opt, "ports"),
        _of(portbindings, "ports"),
        _HOST,
        _MAC,
        _of(port_security, "ports"),
        _REVISION,
        _PORT_TAGS,
        _TIMES,
        _DESCRIPTION,
        PORT_SECURITY_GROUPS,
        _of(qos, "ports"),
        _of(qos_port_network_policy, "ports"),
        _of(trunk_details, "ports"),
    ),
    "routers": _merge(
        _of(l3, "routers"),
        _of(l3_ext_gw_mode, "routers"),
        _of(qos_gateway_ip, "routers"),
        # `ha` and `distributed` are known so that a client may say "false", as `router-create --ha False`
        # does; the rules refuse "true".
        _of(l3_ext_ha_mode, "routers"),
        _of(router_availability_zone, "routers"),
        _of(dvr, "routers"),
        _of(extraroute, "routers"),
        *_STANDARD,
    ),
    "floatingips": _merge(
        _of(l3, "floatingips"),
        _of(qos_fip, "floatingips"),
        _of(fip_port_details, "floatingips"),
        _of(expose_port_forwarding_in_fip, "floatingips"),
        *_STANDARD,
    ),
    "security_groups": _merge(SECURITY_GROUPS, *_STANDARD, STATEFUL, SHARED),
    "security_group_rules": _merge(SECURITY_GROUP_RULES, _REVISION, _TIMES, _DESCRIPTION),
    "default_security_group_rules": _merge(DEFAULT_RULES),
    "address_groups": _merge(ADDRESS_GROUPS, _REVISION, _TIMES),
    "rbac_policies": _merge(RBAC_POLICIES),
    "policies": _merge(*QOS_POLICIES, *_STANDARD),
    "rule_types": _merge(
        _of(qos, "rule_types"),
        _of(qos_rule_type_filter, "rule_types"),
        _of(qos_rule_type_details, "rule_types"),
    ),
    **RULE_MAPS,
    "trunks": _merge(_of(trunk, "trunks"), *_STANDARD),
    "port_forwardings": _merge(*PORT_FORWARDINGS),
    "agents": _merge(
        _of(agent, "agents"),
        _of(agent_sort_key, "agents"),
        _of(availability_zone, "agents"),
        _ALIVE,
    ),
    "availability_zones": _of(availability_zone, "availability_zones"),
}
"""Collection → attribute → its facts."""

SINGULARS = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "routers": "router",
    "floatingips": "floatingip",
    "security_groups": "security_group",
    "security_group_rules": "security_group_rule",
    "default_security_group_rules": "default_security_group_rule",
    "address_groups": "address_group",
    "rbac_policies": "rbac_policy",
    "policies": "policy",
    "rule_types": "rule_type",
    **RULE_SINGULARS,
    "trunks": "trunk",
    "port_forwardings": "port_forwarding",
    "agents": "agent",
    "availability_zones": "availability_zone",
}
"""Collection → the name of one object of it in bodies."""
