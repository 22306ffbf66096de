"""Security groups and rules: items 119 to 133 of the behaviours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neutron_lib import exceptions as lib
from neutron_lib.exceptions.security_group import SecurityGroupDefaultAlreadyExists

from netloom.contract import security_group_errors as errors
from netloom.contract.errors import code_of
from netloom.contract.security_groups import SecurityGroupInvalidPortValue
from netloom.model import SecurityGroup, SecurityGroupRule
from netloom.network import security_group_rules, security_groups
from tests.support.records import ALICE, BOB, Records, context, rule_attrs


def rules_of(world: Records, group: SecurityGroup) -> set[tuple[str, str, str | None]]:
    rules = world.w.list(SecurityGroupRule, security_group_id=group.id)
    return {(rule.direction, rule.ethertype, rule.remote_group_id) for rule in rules}


EGRESS = {("egress", "IPv4", None), ("egress", "IPv6", None)}


def test_119_120_the_default_group_is_made_once_with_its_rules(world: Records) -> None:
    group = security_groups.ensure_default(world.w, world.ctx, ALICE)
    assert group is not None
    assert (group.name, group.is_default, group.project_id) == ("default", True, ALICE)
    assert rules_of(world, group) == EGRESS | {("ingress", v, group.id) for v in ("IPv4", "IPv6")}
    assert security_groups.ensure_default(world.w, world.ctx, ALICE) == group
    assert security_groups.ensure_default(world.w, world.ctx, "") is None
    assert rules_of(world, world.group()) == EGRESS
    assert world.w.count(SecurityGroup, project_id=ALICE) == 2


def test_121_the_default_group_keeps_its_name_and_stays(world: Records) -> None:
    group = world.group()
    default = security_groups.ensure_default(world.w, world.ctx, ALICE)
    assert default is not None
    for name in ("default", "Default"):
        with pytest.raises(SecurityGroupDefaultAlreadyExists):
            world.group(name=name)
        with pytest.raises(SecurityGroupDefaultAlreadyExists):
            security_groups.update(world.w, world.ctx, group, {"name": name})
    with pytest.raises(errors.SecurityGroupCannotUpdateDefault):
        security_groups.update(world.w, world.ctx, default, {"name": "x"})
    with pytest.raises(errors.SecurityGroupCannotRemoveDefault):
        security_groups.delete(world.w, world.ctx, default)
    assert (
        security_groups.update(world.w, world.ctx, default, {"description": "mine"}).description
        == "mine"
    )
    security_groups.delete(world.w, context(ALICE, "admin"), default)
    assert security_groups.default_of(world.w, ALICE) is None


def test_122_names_may_be_the_same(world: Records) -> None:
    assert world.group(name="a").id != world.group(name="a").id


def test_124_a_rule_is_the_same_however_it_is_written(world: Records) -> None:
    group = world.group()
    first = world.rule(group, protocol="tcp", port_range_min=80, port_range_max=80)
    for same in ({"protocol": "6"}, {"protocol": "tcp", "description": "again"}):
        with pytest.raises(errors.SecurityGroupRuleExists, match=first.id) as caught:
            world.rule(group, port_range_min=80, port_range_max=80, **same)
        assert code_of(caught.value) == 409
    anything = world.rule(group)
    with pytest.raises(errors.SecurityGroupRuleExists, match=anything.id):
        world.rule(group, remote_ip_prefix="0.0.0.0/0")
    world.rule(group, protocol="0")
    icmp6 = world.rule(group, protocol="icmp", ethertype="IPv6")
    assert icmp6.protocol == "ipv6-icmp"
    for protocol in ("58", "1", "ipv6-icmp", "icmpv6"):
        with pytest.raises(errors.SecurityGroupRuleExists):
            world.rule(group, protocol=protocol, ethertype="IPv6")


@pytest.mark.parametrize(
    ("attrs", "error"),
    [
        ({"port_range_min": 1, "port_range_max": 2}, errors.SecurityGroupProtocolRequiredWithPorts),
        (
            {"protocol": "esp", "port_range_min": 1, "port_range_max": 1},
            errors.SecurityGroupInvalidProtocolForPort,
        ),
        (
            {"protocol": "47", "port_range_min": 1, "port_range_max": 1},
            errors.SecurityGroupInvalidProtocolForPort,
        ),
        ({"protocol": "tcp", "port_range_min": 80}, errors.SecurityGroupInvalidPortRange),
        ({"protocol": "tcp", "port_range_max": 80}, errors.SecurityGroupInvalidPortRange),
        (
            {"protocol": "udp", "port_range_min": 80, "port_range_max": 79},
            errors.SecurityGroupInvalidPortRange,
        ),
        (
            {"protocol": "tcp", "port_range_min": 0, "port_range_max": 79},
            SecurityGroupInvalidPortValue,
        ),
        ({"protocol": "icmp", "port_range_min": 256}, errors.SecurityGroupInvalidIcmpValue),
        (
            {"protocol": "icmp", "port_range_min": 1, "port_range_max": 256},
            errors.SecurityGroupInvalidIcmpValue,
        ),
        ({"protocol": "icmp", "port_range_max": 0}, errors.SecurityGroupMissingIcmpType),
        ({"protocol": "icmpv6"}, errors.SecurityGroupEthertypeConflictWithProtocol),
        ({"protocol": "ipv6-frag"}, errors.SecurityGroupEthertypeConflictWithProtocol),
        (
            {"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": "x"},
            errors.SecurityGroupMultipleRemoteEntites,
        ),
        ({"remote_ip_prefix": "::/0"}, errors.SecurityGroupRuleParameterConflict),
        (
            {"ethertype": "IPv6", "remote_ip_prefix": "0.0.0.0/0"},
            errors.SecurityGroupRuleParameterConflict,
        ),
        ({"remote_group_id": "x"}, errors.SecurityGroupNotFound),
    ],
)
def test_125_to_128_rules_that_make_no_sense(
    world: Records, attrs: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        world.rule(world.group(), **attrs)
    assert code_of(caught.value) == (404 if "NotFound" in error.__name__ else 400)


def test_126_icmp_type_and_code_start_at_zero(world: Records) -> None:
    group = world.group()
    for low, high in ((8, None), (8, 0), (0, 0)):
        rule = world.rule(group, protocol="icmp", port_range_min=low, port_range_max=high)
        assert (rule.port_range_min, rule.port_range_max) == (low, high)


def test_128_host_bits_stay_in_the_prefix_and_not_in_the_normalized_one(world: Records) -> None:
    rule = world.rule(world.group(), remote_ip_prefix="10.1.2.3/8")
    assert (rule.remote_ip_prefix, rule.normalized_cidr) == ("10.1.2.3/8", "10.0.0.0/8")


values = st.one_of(st.none(), st.integers(0, 65535))
protocols = st.one_of(
    st.none(), st.sampled_from(sorted(security_group_rules.NUMBERS)), st.integers(0, 255).map(str)
)


@given(protocols, st.sampled_from(["IPv4", "IPv6"]), values, values)
def test_validation_never_fails_but_with_the_api_s_own_errors(
    protocol: str | None, ethertype: str, low: int | None, high: int | None
) -> None:
    attrs = rule_attrs(
        "g", protocol=protocol, ethertype=ethertype, port_range_min=low, port_range_max=high
    )
    try:
        security_group_rules.validate(attrs)
    except lib.NeutronException as error:
        assert code_of(error) == 400
        return
    number = security_group_rules.number_of(protocol)
    if number in security_group_rules.WITH_PORTS:
        assert (low is None and high is None) or (low and high and low <= high)
    elif number in (1, 58):
        assert (high is None or low is not None) and max(low or 0, high or 0) <= 255
    else:
        assert low is None and high is None


def test_130_rules_of_one_request_belong_to_one_group_and_differ(world: Records) -> None:
    tcp = rule_attrs("g", protocol="tcp")
    security_group_rules.check_bulk([tcp, rule_attrs("g", protocol="udp")])
    with pytest.raises(errors.SecurityGroupNotSingleGroupRules):
        security_group_rules.check_bulk([tcp, rule_attrs("h", protocol="udp")])
    with pytest.raises(errors.DuplicateSecurityGroupRuleInPost):
        security_group_rules.check_bulk([tcp, rule_attrs("g", protocol="tcp", description="x")])


def test_131_a_group_in_use_neither_goes_nor_changes_its_state(world: Records) -> None:
    network, _ = world.private()
    group, other = world.group(), world.group(stateful=False)
    port = world.port(network, security_groups=[group.id])
    with pytest.raises(errors.SecurityGroupInUse, match=rf"Security Group {group.id} in use\."):
        security_groups.delete(world.w, world.ctx, group)
    with pytest.raises(errors.SecurityGroupInUse):
        security_groups.update(world.w, world.ctx, group, {"stateful": False})
    security_groups.update(world.w, world.ctx, group, {"stateful": True})
    with pytest.raises(errors.SecurityGroupConflict, match="both stateful and stateless"):
        world.port(network, security_groups=[group.id, other.id])
    assert world.w.get(type(port), port.id) == port


def test_a_group_that_others_name_as_remote_goes_with_their_rules(world: Records) -> None:
    group, remote = world.group(), world.group()
    rule = world.rule(group, remote_group_id=remote.id)
    security_groups.delete(world.w, world.ctx, remote)
    assert world.w.get(SecurityGroupRule, rule.id) is None
    assert rules_of(world, group) == EGRESS


def test_133_groups_of_others_are_unknown(world: Records) -> None:
    network, _ = world.private()
    foreign = world.group(context(BOB))
    with pytest.raises(errors.SecurityGroupNotFound):
        world.port(network, security_groups=[foreign.id])
    with pytest.raises(errors.SecurityGroupNotFound):
        world.rule(foreign)
    with pytest.raises(errors.SecurityGroupNotFound):
        world.rule(world.group(), remote_group_id=foreign.id)


def test_a_rule_raises_its_group_s_revision(world: Records) -> None:
    group = world.group()
    rule = world.rule(group, protocol="tcp")
    security_group_rules.delete(world.w, world.ctx, rule)
    found = world.w.get(SecurityGroup, group.id)
    assert found is not None and found.revision_number == group.revision_number + 2


def test_what_the_api_shows(world: Records) -> None:
    group = world.group(name="web", description="d")
    rule = world.rule(group, protocol="tcp", port_range_min=22, port_range_max=22)
    shown = security_groups.show(world.w, world.ctx, [group])[0]
    assert shown["tenant_id"] == shown["project_id"] == ALICE
    assert {
        "id",
        "name",
        "description",
        "stateful",
        "created_at",
        "tags",
        "security_group_rules",
    } <= set(shown)
    assert "is_default" not in shown
    found = next(r for r in shown["security_group_rules"] if r["id"] == rule.id)
    assert found["port_range_min"] == 22 and found["remote_group_id"] is None
    assert found["security_group_id"] == group.id and "name" not in found
