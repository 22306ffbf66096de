"""Metadata: both formats, and never another instance's."""

from __future__ import annotations

import base64
import json

from netloom.plan.metadata import answer
from worlds import two_hosts


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
        "/openstack/latest/password",
        "/latest/../etc",
    ):
        assert answer(view(), "port1", path) is None
    assert answer(view(), "port2", "/latest/meta-data/") is None
    assert answer(view(), "unknown", "/") is None
