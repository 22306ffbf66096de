"""The identity API over HTTP: what is refused, and how it says so."""

from typing import Any

import pytest

from tests.support.cloud import DEMO, Cloud, running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with running(tmp_path_factory.mktemp("identity")) as cloud:
        yield cloud


def auth(**identity: Any) -> dict[str, Any]:
    return {"auth": {"identity": identity}}


DOMAIN = {"id": "default"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 400),
        ({"auth": {}}, 400),
        ({"auth": {"identity": {"methods": "password"}}}, 400),
        (auth(methods=["password"]), 400),
        (auth(methods=["password"], password={"user": {"name": "demo", "password": DEMO}}), 400),
        (auth(methods=["password"], password={"user": {"name": 5, "password": DEMO}}), 400),
        (auth(methods=["password"], password={"user": {"name": "demo", "domain": DOMAIN, "password": "no"}}), 401),
        (auth(methods=["password"], password={"user": {"name": "nobody", "domain": DOMAIN, "password": "x"}}), 401),
        (auth(methods=["password"], password={"user": {"id": "nobody", "password": "x"}}), 401),
        (auth(methods=["totp"]), 401),
        (auth(methods=["token"], token={"id": "x.y.z"}), 401),
        (auth(methods=[]), 401),
    ],
)  # fmt: skip
def test_what_gives_no_token(cloud: Cloud, body: dict[str, Any], code: int):
    answer = cloud.http.post("/identity/v3/auth/tokens", json=body)
    assert answer.status_code == code, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert DEMO not in answer.text
    assert answer.headers["x-openstack-request-id"].startswith("req-")


def test_malformed_json(cloud: Cloud):
    for body in (b"", b"{", b"\xff\xfe", b'"x"', b"[]", b"null", b'{"auth": 1e999}'):
        assert cloud.http.post("/identity/v3/auth/tokens", content=body).status_code == 400, body


def test_scopes(cloud: Cloud):
    unscoped = cloud.authenticate("demo", DEMO, None)
    body = unscoped.json()["token"]
    assert "project" not in body
    assert "catalog" not in body
    token = unscoped.headers["x-subject-token"]
    scoped = cloud.http.post(
        "/identity/v3/auth/tokens",
        json={
            "auth": {
                "identity": {"methods": ["token"], "token": {"id": token}},
                "scope": {"project": {"name": "demo", "domain": {"name": "Default"}}},
            }
        },
    )
    assert scoped.status_code == 201
    again = scoped.json()["token"]
    assert again["project"]["name"] == "demo"
    assert again["expires_at"] == body["expires_at"]
    assert {role["name"] for role in again["roles"]} == {"member", "reader"}
    assert again["methods"] == ["token", "password"]
    assert cloud.authenticate("demo", DEMO, "admin").status_code == 401
    assert cloud.authenticate("demo", DEMO, "no such project").status_code == 401


def test_system_scope(cloud: Cloud):
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": "admin", "domain": DOMAIN, "password": "admin-password"}},
    }
    body = {"auth": {"identity": identity, "scope": {"system": {"all": True}}}}
    answer = cloud.http.post("/identity/v3/auth/tokens", json=body)
    assert answer.json()["token"]["system"] == {"all": True}


def test_looking_at_tokens(cloud: Cloud):
    admin, demo = cloud.token("admin", project="admin"), cloud.token()

    def look(by: str, at: str, method: str = "GET") -> int:
        headers = {"x-auth-token": by, "x-subject-token": at}
        return cloud.http.request(method, "/identity/v3/auth/tokens", headers=headers).status_code

    assert look(admin, demo) == 200
    assert look(demo, demo) == 200
    assert look(demo, demo, "HEAD") == 200
    assert look(demo, admin) == 403
    assert look(admin, "nonsense") == 404
    assert look("nonsense", demo) == 401
    assert look(demo, demo, "DELETE") == 204
    assert look(admin, demo) == 404
    assert look(demo, demo) == 401


ADMIN_ONLY = [
    ("GET", "/users"),
    ("POST", "/users"),
    ("GET", "/projects"),
    ("POST", "/projects"),
    ("GET", "/roles"),
    ("GET", "/domains"),
    ("GET", "/services"),
    ("GET", "/endpoints"),
    ("GET", "/role_assignments"),
    ("PUT", "/projects/x/users/y/roles/z"),
    ("DELETE", "/domains/default"),
    ("GET", "/users/somebody"),
    ("PATCH", "/users/somebody"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ONLY)
def test_who_may_what(cloud: Cloud, method: str, path: str):
    assert cloud.http.request(method, "/identity/v3" + path).status_code == 401
    with cloud.client() as demo:
        answer = demo.request(method, "/identity/v3" + path, json={})
        assert answer.status_code == 403
        assert "identity:" in answer.json()["error"]["message"]


def test_bad_input_from_an_admin(cloud: Cloud):
    with cloud.client("admin", "admin") as admin:

        def code(method: str, path: str, body: Any = None) -> int:
            return admin.request(method, "/identity/v3" + path, json=body).status_code

        assert code("POST", "/users", {"user": {"name": "admin", "password": "x"}}) == 409
        assert code("POST", "/users", {"user": {"name": "", "password": "x"}}) == 400
        assert code("POST", "/users", {"user": {"name": "a", "shoe_size": 42}}) == 400
        assert code("POST", "/users", {"user": {"name": "a", "domain_id": "nowhere"}}) == 404
        assert code("POST", "/users", {"user": {"name": ["a"]}}) == 400
        assert code("POST", "/users", {"usr": {}}) == 400
        assert code("POST", "/users", [1]) == 400
        assert (
            code(
                "POST",
                "/projects",
                {"project": {"name": "p", "parent_id": "x", "domain_id": "default"}},
            )
            == 400
        )
        assert code("POST", "/projects", {"project": {"name": "p", "is_domain": True}}) == 400
        assert code("POST", "/roles", {"role": {"name": "member"}}) == 409
        assert code("PATCH", "/users/none", {"user": {}}) == 404
        assert code("GET", "/users/none") == 404
        assert code("GET", "/users?shoe_size=42") == 400
        assert code("GET", "/users?limit=x") == 400
        assert code("GET", "/users?marker=x") == 400
        assert code("DELETE", "/projects/none") == 404
        assert code("PUT", "/projects/a/users/b/roles/c") == 404
        assert code("PATCH", "/users") == 405
        assert code("GET", "/nothing") == 404
        assert [
            u["name"] for u in admin.get("/identity/v3/users?name__startswith=ad").json()["users"]
        ] == ["admin"]
        page = admin.get("/identity/v3/projects?limit=1").json()
        assert len(page["projects"]) == 1
        assert len(admin.get(page["links"]["next"]).json()["projects"]) == 1


def test_changing_a_password_tells_strangers_nothing(cloud: Cloud):
    body = {"user": {"original_password": "wrong", "password": "new"}}
    with cloud.client("admin", "admin") as admin:
        (known,) = admin.get("/identity/v3/users?name=demo").json()["users"]
    answers = [
        cloud.http.post(f"/identity/v3/users/{ident}/password", json=body)
        for ident in (known["id"], "0" * 32)
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()


def test_no_answer_shows_a_password_hash(cloud: Cloud):
    with cloud.client("admin", "admin") as admin:
        assert "argon2" not in admin.get("/identity/v3/users").text
