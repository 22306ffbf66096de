"""Trunks as the Networking API has them: errors, which Neutron holds outside of neutron-lib, and bodies of actions."""

from __future__ import annotations

from typing import Any

from neutron_lib import exceptions as lib
from neutron_lib.api import converters, validators

INHERIT = "inherit"
"""Segmentation type that asks for the type and id of the subport's network."""


class TrunkNotFound(lib.NotFound):
    """There is no such trunk, or the caller may not know of it."""

    message = "Trunk %(trunk_id)s could not be found."


class SubPortNotFound(lib.NotFound):
    """The trunk does not carry the port."""

    message = "SubPort %(port_id)s on trunk %(trunk_id)s could not be found."


class TrunkPortInUse(lib.InUse):
    """The port is a subport already."""

    message = "Port %(port_id)s is in use by another trunk."


class DuplicateSubPort(lib.InUse):
    """The trunk carries another port with this tag."""

    message = (
        "segmentation_type %(segmentation_type)s and segmentation_id "
        "%(segmentation_id)s already in use on trunk %(trunk_id)s."
    )


class ParentPortInUse(lib.InUse):
    """The port is the parent of a trunk, or bound to a host."""

    message = "Port %(port_id)s is currently in use and is not eligible for use as a parent port."


class SubPortMtuGreaterThanTrunkPortMtu(lib.Conflict):
    """The subport's network takes larger packets than the parent's device."""

    message = "MTU %(port_mtu)s of subport %(port_id)s cannot be greater than MTU %(trunk_mtu)s of trunk %(trunk_id)s."


class PortInUseAsTrunkParent(lib.InUse):
    """A parent goes after its trunk only."""

    message = "Port %(port_id)s is currently a parent port for trunk %(trunk_id)s."


class PortInUseAsSubPort(lib.InUse):
    """A subport goes after its trunk has let go of it only."""

    message = "Port %(port_id)s is currently a subport for trunk %(trunk_id)s."


class TrunkInUse(lib.InUse):
    """The parent is bound to a host."""

    message = "Trunk %(trunk_id)s is currently in use."


class TrunkDisabled(lib.Conflict):
    """A trunk whose admin_state_up is false is not changed."""

    message = "Trunk %(trunk_id)s is currently disabled."


class TrunkInErrorState(lib.Conflict):
    """The trunk must be mended first."""

    message = "Trunk %(trunk_id)s is in error state. Attempt to resolve the error condition before proceeding."


_STRANGE = (TypeError, ValueError, AttributeError, LookupError)


def sub_ports_of(document: Any) -> list[dict[str, Any]]:
    """Return the `sub_ports` of an action's body; raises InvalidInput for what is none, as Neutron words it."""
    asked = document.get("sub_ports") if isinstance(document, dict) else None
    try:
        wrong = validators.validate_subports(asked)
    except _STRANGE as error:
        wrong = f"Invalid data format for subport: {error}"
    if wrong or not isinstance(asked, list):
        raise lib.InvalidInput(error_message=wrong)
    return asked


def segmentation_of(entry: dict[str, Any]) -> tuple[str, int]:
    """Return type and id of a subport's tag; raises InvalidInput where one is missing or makes no sense."""
    if "segmentation_type" not in entry or "segmentation_id" not in entry:
        raise lib.InvalidInput(
            error_message=f"Invalid subport details '{entry}': missing segmentation information. "
            "Must specify both segmentation_id and segmentation_type"
        )
    kind, asked = entry["segmentation_type"], entry["segmentation_id"]
    try:
        id = converters.convert_to_int(asked)
    except (lib.InvalidInput, OverflowError):
        raise lib.InvalidInput(
            error_message=f"Invalid subport details: segmentation_id '{asked}' is not an integer"
        ) from None
    if kind != "vlan":
        raise lib.InvalidInput(error_message=f"Unknown segmentation_type '{kind}'")
    if not 1 <= id <= 4094:
        raise lib.InvalidInput(error_message=f"Segmentation ID '{id}' is not in range")
    return kind, id
