"""Errors of ports and of address allocation that Neutron holds outside of neutron-lib."""

from __future__ import annotations

from neutron_lib import exceptions as lib


class IpAddressAlreadyAllocated(lib.Conflict):
    """Another port of the network has the address."""

    message = "IP address %(ip)s already allocated in subnet %(subnet_id)s"


class IpAddressGenerationFailureNoMatchingSubnet(lib.Conflict):
    """All subnets of the network are for ports of other owners."""

    message = (
        "No valid service subnet for the given device owner, network %(network_id)s, service type "
        "%(service_type)s."
    )


class AllocationOnAutoAddressSubnet(lib.InvalidInput):
    """A port has in such a subnet the address that its MAC address makes, and no other."""

    message = (
        "IPv6 address %(ip)s cannot be directly assigned to a port on subnet %(subnet_id)s as the "
        "subnet is configured for automatic addresses"
    )


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
