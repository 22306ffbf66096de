"""The compute API over HTTP: what is made, what is refused, and how it says so."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from tests.api.compute_world import URL, World, at, boot, booted, network, show, world

from netloom.model import Port
from netloom.model.cloud import Server


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with world(
        tmp_path_factory.mktemp("compute"), compute={"quotas": {"instances": 100, "cores": 200}}
    ) as there:
        there.host("node1", {"extnet": "br-extnet"})
        there.host("node2")
        yield there


@pytest.fixture(scope="module")
def demo(cloud: World):
    with cloud.cloud.client() as client:
        yield client


@pytest.fixture(scope="module")
def admin(cloud: World):
    with cloud.cloud.client("admin", "admin") as client:
        yield client


@pytest.fixture(scope="module")
def private(demo: httpx.Client) -> str:
    return network(demo)


def act(client: httpx.Client, ident: str, version: str = "2.1", **action: Any) -> httpx.Response:
    return client.post(f"{URL}/servers/{ident}/action", json=action, headers=at(version))


# ---- versions


def test_version_documents_need_no_token(cloud: World):
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


# ---- servers


def test_a_server_and_its_port(cloud: World, demo: httpx.Client, private: str):
    text = base64.b64encode(b"secret data").decode()
    server = booted(
        demo,
        cloud,
        name="My VM!",
        networks=[{"uuid": private}],
        metadata={"a": "b"},
        user_data=text,
    )
    assert (server["status"], server["OS-EXT-STS:vm_state"]) == ("BUILD", "building")
    assert server["metadata"] == {"a": "b"}
    assert server["security_groups"] == [{"name": "default"}]
    assert server["flavor"]["id"] == "1"
    assert "OS-EXT-SRV-ATTR:host" not in server
    (address,) = server["addresses"]["net"]
    assert address["OS-EXT-IPS:type"] == "fixed"
    with cloud.reader() as reader:
        stored = reader.get(Server, server["id"])
        (port,) = reader.list(Port, device_id=server["id"])
        log = repr(reader.changes(0, 10000))
    assert stored.hostname == "my-vm"
    assert (port.device_owner, port.host, port.vif_type) == ("compute:nova", stored.host, "ovs")
    assert text not in log
    interfaces = demo.get(f"{URL}/servers/{server['id']}/os-interface").json()[
        "interfaceAttachments"
    ]
    assert [i["port_id"] for i in interfaces] == [port.id]
    assert (
        demo.get(f"{URL}/servers/{server['id']}/ips").json()["addresses"]["net"][0]["addr"]
        == address["addr"]
    )
    cloud.runs(server["id"])
    assert show(demo, server["id"])["status"] == "ACTIVE"
    assert demo.delete(f"{URL}/servers/{server['id']}").status_code == 204
    assert demo.get(f"{URL}/servers/{server['id']}").status_code == 404
    with cloud.reader() as reader:
        assert reader.get(Port, port.id) is None


def test_servers_are_spread(cloud: World, demo: httpx.Client, private: str):
    made = [booted(demo, cloud, networks=[{"uuid": private}])["id"] for _ in range(4)]
    with cloud.reader() as reader:
        hosts = [server.host for server in reader.list(Server, id=made)]
    assert sorted(hosts) == ["node1", "node1", "node2", "node2"]
    for ident in made:
        demo.delete(f"{URL}/servers/{ident}")


def test_no_valid_host(cloud: World, demo: httpx.Client, admin: httpx.Client):
    flat = {"provider:network_type": "flat", "shared": True, "name": "provider"}
    here = network(admin, "192.0.2.0/24", **flat, **{"provider:physical_network": "extnet"})
    nowhere = network(admin, "198.51.100.0/24", **flat, **{"provider:physical_network": "absent"})
    good = booted(demo, cloud, networks=[{"uuid": here}])
    with cloud.reader() as reader:
        assert reader.get(Server, good["id"]).host == "node1"
    bad = booted(demo, cloud, networks=[{"uuid": nowhere}])
    assert bad["status"] == "ERROR"
    assert bad["fault"]["message"].startswith("No valid host was found.")
    assert "physical network absent" in bad["fault"]["message"]
    with cloud.reader() as reader:
        assert reader.list(Port, device_id=bad["id"]) == []
    for server in (good, bad):
        assert demo.delete(f"{URL}/servers/{server['id']}").status_code == 204
    for ident in (here, nowhere):
        admin.delete(f"/networking/v2.0/networks/{ident}")


def test_networks_of_a_server(cloud: World, demo: httpx.Client, private: str):
    assert boot(demo, cloud, "2.37").status_code == 400
    assert boot(demo, cloud, "2.36", networks="none").status_code == 400
    bare = booted(demo, cloud, "2.37", networks="none")
    assert bare["addresses"] == {}
    automatic = booted(demo, cloud, "2.37", networks="auto")
    assert list(automatic["addresses"]) == ["net"]
    silent = booted(demo, cloud)
    assert list(silent["addresses"]) == ["net"]
    fixed = booted(demo, cloud, networks=[{"uuid": private, "fixed_ip": "10.0.0.77"}])
    assert fixed["addresses"]["net"][0]["addr"] == "10.0.0.77"
    taken = boot(demo, cloud, networks=[{"uuid": private, "fixed_ip": "10.0.0.77"}])
    assert taken.status_code in (400, 409)
    other = network(demo, "10.9.0.0/24", name="other")
    assert boot(demo, cloud, "2.37", networks="auto").status_code == 409
    two = booted(demo, cloud, networks=[{"uuid": other}, {"uuid": private}])
    assert set(two["addresses"]) == {"other", "net"}
    for server in (bare, automatic, silent, fixed, two):
        demo.delete(f"{URL}/servers/{server['id']}")
    assert demo.delete(f"/networking/v2.0/networks/{other}").status_code == 204
    no_subnet = demo.post("/networking/v2.0/networks", json={"network": {}}).json()["network"]["id"]
    assert boot(demo, cloud, networks=[{"uuid": no_subnet}]).status_code == 400
    demo.delete(f"/networking/v2.0/networks/{no_subnet}")


def test_several_at_once(cloud: World, demo: httpx.Client, private: str):
    made = boot(demo, cloud, name="many", min_count=3, networks=[{"uuid": private}])
    assert made.status_code == 202
    found = demo.get(URL + "/servers?name=many&sort_key=name&sort_dir=asc").json()["servers"]
    assert [server["name"] for server in found] == ["many-1", "many-2", "many-3"]
    for server in found:
        demo.delete(f"{URL}/servers/{server['id']}")


def test_what_is_refused(cloud: World, demo: httpx.Client, private: str):
    nics = [{"uuid": private}]
    for code, attrs in [
        (400, {"imageRef": "11111111-2222-4333-8444-555555555555"}),
        (400, {"imageRef": None}),
        (400, {"flavorRef": "none"}),
        (400, {"key_name": "none"}),
        (400, {"name": ""}),
        (400, {"name": 5}),
        (400, {"name": "x" * 256}),
        (400, {"user_data": "not base64!"}),
        (400, {"user_data": base64.b64encode(b"x" * 65536).decode()}),
        (400, {"security_groups": [{"name": "none"}]}),
        (400, {"networks": [{"uuid": "11111111-2222-4333-8444-555555555555"}]}),
        (400, {"networks": [{}]}),
        (400, {"networks": [{"port": "11111111-2222-4333-8444-555555555555"}]}),
        (400, {"networks": [{"uuid": private, "tag": "x"}]}),
        (400, {"networks": [{"uuid": private, "fixed_ip": "nonsense"}]}),
        (400, {"networks": [{"uuid": private, "fixed_ip": "192.0.2.1"}]}),
        (400, {"personality": [{"path": "/x", "contents": "eA=="}]}),
        (400, {"config_drive": True}),
        (400, {"block_device_mapping_v2": [{"source_type": "volume", "uuid": "x"}]}),
        (400, {"description": "needs 2.19"}),
        (400, {"shoe_size": 42}),
        (400, {"min_count": 0}),
        (400, {"min_count": 3, "max_count": 2}),
        (400, {"metadata": {"a": 5}}),
        (403, {"metadata": {f"k{n}": "v" for n in range(129)}}),
        (403, {"min_count": 101}),
        (403, {"availability_zone": "nova:node1"}),
    ]:
        answer = boot(demo, cloud, **{"networks": nics, **attrs})
        assert answer.status_code == code, (attrs, answer.text)
        assert next(iter(answer.json().values()))["message"]
    for body in (b"", b"{", b"[]", b"null", b'{"server": []}', b'{"server": {}}'):
        assert demo.post(URL + "/servers", content=body).status_code == 400
    assert demo.get(URL + "/servers").json()["servers"] == []
    with cloud.reader() as reader:
        assert [p for p in reader.list(Port) if p.device_owner.startswith("compute:")] == []


def test_another_project_sees_nothing(
    cloud: World, demo: httpx.Client, admin: httpx.Client, private: str
):
    server = booted(demo, cloud, networks=[{"uuid": private}])["id"]
    with cloud.cloud.client("admin", "admin") as other:
        assert other.get(URL + "/servers").json()["servers"] == []
        listed = other.get(URL + "/servers/detail?all_tenants=1").json()["servers"]
        assert [(s["id"], bool(s["OS-EXT-SRV-ATTR:host"])) for s in listed] == [(server, True)]
    assert demo.get(URL + "/servers?all_tenants=1").status_code == 403
    roles = admin.get("/identity/v3/roles?name=member").json()["roles"][0]["id"]
    project = admin.post("/identity/v3/projects", json={"project": {"name": "strangers"}}).json()[
        "project"
    ]["id"]
    user = admin.post("/identity/v3/users", json={"user": {"name": "eve", "password": "e"}}).json()[
        "user"
    ]["id"]
    admin.put(f"/identity/v3/projects/{project}/users/{user}/roles/{roles}")
    with cloud.cloud.client("eve", "strangers", "e") as eve:
        for method, path in [
            ("GET", ""),
            ("DELETE", ""),
            ("PUT", ""),
            ("GET", "/os-interface"),
            ("GET", "/metadata"),
        ]:
            answer = eve.request(
                method, f"{URL}/servers/{server}{path}", json={"server": {"name": "x"}}
            )
            assert answer.status_code == 404, (method, path)
        assert act(eve, server, **{"os-getConsoleOutput": {}}).status_code == 404
        assert act(eve, server, **{"os-stop": None}).status_code == 404
        assert boot(eve, cloud, networks=[{"uuid": private}]).status_code == 400
        with cloud.reader() as reader:
            port = reader.list(Port, device_id=server)[0].id
        assert boot(eve, cloud, networks=[{"port": port}]).status_code == 400
    demo.delete(f"{URL}/servers/{server}")


def test_readers_only_read(cloud: World, admin: httpx.Client, private: str):
    role = admin.get("/identity/v3/roles?name=reader").json()["roles"][0]["id"]
    demo = admin.get("/identity/v3/projects?name=demo").json()["projects"][0]["id"]
    user = admin.post(
        "/identity/v3/users", json={"user": {"name": "rita", "password": "r"}}
    ).json()["user"]["id"]
    admin.put(f"/identity/v3/projects/{demo}/users/{user}/roles/{role}")
    with cloud.cloud.client("rita", "demo", "r") as rita:
        assert rita.get(URL + "/servers").status_code == 200
        assert boot(rita, cloud, networks=[{"uuid": private}]).status_code == 403
        assert rita.post(URL + "/os-keypairs", json={"keypair": {"name": "k"}}).status_code == 403
        assert rita.post("/image/v2/images", json={"name": "i"}).status_code == 403


def test_actions(cloud: World, demo: httpx.Client, private: str):
    server = booted(demo, cloud, networks=[{"uuid": private}])["id"]
    assert act(demo, server, **{"os-start": None}).status_code == 409
    assert act(demo, server, **{"os-stop": None}).status_code == 202
    assert act(demo, server, **{"os-stop": None}).status_code == 409
    with cloud.reader() as reader:
        assert reader.get(Server, server).power == "off"
    assert act(demo, server, **{"os-start": None}).status_code == 202
    console = act(demo, server, **{"os-getConsoleOutput": {"length": 10}})
    assert console.json() == {"output": ""}
    assert act(demo, server, **{"os-getConsoleOutput": {"length": "x"}}).status_code == 400
    assert act(demo, server, resize={"flavorRef": "1"}).status_code == 404
    assert act(demo, server).status_code == 400
    assert act(demo, server, a=1, b=2).status_code == 400
    assert act(demo, server, "2.44", addFloatingIp={"address": "1.2.3.4"}).status_code == 404
    assert act(demo, server, addFloatingIp={"address": "1.2.3.4"}).status_code == 404
    attached = demo.post(f"{URL}/servers/{server}/os-interface", json={"interfaceAttachment": {}})
    assert attached.status_code == 400
    demo.delete(f"{URL}/servers/{server}")


def test_changes(cloud: World, demo: httpx.Client, private: str):
    ident = booted(demo, cloud, networks=[{"uuid": private}])["id"]
    url = f"{URL}/servers/{ident}"
    renamed = demo.put(url, json={"server": {"name": "new"}})
    assert renamed.json()["server"]["name"] == "new"
    assert demo.put(url, json={"server": {"description": "x"}}).status_code == 400
    described = demo.put(url, json={"server": {"description": "x"}}, headers=at("2.19"))
    assert described.json()["server"]["description"] == "x"
    assert demo.put(url, json={"server": {"name": ""}}).status_code == 400
    assert demo.post(url + "/metadata", json={"metadata": {"a": "1"}}).json() == {
        "metadata": {"a": "1"}
    }
    assert demo.put(url + "/metadata/b", json={"meta": {"b": "2"}}).status_code == 200
    assert demo.get(url + "/metadata").json()["metadata"] == {"a": "1", "b": "2"}
    assert demo.delete(url + "/metadata/a").status_code == 204
    assert demo.delete(url + "/metadata/a").status_code == 404
    assert demo.put(url + "/tags/t", headers=at("2.26")).status_code == 201
    assert demo.get(url + "/tags").status_code == 404
    assert demo.get(url + "/tags", headers=at("2.26")).json() == {"tags": ["t"]}
    latest = show(demo, ident, "2.92")
    assert latest["flavor"]["original_name"] == "m1.tiny"
    assert latest["tags"] == ["t"]
    assert latest["OS-EXT-SRV-ATTR:hostname"] == "vm"
    demo.delete(url)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("web", 2), ("^web$", 0), ("^web-1$", 1), ("web.*", 2), ("w.*-2", 1), ("^b$", 1), ("none", 0)],
)
def test_names_in_lists(cloud: World, demo: httpx.Client, private: str, pattern: str, found: int):
    made = [
        booted(demo, cloud, "2.37", name=name, networks="none")["id"]
        for name in ("web-1", "web-2", "b")
    ]
    answer = demo.get(URL + "/servers", params={"name": pattern})
    for ident in made:
        demo.delete(f"{URL}/servers/{ident}")
    assert len(answer.json()["servers"]) == found


def test_bad_filters(demo: httpx.Client):
    bad = (
        "name=(a%2B)%2B$",
        "limit=x",
        "marker=none",
        "sort_key=shoe",
        "all_tenants=x",
        "kernel_id=k",
    )
    early = "changes-since=0001-01-01T00:00:00%2B01:00"  # before the first year, in UTC
    for query in (*bad, early, "changes-since=yesterday", "config_drive=perhaps"):
        assert demo.get(f"{URL}/servers?{query}").status_code == 400, query
    assert demo.get(f"{URL}/servers?shoe=1", headers=at("2.74")).status_code == 200
    refused = demo.get(f"{URL}/servers?shoe=1", headers=at("2.75"))
    assert (refused.status_code, "'shoe' was unexpected" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("vm_state=active", ["up"]),
        ("vm_state=building", ["new"]),
        ("power_state=1", ["up"]),
        ("power_state=4", []),
        ("task_state=spawning", ["new"]),
        ("progress=100", ["up"]),
        ("progress=0", ["new"]),
        ("hostname=up", ["up"]),
        ("description=first", ["up"]),
        ("tags=a,b", ["up"]),
        ("tags-any=b,c", ["new", "up"]),
        ("not-tags=a,b", ["new"]),
        ("not-tags-any=b", ["new"]),
        ("locked=true", []),
        ("locked=false", ["new", "up"]),
        ("config_drive=true", []),
        ("config_drive=false", ["new", "up"]),
        ("launch_index=0", ["new", "up"]),
        ("reservation_id=r-00000000", []),
        ("ip=10.0.0.", ["up"]),
        ("ip6=10.0.0.", []),
        ("ip6=2001:db8", []),
        ("changes-since=2020-01-01T00:00:00", ["new", "up"]),
        ("changes-since=2099-01-01T00:00:00%2B02:00", []),
        ("changes-before=2020-01-01T00:00:00Z", []),
    ],
)
def test_filters(cloud: World, demo: httpx.Client, two: None, query: str, found: list[str]):
    answer = demo.get(f"{URL}/servers?{query}", headers=at("2.92"))
    assert answer.status_code == 200, answer.text
    assert sorted(server["name"] for server in answer.json()["servers"]) == found


@pytest.fixture(scope="module")
def two(cloud: World, demo: httpx.Client, private: str):
    """A server that runs and one that is being made."""
    more = {"networks": [{"uuid": private}], "description": "first", "tags": ["a", "b"]}
    up = booted(demo, cloud, "2.92", name="up", **more)["id"]
    new = boot(demo, cloud, "2.92", name="new", networks="none", tags=["c"]).json()["server"]["id"]
    cloud.runs(up)
    yield
    for ident in (up, new):
        demo.delete(f"{URL}/servers/{ident}")


def test_hints_are_refused_under_both_names(cloud: World, demo: httpx.Client):
    server = {"name": "vm", "imageRef": cloud.image, "flavorRef": "1"}
    for name in ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"):
        answer = demo.post(f"{URL}/servers", json={"server": server, name: {"group": "g"}})
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"] == "Scheduler hints are not offered."


def test_a_place_that_is_not_there_is_refused(
    cloud: World, demo: httpx.Client, admin: httpx.Client
):
    refused = boot(demo, cloud, "2.37", networks="none", availability_zone="moon")
    assert refused.status_code == 400
    assert "availability zone is not available: moon" in refused.text
    for place in (
        {"host": "moon"},
        {"hypervisor_hostname": "moon"},
        {"availability_zone": "nova:moon"},
    ):
        refused = boot(admin, cloud, "2.74", networks="none", **place)
        assert (refused.status_code, "Compute host moon could not be found" in refused.text) == (
            400,
            True,
        )


def test_pages_of_hypervisors_and_their_sums(admin: httpx.Client):
    first = admin.get(f"{URL}/os-hypervisors?limit=1", headers=at("2.92")).json()
    assert [h["hypervisor_hostname"] for h in first["hypervisors"]] == ["node1"]
    second = admin.get(first["hypervisors_links"][0]["href"], headers=at("2.92")).json()
    assert [h["hypervisor_hostname"] for h in second["hypervisors"]] == ["node2"]
    assert "hypervisors_links" not in second
    sums = admin.get(f"{URL}/os-hypervisors/statistics").json()["hypervisor_statistics"]
    assert sums["count"] == 2
    assert admin.get(f"{URL}/os-hypervisors/statistics", headers=at("2.88")).status_code == 404


# ---- flavors, key pairs


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


# ---- what clients before 2.36 ask for


def test_security_group_proxies(cloud: World, demo: httpx.Client, private: str):
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


def test_quotas(admin: httpx.Client, cloud: World, demo: httpx.Client):
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


# ---- reboot


def test_reboot_as_nova_has_it(cloud: World, demo: httpx.Client, private: str):
    made = booted(demo, cloud, networks=[{"uuid": private}])["id"]
    building = act(demo, made, reboot={"type": "HARD"})
    assert building.status_code == 409 and "vm_state building" in building.text
    cloud.runs(made)
    assert act(demo, made, reboot={"type": "WARM"}).status_code == 400
    assert act(demo, made, reboot=None).status_code == 400
    assert act(demo, made, reboot={"type": "SOFT", "more": 1}).status_code == 400
    for kind, status, task in (
        ("SOFT", "REBOOT", "rebooting"),
        ("hard", "HARD_REBOOT", "rebooting_hard"),
    ):
        assert act(demo, made, reboot={"type": kind}).status_code == 202
        shown = show(demo, made)
        assert (shown["status"], shown["OS-EXT-STS:task_state"]) == (status, task)
        assert (shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:power_state"]) == ("active", 1)
        listed = demo.get(f"{URL}/servers", params={"status": status}).json()["servers"]
        assert [server["id"] for server in listed] == [made]
        again = act(demo, made, reboot={"type": "SOFT"})
        assert again.status_code == 409 and f"task_state {task}" in again.text
    assert act(demo, made, reboot={"type": "HARD"}).status_code == 409
    assert demo.delete(f"{URL}/servers/{made}").status_code == 204


def test_servers_of_one_request_are_numbered(cloud: World, admin: httpx.Client):
    group = boot(admin, cloud, "2.37", networks="none", min_count=3, max_count=3)
    assert group.status_code == 202, group.text
    first = show(admin, group.json()["server"]["id"], "2.3")
    number = first["OS-EXT-SRV-ATTR:reservation_id"]
    found = admin.get(
        f"{URL}/servers/detail", params={"reservation_id": number}, headers=at("2.3")
    ).json()["servers"]
    assert sorted(s["OS-EXT-SRV-ATTR:launch_index"] for s in found) == [0, 1, 2]
    for server in found:
        assert admin.delete(f"{URL}/servers/{server['id']}").status_code == 204
