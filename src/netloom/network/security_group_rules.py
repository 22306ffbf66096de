"""Rules of security groups: what is valid, what says the same, making and deleting them.

A rule never changes. Two rules of a group are the same when they let the same packets pass, however they
are written (`tcp` or 6, no prefix or 0.0.0.0/0).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import netaddr
from msgspec.structs import replace
from neutron_lib import constants

from netloom.contract.errors import HTTPBadRequest, invalid
from netloom.contract.security_group_errors import (
    DuplicateSecurityGroupRuleInPost,
    SecurityGroupEthertypeConflictWithProtocol,
    SecurityGroupInvalidIcmpValue,
    SecurityGroupInvalidPortRange,
    SecurityGroupInvalidProtocolForPort,
    SecurityGroupMissingIcmpType,
    SecurityGroupMultipleRemoteEntites,
    SecurityGroupNotSingleGroupRules,
    SecurityGroupProtocolRequiredWithPorts,
    SecurityGroupRuleExists,
    SecurityGroupRuleParameterConflict,
    SecurityGroupRulesNotSingleProject,
)
from netloom.contract.security_groups import SecurityGroupInvalidPortValue
from netloom.model import Context, SecurityGroup, SecurityGroupRule, to_doc
from netloom.network import backends, lookup, quotas
from netloom.store import Reader, Writer

NUMBERS: dict[str, int] = dict(constants.IP_PROTOCOL_MAP)
"""Protocol name → number."""

WITH_PORTS = {NUMBERS[name]: name.upper() for name in ("dccp", "sctp", "tcp", "udp", "udplite")}
ICMP, ICMPV6 = NUMBERS["icmp"], NUMBERS["ipv6-icmp"]
_IPV6_NAMES = (
    "ipv6-encap", "ipv6-frag", "ipv6-icmp", "icmpv6", "ipv6-nonxt", "ipv6-opts", "ipv6-route",
)  # fmt: skip
IPV6_ONLY = frozenset({*_IPV6_NAMES, *(str(NUMBERS[name]) for name in _IPV6_NAMES)})
"""Protocols that an IPv4 rule cannot have, by name and by number."""
EVERY_PORT = (1, 65535)
"""The range that says no more than no range."""
_EVERYTHING = {"0.0.0.0/0", "::/0"}

Meaning = tuple[Any, ...]


def number_of(protocol: str | None) -> int | None:
    """Return a protocol's number, given its name or number as text; None for every protocol."""
    if protocol is None:
        return None
    return NUMBERS[protocol] if protocol in NUMBERS else int(protocol)


def normal_protocol(protocol: str | None, ethertype: str) -> str | None:
    """Return the protocol as it is stored: ICMP of an IPv6 rule is ICMPv6, named or numbered as it was given."""
    if ethertype == "IPv6" and number_of(protocol) in (ICMP, ICMPV6):
        return "ipv6-icmp" if protocol in NUMBERS else str(ICMPV6)
    return protocol


def normal(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return a rule's attributes as they are stored, so that rules that say the same are equal.

    The whole range of ports is no range, whatever the protocol: Neutron looks at this before anything else.
    """
    ports = attrs["port_range_min"], attrs["port_range_max"]
    low, high = (None, None) if ports == EVERY_PORT else ports
    protocol = normal_protocol(attrs["protocol"], attrs["ethertype"])
    return attrs | {"protocol": protocol, "port_range_min": low, "port_range_max": high}


def validate(attrs: dict[str, Any]) -> None:
    """Raise the API's error for a rule (as `normal` gives it) that makes no sense by itself.

    Needs no store. The order is Neutron's.
    """
    ethertype, protocol = attrs["ethertype"], attrs["protocol"]
    _validate_ports(protocol, attrs["port_range_min"], attrs["port_range_max"])
    prefix = attrs["remote_ip_prefix"]
    if prefix and ip_network(prefix, strict=False).version != int(ethertype[-1]):
        raise SecurityGroupRuleParameterConflict(ethertype=ethertype, cidr=prefix)
    if protocol in IPV6_ONLY and ethertype == "IPv4":
        raise SecurityGroupEthertypeConflictWithProtocol(ethertype=ethertype, protocol=protocol)
    remotes = (prefix, attrs.get("remote_group_id"), attrs.get("remote_address_group_id"))
    if sum(map(bool, remotes)) > 1:
        raise SecurityGroupMultipleRemoteEntites()


def _validate_ports(protocol: str | None, low: int | None, high: int | None) -> None:
    if low is None and high is None:
        return
    if protocol is None:
        raise SecurityGroupProtocolRequiredWithPorts()
    number = number_of(protocol)
    if number in (ICMP, ICMPV6):
        for attr, field, value in (
            ("port_range_min", "type", low),
            ("port_range_max", "code", high),
        ):
            if value is not None and not 0 <= value <= 255:
                raise SecurityGroupInvalidIcmpValue(field=field, attr=attr, value=value)
        if low is None:
            raise SecurityGroupMissingIcmpType(value=high)
        return
    if number not in WITH_PORTS:
        raise SecurityGroupInvalidProtocolForPort(
            protocol=number, valid_port_protocols=", ".join(WITH_PORTS.values())
        )
    for value in (low, high):
        if value == 0:
            raise SecurityGroupInvalidPortValue(port=value)
    if low is None or high is None or low > high:
        raise SecurityGroupInvalidPortRange()
    if unable := backends.cannot_match_ports_of(number):
        # Neutron takes such a rule, which then lets nothing in.
        raise invalid(f"ports of {WITH_PORTS[number]} cannot be matched by {' and '.join(unable)}")


def meaning(rule: SecurityGroupRule) -> Meaning:
    """Return what a rule says: equal for rules that let the same packets pass."""
    prefix = rule.remote_ip_prefix
    # Rules of earlier versions are in the store as they were asked for.
    ports = rule.port_range_min, rule.port_range_max
    low, high = (None, None) if ports == EVERY_PORT else ports
    return (
        rule.security_group_id,
        rule.direction,
        rule.ethertype,
        number_of(rule.protocol),
        low,
        high,
        None if prefix in _EVERYTHING else prefix,
        rule.remote_group_id,
        rule.remote_address_group_id,
    )


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> SecurityGroupRule:
    """Add a rule to a group that the caller may see; raises SecurityGroupRuleExists for one that is there."""
    attrs = normal(attrs)
    validate(attrs)
    group = lookup.security_group(w, ctx, attrs["security_group_id"])
    if remote := attrs.get("remote_group_id"):
        lookup.security_group(w, ctx, remote)
    if listed := attrs.get("remote_address_group_id"):
        lookup.address_group(w, ctx, listed)
    quotas.check(w, ctx, attrs["project_id"], SecurityGroupRule.KIND)
    rule = made_of(attrs, group)
    says = meaning(rule)
    for other in w.list(SecurityGroupRule, security_group_id=group.id):
        if meaning(other) == says:
            raise SecurityGroupRuleExists(rule_id=other.id)
    rule = w.insert(rule)
    w.bump(SecurityGroup, group.id)
    return rule


def made_of(attrs: dict[str, Any], group: SecurityGroup) -> SecurityGroupRule:
    """Return the rule of a group that valid attributes (as `normal` gives them) ask for."""
    return replace(_asked(attrs), belongs_to_default_sg=group.is_default)


def _asked(attrs: dict[str, Any]) -> SecurityGroupRule:
    """Return the rule that valid attributes (as `normal` gives them) ask for."""
    prefix = attrs["remote_ip_prefix"] or None
    return SecurityGroupRule(
        id=str(uuid4()),
        project_id=attrs["project_id"],
        description=attrs["description"],
        security_group_id=attrs["security_group_id"],
        direction=attrs["direction"],
        ethertype=attrs["ethertype"],
        protocol=attrs["protocol"],
        port_range_min=attrs["port_range_min"],
        port_range_max=attrs["port_range_max"],
        remote_ip_prefix=prefix,
        normalized_cidr=None if prefix is None else str(netaddr.IPNetwork(prefix).cidr),
        remote_group_id=attrs.get("remote_group_id") or None,
        remote_address_group_id=attrs.get("remote_address_group_id") or None,
    )


def check_bulk(entries: Sequence[dict[str, Any]]) -> None:
    """Raise for a bulk request whose rules are of several groups or projects, or hold the same rule twice."""
    if len({attrs["security_group_id"] for attrs in entries}) > 1:
        raise SecurityGroupNotSingleGroupRules()
    if len({attrs["project_id"] for attrs in entries}) > 1:
        raise SecurityGroupRulesNotSingleProject()
    seen: set[Meaning] = set()
    for attrs in map(normal, entries):
        validate(attrs)
        says = meaning(_asked(attrs))
        if says in seen:
            raise DuplicateSecurityGroupRuleInPost()
        seen.add(says)


def update(
    w: Writer, ctx: Context, old: SecurityGroupRule, attrs: dict[str, Any]
) -> SecurityGroupRule:
    """Refuse any change but of nothing: rules are made and deleted only."""
    for name in attrs:
        raise HTTPBadRequest(f"Cannot update read-only attribute {name}")
    return old


def delete(w: Writer, ctx: Context, old: SecurityGroupRule) -> None:
    """Delete a rule: what it let in is cut."""
    w.delete(SecurityGroupRule, old.id)
    w.bump(SecurityGroup, old.security_group_id)


def show(r: Reader, ctx: Context, objs: Sequence[SecurityGroupRule]) -> list[dict[str, Any]]:
    """Return rules as the API shows them."""
    shown: list[dict[str, Any]] = []
    for rule in objs:
        doc = to_doc(rule)
        del doc["name"]
        doc["tenant_id"] = rule.project_id
        shown.append(doc)
    return shown
