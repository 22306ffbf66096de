"""RBAC policies as the Networking API has them: attributes and errors, which Neutron holds outside of neutron-lib."""

from __future__ import annotations

import re
from typing import Any

from neutron_lib import exceptions as lib

OBJECT_TYPES = ("network", "qos_policy", "security_group", "address_group")
"""What can be shared by a policy here."""

_PROJECT = re.compile(r"[0-9a-f]{32}")


class RbacPolicyNotFound(lib.NotFound):
    """There is no such policy, or the caller may not know of it."""

    message = "RBAC policy of type unknown with ID %(id)s not found"


class RbacPolicyInUse(lib.Conflict):
    """Somebody uses the object by this policy alone."""

    message = (
        "RBAC policy on object %(object_id)s cannot be removed because other objects depend on it."
        "\nDetails: %(details)s"
    )


class DuplicateRbacPolicy(lib.Conflict):
    """The same is granted already."""

    message = "An RBAC policy already exists with those values."


class InvalidActionForType(lib.InvalidInput):
    """There is no such action on objects of this type."""

    message = (
        "Invalid action '%(action)s' for object type '%(object_type)s'. "
        "Valid actions: %(valid_actions)s"
    )


def _object_type(value: Any) -> str:
    """Return the type as it is kept."""
    normalized = value.strip().lower() if isinstance(value, str) else value
    if normalized not in OBJECT_TYPES:
        raise lib.InvalidInput(error_message=f"'{value}' is not a valid RBAC object type")
    return normalized


def _target(value: Any) -> Any:
    """Return who is granted something: a project's id, in any spelling of a UUID, or `*`."""
    plain = str(value).lower().replace("-", "").removeprefix("urn:").removeprefix("uuid:")
    if value != "*" and not _PROJECT.fullmatch(plain.strip("{}")):
        raise lib.InvalidInput(
            error_message=f"'{value}' is not a valid target project ID; expected a UUID or '*'"
        )
    return value


RBAC_POLICIES: dict[str, dict[str, Any]] = {
    "id": {
        "allow_post": False,
        "allow_put": False,
        "is_visible": True,
        "is_filter": True,
    },
    "object_type": {
        "allow_post": True,
        "allow_put": False,
        "convert_to": _object_type,
        "is_visible": True,
        "is_filter": True,
        "enforce_policy": True,
    },
    "object_id": {
        "allow_post": True,
        "allow_put": False,
        "validate": {"type:uuid": None},
        "is_visible": True,
        "is_filter": True,
        "enforce_policy": True,
    },
    "target_tenant": {
        "allow_post": True,
        "allow_put": True,
        "convert_to": _target,
        "is_visible": True,
        "is_filter": True,
        "enforce_policy": True,
    },
    "tenant_id": {
        "allow_post": True,
        "allow_put": False,
        "validate": {"type:string": 255},
        "required_by_policy": True,
        "is_visible": True,
        "is_filter": True,
    },
    "action": {
        "allow_post": True,
        "allow_put": False,
        "validate": {"type:string": 255},
        "is_visible": True,
        "is_filter": True,
        "enforce_policy": True,
    },
}
