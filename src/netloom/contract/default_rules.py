"""Rules that new security groups begin with: attributes and errors, which Neutron holds outside of neutron-lib."""

from __future__ import annotations

from typing import Any

from neutron_lib import exceptions as lib
from neutron_lib.api import converters

from netloom.contract.security_groups import SECURITY_GROUP_RULES


class DefaultSecurityGroupRuleNotFound(lib.NotFound):
    """There is no such rule."""

    message = "Default Security Group rule %(id)s does not exist"


class DefaultSecurityGroupRuleExists(lib.InUse):
    """A rule of the same groups says the same."""

    message = "Default Security Group rule already exists. Rule id is %(rule_id)s."


_OF_RULES = (
    "id",
    "tenant_id",
    "description",
    "remote_group_id",
    "remote_address_group_id",
    "direction",
    "protocol",
    "port_range_min",
    "port_range_max",
    "ethertype",
    "remote_ip_prefix",
)
_OTHERWISE: dict[str, dict[str, Any]] = {
    # They belong to nobody.
    "tenant_id": {"is_visible": False, "is_filter": False, "is_sort_key": False},
    "description": {
        "allow_post": True,
        "allow_put": False,
        "default": "",
        "validate": {"type:string": 1024},
        "is_visible": True,
        "is_filter": True,
    },
}
_USED: dict[str, Any] = {
    "allow_post": True,
    "allow_put": False,
    "convert_to": converters.convert_to_boolean,
    "is_visible": True,
    "is_filter": True,
}

DEFAULT_RULES: dict[str, dict[str, Any]] = {
    name: SECURITY_GROUP_RULES.get(name, {}) | _OTHERWISE.get(name, {}) for name in _OF_RULES
} | {"used_in_default_sg": _USED, "used_in_non_default_sg": _USED}
