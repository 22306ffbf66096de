"""Errors of security groups and their rules, as the Networking API words them.

Neutron holds them outside of neutron-lib. Those that its converters raise (protocol, ethertype, port value)
are in `contract.security_groups`.
"""

from __future__ import annotations

from neutron_lib import exceptions as lib


class SecurityGroupNotFound(lib.NotFound):
    """There is no such group, or the caller may not know of it."""

    message = "Security group %(id)s does not exist"


class SecurityGroupRuleNotFound(lib.NotFound):
    """There is no such rule, or the caller may not know of it."""

    message = "Security group rule %(id)s does not exist"


class SecurityGroupInUse(lib.InUse):
    """A port uses the group."""

    message = "Security Group %(id)s in use."


class SecurityGroupCannotRemoveDefault(lib.InUse):
    """Only an administrator removes a project's default group."""

    message = "Insufficient rights for removing default security group."


class SecurityGroupCannotUpdateDefault(lib.InUse):
    """The default group keeps its name."""

    message = "Updating default security group not allowed."


class SecurityGroupConflict(lib.Conflict):
    """Groups that cannot be on one port together."""

    message = "Error %(reason)s while attempting the operation."


class SecurityGroupRuleExists(lib.InUse):
    """The group has a rule that says the same."""

    message = "Security group rule already exists. Rule id is %(rule_id)s."


class DuplicateSecurityGroupRuleInPost(lib.InUse):
    """One request holds the same rule twice."""

    message = "Duplicate Security Group Rule in POST."


class SecurityGroupRulesNotSingleProject(lib.InvalidInput):
    """One request holds rules of several projects."""

    message = "Multiple project_ids in bulk security group rule create not allowed"


class SecurityGroupNotSingleGroupRules(lib.InvalidInput):
    """One request holds rules of several groups."""

    message = "Only allowed to update rules for one security profile at a time"


class SecurityGroupMultipleRemoteEntites(lib.InvalidInput):
    """A rule names more than one remote; the misspelt name is the API's own."""

    message = "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided."


class SecurityGroupRuleParameterConflict(lib.InvalidInput):
    """The prefix is of the other IP version."""

    message = "Conflicting value ethertype %(ethertype)s for CIDR %(cidr)s"


class SecurityGroupEthertypeConflictWithProtocol(lib.InvalidInput):
    """An IPv6-only protocol in an IPv4 rule."""

    message = "Invalid ethertype %(ethertype)s for protocol %(protocol)s."


class SecurityGroupProtocolRequiredWithPorts(lib.InvalidInput):
    """Ports without a protocol."""

    message = "Must also specify protocol if port range is given."


class SecurityGroupInvalidProtocolForPort(lib.InvalidInput):
    """The protocol has no ports."""

    message = (
        "Ports cannot be specified for protocol %(protocol)s. "
        "Ports are only supported for %(valid_port_protocols)s."
    )


class SecurityGroupInvalidPortRange(lib.InvalidInput):
    """One end of the range is missing, or they are in the wrong order."""

    message = "For TCP/UDP protocols, port_range_min must be <= port_range_max"


class SecurityGroupInvalidIcmpValue(lib.InvalidInput):
    """ICMP type or code out of range."""

    message = "Invalid value for ICMP %(field)s (%(attr)s) %(value)s. It must be 0 to 255."


class SecurityGroupMissingIcmpType(lib.InvalidInput):
    """ICMP code without a type."""

    message = "ICMP code (port-range-max) %(value)s is provided but ICMP type (port-range-min) is missing."
