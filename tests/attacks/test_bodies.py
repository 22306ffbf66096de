"""What a tenant can put into a body: nothing in it is a 500, is decoded without bound, or reaches the store cut short."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from netloom.api import bodies
from netloom.api.hosts.endpoints import secret_hash
from netloom.model.errors import BadRequest
from tests.support.cloud import Cloud, running

SECRET = "s" * 40


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("bodies")) as there:
        with there.store.writer() as w:
            w.put_host("c1", secret_hash=secret_hash(SECRET))
        yield there


@pytest.fixture(scope="module")
def admin(cloud: Cloud) -> Iterator[httpx.Client]:
    with cloud.client("admin", "admin") as client:
        yield client


EVERYWHERE = [
    ("POST", "/networking/v2.0/networks", '{"network": {"name": %s}}'),
    ("POST", "/networking/v2.0/ports", '{"port": {"network_id": "x", "binding:profile": %s}}'),
    ("POST", "/networking/v2.0/networks", "%s"),
    ("PUT", "/networking/v2.0/networks/x", '{"network": %s}'),
    ("PUT", "/networking/v2.0/networks/x/tags", '{"tags": %s}'),
    ("PUT", "/networking/v2.0/quotas/p", '{"quota": %s}'),
    ("PUT", "/networking/v2.0/routers/x/add_router_interface", '{"subnet_id": %s}'),
    ("POST", "/compute/v2.1/servers", '{"server": {"name": "a", "flavorRef": "1", "personality": %s}}'),
    ("POST", "/compute/v2.1/servers", '{"server": {"name": "a"}, "os:scheduler_hints": %s}'),
    ("POST", "/compute/v2.1/servers/x/action", '{"os-start": %s}'),
    ("PUT", "/compute/v2.1/servers/x/metadata", '{"metadata": %s}'),
    ("POST", "/compute/v2.1/os-keypairs", '{"keypair": %s}'),
    ("POST", "/compute/v2.1/flavors", '{"flavor": %s}'),
    ("PUT", "/compute/v2.1/os-quota-sets/p", '{"quota_set": {"cores": %s}}'),
    ("POST", "/compute/v2.1/os-security-groups", '{"security_group": %s}'),
    ("POST", "/image/v2/images", '{"name": %s}'),
    ("POST", "/image/v2/images", '{"other": %s}'),
    ("POST", "/image/v2/images/x/members", "%s"),
    ("POST", "/identity/v3/auth/tokens", '{"auth": {"identity": {"methods": [], "other": %s}}}'),
    ("POST", "/identity/v3/auth/tokens", "%s"),
    ("POST", "/identity/v3/users", '{"user": {"name": "a", "options": %s}}'),
    ("PATCH", "/identity/v3/projects/p", '{"project": %s}'),
    ("POST", "/identity/v3/users/u/password", '{"user": %s}'),
    ("PUT", "/agent/v1/hosts/c1/facts", "%s"),
    ("PUT", "/agent/v1/hosts/c1/facts", '{"other": %s}'),
    ("POST", "/agent/v1/hosts/c1/status", '{"applied_seq": 1, "rows": %s}'),
    ("POST", "/agent/v1/hosts/c1/status", '{"applied_seq": 1, "other": %s}'),
]  # fmt: skip
"""A method, a path and a body for each way in which a body is read."""


@pytest.mark.parametrize(("method", "path", "body"), EVERYWHERE)
def test_deep_json_is_a_400_at_every_service(
    admin: httpx.Client, method: str, path: str, body: str
) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    for depth in (70, 500, 1100, 50_000):
        for value in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth):
            sent = body.replace("%s", value).encode()
            answer = admin.request(method, path, content=sent, headers=headers)
            assert answer.status_code in (400, 413), (depth, answer.status_code, answer.text[:200])


@pytest.mark.parametrize(("method", "path", "body"), EVERYWHERE)
def test_a_nul_in_a_text_is_a_400(admin: httpx.Client, method: str, path: str, body: str) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    for value in ('"a\\u0000b"', '{"a\\u0000": "b"}', '"\\\\\\u0000"'):
        sent = body.replace("%s", value).encode()
        answer = admin.request(method, path, content=sent, headers=headers)
        assert answer.status_code == 400, (value, answer.status_code, answer.text[:200])


def test_a_backslash_before_u0000_is_no_nul(admin: httpx.Client) -> None:
    made = admin.post(
        "/networking/v2.0/networks", content=b'{"network": {"name": "a\\\\u0000 \\\\\\\\u0000"}}'
    )
    assert made.status_code == 201, made.text
    assert made.json()["network"]["name"] == "a\\u0000 \\\\u0000"
    admin.delete(f"/networking/v2.0/networks/{made.json()['network']['id']}")


@pytest.mark.parametrize(
    "path",
    [
        "/networking/v2.0/networks?name=a%00b",
        "/networking/v2.0/networks/a%00b",
        "/compute/v2.1/servers/a%00b",
        "/image/v2/images?name=%00",
        "/identity/v3/users/%00",
    ],
)
def test_a_nul_in_a_path_or_query_is_a_400(admin: httpx.Client, path: str) -> None:
    assert admin.get(path).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b'"' * 300_000 + b"[" * 100,
        b'"\\' * 300_000 + b"[" * 100,
        b'"' + b'\\"' * 300_000 + b"[" * 100,
        b"\\" * 600_000 + b"\\u0000" + b"[" * 100,
        b"[]" * 300_000,
        b"[{" * 200_000 + b"}]" * 200_000,
        b"{" * 500_000,
    ],
)
def test_looking_at_a_body_costs_no_more_than_its_size(body: bytes) -> None:
    """None of these takes quadratic time: the test ends."""
    with contextlib.suppress(BadRequest):
        bodies.check(body)


def test_brackets_in_texts_are_no_nesting() -> None:
    bodies.check(json.dumps({"a": "[" * 1000, 'b"[': ["{" * 500, "\\"], "c": [{}] * 500}).encode())
    with pytest.raises(BadRequest):
        bodies.check(json.dumps({"a": "]" * 1000, "b": 1}).encode() + b"[" * 100)


def test_json_bodies_have_at_most_a_mebibyte(admin: httpx.Client) -> None:
    for path, key in (("/networking/v2.0/networks", "network"), ("/image/v2/images", "x")):
        fits = admin.post(path, json={key: {"name": "x" * (1024**2 - 100)}})
        assert fits.status_code == 400, fits.text[:200]
        large = admin.post(path, json={key: {"name": "x" * 1024**2}})
        assert large.status_code == 413, large.text[:200]


def test_a_token_request_has_at_most_114688_bytes(cloud: Cloud) -> None:
    frame = '{"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "%s"}}}}}'
    for path in ("/identity/v3/auth/tokens", "/identity/v3/users/u/password"):
        for size, codes in ((114_688, (400, 401)), (114_689, (413,))):
            body = frame % ("x" * (size - len(frame) + 2))
            answer = cloud.http.post(path, content=body.encode())
            assert answer.status_code in codes, (size, answer.text[:200])

            def chunks(body: str = body) -> Iterator[bytes]:
                yield body.encode()

            assert cloud.http.post(path, content=chunks()).status_code in codes


def test_a_large_body_does_not_stop_the_loop(cloud: Cloud, admin: httpx.Client) -> None:
    """While bodies that are slow to decode are decoded, they do so in workers' threads."""
    names: set[str] = set()
    before = bodies.check

    def noted(body: bytes) -> None:
        names.add(threading.current_thread().name.partition("_")[0])
        before(body)

    ports = [{"network_id": "x", "fixed_ips": [{"ip_address": "10.0.0.1"}]}] * 200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "check", noted)
        assert admin.post("/networking/v2.0/ports", json={"ports": ports}).status_code == 400
        admin.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "x" * 10_000}})
        admin.post("/image/v2/images", json={"name": "x" * 10_000})
    assert names == {"worker"}


def test_a_patch_of_an_image_is_short(admin: httpx.Client) -> None:
    steps = [{"op": "add", "path": f"/p{n}", "value": "x"} for n in range(513)]
    answer = admin.patch(
        "/image/v2/images/6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01",
        content=json.dumps(steps).encode(),
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
    )
    assert answer.status_code == 400, answer.text


def test_a_server_has_a_bounded_number_of_cards(admin: httpx.Client) -> None:
    server = {"name": "a", "flavorRef": "1", "imageRef": "x"}
    for more in (
        {"networks": [{"uuid": "x"}] * 65},
        {"networks": "none", "security_groups": [{"name": "x"}] * 65},
    ):
        headers = {"openstack-api-version": "compute 2.60"}
        answer = admin.post(
            "/compute/v2.1/servers", json={"server": server | more}, headers=headers
        )
        assert answer.status_code == 400 and "64" in answer.text, answer.text
