"""The compute API over HTTP: what is made, what is refused, and how it says so."""

from __future__ import annotations

import base64

import httpx

from netloom.model import Port
from netloom.model.cloud import Server
from tests.support.compute_cloud import URL, ComputeCloud, act, at, boot, booted, network, show


def test_a_server_and_its_port(cloud: ComputeCloud, demo: httpx.Client, private: str):
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


def test_servers_are_spread(cloud: ComputeCloud, demo: httpx.Client, private: str):
    made = [booted(demo, cloud, networks=[{"uuid": private}])["id"] for _ in range(4)]
    with cloud.reader() as reader:
        hosts = [server.host for server in reader.list(Server, id=made)]
    assert sorted(hosts) == ["node1", "node1", "node2", "node2"]
    for ident in made:
        demo.delete(f"{URL}/servers/{ident}")


def test_no_valid_host(cloud: ComputeCloud, demo: httpx.Client, admin: httpx.Client):
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


def test_networks_of_a_server(cloud: ComputeCloud, demo: httpx.Client, private: str):
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


def test_a_subport_is_no_card_of_its_own(cloud: ComputeCloud, demo: httpx.Client, private: str):
    """Its frames are the parent's, with a tag: a server that was booted on it would never be ACTIVE."""
    parent, carried = (
        demo.post("/networking/v2.0/ports", json={"port": {"network_id": private}}).json()["port"]
        for _ in range(2)
    )
    sub = {"port_id": carried["id"], "segmentation_type": "vlan", "segmentation_id": 101}
    body = {"trunk": {"port_id": parent["id"], "sub_ports": [sub]}}
    trunk = demo.post("/networking/v2.0/trunks", json=body).json()["trunk"]
    refused = boot(demo, cloud, networks=[{"port": carried["id"]}])
    assert refused.status_code == 409
    said = refused.json()["conflictingRequest"]["message"]
    assert trunk["id"] in said and parent["id"] in said
    server = booted(demo, cloud, networks=[{"port": parent["id"]}])["id"]
    # As Cluster API does it: the trunk goes as soon as its parent is let go of.
    assert demo.delete(f"{URL}/servers/{server}").status_code == 204
    assert demo.delete(f"/networking/v2.0/trunks/{trunk['id']}").status_code == 204
    for port in (parent, carried):
        assert demo.delete(f"/networking/v2.0/ports/{port['id']}").status_code == 204


def test_several_at_once(cloud: ComputeCloud, demo: httpx.Client, private: str):
    made = boot(demo, cloud, name="many", min_count=3, networks=[{"uuid": private}])
    assert made.status_code == 202
    found = demo.get(URL + "/servers?name=many&sort_key=name&sort_dir=asc").json()["servers"]
    assert [server["name"] for server in found] == ["many-1", "many-2", "many-3"]
    for server in found:
        demo.delete(f"{URL}/servers/{server['id']}")


def test_what_is_refused(cloud: ComputeCloud, demo: httpx.Client, private: str):
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
    cloud: ComputeCloud, demo: httpx.Client, admin: httpx.Client, private: str
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


def test_readers_only_read(cloud: ComputeCloud, admin: httpx.Client, private: str):
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


def test_actions(cloud: ComputeCloud, demo: httpx.Client, private: str):
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


def test_changes(cloud: ComputeCloud, demo: httpx.Client, private: str):
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


def test_hints_are_refused_under_both_names(cloud: ComputeCloud, demo: httpx.Client):
    server = {"name": "vm", "imageRef": cloud.image, "flavorRef": "1"}
    for name in ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"):
        answer = demo.post(f"{URL}/servers", json={"server": server, name: {"group": "g"}})
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"] == "Scheduler hints are not offered."


def test_a_place_that_is_not_there_is_refused(
    cloud: ComputeCloud, demo: httpx.Client, admin: httpx.Client
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


def test_reboot_as_nova_has_it(cloud: ComputeCloud, demo: httpx.Client, private: str):
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


def test_servers_of_one_request_are_numbered(cloud: ComputeCloud, admin: httpx.Client):
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
