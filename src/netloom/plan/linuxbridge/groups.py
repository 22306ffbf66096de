"""Security groups: a chain of each group's rules in each direction, and sets of those whom rules name by a remote group.

Who may be at the other end is said in `plan/ovs/remote_groups.py`: a member is known by its MAC address and its address on its
own network, and through a router by its address alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from netloom.model.family import FAMILIES, Family
from netloom.model.filtering import FORWARDERS, FarMember, FarSet, GroupFilter, Rule, SetKind
from netloom.model.hoststate import HostObject
from netloom.model.names import ROUTER_OWNERS, linux_bridge
from netloom.model.networking import AddressGroup, Port, SecurityGroup, SecurityGroupRule
from netloom.model.openflow import Match
from netloom.model.origin import Origin
from netloom.model.port_ranges import Span
from netloom.plan.index import TUNNELS, Index, is_trusted, origin, remembered
from netloom.plan.ovs.ports import ICMPV6
from netloom.plan.ovs.remote_groups import near, routed
from netloom.plan.ovs.rule_services import UNKNOWN, WITH_PORTS, protocol_number
from netloom.plan.ovs.ways import user_networks
from netloom.plan.sets import canonical, listed

ALSO_WITH_PORTS = WITH_PORTS | {33, 136}
"""nftables looks at the ports of DCCP and UDP-Lite as well."""
DIRECTIONS = ("ingress", "egress")


def plan_group(index: Index, group: str) -> Iterator[HostObject]:
    """The chains of a group that ports here have, and the sets of a group that rules of such a one name."""
    known = index.has("rules", group) or index.row("security_groups", group) is not None
    if known and user_networks(index, group):
        for direction in DIRECTIONS:
            yield GroupFilter(
                group=group,
                direction=direction,
                rules=tuple(_rules(index, group, direction)),
                origin=(Origin(SecurityGroup.KIND, group),),
            )
    for family in FAMILIES:
        for kind in far_kinds(index, f"{group} {family.version}"):
            yield FarSet(
                name=far_set(kind, group, family),
                kind=kind,
                version=family.version,
                origin=(Origin(SecurityGroup.KIND, group),),
            )


def plan_addresses(index: Index, id: str) -> Iterator[HostObject]:
    """The sets of an address group that rules of groups of ports here name: whole, so that one address changes one element."""
    group: AddressGroup | None = index.row("address_groups", id)
    if group is None:
        return
    for family in FAMILIES:
        if family.version in list_versions(index, id):
            yield FarSet(
                name=far_set("listed", id, family),
                kind="listed",
                version=family.version,
                elements=tuple(listed(group, family)),
                origin=(Origin.of(group),),
            )


@remembered(4)
def list_versions(index: Index, address_group: str) -> tuple[int, ...]:
    """IP versions of the rules of ports here that name an address group."""
    rules: list[SecurityGroupRule] = [
        rule
        for user in index.members("naming_list", address_group)
        if user_networks(index, user)
        for rule in index.rows("security_group_rules", "rules", user)
    ]
    named = {rule.ethertype for rule in rules if rule.remote_address_group_id == address_group}
    return tuple(family.version for family in FAMILIES if family.ethertype in named)


def far_set(kind: SetKind, group: str, family: Family) -> str:
    """The name of the set of a group's members as rules of a family see them."""
    return f"{kind}{family.version}-{group}"


@remembered(4)
def named_from(index: Index, group: str) -> tuple[str, ...]:
    """Networks of the ports here with a group whose rules name this one."""
    users = index.members("naming", group)
    return tuple(sorted({network for user in users for network in user_networks(index, user)}))


@remembered(5)
def far_kinds(index: Index, group_and_version: str) -> tuple[SetKind, ...]:
    """Which sets of a group's members rules look into."""
    group, _, version = group_and_version.partition(" ")
    networks = named_from(index, group)
    if not networks or not _names(index, group, int(version)):
        return ()
    found: list[SetKind] = ["near"]
    if any(not _tunnelled(index, name) for name in networks):
        found.append("wire")
    if any(index.has("forwarders", name) for name in networks):
        found.append("routed")
    return tuple(found)


def _names(index: Index, group: str, version: int) -> bool:
    """Whether a rule of a family names a group."""
    rules: list[SecurityGroupRule] = [
        rule
        for user in index.members("naming", group)
        for rule in index.rows("security_group_rules", "rules", user)
    ]
    return any(r.remote_group_id == group and r.ethertype == f"IPv{version}" for r in rules)


def _tunnelled(index: Index, network_id: str) -> bool:
    network = index.network(network_id)
    return network is None or network.network_type in TUNNELS


def _rules(index: Index, group: str, direction: str) -> Iterator[Rule]:
    """What a group accepts. Rules that ask for nobody at the other end come first: most packets need go no further."""
    rules: list[SecurityGroupRule] = index.rows("security_group_rules", "rules", group)
    mine = [rule for rule in rules if rule.direction == direction]
    for rule in sorted(mine, key=lambda r: (_asks_who(r), _prefix(r) or "", r.id)):
        yield from _of_rule(index, rule)


def _asks_who(rule: SecurityGroupRule) -> bool:
    return bool(rule.remote_group_id or rule.remote_address_group_id)


def _prefix(rule: SecurityGroupRule) -> str | None:
    """The range that a rule names; one of length 0 is no restriction."""
    prefix = rule.normalized_cidr or rule.remote_ip_prefix
    found = canonical(prefix) if prefix else None
    return None if found and found.endswith("/0") else found


def _of_rule(index: Index, rule: SecurityGroupRule) -> Iterator[Rule]:
    asks = _service(rule)
    if asks is None:
        return
    match, ports = asks
    why = (Origin.of(rule), Origin(SecurityGroup.KIND, rule.security_group_id))
    family = next(f for f in FAMILIES if f.ethertype == rule.ethertype)
    match["eth_type"] = family.eth_type
    if prefix := _prefix(rule):
        match["ip_src" if rule.direction == "ingress" else "ip_dst"] = prefix
    if rule.remote_address_group_id:
        far = far_set("listed", rule.remote_address_group_id, family)
        # Rules stand before their sets do where the row is not here yet: nobody is in it then.
        if index.has("list", rule.remote_address_group_id):
            yield Rule(match=Match(**match), ports=ports, far=far, origin=why)
        return
    if rule.remote_group_id is None or prefix:
        yield Rule(match=Match(**match), ports=ports, origin=why)
        return
    yield from _of_remote_group(index, rule.remote_group_id, rule.direction, match, ports, why)


def _of_remote_group(
    index: Index,
    group: str,
    direction: str,
    match: dict[str, Any],
    ports: Span | None,
    why: tuple[Origin, ...],
) -> Iterator[Rule]:
    """A rule once for each way in which a member may be known: single addresses by a set, each range by itself."""
    family = next(f for f in FAMILIES if f.eth_type == match["eth_type"])
    mac, address = ("eth_src", "ip_src") if direction == "ingress" else ("eth_dst", "ip_dst")
    kinds = far_kinds(index, f"{group} {family.version}")
    for kind in kinds:
        through = kind == "routed"
        far = far_set(kind, group, family)
        yield Rule(match=Match(**match), ports=ports, far=far, routed=through, origin=why)
    networks = named_from(index, group)
    bridges = _bridges(index, networks)
    ranged: list[Port] = index.rows("ports", "ranged", group, family.version) if kinds else []
    for port in ranged:
        for remote in near(index, port, networks, family):
            if remote.net in bridges and "/" in (remote.address or "/"):
                known: dict[str, Any] = {**match, mac: remote.mac, address: remote.address}
                where = bridges[remote.net]
                yield Rule(match=Match(**known), ports=ports, bridge=where, origin=why)
        for remote in routed(index, port, networks, family) if "routed" in kinds else ():
            if "/" in (remote.address or ""):
                known = {**match, address: remote.address}
                yield Rule(match=Match(**known), ports=ports, routed=True, origin=why)


def _service(rule: SecurityGroupRule) -> tuple[dict[str, Any], Span | None] | None:
    """Protocol and ports of a rule; None where no packet can be one of those."""
    number = protocol_number(rule)
    if number is None:
        return {}, None
    if number == UNKNOWN:
        return None
    match: dict[str, Any] = {"ip_proto": number}
    low, high = rule.port_range_min, rule.port_range_max
    if number in (1, ICMPV6):
        if low is not None:
            match["icmp_type"] = low
        if high is not None:
            match["icmp_code"] = high
        return match, None
    if low is None:
        return match, None
    if number not in ALSO_WITH_PORTS:
        return None  # cannot be looked at, so nothing is let in
    return match, (low, high if high is not None else low)


# --- members -----------------------------------------------------------------------------------


def plan_member(index: Index, port: Port) -> Iterator[FarMember]:
    """A port, wherever it is, as one that forwards, and as a member of the groups that rules of ports here name."""
    if is_trusted(port) and index.places(port) and index.is_present(port.network_id):
        where = linux_bridge(port.network_id)
        yield FarMember(
            name=FORWARDERS, parts=(where, port.mac_address), port=port.id, origin=origin(port)
        )
    if port.device_owner in ROUTER_OWNERS:
        return
    for group in dict.fromkeys(port.security_groups):
        networks = named_from(index, group)
        for family in FAMILIES if networks else ():
            yield from _member(index, port, group, networks, family)


def _member(
    index: Index, port: Port, group: str, networks: Sequence[str], family: Family
) -> Iterator[FarMember]:
    kinds = far_kinds(index, f"{group} {family.version}")
    bridges = _bridges(index, networks)
    found: dict[tuple[SetKind, tuple[str, ...]], None] = {}
    for remote in near(index, port, networks, family) if kinds else ():
        where, address = bridges.get(remote.net or 0), remote.address
        if where is None or address is None or "/" in address:
            continue
        if remote.mac is None:
            found["wire", (where, address)] = None
        else:
            found["near", (where, remote.mac, address)] = None
    for remote in routed(index, port, networks, family) if "routed" in kinds else ():
        if remote.address and "/" not in remote.address:
            found["routed", (remote.address,)] = None
    for kind, parts in found:
        if kind in kinds:
            name = far_set(kind, group, family)
            yield FarMember(name=name, parts=parts, port=port.id, origin=origin(port))


def _bridges(index: Index, networks: Sequence[str]) -> dict[int | None, str]:
    """Networks' keys → their bridges."""
    found = [network for name in networks if (network := index.network(name))]
    return {network.key: linux_bridge(network.id) for network in found}
