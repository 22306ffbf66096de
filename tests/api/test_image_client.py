"""The unmodified `openstack` client against the image service."""

import hashlib
import subprocess

import pytest

from tests.support.cloud import Cloud, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with running(tmp_path_factory.mktemp("image")) as cloud:
        yield cloud


def test_the_article_s_image(cloud: Cloud):
    file = cloud.folder / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-f", "qcow2", file, "8M"], check=True, capture_output=True
    )
    made = cloud.openstack_json(
        "image", "create", "--public", "--disk-format", "qcow2", "--container-format", "bare",
        "--file", str(file), "--property", "os_distro=debian", "--tag", "small", "cirros",
    )  # fmt: skip
    assert made["visibility"] == "public"
    shown = cloud.openstack_json("image", "show", "cirros")
    assert shown["status"] == "active"
    assert shown["checksum"] == hashlib.md5(file.read_bytes()).hexdigest()
    assert shown["properties"]["os_distro"] == "debian"
    demo = {"user": "demo", "project": "demo"}
    listed = cloud.openstack_json("image", "list", "--long", **demo)
    assert [(image["Name"], image["Status"], image["Size"]) for image in listed] == [
        ("cirros", "active", file.stat().st_size)
    ]
    cloud.openstack("image", "save", "--file", str(cloud.folder / "copy"), "cirros", **demo)
    assert (cloud.folder / "copy").read_bytes() == file.read_bytes()
    cloud.openstack("image", "delete", "cirros", **demo, ok=False)
    cloud.openstack("image", "set", "--name", "other", "--property", "a=b", "--protected", "cirros")
    cloud.openstack("image", "unset", "--property", "a", "other")
    cloud.openstack("image", "delete", "other", ok=False)
    cloud.openstack("image", "set", "--unprotected", "--tag", "x", "other")
    cloud.openstack("image", "delete", "other")
    assert cloud.openstack_json("image", "list") == []


def test_sharing(cloud: Cloud):
    image = cloud.openstack_json("image", "create", "mine")["id"]
    cloud.openstack("image", "add", "project", image, "demo")
    demo = {"user": "demo", "project": "demo"}
    cloud.openstack("image", "set", "--accept", image, **demo)
    assert [i["ID"] for i in cloud.openstack_json("image", "list", **demo)] == [image]
    assert [m["Status"] for m in cloud.openstack_json("image", "member", "list", image)] == [
        "accepted"
    ]
    cloud.openstack("image", "remove", "project", image, "demo")
    assert cloud.openstack_json("image", "list", **demo) == []
