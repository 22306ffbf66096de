"""The unmodified `openstack` client against the compute service."""

import pytest

from tests.support.compute_cloud import ComputeCloud, world

pytestmark = pytest.mark.slow
DEMO = {"user": "demo", "project": "demo"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with world(tmp_path_factory.mktemp("compute")) as there:
        there.host("node1")
        yield there


def test_a_server_from_its_making_to_its_end(cloud: ComputeCloud):
    run, get = cloud.cloud.openstack, cloud.cloud.openstack_json
    run("keypair", "create", "--private-key", str(cloud.cloud.folder / "key"), "k", **DEMO)
    run("network", "create", "private", **DEMO)
    run(
        "subnet",
        "create",
        "--network",
        "private",
        "--subnet-range",
        "10.1.0.0/24",
        "inside",
        **DEMO,
    )
    run("security", "group", "create", "all", **DEMO)
    run(
        "security",
        "group",
        "rule",
        "create",
        "--proto",
        "tcp",
        "--dst-port",
        "1:65535",
        "all",
        **DEMO,
    )
    (cloud.cloud.folder / "data").write_text("#!/bin/sh\n")
    made = get(
        "server", "create", "--image", "small", "--flavor", "m1.tiny", "--network", "private",
        "--security-group", "all", "--key-name", "k", "--user-data", str(cloud.cloud.folder / "data"),
        "--property", "a=b", "--description", "mine", "my1", **DEMO,
    )  # fmt: skip
    assert made["status"] == "BUILD"
    cloud.runs(made["id"])
    shown = get("server", "show", "my1", **DEMO)
    assert shown["status"] == "ACTIVE"
    assert shown["key_name"] == "k"
    assert shown["addresses"] == {"private": [shown["addresses"]["private"][0]]}
    assert shown["security_groups"] == [{"name": "all"}]
    assert [s["Name"] for s in get("server", "list", **DEMO)] == ["my1"]
    assert [s["Flavor"] for s in get("server", "list", "--long", **DEMO)] == ["m1.tiny"]
    assert [s["Name"] for s in get("server", "list", "--all-projects")] == ["my1"]
    assert get("server", "list") == []
    run("console", "log", "show", "my1", **DEMO)
    run("server", "set", "--name", "my2", "--property", "c=d", "my1", **DEMO)
    assert get("server", "show", "my2", **DEMO)["properties"] == {"a": "b", "c": "d"}
    run("server", "stop", "my2", **DEMO)
    run("server", "start", "my2", **DEMO)
    run("server", "delete", "--wait", "my2", **DEMO)
    assert get("server", "list", **DEMO) == []
    assert [
        p for p in get("port", "list", "--long", **DEMO) if p["Device Owner"].startswith("compute:")
    ] == []


def test_floating_ip_of_a_server(cloud: ComputeCloud):
    run, get = cloud.cloud.openstack, cloud.cloud.openstack_json
    run("network", "create", "inner", **DEMO)
    run("subnet", "create", "--network", "inner", "--subnet-range", "10.2.0.0/24", "inner", **DEMO)
    run("network", "create", "--external", "--provider-network-type", "flat",
        "--provider-physical-network", "public", "outer")  # fmt: skip
    run(
        "subnet",
        "create",
        "--network",
        "outer",
        "--subnet-range",
        "198.51.100.0/24",
        "--no-dhcp",
        "outer",
    )
    run("router", "create", "r1", **DEMO)
    run("router", "set", "--external-gateway", "outer", "r1", **DEMO)
    run("router", "add", "subnet", "r1", "inner", **DEMO)
    run(
        "server",
        "create",
        "--image",
        "small",
        "--flavor",
        "m1.tiny",
        "--network",
        "inner",
        "f1",
        **DEMO,
    )
    address = get("floating", "ip", "create", "outer", **DEMO)["floating_ip_address"]
    run("server", "add", "floating", "ip", "f1", address, **DEMO)
    assert address in get("server", "show", "f1", **DEMO)["addresses"]["inner"]
    run("server", "remove", "floating", "ip", "f1", address, **DEMO)
    assert address not in get("server", "show", "f1", **DEMO)["addresses"]["inner"]
    run("server", "add", "security", "group", "f1", "default", **DEMO)
    run("port", "create", "--network", "inner", "own", **DEMO)
    run(
        "server", "create", "--image", "small", "--flavor", "m1.tiny", "--port", "own", "f2", **DEMO
    )
    run("server", "delete", "f2", **DEMO)
    assert get("port", "show", "own", **DEMO)["device_id"] == ""
    run(
        "server",
        "create",
        "--image",
        "small",
        "--flavor",
        "m1.tiny",
        "--nic",
        "none",
        "bare",
        **DEMO,
    )
    run("server", "delete", "f1", "bare", **DEMO)


def test_what_admins_do(cloud: ComputeCloud):
    run, get = cloud.cloud.openstack, cloud.cloud.openstack_json
    run("flavor", "create", "--ram", "128", "--vcpus", "1", "--disk", "2", "--private", "m1.mine")
    assert "m1.mine" not in {f["Name"] for f in get("flavor", "list", **DEMO)}
    run("flavor", "set", "--project", "demo", "m1.mine")
    assert "m1.mine" in {f["Name"] for f in get("flavor", "list", "--all")}
    assert get("flavor", "show", "m1.mine", **DEMO)["ram"] == 128
    run("flavor", "delete", "m1.mine")
    assert [h["Hypervisor Hostname"] for h in get("hypervisor", "list")] == ["node1"]
    assert get("hypervisor", "show", "node1")["state"] == "up"
    assert [s["Host"] for s in get("compute", "service", "list")] == ["node1"]
    assert [z["Zone Name"] for z in get("availability", "zone", "list", "--compute")] == ["nova"]
    assert get("limits", "show", "--absolute", **DEMO)
    quota = {q["Resource"]: q["Limit"] for q in get("quota", "show", "demo")}
    assert quota["instances"] == 10
    run("quota", "set", "--instances", "3", "demo")
    quota = {q["Resource"]: q["Limit"] for q in get("quota", "show", "demo")}
    assert quota["instances"] == 3
    assert [e["Alias"] for e in get("extension", "list", "--compute")]
