"""Metadata: both formats, and never another instance's."""

from __future__ import annotations

import base64
import json

from netloom.metadata.answers import EC2_VERSIONS, OPENSTACK_VERSIONS, answer
from tests.support.worlds import two_hosts, walkthrough_b


def view():
    world = two_hosts()
    world.change(
        "servers",
        "vm1",
        key_name="admin",
        public_key="ssh-ed25519 AAAA admin",
        user_data=base64.b64encode(b"#!/bin/sh\n").decode(),
        metadata={"role": "web"},
    )
    return world.view("compute1")


def body(path: str, port: str = "port1") -> str:
    found = answer(view(), port, path)
    assert found is not None, path
    return found[1].decode()


def test_the_openstack_format():
    assert "latest" in body("/openstack").split("\n")
    assert "user_data" in body("/openstack/latest/").split("\n")
    document = json.loads(body("/openstack/latest/meta_data.json"))
    assert document["public_keys"] == {"admin": "ssh-ed25519 AAAA admin"}
    assert document["uuid"] == "vm1"
    assert document["meta"] == {"role": "web"}
    links = json.loads(body("/openstack/latest/network_data.json"))
    assert links["links"][0]["ethernet_mac_address"] == "fa:16:3e:00:00:02"
    assert links["networks"][0]["ip_address"] == "10.0.0.11"
    assert links["services"] == [{"type": "dns", "address": "9.9.9.9"}]


def test_the_ec2_format():
    assert "latest" in body("/").split("\n")
    assert body("/latest/meta-data/local-ipv4") == "10.0.0.11"
    assert body("/2009-04-04/meta-data/public-keys/") == "0=admin"
    assert body("/latest/meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAA admin"
    assert body("/latest/user-data") == "#!/bin/sh\n"
    assert body("/latest/meta-data/placement/") == "availability-zone"


def test_nothing_where_there_is_nothing():
    for path in (
        "/nonsense",
        "/latest/meta-data/nonsense",
        "/openstack/2012-08-10/password",
        "/openstack/2013-04-04/network_data.json",
        "/openstack/latest/content/0000",
        "/1.0/meta-data/public-ipv4",
        "/2007-12-15/meta-data/placement/availability-zone",
        "/latest/../etc",
    ):
        assert answer(view(), "port1", path) is None
    assert answer(view(), "port2", "/latest/meta-data/") is None
    assert answer(view(), "unknown", "/") is None


def tree(path: str) -> dict[str, str]:
    """Everything below a folder, as a client crawls it: path → text."""
    found: dict[str, str] = {}
    for line in body(path).split("\n"):
        number, is_key, _ = line.partition("=")
        if line.endswith("/") or is_key:
            found |= tree(f"{path}/{number.rstrip('/')}")
        else:
            found[f"{path}/{line}"] = body(f"{path}/{line}")
    return found


def test_everything_that_nova_lists_can_be_read():
    root = "/latest/meta-data"
    said = {path.removeprefix(root + "/"): text for path, text in tree(root).items()}
    assert said == {
        "ami-id": "ami-image",
        "ami-launch-index": "0",
        "ami-manifest-path": "",
        "block-device-mapping/ami": "vda",
        "block-device-mapping/root": "/dev/vda",
        "hostname": "vm1",
        "instance-action": "none",
        "instance-id": "i-00000000",
        "instance-type": "m1.tiny",
        "local-hostname": "vm1",
        "local-ipv4": "10.0.0.11",
        "mac": "fa:16:3e:00:00:02",
        "placement/availability-zone": "nova",
        "public-hostname": "vm1",
        "public-ipv4": "",
        "public-keys/0/openssh-key": "ssh-ed25519 AAAA admin",
        "reservation-id": "r-vm1",
        "security-groups": "sg-default",
    }
    for version in EC2_VERSIONS:
        for prefix in ("", "/ec2"):
            assert set(tree(f"{prefix}/{version}/meta-data")), version
            assert body(f"{prefix}/{version}/user-data") == "#!/bin/sh\n"
    for version in (*OPENSTACK_VERSIONS, "latest"):
        for name in body(f"/openstack/{version}").split("\n"):
            text = body(f"/openstack/{version}/{name}")
            assert not name.endswith(".json") or isinstance(json.loads(text), dict)
    newest = {"meta_data.json", "network_data.json", "password", "user_data"}
    newest |= {"vendor_data.json", "vendor_data2.json"}
    assert set(body("/openstack/latest").split("\n")) == newest
    assert set(body("/openstack/2012-08-10").split("\n")) == {"meta_data.json", "user_data"}
    assert json.loads(body("/openstack/latest/vendor_data2.json")) == {"static": {}}


def test_each_version_has_the_keys_that_came_until_then():
    def keys(version: str) -> set[str]:
        found = answer(view(), "port1", f"/openstack/{version}/meta_data.json", b"seed")
        assert found is not None
        return set(json.loads(found[1]))

    assert not keys("2012-08-10") & {"random_seed", "project_id", "devices", "dedicated_cpus"}
    assert keys("latest") - keys("2012-08-10") == {
        "random_seed",
        "project_id",
        "devices",
        "dedicated_cpus",
    }


def test_an_instance_knows_its_public_address_wherever_its_router_is():
    world = walkthrough_b()
    found = answer(world.view("compute1"), "my2", "/latest/meta-data/public-ipv4")
    assert found is not None and found[1] == b"198.51.100.20"


def test_a_port_that_says_it_is_another_server_s_gets_nothing_of_it():
    world = two_hosts()
    world.change("servers", "vm1", user_data=base64.b64encode(b"secret").decode())
    world.port("evil", "net-a", [("sub-a", "10.0.0.66")], host="compute1", device_id="vm1")
    world.change("ports", "evil", device_owner="compute:nova")
    for path in ("/", "/latest/user-data", "/openstack/latest/meta_data.json"):
        assert answer(world.view("compute1"), "evil", path) is None
    # And a port keeps its server, whatever its owner writes into it.
    world.change("ports", "port1", device_id="vm2", device_owner="")
    found = answer(world.view("compute1"), "port1", "/openstack/latest/meta_data.json")
    assert found is not None and json.loads(found[1])["uuid"] == "vm1"
