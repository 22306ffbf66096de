"""Errors of ports and of address allocation that Neutron holds outside of neutron-lib."""

from __future__ import annotations

from neutron_lib import exceptions as lib


class IpAddressAlreadyAllocated(lib.Conflict):
    """Another port of the network has the address."""

    message = "IP address %(ip)s already allocated in subnet %(subnet_id)s"


class IPAddressChangeNotAllowed(lib.BadRequest):
    """Addresses of a router's interface do not change while it is one."""

    message = "IP updates for port %(port_id)s are not allowed"


class NeutronDbObjectDuplicateEntry(lib.Conflict):
    """Two entries of a list that must differ are the same."""

    message = (
        "Failed to create a duplicate %(object_type)s: "
        "for attribute(s) %(attributes)s with value(s) %(values)s"
    )


class MacAddressGenerationFailure(lib.ServiceUnavailable):
    """No free MAC address was found."""

    message = "Unable to generate unique mac on network %(net_id)s."
