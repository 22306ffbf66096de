"""Ways: what the rules of a security group let through, each the name of one conjunction and its dimensions.

All rules of one group that share direction, ethertype and remote are one way; an address group is one, a remote group is two, as its members are
seen on their own networks and through a router.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from netloom.model.family import BY_ETHERTYPE, Family
from netloom.model.networking import SecurityGroupRule
from netloom.model.origin import Origin
from netloom.plan.index import Index, remembered
from netloom.plan.ovs.remote_groups import any_near, any_routed
from netloom.plan.ovs.rule_services import service_of, services_of
from netloom.plan.sets import canonical


class Way(Struct, frozen=True):
    """`parts`: how many dimensions must meet; 1: a port here alone. `origin`: the rules without protocol."""

    group: str
    direction: str
    ethertype: str
    remote_group: str | None
    address_group: str | None
    prefix: str | None
    routed: bool = False
    parts: int = 1
    origin: tuple[Origin, ...] = ()

    @property
    def name(self) -> str:
        """The name of its conjunction."""
        remote = self.remote_group or self.address_group or self.prefix or "any"
        more = "/routed" if self.routed else ""
        return f"{self.direction}/{self.group}/{self.ethertype}/{remote}{more}"

    @property
    def family(self) -> Family:
        """The address family that its rules are about."""
        return BY_ETHERTYPE[self.ethertype]

    @property
    def eth_type(self) -> str:
        """The ethertype as flows match it."""
        return self.family.eth_type

    @property
    def unlimited(self) -> bool:
        """Whether a rule of it lets every protocol through."""
        return bool(self.origin)


@remembered(1)
def user_networks(index: Index, group: str) -> tuple[str, ...]:
    """Networks of the ports here that a group's rules are for."""
    found = (index.network(name) for name in index.members("users", group))
    return tuple(network.id for network in found if network and network.admin_state_up)


@remembered(2)
def ways(index: Index, group: str) -> tuple[Way, ...]:
    """What a group's rules let through to and from the ports here; empty where none has the group.

    A conjunction with a dimension that nothing meets is not made at all: a remote group without members lets nothing in.
    """
    networks = user_networks(index, group)
    if not networks:
        return ()
    clauses: dict[Way, list[SecurityGroupRule]] = {}
    for rule in index.rows("security_group_rules", "rules", group):
        clauses.setdefault(_clause(rule), []).append(rule)
    found: list[Way] = []
    for clause, rules in sorted(clauses.items(), key=lambda item: item[0].name):
        found += _alive(index, clause, rules, networks)
    return tuple(found)


@remembered(3)
def naming(index: Index, group: str) -> tuple[Way, ...]:
    """Ways of the groups of ports here whose remote end is a member of this group."""
    return tuple(
        way
        for user in index.members("naming", group)
        for way in ways(index, user)
        if way.remote_group == group
    )


@remembered(3)
def naming_list(index: Index, address_group: str) -> tuple[Way, ...]:
    """Ways of the groups of ports here whose remote end is in this address group."""
    return tuple(
        way
        for user in index.members("naming_list", address_group)
        for way in ways(index, user)
        if way.address_group == address_group
    )


def rules_of(index: Index, way: Way) -> list[SecurityGroupRule]:
    """The rules that a way is made of."""
    rules: list[SecurityGroupRule] = index.rows("security_group_rules", "rules", way.group)
    same = Way(*_ends(way))
    return [rule for rule in rules if _clause(rule) == same]


def _ends(way: Way) -> tuple[str, str, str, str | None, str | None, str | None]:
    """What all ways of a clause have in common."""
    remote = (way.remote_group, way.address_group, way.prefix)
    return (way.group, way.direction, way.ethertype, *remote)


def _clause(rule: SecurityGroupRule) -> Way:
    """The way of a rule, without its dimensions. A prefix of length 0 is no restriction."""
    prefix = rule.normalized_cidr or rule.remote_ip_prefix
    prefix = canonical(prefix) if prefix else None
    if prefix and prefix.endswith("/0"):
        prefix = None
    remote = (rule.remote_group_id, rule.remote_address_group_id, prefix)
    return Way(rule.security_group_id, rule.direction, rule.ethertype, *remote)


def _alive(
    index: Index, clause: Way, rules: list[SecurityGroupRule], networks: tuple[str, ...]
) -> Iterator[Way]:
    """The ways of a clause that something can meet."""
    unlimited = tuple(Origin.of(r) for r in rules if service_of(r) is None)
    if not unlimited and not services_of(rules):
        return
    ends = _ends(clause)
    services = 0 if unlimited else 1
    if clause.address_group:
        if index.has("listed", clause.address_group, clause.family.version):
            yield Way(*ends, False, 2 + services, unlimited)
        return
    if clause.remote_group is None or clause.prefix:
        yield Way(*ends, False, 1 + bool(clause.prefix) + services, unlimited)
        return
    if any_near(index, clause.remote_group, networks, clause.family):
        yield Way(*ends, False, 2 + services, unlimited)
    if any_routed(index, clause.remote_group, networks, clause.family):
        yield Way(*ends, True, 3 + services, unlimited)
