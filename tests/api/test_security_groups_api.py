"""Security groups and rules over HTTP, by the numbers of the behaviours list."""

import pytest

from tests.support.networking import ONE, TWO, error_of

UNKNOWN = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def rule(client, group, **attrs):
    body = {"security_group_id": group["id"], "direction": "ingress"} | attrs
    return client("POST", "/security-group-rules", {"security_group_rule": body})


def test_119_120_a_list_makes_the_default_group(cloud):
    groups = cloud.member.list("/security-groups")
    assert [group["name"] for group in groups] == ["default"]
    assert groups[0]["description"] == "Default security group"
    rules = groups[0]["security_group_rules"]
    assert sorted(
        (r["direction"], r["ethertype"], r["remote_group_id"]) for r in rules if r
    ) == sorted(
        [
            ("egress", "IPv4", None),
            ("egress", "IPv6", None),
            ("ingress", "IPv4", groups[0]["id"]),
            ("ingress", "IPv6", groups[0]["id"]),
        ],
        key=str,
    )
    assert cloud.member.list("/security-groups") == groups
    assert len(cloud.admin.list(f"/security-groups?project_id={ONE}")) == 1


def test_121_the_default_group(cloud):
    default = cloud.member.list("/security-groups")[0]
    path = f"/security-groups/{default['id']}"
    for answer, kind in (
        (
            cloud.member("POST", "/security-groups", {"security_group": {"name": "default"}}),
            "SecurityGroupDefaultAlreadyExists",
        ),
        (
            cloud.member("PUT", path, {"security_group": {"name": "x"}}),
            "SecurityGroupCannotUpdateDefault",
        ),
        (cloud.member("DELETE", path), "SecurityGroupCannotRemoveDefault"),
    ):
        assert error_of(answer)[:2] == (409, kind)


def test_123_rules_do_not_change(cloud):
    group = cloud.member.make("security_group")
    made = rule(cloud.member, group).json()["security_group_rule"]
    answer = cloud.member(
        "PUT",
        f"/security-group-rules/{made['id']}",
        {"security_group_rule": {"direction": "egress"}},
    )
    assert answer.status_code in (400, 404, 405)
    assert cloud.member("DELETE", f"/security-group-rules/{made['id']}").status_code == 204
    assert error_of(cloud.member("GET", f"/security-group-rules/{made['id']}"))[:2] == (
        404,
        "SecurityGroupRuleNotFound",
    )


def test_124_the_same_rule_in_other_words(cloud):
    group = cloud.member.make("security_group")
    made = rule(cloud.member, group, protocol="tcp", port_range_min=22, port_range_max=22)
    assert made.status_code == 201
    again = rule(cloud.member, group, protocol=6, port_range_min="22", port_range_max="22")
    assert error_of(again) == (
        409,
        "SecurityGroupRuleExists",
        f"Security group rule already exists. Rule id is {made.json()['security_group_rule']['id']}.",
    )


@pytest.mark.parametrize(
    ("attrs", "error"),
    [
        ({"direction": "both"}, (400, "HTTPBadRequest")),
        ({"ethertype": "IPv5"}, (400, "SecurityGroupRuleInvalidEtherType")),
        ({"ethertype": None}, (400, "SecurityGroupRuleInvalidEtherType")),
        ({"protocol": "foo"}, (400, "SecurityGroupRuleInvalidProtocol")),
        ({"protocol": 256}, (400, "SecurityGroupRuleInvalidProtocol")),
        ({"protocol": []}, (400, "SecurityGroupRuleInvalidProtocol")),
        ({"protocol": "icmpv6"}, (400, "SecurityGroupEthertypeConflictWithProtocol")),
        (
            {"port_range_min": 1, "port_range_max": 1},
            (400, "SecurityGroupProtocolRequiredWithPorts"),
        ),
        ({"protocol": "tcp", "port_range_min": "x"}, (400, "SecurityGroupInvalidPortValue")),
        (
            {"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536},
            (400, "SecurityGroupInvalidPortValue"),
        ),
        (
            {"protocol": "tcp", "port_range_min": 2, "port_range_max": 1},
            (400, "SecurityGroupInvalidPortRange"),
        ),
        ({"protocol": "icmp", "port_range_max": 0}, (400, "SecurityGroupMissingIcmpType")),
        ({"remote_ip_prefix": "x"}, (400, "InvalidCIDR")),
        ({"remote_ip_prefix": "::/0"}, (400, "SecurityGroupRuleParameterConflict")),
        ({"remote_group_id": UNKNOWN}, (404, "SecurityGroupNotFound")),
        ({"security_group_id": UNKNOWN}, (404, "SecurityGroupNotFound")),
        ({"foo": 1}, (400, "HTTPBadRequest")),
    ],
)
def test_125_to_129_rules_that_are_refused(cloud, attrs, error):
    assert error_of(rule(cloud.member, cloud.member.make("security_group"), **attrs))[:2] == error


def test_127_128_how_a_rule_is_stored(cloud):
    group = cloud.member.make("security_group")
    stored = rule(cloud.member, group, ethertype="ipv6", protocol="icmp").json()[
        "security_group_rule"
    ]
    assert (stored["protocol"], stored["ethertype"]) == ("ipv6-icmp", "IPv6")
    stored = rule(cloud.member, group, remote_ip_prefix="10.1.2.3/8").json()["security_group_rule"]
    assert (stored["remote_ip_prefix"], stored["normalized_cidr"]) == ("10.1.2.3/8", "10.0.0.0/8")
    shown = cloud.member("GET", f"/security-groups/{group['id']}").json()["security_group"]
    assert (
        stored.items()
        <= next(r for r in shown["security_group_rules"] if r["id"] == stored["id"]).items()
    )


def test_130_bulk(cloud):
    one, two = cloud.member.make("security_group"), cloud.member.make("security_group")

    def post(*rules):
        entries = [
            {"direction": "ingress", "security_group_id": one["id"]} | entry for entry in rules
        ]
        return cloud.member("POST", "/security-group-rules", {"security_group_rules": entries})

    assert error_of(post({}, {"security_group_id": two["id"]}))[:2] == (
        400,
        "SecurityGroupNotSingleGroupRules",
    )
    assert error_of(post({}, {}))[:2] == (409, "DuplicateSecurityGroupRuleInPost")
    assert len(post({"protocol": "tcp"}, {"protocol": "udp"}).json()["security_group_rules"]) == 2
    assert error_of(post({"protocol": "sctp"}, {"protocol": "tcp"}))[:2] == (
        409,
        "SecurityGroupRuleExists",
    )
    found = cloud.member.list(
        f"/security-group-rules?security_group_id={one['id']}&direction=ingress"
    )
    assert sorted(r["protocol"] for r in found) == ["tcp", "udp"]


def test_131_in_use(cloud):
    network = cloud.member.make("network")
    group = cloud.member.make("security_group")
    cloud.member.make("port", network_id=network["id"], security_groups=[group["id"]])
    path = f"/security-groups/{group['id']}"
    assert error_of(cloud.member("DELETE", path)) == (
        409,
        "SecurityGroupInUse",
        f"Security Group {group['id']} in use.",
    )
    assert error_of(cloud.member("PUT", path, {"security_group": {"stateful": False}}))[:2] == (
        409,
        "SecurityGroupInUse",
    )


def test_groups_of_others(cloud):
    group = cloud.member.make("security_group")
    assert error_of(cloud.other("GET", f"/security-groups/{group['id']}")) == (
        404,
        "SecurityGroupNotFound",
        f"Security group {group['id']} does not exist",
    )
    assert error_of(rule(cloud.other, group))[:2] == (403, "PolicyNotAuthorized")
    assert cloud.other.list(f"/security-group-rules?security_group_id={group['id']}") == []


def test_30_a_rule_raises_the_groups_revision(cloud):
    group = cloud.member.make("security_group")
    rule(cloud.member, group)
    shown = cloud.member("GET", f"/security-groups/{group['id']}").json()["security_group"]
    assert shown["revision_number"] == group["revision_number"] + 1


def test_rules_of_several_projects_are_not_made_at_once(cloud):
    group = cloud.admin.make("security_group")["id"]
    rules = [
        {
            "security_group_id": group,
            "direction": "ingress",
            "protocol": protocol,
            "project_id": project,
        }
        for protocol, project in (("tcp", ONE), ("udp", TWO))
    ]
    assert error_of(
        cloud.admin("POST", "/security-group-rules", {"security_group_rules": rules})
    ) == (
        400,
        "SecurityGroupRulesNotSingleProject",
        "Multiple project_ids in bulk security group rule create not allowed",
    )
