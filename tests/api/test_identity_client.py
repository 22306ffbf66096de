"""The unmodified `openstack` client against the identity service."""

from pathlib import Path

import pytest

from tests.support.cloud import ADMIN, Cloud, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("identity")
    with running(folder) as cloud:
        yield cloud


def test_catalog_and_lists(cloud: Cloud):
    catalog = {
        entry["Type"]: entry["Endpoints"] for entry in cloud.openstack_json("catalog", "list")
    }
    urls = {kind: {e["url"] for e in endpoints} for kind, endpoints in catalog.items()}
    assert urls["network"] == {cloud.url + "/networking"}
    assert urls["compute"] == {cloud.url + "/compute/v2.1"}
    assert {s["Type"] for s in cloud.openstack_json("service", "list")} == set(catalog)
    assert len(cloud.openstack_json("endpoint", "list")) == 12
    assert [r["Region"] for r in cloud.openstack_json("region", "list")] == ["RegionOne"]
    assert cloud.openstack_json("token", "issue")["project_id"]


def test_a_project_a_user_and_a_role(cloud: Cloud):
    project = cloud.openstack_json("project", "create", "blue", "--description", "of the sky")
    assert project["description"] == "of the sky"
    cloud.openstack("user", "create", "bob", "--password", "first", "--email", "bob@example.org")
    assert cloud.openstack_json("user", "show", "bob")["email"] == "bob@example.org"
    cloud.openstack("token", "issue", user="bob", password="first", project="blue", ok=False)
    cloud.openstack("role", "add", "--project", "blue", "--user", "bob", "member")
    cloud.openstack("token", "issue", user="bob", password="first", project="blue")
    listed = cloud.openstack_json("role", "assignment", "list", "--names", "--project", "blue")
    assert [(row["Role"], row["User"], row["Project"]) for row in listed] == [
        ("member", "bob@Default", "blue@Default")
    ]
    assert "not authorized" in cloud.openstack(
        "user", "list", user="bob", password="first", project="blue", ok=False
    )
    bobs = {"user": "bob", "project": "blue"}
    cloud.openstack(
        "user",
        "password",
        "set",
        "--password",
        "second",
        "--original-password",
        "first",
        password="first",
        **bobs,
    )
    cloud.openstack("token", "issue", password="first", ok=False, **bobs)
    cloud.openstack("token", "issue", password="second", **bobs)
    cloud.openstack("user", "set", "bob", "--password", "third")
    cloud.openstack("token", "issue", password="third", **bobs)
    cloud.openstack("role", "remove", "--project", "blue", "--user", "bob", "member")
    cloud.openstack("token", "issue", password="third", ok=False, **bobs)
    cloud.openstack("project", "set", "blue", "--name", "green", "--disable")
    assert cloud.openstack_json("project", "show", "green")["enabled"] is False
    cloud.openstack("user", "delete", "bob")
    cloud.openstack("project", "delete", "green")
    assert "No Project" in cloud.openstack("project", "show", "green", ok=False)


def test_roles_and_domains(cloud: Cloud):
    cloud.openstack("role", "create", "auditor")
    assert "auditor" in {role["Name"] for role in cloud.openstack_json("role", "list")}
    cloud.openstack("role", "delete", "auditor")
    cloud.openstack("domain", "create", "acme")
    cloud.openstack("project", "create", "--domain", "acme", "rockets")
    assert "enabled" in cloud.openstack("domain", "delete", "acme", ok=False)
    cloud.openstack("domain", "set", "acme", "--disable")
    cloud.openstack("domain", "delete", "acme")
    assert "rockets" not in {p["Name"] for p in cloud.openstack_json("project", "list")}


def test_a_user_may_look_at_itself(cloud: Cloud):
    who = {"user": "demo", "project": "demo"}
    assert [p["Name"] for p in cloud.openstack_json("project", "list", "--my-projects", **who)] == [
        "demo"
    ]
    token = cloud.openstack_json("token", "issue", **who)["id"]
    cloud.openstack("token", "revoke", token, **who)
    assert (
        cloud.http.get("/identity/v3/auth/projects", headers={"x-auth-token": token}).status_code
        == 401
    )


def test_unversioned_and_versioned_auth_urls_work(cloud: Cloud):
    for path in ("/identity", "/identity/", "/identity/v3", "/identity/v3/"):
        cloud.openstack("--os-auth-url", cloud.url + path, "token", "issue", password=ADMIN)
