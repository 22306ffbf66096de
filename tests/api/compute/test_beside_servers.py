"""What the compute API has beside servers: versions, flavors, key pairs, proxies of old clients, quotas."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from tests.support.compute_cloud import URL, ComputeCloud, act, at, boot, booted, show


def test_version_documents_need_no_token(cloud: ComputeCloud):
    http = cloud.cloud.http
    for path in ("/compute", "/compute/"):
        assert http.get(path).json()["versions"][0]["version"] == "2.92"
    for path in (URL, URL + "/"):
        assert http.get(path).json()["version"]["min_version"] == "2.1"
    assert http.get(URL + "/servers").status_code == 401


@pytest.mark.parametrize(
    ("headers", "code", "served"),
    [
        ({}, 200, "2.1"),
        (at("2.37"), 200, "2.37"),
        (at("latest"), 200, "2.92"),
        ({"x-openstack-nova-api-version": "2.26"}, 200, "2.26"),
        ({"openstack-api-version": "volume 3.0"}, 200, "2.1"),
        (at("2.93"), 406, "2.1"),
        (at("3.0"), 406, "2.1"),
        (at("2"), 400, "2.1"),
        (at("two"), 400, "2.1"),
    ],
)
def test_microversions(demo: httpx.Client, headers: dict[str, str], code: int, served: str):
    answer = demo.get(URL + "/flavors", headers=headers)
    assert answer.status_code == code
    assert answer.headers["openstack-api-version"] == f"compute {served}"
    assert answer.headers["x-openstack-nova-api-version"] == served


def test_flavors(admin: httpx.Client, demo: httpx.Client):
    def create(**attrs: Any) -> httpx.Response:
        return admin.post(
            URL + "/flavors",
            json={"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1, **attrs}},
        )

    made = create(**{"os-flavor-access:is_public": False}).json()["flavor"]
    assert made["swap"] == ""
    assert demo.get(f"{URL}/flavors/{made['id']}").status_code == 404
    assert create().status_code == 409
    assert create(name="g", id="1").status_code == 409
    assert create(name="g", ram=0).status_code == 400
    assert create(name="g", swap=5).status_code == 400
    assert create(name="g", id="a/b").status_code == 400
    assert create(name="g", ram="x").status_code == 400
    project = demo.get("/identity/v3/auth/projects").json()["projects"][0]["id"]
    url = f"{URL}/flavors/{made['id']}"
    assert (
        admin.post(url + "/action", json={"addTenantAccess": {"tenant": project}}).status_code
        == 200
    )
    assert demo.get(url, headers=at("2.61")).json()["flavor"]["extra_specs"] == {}
    assert demo.post(URL + "/flavors", json={}).status_code == 403
    assert demo.delete(url).status_code == 403
    assert admin.post(url + "/os-extra_specs", json={"extra_specs": {"a": "b"}}).status_code == 200
    assert demo.get(url + "/os-extra_specs").json() == {"extra_specs": {"a": "b"}}
    assert admin.delete(url).status_code == 202
    assert admin.delete(url).status_code == 404


PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0vVGbR5RX4OSJ4n2fCVmkLZ0YRhvoLiNhd8wQyT0rV me@here"


def test_keypairs(demo: httpx.Client, admin: httpx.Client):
    url = URL + "/os-keypairs"
    made = demo.post(url, json={"keypair": {"name": "given", "public_key": PUBLIC}})
    assert made.status_code == 200, made.text
    assert "private_key" not in made.json()["keypair"]
    generated = demo.post(url, json={"keypair": {"name": "made"}}).json()["keypair"]
    key = serialization.load_pem_private_key(generated["private_key"].encode(), None)
    own = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    assert generated["public_key"].startswith(own.decode())
    assert demo.post(url, json={"keypair": {"name": "x"}}, headers=at("2.92")).status_code == 400
    assert (
        demo.post(url, json={"keypair": {"name": "given", "public_key": PUBLIC}}).status_code == 409
    )
    for bad in ({"name": "a/b"}, {"name": ""}, {"name": "x", "public_key": "ssh-rsa nonsense"},
                {"name": "x", "public_key": PUBLIC + "\nssh-rsa more"}, {"name": "x", "type": "x509"}):  # fmt: skip
        assert demo.post(url, json={"keypair": bad}).status_code == 400, bad
    assert [k["keypair"]["name"] for k in demo.get(url).json()["keypairs"]] == ["given", "made"]
    assert admin.get(url).json()["keypairs"] == []
    assert admin.get(url + "/given").status_code == 404
    assert demo.get(url + "/given", headers=at("2.2")).json()["keypair"]["type"] == "ssh"
    assert demo.delete(url + "/given").status_code == 202
    assert demo.delete(url + "/made", headers=at("2.2")).status_code == 204
    assert demo.delete(url + "/made").status_code == 404


def test_security_group_proxies(cloud: ComputeCloud, demo: httpx.Client, private: str):
    made = demo.post(
        URL + "/os-security-groups", json={"security_group": {"name": "all", "description": "d"}}
    )
    assert made.status_code == 200, made.text
    ident = made.json()["security_group"]["id"]

    def rule(**attrs: Any) -> httpx.Response:
        body = {"parent_group_id": ident, **attrs}
        return demo.post(URL + "/os-security-group-rules", json={"security_group_rule": body})

    tcp = rule(ip_protocol="TCP", from_port=1, to_port=65535, cidr="0.0.0.0/0")
    assert tcp.status_code == 200, tcp.text
    icmp = rule(ip_protocol="ICMP", from_port=-1, to_port=-1, cidr="0.0.0.0/0").json()[
        "security_group_rule"
    ]
    assert (icmp["ip_protocol"], icmp["from_port"], icmp["to_port"]) == ("icmp", -1, -1)
    assert rule(ip_protocol="tcp", from_port=1, to_port=65535, cidr="0.0.0.0/0").status_code == 409
    assert (
        rule(ip_protocol="tcp", from_port=70000, to_port=70001, cidr="0.0.0.0/0").status_code == 400
    )
    assert rule(ip_protocol="tcp", from_port=1, to_port=2, cidr="nonsense").status_code == 400
    listed = demo.get(URL + "/os-security-groups").json()["security_groups"]
    assert {group["name"]: len(group["rules"]) for group in listed} == {"all": 2, "default": 2}
    server = booted(demo, cloud, networks=[{"uuid": private}], security_groups=[{"name": "all"}])
    groups = demo.get(f"{URL}/servers/{server['id']}/os-security-groups").json()["security_groups"]
    assert [group["name"] for group in groups] == ["all"]
    assert act(demo, server["id"], addSecurityGroup={"name": "default"}).status_code == 202
    assert act(demo, server["id"], removeSecurityGroup={"name": "all"}).status_code == 202
    assert show(demo, server["id"])["security_groups"] == [{"name": "default"}]
    demo.delete(f"{URL}/servers/{server['id']}")
    assert demo.delete(f"{URL}/os-security-group-rules/{icmp['id']}").status_code == 202
    assert demo.delete(f"{URL}/os-security-groups/{ident}").status_code == 202
    assert demo.get(URL + "/os-security-groups", headers=at("2.36")).status_code == 404


def test_quotas(admin: httpx.Client, cloud: ComputeCloud, demo: httpx.Client):
    project = demo.get("/identity/v3/auth/projects").json()["projects"][0]["id"]
    url = f"{URL}/os-quota-sets/{project}"
    assert demo.put(url, json={"quota_set": {"instances": 1}}).status_code == 403
    assert (
        admin.put(url, json={"quota_set": {"instances": 0}}).json()["quota_set"]["instances"] == 0
    )
    refused = boot(demo, cloud, "2.37", networks="none")
    assert refused.status_code == 403
    assert "Quota exceeded for instances" in refused.json()["forbidden"]["message"]
    assert admin.put(url, json={"quota_set": {"shoes": 1}}).status_code == 400
    assert admin.put(url, json={"quota_set": {"instances": "x"}}).status_code == 400
    assert admin.delete(url).status_code == 202
    assert demo.get(URL + "/limits").json()["limits"]["absolute"]["maxTotalInstances"] == 100
