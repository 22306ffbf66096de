"""Every route there is, asked by those who may not: without a token, without a role, with a role to look only."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from netloom.api.networking.agents_zones_quotas import ANSWERS
from netloom.api.networking.nouns import NOUNS, Noun
from netloom.server.process import all_routes
from tests.support.cloud import Cloud, running

DISCOVERY = {
    *(
        "/",
        "/identity",
        "/identity/",
        "/identity/v3",
        "/identity/v3/",
        "/networking",
        "/networking/",
    ),
    *(
        "/image",
        "/image/",
        "/image/versions",
        "/compute",
        "/compute/",
        "/compute/v2.1",
        "/compute/v2.1/",
    ),
}
"""What says which versions there are, to anybody."""

PROVES_ITSELF = {
    ("POST", "/identity/v3/auth/tokens"),
    ("POST", "/identity/v3/users/{user_id}/password"),
}
"""A password is what these ask for."""

FOR_EVERYBODY = {
    f"GET {path}"
    for path in (
        *("/identity/v3/auth/system", "/identity/v3/auth/projects", "/identity/v3/auth/domains"),
        *("/identity/v3/regions", "/image/v2/info/import"),
        *("/networking/v2.0", "/networking/v2.0/extensions", "/networking/v2.0/extensions/router"),
        *(
            "/compute/v2.1/extensions",
            "/compute/v2.1/limits",
            "/compute/v2.1/os-quota-sets/{project_id}/defaults",
        ),
    )
}
"""What any valid token is told: about itself, and what the cloud is like."""


def networking() -> Iterator[tuple[str, str]]:
    """Routes below `/networking`, which is one application with a table of its own."""
    prefixed = ("/".join(filter(None, (n.prefix, n.collection))) for n in NOUNS.values())
    for name in (*(each.replace("_", "-") for each in prefixed), *ANSWERS, "qos/rule-types"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            yield method, f"/networking/v2.0/{name}"
            yield method, f"/networking/v2.0/{name}/{{id}}"
    for noun in NOUNS.values():
        path = f"/networking/v2.0/{noun.collection.replace('_', '-')}/{{id}}"
        for method in ("GET", "PUT", "POST", "DELETE"):
            yield method, f"{path}/tags"
            yield method, f"{path}/tags/{{tag}}"
        for action in noun.actions:
            yield "PUT", f"{path}/{action}"
        for reading in noun.readings:
            yield "GET", f"{path}/{reading}"
    for path in ("", "/", "/v2.0", "/v2.0/extensions", "/v2.0/extensions/router"):
        yield "GET", f"/networking{path}"


def every() -> list[tuple[str, str]]:
    """Return (method, path) of all that is served."""
    found = list(networking())
    for route in all_routes():
        if isinstance(route, Mount):
            assert route.path == "/networking", "a new application: say what is below it"
            continue
        assert isinstance(route, Route)
        found += [
            (method, route.path) for method in sorted(route.methods or ()) if method != "HEAD"
        ]
    return found


def url_of(path: str) -> str:
    return re.sub(r"\{\w+\}", lambda _: str(uuid.uuid4()), path)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("routes")) as there:
        yield there


def seq(cloud: Cloud) -> int:
    with cloud.store.reader() as reader:
        return reader.seq()


def user(cloud: Cloud, name: str, role: str | None) -> str:
    """A user whose home is the project demo, with a role there or none; returns its token."""
    with cloud.client("admin", "admin") as admin:
        project = admin.get("/identity/v3/projects?name=demo").json()["projects"][0]["id"]
        body = {"user": {"name": name, "password": "p"}}
        ident = admin.post("/identity/v3/users", json=body).json()["user"]["id"]
        if role:
            (found,) = admin.get("/identity/v3/roles", params={"name": role}).json()["roles"]
            put = admin.put(f"/identity/v3/projects/{project}/users/{ident}/roles/{found['id']}")
            assert put.status_code == 204
    return cloud.token(name, "p", "demo" if role else None)


def ask(
    cloud: Cloud, token: str | None, method: str, path: str, body: Any = None
) -> httpx.Response:
    headers = {"x-auth-token": token} if token is not None else {}
    return cloud.http.request(method, path, headers=headers, json=body)


@pytest.mark.parametrize("token", [None, "", "nonsense", "a.b.c"])
def test_nothing_but_discovery_without_a_token(cloud: Cloud, token: str | None) -> None:
    before = seq(cloud)
    for method, path in every():
        if (method, path) in PROVES_ITSELF:
            continue
        code = ask(cloud, token, method, url_of(path)).status_code
        if path in DISCOVERY:
            assert code in (200, 300, 405), (method, path, code)
        else:
            assert code == 401, (method, path, code)
    assert seq(cloud) == before


def test_without_a_role_nothing_but_ones_own(cloud: Cloud) -> None:
    token, before = user(cloud, "nobody", None), seq(cloud)
    for method, path in every():
        answer = ask(
            cloud, token, method, url_of(path), {} if method in ("POST", "PUT", "PATCH") else None
        )
        if answer.status_code >= 400 or path in DISCOVERY or f"{method} {path}" in FOR_EVERYBODY:
            continue
        # What is left are lists, and nothing is in them.
        assert (method, [v for v in answer.json().values() if v]) == ("GET", []), (
            path,
            answer.text,
        )
    assert seq(cloud) == before


def test_who_may_look_only_changes_nothing(cloud: Cloud) -> None:
    """Of the Networking API's objects, each sort of which is there and is the project's own."""
    token = user(cloud, "looks", "reader")
    with cloud.client("demo") as demo, cloud.client("admin", "admin") as admin:

        def make(client: httpx.Client, collection: str, **attrs: Any) -> tuple[str, dict[str, Any]]:
            body = {NOUNS[collection].singular: attrs}
            made = client.post(path_of(NOUNS[collection]), json=body)
            assert made.status_code == 201, made.text
            return made.json()[NOUNS[collection].singular]["id"], body

        def path_of(noun: Noun) -> str:
            before = f"{noun.under}/{there[noun.under][0]}/" if noun.under else ""
            before = f"{noun.prefix}/{before}" if noun.prefix else before
            return f"/networking/v2.0/{before}{noun.collection.replace('_', '-')}"

        outer, _ = make(admin, "networks", **{"router:external": True})
        there: dict[str, tuple[str, dict[str, Any]]] = {}
        make(admin, "subnets", network_id=outer, ip_version=4, cidr="192.0.2.0/24")
        there["networks"] = make(demo, "networks", name="n")
        network = there["networks"][0]
        there["subnets"] = make(
            demo, "subnets", network_id=network, ip_version=4, cidr="10.0.0.0/24"
        )
        there["ports"] = make(demo, "ports", network_id=network)
        there["routers"] = make(demo, "routers", name="r")
        there["floatingips"] = make(demo, "floatingips", floating_network_id=outer)
        gateway = {"external_gateway_info": {"network_id": outer}}
        path = f"/networking/v2.0/routers/{there['routers'][0]}"
        assert demo.put(path, json={"router": gateway}).status_code == 200
        subnet = {"subnet_id": there["subnets"][0]}
        assert demo.put(f"{path}/add_router_interface", json=subnet).status_code == 200
        port = demo.get(f"/networking/v2.0/ports/{there['ports'][0]}").json()["port"]
        there["port_forwardings"] = make(
            demo,
            "port_forwardings",
            protocol="tcp",
            external_port=22,
            internal_port=22,
            internal_port_id=port["id"],
            internal_ip_address=port["fixed_ips"][0]["ip_address"],
        )
        card = make(demo, "ports", network_id=network)[0]
        there["trunks"] = make(demo, "trunks", port_id=card)
        there["security_groups"] = make(demo, "security_groups", name="g")
        group = {"security_group_id": there["security_groups"][0]}
        there["security_group_rules"] = make(
            demo, "security_group_rules", direction="ingress", **group
        )
        there["address_groups"] = make(demo, "address_groups", addresses=["10.0.0.0/8"])
        there["default_security_group_rules"] = make(
            admin,
            "default_security_group_rules",
            direction="ingress",
            protocol="udp",
            used_in_default_sg=False,
            used_in_non_default_sg=True,
        )
        there["rbac_policies"] = make(
            demo,
            "rbac_policies",
            object_type="network",
            object_id=network,
            action="access_as_shared",
            target_tenant="a" * 32,
        )
        project = demo.get(f"/networking/v2.0/networks/{network}").json()["network"]["project_id"]
        there["policies"] = make(admin, "policies", name="q", project_id=project)
        values = {
            "bandwidth_limit_rules": {"max_kbps": 1000},
            "dscp_marking_rules": {"dscp_mark": 10},
            "minimum_bandwidth_rules": {"min_kbps": 10},
            "minimum_packet_rate_rules": {"min_kpps": 1},
            "packet_rate_limit_rules": {"max_kpps": 1},
        }
        for rules, attrs in values.items():
            there[rules] = make(admin, rules, **attrs)
            if f"alias_{rules}" in NOUNS:
                there[f"alias_{rules}"] = there[rules]
    assert there.keys() == NOUNS.keys()
    before = seq(cloud)
    for noun in NOUNS.values():
        ident, new = there[noun.collection]
        path = path_of(noun)
        asked: list[tuple[str, str, Any]] = [("DELETE", f"{path}/{ident}", None)]
        if not noun.by_id_only:
            asked.append(("POST", path, new))
        if not noun.collection.endswith("security_group_rules"):  # nothing of a rule changes
            changed = {"rbac_policies": {"target_tenant": "b" * 32}} | {
                f"{alias}{rules}": attrs
                for rules, attrs in values.items()
                for alias in ("", "alias_")
            }
            attrs = changed.get(noun.collection, {"description": "x"})
            asked.append(("PUT", f"{path}/{ident}", {noun.singular: attrs}))
        asked += [
            ("PUT", f"{path}/{ident}/{name}", {"subnet_id": there["subnets"][0]})
            for name in noun.actions
        ]
        for name in noun.readings:
            assert ask(cloud, token, "GET", f"{path}/{ident}/{name}").status_code == 200
        if noun.taggable:
            asked += [(method, f"{path}/{ident}/tags/t", None) for method in ("PUT", "DELETE")]
            asked += [
                (method, f"{path}/{ident}/tags", {"tags": ["t"]}) for method in ("PUT", "POST")
            ]
            asked += [("DELETE", f"{path}/{ident}/tags", None)]
        assert ask(cloud, token, "GET", f"{path}/{ident}").status_code == 200
        for method, url, body in asked:
            assert ask(cloud, token, method, url, body).status_code == 403, (method, url)
    assert seq(cloud) == before
