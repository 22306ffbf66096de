"""What each role may do in all four services, with real tokens; what ends them; policy.yaml."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.cloud import Cloud, running

PASSWORD = "a-password"
LOOKING = {
    "network": "/networking/v2.0/networks",
    "compute": "/compute/v2.1/servers/detail",
    "image": "/image/v2/images",
    "identity": "/identity/v3/auth/projects",
}
CHANGING: dict[str, tuple[str, dict[str, Any]]] = {
    "network": ("/networking/v2.0/networks", {"network": {"name": "n"}}),
    "compute": ("/compute/v2.1/os-keypairs", {"keypair": {"name": "k"}}),
    "image": ("/image/v2/images", {"name": "i"}),
    "identity": ("/identity/v3/projects", {"project": {"name": "p"}}),
}
PROJECT = {"project": {"name": "demo", "domain": {"id": "default"}}}
DOMAIN = {"domain": {"id": "default"}}


class Roles:
    """A cloud with a user for each role, who has it on the project demo and on its domain."""

    def __init__(self, cloud: Cloud, policy: Path) -> None:
        self.cloud, self.policy = cloud, policy
        self.admin = cloud.client("admin", "admin")
        projects = self.admin.get("/identity/v3/projects", params={"name": "demo"})
        self.project = projects.json()["projects"][0]["id"]
        assert (
            self.admin.post("/identity/v3/roles", json={"role": {"name": "operator"}}).status_code
            == 201
        )
        for name in ("reader", "service", "member", "operator"):
            self.user(name, name)

    def user(self, name: str, role: str) -> str:
        """A user with that role; returns its id."""
        body = {"user": {"name": name, "password": PASSWORD}}
        ident = self.admin.post("/identity/v3/users", json=body).json()["user"]["id"]
        for place in (f"projects/{self.project}", "domains/default"):
            put = self.admin.put(f"/identity/v3/{place}/users/{ident}/roles/{self.role_id(role)}")
            assert put.status_code == 204, put.text
        return ident

    def role_id(self, name: str) -> str:
        return self.admin.get("/identity/v3/roles", params={"name": name}).json()["roles"][0]["id"]

    def token(
        self, name: str, scope: dict[str, Any] | None = None, password: str = PASSWORD
    ) -> str:
        """A token by password; unscoped where no scope is given."""
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if scope is not None:
            auth["scope"] = scope
        answer = self.cloud.http.post("/identity/v3/auth/tokens", json={"auth": auth})
        assert answer.status_code == 201, answer.text
        return answer.headers["x-subject-token"]

    def ask(self, token: str, method: str, url: str, **more: Any) -> httpx.Response:
        return self.cloud.http.request(method, url, headers={"x-auth-token": token}, **more)

    def looks(self, token: str) -> dict[str, int]:
        return {name: self.ask(token, "GET", url).status_code for name, url in LOOKING.items()}

    def changes(self, token: str) -> dict[str, int]:
        return {
            n: self.ask(token, "POST", url, json=body).status_code
            for n, (url, body) in CHANGING.items()
        }


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    folder = tmp_path_factory.mktemp("roles")
    policy = folder / "policy.yaml"
    policy.write_text("{}\n")
    with running(folder / "cloud", server={"policy_file": str(policy)}) as cloud:
        yield Roles(cloud, policy)


@pytest.mark.parametrize("name", ["reader", "member", "service", "operator"])
def test_roles_on_a_project(roles: Roles, name: str):
    token = roles.token(name, PROJECT)
    may_look = 200 if name in ("reader", "member") else 403
    # The Networking API answers everybody with what it may see; anybody may see its own projects.
    assert roles.looks(token) == {
        "network": 200,
        "compute": may_look,
        "image": may_look,
        "identity": 200,
    }
    codes = {"network": 201, "compute": 200, "image": 201, "identity": 403}
    assert roles.changes(token) == (codes if name == "member" else dict.fromkeys(CHANGING, 403))


@pytest.mark.parametrize("scope", [None, DOMAIN], ids=["unscoped", "domain"])
def test_a_token_without_a_project_neither_sees_nor_changes_one(
    roles: Roles, scope: dict[str, Any] | None
):
    token = roles.token("member", scope)
    assert roles.looks(token) == {"network": 200, "compute": 403, "image": 403, "identity": 200}
    assert roles.ask(token, "GET", LOOKING["network"]).json() == {"networks": []}
    assert roles.changes(token) == {"network": 400, "compute": 403, "image": 403, "identity": 403}


def test_only_services_and_admins_look_at_tokens_of_others(roles: Roles):
    subject = roles.token("member", PROJECT)
    for name, code in (("reader", 403), ("operator", 403), ("service", 200), ("member", 200)):
        headers = {"x-auth-token": roles.token(name, PROJECT), "x-subject-token": subject}
        answer = roles.cloud.http.get("/identity/v3/auth/tokens", headers=headers)
        assert answer.status_code == code, name


def test_what_ends_tokens_ends_them_in_all_services(roles: Roles):
    ended, going = dict.fromkeys(LOOKING, 401), dict.fromkeys(LOOKING, 200)
    user = roles.user("leaving", "member")

    one, other = roles.token("leaving", PROJECT), roles.token("leaving", PROJECT)
    headers = {"x-auth-token": one, "x-subject-token": one}
    assert roles.cloud.http.delete("/identity/v3/auth/tokens", headers=headers).status_code == 204
    assert (roles.looks(one), roles.looks(other)) == (ended, going)

    change = {"user": {"password": "another", "original_password": PASSWORD}}
    answer = roles.ask(other, "POST", f"/identity/v3/users/{user}/password", json=change)
    assert answer.status_code == 204, answer.text
    assert roles.looks(other) == ended

    token = roles.token("leaving", PROJECT, "another")
    assert roles.looks(token) == going
    role = roles.role_id("member")
    url = f"/identity/v3/projects/{roles.project}/users/{user}/roles/{role}"
    assert roles.admin.delete(url).status_code == 204
    assert roles.looks(token) == ended


def test_policy_yaml_overrides_by_name_and_is_read_again(roles: Roles):
    url, body = CHANGING["network"]
    token, member = roles.token("operator", PROJECT), roles.token("member", PROJECT)
    assert roles.ask(token, "POST", url, json=body).status_code == 403
    roles.policy.write_text('"create_network": "role:operator"\n')
    os.utime(roles.policy, (time.time() + 5, time.time() + 5))
    deadline = time.monotonic() + 10
    while roles.ask(token, "POST", url, json=body).status_code != 201:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert roles.ask(member, "POST", url, json=body).status_code == 403
    assert roles.admin.post(url, json=body).status_code == 403
