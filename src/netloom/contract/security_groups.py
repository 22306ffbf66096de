"""The attributes of security groups and their rules: the two core resources that neutron-lib does not hold.

Facts (which attributes, defaults, messages) are Neutron's; validators and converters are neutron-lib's.
"""

from __future__ import annotations

from typing import Any

import netaddr
from neutron_lib import constants
from neutron_lib import exceptions as lib
from neutron_lib.api import converters, validators
from neutron_lib.exceptions.security_group import SecurityGroupDefaultAlreadyExists

PROTOCOLS: tuple[str | None, ...] = (None, "any", *constants.IP_PROTOCOL_MAP)
"""Names that a rule's protocol may have; None and `any` stand for every protocol."""

ETHERTYPES = ["IPv4", "IPv6"]


class SecurityGroupRuleInvalidProtocol(lib.InvalidInput):
    """The protocol is neither a known name nor a number from 0 to 255."""

    message = (
        "Security group rule protocol %(protocol)s not supported. Only protocol values %(values)s and "
        "integer representations [0 to 255] are supported."
    )


class SecurityGroupRuleInvalidEtherType(lib.InvalidInput):
    """The ethertype is neither IPv4 nor IPv6."""

    message = "Security group rule for ethertype '%(ethertype)s' not supported. Allowed values are %(values)s."


class SecurityGroupInvalidPortValue(lib.InvalidInput):
    """A port is not a number from 0 to 65535."""

    message = "Invalid value for port %(port)s"


def _protocol(value: Any) -> str | None:
    """Return a protocol in lower case, or as the number that was given; None for every protocol."""
    if value is None or (isinstance(value, str) and value.lower() == "any"):
        return None  # Neutron answers `ANY` with 500
    if isinstance(value, str) and value.lower() in PROTOCOLS:
        return value.lower()
    # Text is digits alone: int() would also take spaces and underscores.
    digits = value.isascii() and value.isdecimal() if isinstance(value, str) else type(value) is int
    if digits and 0 <= int(value) <= 255:
        return str(value)
    raise SecurityGroupRuleInvalidProtocol(protocol=value, values=PROTOCOLS)


def _ethertype(value: Any) -> str:
    """Return the ethertype as the API writes it."""
    for ethertype in ETHERTYPES:
        if isinstance(value, str) and value.lower() == ethertype.lower():
            return ethertype
    raise SecurityGroupRuleInvalidEtherType(ethertype=value, values=ETHERTYPES)


def _port(value: Any) -> int | None:
    """Return a port (or ICMP type or code) as a number."""
    if value is None:
        return None
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        raise SecurityGroupInvalidPortValue(port=value) from None
    if not 0 <= number <= 65535:
        raise SecurityGroupInvalidPortValue(port=value)
    return number


def _prefix(value: Any) -> str | None:
    """Return an address or CIDR as CIDR, its host bits kept."""
    if not value:
        return None
    try:
        return str(netaddr.IPNetwork(value))
    except (ValueError, TypeError, netaddr.AddrFormatError):
        raise lib.InvalidCIDR(input=value) from None


def _id(value: Any) -> str | None:
    """Return an id as text; whether there is such an object is for the rules to say."""
    return None if value is None else str(value)


def _name_not_default(data: Any, max_len: int = 255) -> str | None:
    """Validate a group's name: nobody but the server makes one that is called default."""
    wrong = validators.validate_string(data, max_len)
    if wrong:
        return wrong
    if data.lower() == "default":
        raise SecurityGroupDefaultAlreadyExists()
    return None


# The key under which neutron-lib looks the validator up.
if "type:netloom_name_not_default" not in validators.validators:
    validators.add_validator("netloom_name_not_default", _name_not_default)


def _fact(post: bool = True, put: bool = False, **facts: Any) -> dict[str, Any]:
    """Return an attribute that is visible, filterable and sortable unless said otherwise."""
    return {
        "allow_post": post,
        "allow_put": put,
        "is_visible": True,
        "is_filter": True,
        "is_sort_key": True,
    } | facts


_ID = _fact(post=False, validate={"type:uuid": None}, primary_key=True)
_OWNER = _fact(validate={"type:string": 255}, required_by_policy=True)

SECURITY_GROUPS: dict[str, dict[str, Any]] = {
    "id": _ID,
    "name": _fact(put=True, default="", validate={"type:netloom_name_not_default": 255}),
    "tenant_id": _OWNER,
    "security_group_rules": {"allow_post": False, "allow_put": False, "is_visible": True},
}

STATEFUL: dict[str, dict[str, Any]] = {
    "stateful": _fact(
        put=True, default=True, is_sort_key=False, convert_to=converters.convert_to_boolean
    ),
}

SHARED: dict[str, dict[str, Any]] = {
    "shared": {
        "allow_post": False,
        "allow_put": False,
        "convert_to": converters.convert_to_boolean,
        "is_visible": True,
        "is_filter": True,
    }
}

SECURITY_GROUP_RULES: dict[str, dict[str, Any]] = {
    "id": _ID,
    "security_group_id": _fact(validate={"type:string": 36}, required_by_policy=True),
    "remote_group_id": _fact(default=None, convert_to=_id),
    "remote_address_group_id": _fact(default=None, convert_to=_id),
    "direction": _fact(validate={"type:values": ["ingress", "egress"]}),
    "protocol": _fact(default=None, convert_to=_protocol),
    "port_range_min": _fact(default=None, convert_to=_port),
    "port_range_max": _fact(default=None, convert_to=_port),
    "ethertype": _fact(default="IPv4", convert_to=_ethertype, validate={"type:values": ETHERTYPES}),
    "remote_ip_prefix": _fact(default=None, convert_to=_prefix),
    "tenant_id": _OWNER,
    "normalized_cidr": _fact(post=False, validate={"type:subnet_or_none": None}),
    "belongs_to_default_sg": _fact(
        post=False, is_sort_key=False, convert_to=converters.convert_to_boolean_if_not_none
    ),
}

PORT_SECURITY_GROUPS: dict[str, dict[str, Any]] = {
    "security_groups": {
        "allow_post": True,
        "allow_put": True,
        "is_visible": True,
        "is_filter": True,
        "convert_to": converters.convert_none_to_empty_list,
        "validate": {"type:uuid_list": None},
        "default": constants.ATTR_NOT_SPECIFIED,
    }
}
