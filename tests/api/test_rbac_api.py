"""RBAC policies over HTTP, by the numbers of the behaviours list."""

import pytest

from tests.support.networking import ONE, TWO, error_of


@pytest.fixture
def network(cloud):
    made = cloud.member.make("network", name="ours")
    cloud.member.make("subnet", network_id=made["id"], ip_version=4, cidr="10.0.0.0/24")
    return made["id"]


def policy(client, network, target=TWO, action="access_as_shared", **more):
    body = {"object_type": "network", "object_id": network, "action": action}
    return client(
        "POST", "/rbac-policies", {"rbac_policy": body | {"target_tenant": target} | more}
    )


def made(answer):
    assert answer.status_code == 201, answer.text
    return answer.json()["rbac_policy"]


def policies(client, query=""):
    answer = client("GET", f"/rbac-policies?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["rbac_policies"]


def revision(cloud, network):
    return cloud.admin("GET", f"/networks/{network}").json()["network"]["revision_number"]


def test_a_network_is_shared_with_one_project(cloud, network):
    before = revision(cloud, network)
    assert cloud.other("GET", f"/networks/{network}").status_code == 404
    shown = made(policy(cloud.member, network))
    assert shown == {
        "id": shown["id"],
        "project_id": ONE,
        "tenant_id": ONE,
        "object_type": "network",
        "object_id": network,
        "action": "access_as_shared",
        "target_tenant": TWO,
    }
    assert revision(cloud, network) == before + 1
    assert cloud.other("GET", f"/networks/{network}").json()["network"]["shared"] is True
    assert cloud.member("GET", f"/networks/{network}").json()["network"]["shared"] is False
    port = cloud.other.make("port", network_id=network)
    assert [each["id"] for each in cloud.member.list("/ports")] == [port["id"]]
    path = f"/rbac-policies/{shown['id']}"
    assert cloud.member("GET", path).json() == {"rbac_policy": shown}
    assert cloud.other("GET", path).status_code == 404
    in_use = cloud.member("DELETE", path)
    assert error_of(in_use)[:2] == (409, "RbacPolicyInUse")
    assert cloud.other("DELETE", f"/ports/{port['id']}").status_code == 204
    assert cloud.member("DELETE", path).status_code == 204
    assert cloud.other("GET", f"/networks/{network}").status_code == 404


def test_161_what_is_refused(cloud, network):
    def refused(*args, **more):
        return error_of(policy(*args, **more))[:2]

    assert refused(cloud.member, network, "nobody") == (400, "InvalidInput")
    assert refused(cloud.member, network, action="eat") == (400, "InvalidActionForType")
    assert refused(cloud.member, network, object_type="port") == (400, "InvalidInput")
    assert refused(cloud.member, network, "*") == (403, "PolicyNotAuthorized")
    assert refused(cloud.other, network) == (400, "InvalidInput")
    assert refused(cloud.member, "00000000-0000-4000-8000-000000000bad") == (400, "InvalidInput")
    made(policy(cloud.member, network))
    assert refused(cloud.member, network) == (409, "DuplicateRbacPolicy")
    assert refused(cloud.client("reader"), network, "a" * 32) == (403, "PolicyNotAuthorized")
    missing = cloud.member("GET", "/rbac-policies/00000000-0000-4000-8000-000000000bad")
    assert error_of(missing)[:2] == (404, "RbacPolicyNotFound")
    # Who sees the network by a policy may not hand it on.
    assert refused(cloud.other, network, "a" * 32) == (400, "InvalidInput")


def test_163_a_policy_makes_a_network_external_and_its_end_ends_that(cloud, network):
    def external():
        return cloud.admin("GET", f"/networks/{network}").json()["network"]["router:external"]

    shown = made(policy(cloud.member, network, action="access_as_external"))
    assert external() is True
    router = cloud.other.make("router", external_gateway_info={"network_id": network})
    path = f"/rbac-policies/{shown['id']}"
    assert error_of(cloud.member("DELETE", path))[:2] == (409, "RbacPolicyInUse")
    body = {"rbac_policy": {"target_tenant": "a" * 32}}
    assert error_of(cloud.member("PUT", path, body))[:2] == (409, "RbacPolicyInUse")
    assert cloud.other("DELETE", f"/routers/{router['id']}").status_code == 204
    assert cloud.member("DELETE", path).status_code == 204
    assert external() is False


def test_another_project_gets_it_instead(cloud, network):
    shown = made(policy(cloud.member, network, "a" * 32))
    path = f"/rbac-policies/{shown['id']}"
    changed = cloud.member("PUT", path, {"rbac_policy": {"target_tenant": TWO}})
    assert changed.json()["rbac_policy"] == shown | {"target_tenant": TWO}
    assert cloud.other("GET", f"/networks/{network}").status_code == 200
    wild = cloud.member("PUT", path, {"rbac_policy": {"target_tenant": "*"}})
    assert error_of(wild)[:2] == (403, "PolicyNotAuthorized")
    fixed = cloud.member("PUT", path, {"rbac_policy": {"action": "access_as_external"}})
    assert error_of(fixed)[:2] == (400, "HTTPBadRequest")


def test_what_is_shared_by_its_attribute_has_a_policy_too(cloud):
    network = cloud.admin.make("network", shared=True, **{"router:external": True})["id"]
    found = policies(cloud.admin, f"object_id={network}")
    assert {(each["action"], each["target_tenant"]) for each in found} == {
        ("access_as_shared", "*"),
        ("access_as_external", "*"),
    }
    shared = next(each for each in found if each["action"] == "access_as_shared")
    assert cloud.admin("DELETE", f"/rbac-policies/{shared['id']}").status_code == 204
    assert cloud.other("GET", f"/networks/{network}").json()["network"]["shared"] is False
    assert cloud.admin("DELETE", f"/networks/{network}").status_code == 204
    assert policies(cloud.admin, f"object_id={network}") == []


def test_165_a_project_has_ten(cloud, network):
    for number in range(10):
        made(policy(cloud.member, network, f"{number:032x}"))
    assert error_of(policy(cloud.member, network))[:2] == (409, "OverQuota")
    assert len(policies(cloud.member)) == 10
    assert len(policies(cloud.member, f"target_tenant={3:032x}")) == 1
    assert policies(cloud.other) == []
