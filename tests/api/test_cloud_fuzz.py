"""Whatever is sent to identity, image and compute: the API's own codes, never a 500."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netloom.api.compute import routes
from netloom.api.identity import tokens as identity
from netloom.api.image import images as image
from tests.support.compute_cloud import ComputeCloud, world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with world(tmp_path_factory.mktemp("fuzz")) as there:
        there.host("node1")
        yield there


@pytest.fixture(scope="module")
def admin(cloud: ComputeCloud):
    with cloud.cloud.client("admin", "admin") as client:
        yield client


def paths() -> list[tuple[str, str]]:
    """(method, path) of every route, parameters still in braces."""
    found: list[tuple[str, str]] = []
    for route in (*identity.routes(), *image.routes(), *routes.routes()):
        found += [(method, route.path) for method in sorted(route.methods) if method != "HEAD"]
    return found


NAMES = st.sampled_from(
    [
        "auth",
        "identity",
        "methods",
        "password",
        "token",
        "scope",
        "project",
        "domain",
        "user",
        "role",
        "id",
        "name",
        "enabled",
        "description",
        "server",
        "imageRef",
        "flavorRef",
        "networks",
        "uuid",
        "port",
        "security_groups",
        "metadata",
        "min_count",
        "user_data",
        "key_name",
        "flavor",
        "ram",
        "vcpus",
        "disk",
        "swap",
        "keypair",
        "public_key",
        "os-stop",
        "os-getConsoleOutput",
        "length",
        "addFloatingIp",
        "address",
        "security_group",
        "security_group_rule",
        "parent_group_id",
        "ip_protocol",
        "from_port",
        "to_port",
        "cidr",
        "quota_set",
        "instances",
        "visibility",
        "disk_format",
        "container_format",
        "tags",
        "op",
        "path",
        "value",
        "member",
        "status",
        "extra_specs",
        "tenant",
        "pool",
        "meta",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["admin", "demo", "default", "1", "10.0.0.0/24", "tcp", "auto", "\x00", "é", "x" * 300]
    ),
)
BODIES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "limit",
            "marker",
            "sort",
            "sort_key",
            "sort_dir",
            "name",
            "status",
            "id",
            "visibility",
            "member_status",
            "all_tenants",
            "tags",
            "ip",
            "changes-since",
            "is_public",
            "minDisk",
            "user.id",
            "effective",
            "enabled",
            "deleted",
            "size_min",
            "created_at",
            "host",
        ]
    ),
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(["1", "-1", "true", "in:a,b", "gt:2020", "^a.*$", "(", "99999999999"]),
    ),
    max_size=3,
)
SEGMENTS = st.sampled_from(
    ["1", "default", "node1", "..", "%00", "%ff", "a b", "é", "x" * 300, "0" * 32]
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    where=st.sampled_from(paths()),
    body=BODIES,
    raw=st.one_of(st.none(), st.none(), st.none(), st.binary(max_size=30)),
    query=QUERIES,
    segment=SEGMENTS,
    version=st.sampled_from(["2.1", "2.26", "2.37", "2.92", "latest", "2.x", ""]),
    wrapped=st.booleans(),
)
def test_never_a_500(
    admin: httpx.Client,
    where: tuple[str, str],
    body: Any,
    raw: bytes | None,
    query: dict[str, str],
    segment: str,
    version: str,
    wrapped: bool,
):
    method, path = where
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + segment + rest.partition("}")[2]
    if path.startswith("/identity/v3/") and method in ("DELETE", "PATCH", "PUT"):
        # Nothing that would take the tester's own roles away.
        path = path.replace("default", "none")
    if wrapped:
        singular = (
            path.rstrip("/")
            .rsplit("/", 1)[-1]
            .removeprefix("os-")
            .removesuffix("s")
            .replace("-", "_")
        )
        body = {singular: body}
    content = raw if raw is not None else json.dumps(body).encode("utf-8", "surrogatepass")
    headers = {
        "openstack-api-version": f"compute {version}".strip(),
        "content-type": "application/json",
    }
    if path.endswith("/file"):
        headers["content-type"] = "application/octet-stream"
    elif method == "PATCH" and path.startswith("/image"):
        headers["content-type"] = "application/openstack-images-v2.1-json-patch"
    answer = admin.request(method, path, content=content, headers=headers, params=query)
    assert answer.status_code < 500, (method, path, query, content, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["x-openstack-request-id"]


def valid(image_id: str) -> list[tuple[str, str, Any]]:
    """Requests that are right but for what a test puts into them."""
    server = {
        "name": "vm",
        "imageRef": image_id,
        "flavorRef": "1",
        "networks": [{"uuid": "0" * 32, "fixed_ip": "10.0.0.1"}],
        "security_groups": [{"name": "default"}],
        "user_data": "eA==",
        "metadata": {"a": "b"},
        "min_count": 1,
        "max_count": 2,
        "tags": ["t"],
        "hostname": "h",
        "availability_zone": "nova",
        "block_device_mapping_v2": [{"source_type": "image", "uuid": image_id, "boot_index": 0}],
    }
    user = {"name": "u", "password": "p", "domain": {"id": "default"}}
    scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
    identity = {"methods": ["password"], "password": {"user": user}}
    record = {
        "name": "i",
        "disk_format": "raw",
        "min_disk": 1,
        "tags": ["t"],
        "visibility": "private",
        "a": "b",
    }
    rule = {
        "parent_group_id": "x",
        "ip_protocol": "tcp",
        "from_port": 1,
        "to_port": 2,
        "cidr": "10.0.0.0/8",
    }
    flavor = {
        "name": "f",
        "id": "x",
        "ram": 1,
        "vcpus": 1,
        "disk": 1,
        "swap": 0,
        "rxtx_factor": 1.0,
    }
    return [
        ("POST", "/identity/v3/auth/tokens", {"auth": {"identity": identity, "scope": scope}}),
        (
            "POST",
            "/identity/v3/users",
            {"user": {"name": "u", "password": "p", "email": "e", "enabled": True}},
        ),
        (
            "POST",
            "/identity/v3/projects",
            {"project": {"name": "p", "domain_id": "default", "tags": ["t"]}},
        ),
        ("POST", "/image/v2/images", record),
        (
            "PATCH",
            f"/image/v2/images/{image_id}",
            [{"op": "replace", "path": "/name", "value": "small"}],
        ),
        ("POST", "/compute/v2.1/servers", {"server": server}),
        ("POST", "/compute/v2.1/servers", {"server": server | {"networks": "none"}}),
        ("POST", "/compute/v2.1/flavors", {"flavor": flavor}),
        (
            "POST",
            "/compute/v2.1/os-keypairs",
            {"keypair": {"name": "k", "public_key": "ssh-rsa AAAA"}},
        ),
        (
            "POST",
            "/compute/v2.1/os-security-groups",
            {"security_group": {"name": "g", "description": "d"}},
        ),
        ("POST", "/compute/v2.1/os-security-group-rules", {"security_group_rule": rule}),
        ("POST", "/compute/v2.1/os-floating-ips", {"pool": "public"}),
        ("PUT", "/compute/v2.1/os-quota-sets/x", {"quota_set": {"instances": 5, "force": True}}),
    ]


def spots(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    pairs = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in pairs:
        found += spots(value, (*path, key))
    return found


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(document, dict):
        return {k: replaced(v, path[1:], value) if k == path[0] else v for k, v in document.items()}
    return [replaced(v, path[1:], value) if k == path[0] else v for k, v in enumerate(document)]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    number=st.integers(0, 12),
    value=BODIES,
    version=st.sampled_from(["2.1", "2.37", "2.92"]),
)
def test_one_thing_wrong_is_never_a_500(
    cloud: ComputeCloud,
    admin: httpx.Client,
    data: st.DataObject,
    number: int,
    value: Any,
    version: str,
):
    method, path, body = valid(cloud.image)[number]
    where = data.draw(st.sampled_from(spots(body)))
    headers = {"openstack-api-version": f"compute {version}"}
    if method == "PATCH":
        headers["content-type"] = "application/openstack-images-v2.1-json-patch"
    content = json.dumps(replaced(body, where, value)).encode("utf-8", "surrogatepass")
    answer = admin.request(method, path, content=content, headers=headers)
    assert answer.status_code < 500, (content, answer.text)
