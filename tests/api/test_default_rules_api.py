"""The rules that new security groups begin with, over HTTP."""

import pytest

from tests.support.networking import error_of

PATH = "/default-security-group-rules"


def make(client, **attrs):
    body = {"direction": "ingress", "used_in_default_sg": False, "used_in_non_default_sg": True}
    return client("POST", PATH, {"default_security_group_rule": body | attrs})


def rules_of(client, group):
    found = client("GET", f"/security-groups/{group}").json()["security_group"]
    return [
        (rule["direction"], rule["ethertype"], rule["protocol"], rule["remote_group_id"])
        for rule in found["security_group_rules"]
    ]


def test_what_groups_begin_with_unless_somebody_changes_it(cloud):
    found = cloud.member.list(PATH)
    assert {
        (each["direction"], each["remote_group_id"], each["used_in_non_default_sg"])
        for each in found
    } == {("egress", None, True), ("ingress", "PARENT", False)}
    assert {each["ethertype"] for each in found} == {"IPv4", "IPv6"}
    assert len(found) == 4
    assert found[0].keys() == {
        "id",
        "description",
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
        "remote_group_id",
        "remote_address_group_id",
        "used_in_default_sg",
        "used_in_non_default_sg",
    }
    assert cloud.client("nobody").list(PATH) == []


def test_new_groups_begin_with_a_rule_that_was_added(cloud):
    before = cloud.member.make("security_group", name="before")["id"]
    had = rules_of(cloud.member, before)
    made = make(cloud.admin, protocol="icmp", ethertype="IPv6", remote_group_id="PARENT")
    shown = made.json()["default_security_group_rule"]
    assert (made.status_code, shown["protocol"]) == (201, "ipv6-icmp")
    assert "project_id" not in shown
    assert rules_of(cloud.member, before) == had
    after = cloud.member.make("security_group", name="after")["id"]
    assert sorted(map(str, rules_of(cloud.member, after))) == sorted(
        map(str, [*had, ("ingress", "IPv6", "ipv6-icmp", after)])
    )
    assert cloud.admin("DELETE", f"{PATH}/{shown['id']}").status_code == 204
    last = cloud.member.make("security_group", name="last")["id"]
    assert sorted(map(str, rules_of(cloud.member, last))) == sorted(map(str, had))
    assert len(rules_of(cloud.member, after)) == len(had) + 1


def test_a_default_group_begins_with_its_own(cloud):
    for rule in cloud.admin.list(PATH):
        assert cloud.admin("DELETE", f"{PATH}/{rule['id']}").status_code == 204
    assert make(cloud.admin, used_in_default_sg=True, protocol="tcp").status_code == 201
    (group,) = cloud.other.list("/security-groups")
    assert rules_of(cloud.other, group["id"]) == [("ingress", "IPv4", "tcp", None)]
    assert group["security_group_rules"][0]["belongs_to_default_sg"] is True


def test_what_is_refused(cloud):
    assert make(cloud.member).status_code == 403
    twice = make(cloud.admin, direction="egress")
    assert error_of(twice)[:2] == (409, "DefaultSecurityGroupRuleExists")
    both = make(cloud.admin, remote_group_id="PARENT", remote_ip_prefix="10.0.0.0/8")
    assert error_of(both)[:2] == (400, "SecurityGroupMultipleRemoteEntites")
    assert make(cloud.admin, remote_group_id="nope").status_code == 404
    assert make(cloud.admin, remote_address_group_id="nope").status_code == 404
    missing = cloud.admin("POST", PATH, {"default_security_group_rule": {"direction": "ingress"}})
    assert error_of(missing)[2].endswith("Required attribute 'used_in_default_sg' not specified")
    several = {"default_security_group_rules": [{"direction": "ingress"}]}
    assert error_of(cloud.admin("POST", PATH, several))[2] == "Bulk operation not supported"
    one = cloud.member.list(PATH)[0]["id"]
    changed = cloud.admin(
        "PUT", f"{PATH}/{one}", {"default_security_group_rule": {"description": "x"}}
    )
    assert error_of(changed)[2] == "Cannot update read-only attribute description"
    assert cloud.member("DELETE", f"{PATH}/{one}").status_code == 403
    assert error_of(cloud.admin("GET", f"{PATH}/nope"))[:2] == (
        404,
        "DefaultSecurityGroupRuleNotFound",
    )
    for query in ("revision_number=0", "tags=x", "project_id=x"):
        assert cloud.admin("GET", f"{PATH}?{query}").status_code == 400
    assert len(cloud.member.list(f"{PATH}?used_in_non_default_sg=False")) == 2


@pytest.mark.parametrize("kind", ["security_group", "address_group"])
def test_a_rule_goes_with_the_group_that_it_names(cloud, kind):
    named = cloud.member.make(kind, name="named")["id"]
    assert (
        make(cloud.admin, **{f"remote_{kind.removeprefix('security_')}_id": named}).status_code
        == 201
    )
    assert len(cloud.admin.list(PATH)) == 5
    assert cloud.member("DELETE", f"/{kind.replace('_', '-')}s/{named}").status_code == 204
    assert len(cloud.admin.list(PATH)) == 4
    cloud.member.make("security_group", name="still")


def test_a_new_groups_rules_count_for_the_quota(cloud):
    cloud.member.list("/security-groups")
    quota = {"quota": {"security_group_rule": 5}}
    assert cloud.admin("PUT", f"/quotas/{'1' * 32}", quota).status_code == 200
    refused = cloud.member("POST", "/security-groups", {"security_group": {"name": "x"}})
    assert error_of(refused)[:2] == (409, "OverQuota")
    quota = {"quota": {"security_group_rule": 6}}
    assert cloud.admin("PUT", f"/quotas/{'1' * 32}", quota).status_code == 200
    cloud.member.make("security_group", name="x")
