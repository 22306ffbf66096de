"""Address groups over HTTP: what clients of Neutron rely on, each asked of the reference once."""

import pytest

from tests.support.networking import ONE, TWO, error_of


@pytest.fixture
def group(cloud):
    return cloud.member.make("address_group", name="partners", addresses=["10.0.0.1/24"])


def rule(client, group, **more):
    body = {"security_group_id": group, "direction": "ingress"} | more
    return client("POST", "/security-group-rules", {"security_group_rule": body})


def act(client, group, action, addresses):
    return client("PUT", f"/address-groups/{group['id']}/{action}", {"addresses": addresses})


def test_addresses_are_kept_without_host_bits_each_once(cloud):
    asked = ["10.0.0.1/24", "10.0.0.9/24", "2001:db8::1/64", "10.1.1.1/32"]
    made = cloud.member.make("address_group", addresses=asked)
    assert made["addresses"] == ["10.0.0.0/24", "2001:db8::/64", "10.1.1.1/32"]
    assert (made["project_id"], made["tenant_id"]) == (ONE, ONE)
    assert "shared" not in made
    assert cloud.member.make("address_group", addresses=None)["addresses"] == []
    wrong = cloud.member("POST", "/address-groups", {"address_group": {"addresses": ["10.0.0.1"]}})
    assert error_of(wrong) == (
        400,
        "HTTPBadRequest",
        "Invalid input for addresses. Reason: '10.0.0.1' is not a valid IP subnet.",
    )


def test_addresses_come_and_go(cloud, group):
    added = act(cloud.member, group, "add_addresses", ["192.0.2.1", "192.0.2.0/24"])
    shown = added.json()["address_group"]
    assert shown["addresses"] == ["10.0.0.0/24", "192.0.2.1/32", "192.0.2.0/24"]
    assert shown["shared"] is False
    assert shown["revision_number"] > group["revision_number"]
    again = act(cloud.member, group, "add_addresses", ["192.0.2.9/24"])
    assert error_of(again) == (
        400,
        "AddressesAlreadyExist",
        f"Addresses ['192.0.2.0/24'] already exist in the address group {group['id']}.",
    )
    removed = act(cloud.member, group, "remove_addresses", ["10.0.0.77/24"])
    assert removed.json()["address_group"]["addresses"] == ["192.0.2.1/32", "192.0.2.0/24"]
    gone = act(cloud.member, group, "remove_addresses", ["10.0.0.0/24"])
    assert error_of(gone)[:2] == (404, "AddressesNotFound")
    assert act(cloud.member, group, "add_addresses", []).status_code == 200
    for nonsense in (None, "10.0.0.0/8", 5, [5], ["x"], [["10.0.0.0/8"]]):
        assert act(cloud.member, group, "add_addresses", nonsense).status_code == 400
    fixed = cloud.member(
        "PUT", f"/address-groups/{group['id']}", {"address_group": {"addresses": []}}
    )
    assert error_of(fixed) == (400, "HTTPBadRequest", "Cannot update read-only attribute addresses")


def test_who_may(cloud, group):
    path = f"/address-groups/{group['id']}"
    assert error_of(cloud.other("GET", path))[:2] == (404, "AddressGroupNotFound")
    assert act(cloud.other, group, "add_addresses", ["1.0.0.0/8"]).status_code == 404
    reading = act(cloud.reader, group, "add_addresses", ["1.0.0.0/8"])
    assert error_of(reading)[2] == "rule:add_addresses is disallowed by policy"
    assert cloud.admin("DELETE", path).status_code == 204


def test_rules_name_an_address_group(cloud, group):
    mine = cloud.member.make("security_group", name="web")["id"]
    named = {"remote_address_group_id": group["id"]}
    made = rule(cloud.member, mine, **named).json()["security_group_rule"]
    assert made["remote_address_group_id"] == group["id"]
    assert rule(cloud.member, mine, **named).status_code == 409
    both = rule(cloud.member, mine, **named, remote_ip_prefix="10.0.0.0/8")
    assert error_of(both)[:2] == (400, "SecurityGroupMultipleRemoteEntites")
    unknown = rule(cloud.member, mine, remote_address_group_id="nope")
    assert error_of(unknown) == (
        404,
        "AddressGroupNotFound",
        "Address group nope could not be found.",
    )
    found = cloud.member.list(f"/security-group-rules?remote_address_group_id={group['id']}")
    assert [each["id"] for each in found] == [made["id"]]
    path = f"/address-groups/{group['id']}"
    assert error_of(cloud.member("DELETE", path)) == (
        409,
        "AddressGroupInUse",
        f"Address group {group['id']} is in use on one or more security group rules.",
    )
    assert cloud.member("DELETE", f"/security-groups/{mine}").status_code == 204
    assert cloud.member("DELETE", path).status_code == 204


def test_lists(cloud, group):
    cloud.member.make("address_group", name="a", description="d")
    names = [
        each["name"] for each in cloud.member.list("/address-groups?sort_key=name&sort_dir=asc")
    ]
    assert names == ["a", "partners"]
    assert len(cloud.member.list("/address-groups?description=d")) == 1
    assert len(cloud.member.list("/address-groups?limit=1&sort_key=name&sort_dir=asc")) == 1
    for query in ("addresses=10.0.0.0/24", "shared=True", "tags=x"):
        assert cloud.member("GET", f"/address-groups?{query}").status_code == 400
    assert (
        cloud.member("PUT", f"/address-groups/{group['id']}/tags", {"tags": []}).status_code == 404
    )


@pytest.mark.parametrize("kind", ["address_group", "security_group"])
def test_groups_are_shared_by_policies(cloud, kind):
    made = cloud.member.make(kind, name="ours")
    path = f"/{kind.replace('_', '-')}s/{made['id']}"
    grant = {"object_type": kind, "object_id": made["id"], "action": "access_as_shared"}

    def share(client, target=TWO, **more):
        body = {"rbac_policy": grant | {"target_tenant": target} | more}
        return client("POST", "/rbac-policies", body)

    assert share(cloud.other, ONE).status_code == 400
    assert error_of(share(cloud.member, action="access_as_external"))[1] == "InvalidActionForType"
    assert share(cloud.member, "*").status_code == 403
    assert cloud.other("GET", path).status_code == 404
    policy = share(cloud.member).json()["rbac_policy"]
    assert error_of(share(cloud.member))[:2] == (409, "DuplicateRbacPolicy")
    shown = cloud.other("GET", path).json()[kind]
    assert shown["revision_number"] == made["revision_number"]
    assert cloud.other("PUT", path, {kind: {"name": "z"}}).status_code == 403
    assert cloud.other("DELETE", path).status_code == 403
    theirs = cloud.other.make("security_group", name="theirs")["id"]
    if kind == "security_group":
        assert shown["shared"] is True
        assert cloud.member("GET", path).json()[kind]["shared"] is False
        only = cloud.other.list("/security-groups?shared=True")
        assert [each["id"] for each in only] == [made["id"]]
        assert made["id"] not in str(cloud.other.list("/security-groups?shared=False"))
        assert rule(cloud.other, made["id"]).status_code == 403
        assert rule(cloud.other, theirs, remote_group_id=made["id"]).status_code == 201
        network = cloud.other.make("network")["id"]
        uses = cloud.other.make("port", network_id=network, security_groups=[made["id"]])
        used = f"/ports/{uses['id']}"
    else:
        uses = rule(cloud.other, theirs, remote_address_group_id=made["id"])
        used = f"/security-group-rules/{uses.json()['security_group_rule']['id']}"
    end = f"/rbac-policies/{policy['id']}"
    assert error_of(cloud.member("DELETE", end))[:2] == (409, "RbacPolicyInUse")
    moved = cloud.member("PUT", end, {"rbac_policy": {"target_tenant": "3" * 32}})
    assert error_of(moved)[:2] == (409, "RbacPolicyInUse")
    wide = share(cloud.admin, "*").json()["rbac_policy"]
    assert cloud.member("DELETE", end).status_code == 204
    assert error_of(cloud.admin("DELETE", f"/rbac-policies/{wide['id']}"))[:2] == (
        409,
        "RbacPolicyInUse",
    )
    assert cloud.other("DELETE", used).status_code == 204
    assert cloud.admin("DELETE", f"/rbac-policies/{wide['id']}").status_code == 204
    assert cloud.other("GET", path).status_code == 404
