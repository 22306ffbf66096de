"""Paths, methods, documents, tags and extensions, against what Neutron 29 answered."""

from urllib.parse import quote

import pytest

from tests.support.networking import error_of

MISSING = (404, "HTTPNotFound", "The resource could not be found.")
MALFORMED = "The server could not comply with the request since it is either malformed or otherwise incorrect."


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nope", MISSING),
        ("GET", "/networks/x/y", MISSING),
        ("PATCH", "/networks", (405, "HTTPMethodNotAllowed", MALFORMED)),
        ("PATCH", "/networks/x", (405, "HTTPMethodNotAllowed", MALFORMED)),
        ("POST", "/networks/x", (405, "HTTPMethodNotAllowed", MALFORMED)),
        ("PUT", "/networks", (404, "NetworkNotFound", "Network None could not be found.")),
        ("DELETE", "/networks", (404, "NetworkNotFound", "Network None could not be found.")),
        ("PUT", "/networks/abc", (404, "NetworkNotFound", "Network abc could not be found.")),
        ("GET", "/routers/x/add_router_interface", (405, "HTTPMethodNotAllowed", MALFORMED)),
        (
            "PUT",
            "/routers/x/add_router_interface",
            (404, "RouterNotFound", "Router x could not be found"),
        ),
        ("GET", "/agents/nope", (404, "AgentNotFound", "Agent nope could not be found.")),
        (
            "POST",
            "/agents",
            (400, "BadRequest", "Bad agents request: Agent creation using API is not supported.."),
        ),
        ("GET", "/quotas/x/nope", MISSING),
    ],
)
def test_paths_and_methods(cloud, method, path, expected):
    assert error_of(cloud.admin(method, path)) == expected


def test_head_is_not_allowed_and_has_no_body(cloud):
    answer = cloud.member("HEAD", "/networks")
    assert (answer.status_code, answer.content) == (405, b"")


def test_only_json_is_spoken(cloud):
    answer = cloud.member("GET", "/networks", accept="application/xml")
    assert error_of(answer) == (406, "HTTPNotAcceptable", MALFORMED)
    assert cloud.member("GET", "/networks", accept="text/html,*/*").status_code == 200
    # No media type, and so no wish.
    assert cloud.member("GET", "/networks", accept="json").status_code == 200


@pytest.mark.parametrize(
    "path", ["/networks.json", "/networks/", "/security_groups", "/security-groups"]
)
def test_spellings_of_paths(cloud, path):
    assert cloud.member("GET", path).status_code == 200


def test_documents(cloud):
    versions = cloud.member("GET", "/../").json()
    assert versions["versions"][0]["links"][0]["href"] == "http://cloud:9696/networking/v2.0/"
    layout = cloud.member("GET", "/").json()
    assert layout["resources"][0] == {
        "name": "network",
        "collection": "networks",
        "links": [{"rel": "self", "href": "http://cloud:9696/networking/v2.0/networks"}],
    }


def test_every_answer_carries_its_request_id(cloud):
    for answer in (cloud.member("GET", "/networks"), cloud.member("GET", "/nope")):
        assert answer.headers["x-openstack-request-id"].startswith("req-")


def test_extensions(cloud):
    listed = {extension["alias"]: extension for extension in cloud.member.list("/extensions")}
    assert {
        "router",
        "security-group",
        "port-security",
        "binding",
        "provider",
        "standard-attr-tag",
    } <= set(listed)
    assert not {"address-scope", "subnetpool", "dns-integration"} & set(listed)
    one = cloud.member("GET", "/extensions/router").json()["extension"]
    assert one == listed["router"]
    assert set(one) == {"name", "alias", "description", "updated", "links"}
    answer = cloud.member("GET", "/extensions/nope")
    assert answer.status_code == 404
    assert "Extension with alias nope does not exist" in answer.text
    assert "NeutronError" not in answer.text


def test_bulk_where_there_is_none(cloud):
    answer = cloud.member("POST", "/routers", {"routers": [{"name": "a"}]})
    assert error_of(answer) == (400, "HTTPBadRequest", "Bulk operation not supported")


def test_order_of_checks_in_an_update(cloud):
    network = cloud.member.make("network")["id"]
    body = {"network": {"foo": 1}}
    assert (
        error_of(cloud.member("PUT", "/networks/nope", body))[2]
        == "Unrecognized attribute(s) 'foo'"
    )
    assert error_of(cloud.member("PUT", "/networks/nope", {}))[1] == "NetworkNotFound"
    assert error_of(cloud.member("PUT", f"/networks/{network}", {}))[2] == (
        "Unable to find 'network' in request body"
    )
    assert (
        error_of(cloud.member("PUT", f"/networks/{network}", b"x"))[2]
        == "Body contains invalid data"
    )
    assert error_of(cloud.member("DELETE", f"/networks/{network}", {}))[2] == (
        "Request body is not supported in DELETE."
    )


def test_tags(cloud):
    network = cloud.member.make("network")["id"]
    path = f"/networks/{network}/tags"

    def send(method, more="", body=None, who=None):
        answer = (who or cloud.member)(method, path + more, body)
        return answer.status_code, answer.json() if answer.content else None

    assert send("GET") == (200, {"tags": []})
    assert send("PUT", "", {"tags": ["a", "b"]}) == (200, {"tags": ["a", "b"]})
    assert send("POST", "", {"tags": ["c"]}) == (200, {"tags": ["c"]})
    assert send("GET") == (200, {"tags": ["a", "b", "c"]})
    assert send("GET", "/a") == (204, None)
    assert send("PUT", "/q") == (201, None)
    assert send("DELETE", "/q") == (204, None)
    assert error_of(cloud.member("DELETE", f"{path}/q")) == (
        404,
        "TagNotFound",
        "Tag q could not be found.",
    )
    for body, message in (
        ({"tags": ["a", "a"]}, "Duplicate items in the list: 'a'."),
        ({"tags": "a"}, "'a' is not a list."),
        ({"x": 1}, "Invalid tags body."),
        ([], "Invalid tags body."),
        (None, "Invalid tags body."),
        ({"tags": [5]}, "'5' is not a valid string."),
    ):
        answer = cloud.member("PUT", path, body)
        assert error_of(answer) == (400, "InvalidInput", f"Invalid input for operation: {message}")
    assert error_of(cloud.member("PUT", f"{path}/{'x' * 256}"))[1] == "InvalidInput"
    answer = cloud.member("PUT", path, {"tags": [f"t{n}" for n in range(51)]})
    assert error_of(answer) == (
        400,
        "BadRequest",
        "Bad networks request: The number of tags exceed the per-resource limit of 50.",
    )
    assert error_of(cloud.reader("PUT", path, {"tags": []})) == (
        403,
        "PolicyNotAuthorized",
        "rule:update_network:tags is disallowed by policy",
    )
    assert cloud.other("GET", path).status_code == 404

    def found(query):
        return len(cloud.member.list(f"/networks?{query}"))

    assert [found(f"tags={tags}") for tags in ("a", "a,b", "a,zz")] == [1, 1, 0]
    assert [found(f"tags-any={tags}") for tags in ("a,zz", "zz")] == [1, 0]
    assert [found(f"not-tags={tags}") for tags in ("a,b", "a,zz")] == [0, 1]
    assert [found(f"not-tags-any={tags}") for tags in ("a,zz", "zz")] == [0, 1]
    assert send("DELETE") == (204, None)
    assert send("GET") == (200, {"tags": []})


@pytest.mark.parametrize("tag", ["a b", "ü", "%41", "a:b=c", "a?b"])
def test_tags_of_any_letters(cloud, tag):
    network = cloud.member.make("network")["id"]
    path = f"/networks/{network}/tags/{quote(tag)}"
    assert cloud.member("PUT", path).status_code == 201
    assert cloud.member("GET", f"/networks/{network}/tags").json() == {"tags": [tag]}
    assert cloud.member("DELETE", path).status_code == 204


def test_a_tag_of_a_port_may_come_with_it(cloud):
    network = cloud.member.make("network")["id"]
    port = cloud.member.make("port", network_id=network, tags=["a", "b"])
    assert port["tags"] == ["a", "b"]
    assert [found["id"] for found in cloud.member.list("/ports?tags=a,b")] == [port["id"]]


def test_a_bulk_request_over_quota_leaves_nothing(cloud):
    network = cloud.member.make("network")["id"]
    cloud.admin("PUT", f"/quotas/{'1' * 32}", {"quota": {"port": 1}})
    answer = cloud.member("POST", "/ports", {"ports": [{"network_id": network}] * 2})
    assert error_of(answer)[:2] == (409, "OverQuota")
    assert cloud.member.list("/ports") == []


def test_quotas(cloud):
    own = f"/quotas/{'1' * 32}"
    assert cloud.member("GET", own).json()["quota"]["network"] == 100
    assert error_of(cloud.other("GET", own))[0] == 403
    assert error_of(cloud.member("PUT", own, {"quota": {"network": 1}}))[0] == 403
    assert error_of(cloud.member("GET", "/quotas"))[2] == "rule:get_quota is disallowed by policy"
    assert cloud.admin("PUT", own, {"quota": {"network": 1}}).json()["quota"]["network"] == 1
    cloud.member.make("network")
    answer = cloud.member("POST", "/networks", {"network": {}})
    assert error_of(answer) == (409, "OverQuota", "Quota exceeded for resources: ['network'].")
    details = cloud.member("GET", f"{own}/details.json").json()["quota"]["network"]
    assert details == {"limit": 1, "used": 1, "reserved": 0}
    assert cloud.admin("DELETE", own).status_code == 204
    assert error_of(cloud.admin("DELETE", own))[1] == "TenantQuotaNotFound"
    assert cloud.member("GET", "/quotas/project").json() == {"project": {"project_id": "1" * 32}}


def test_the_default_group_appears_when_it_is_looked_for(cloud):
    groups = cloud.member.list("/security-groups")
    assert [group["name"] for group in groups] == ["default"]
    assert len(groups[0]["security_group_rules"]) == 4
    assert cloud.member.list("/security-groups") == groups


def test_instances_ports_are_deleted_by_services(cloud):
    network = cloud.member.make("network")["id"]
    port = cloud.member.make("port", network_id=network, device_owner="compute:nova")["id"]
    assert error_of(cloud.member("DELETE", f"/ports/{port}"))[:2] == (403, "PolicyNotAuthorized")
    assert cloud.client("service", "9" * 32)("DELETE", f"/ports/{port}").status_code == 204


def test_a_port_on_a_network_that_one_may_not_see(cloud):
    network = cloud.member.make("network")["id"]
    answer = cloud.other("POST", "/ports", {"port": {"network_id": network}})
    assert error_of(answer) == (404, "NetworkNotFound", f"Network {network} could not be found.")


def test_what_members_are_not_shown_of_a_port(cloud):
    network = cloud.member.make("network")["id"]
    port = cloud.member.make("port", network_id=network)
    assert [key for key in port if key.startswith("binding:")] == ["binding:vnic_type"]
    assert "binding:host_id" in cloud.admin("GET", f"/ports/{port['id']}").json()["port"]
