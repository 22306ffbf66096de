"""Port forwardings of floating IPs as the Networking API has them: attributes and errors."""

from __future__ import annotations

from typing import Any

from neutron_lib import exceptions as lib
from neutron_lib.api.definitions import (
    fip_pf_description,
    fip_pf_port_range,
    floating_ip_port_forwarding,
)


class PortForwardingNotFound(lib.NotFound):
    """The floating IP has no such port forwarding."""

    message = "Port Forwarding %(id)s could not be found."


class FipInUseByPortForwarding(lib.InUse):
    """A floating IP that forwards single ports stands for no port as a whole, and cannot go."""

    message = "Floating IP %(id)s in use by Port Forwarding resources."


class PortHasBindingFloatingIP(lib.InUse):
    """The port has a floating IP of its own."""

    message = (
        "Cannot create port forwarding to floating IP %(floating_ip_address)s (%(fip_id)s) with port "
        "%(port_id)s using fixed IP %(fixed_ip)s, as that port already has a binding floating IP."
    )


def _attributes(definition: Any) -> dict[str, dict[str, Any]]:
    return definition.SUB_RESOURCE_ATTRIBUTE_MAP["port_forwardings"]["parameters"]


# The ports are described anew by the extension for ranges, not changed fact by fact: their place stays.
_PORTS: dict[str, dict[str, Any]] = {"external_port": {}, "internal_port": {}}

PORT_FORWARDINGS = (
    _attributes(floating_ip_port_forwarding) | _PORTS,
    _attributes(fip_pf_description),
    _attributes(fip_pf_port_range),
)
"""What each of the three extensions says of the attributes, in Neutron's order."""
