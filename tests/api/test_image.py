"""The image API over HTTP: data in and out, and what is refused."""

import hashlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from netloom.image import files
from tests.support.cloud import Cloud, running

LIMIT = 3 * 1024**2
DATA = os.urandom(2**20 + 17)
OCTETS = {"content-type": "application/octet-stream"}
PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    with running(tmp_path_factory.mktemp("image"), image={"max_bytes": LIMIT}) as cloud:
        yield cloud


@pytest.fixture
def demo(cloud: Cloud):
    with cloud.client() as client:
        client.headers["accept"] = "application/json"
        yield client


@pytest.fixture
def admin(cloud: Cloud):
    with cloud.client("admin", "admin") as client:
        yield client


def create(client: httpx.Client, **attrs: Any) -> dict[str, Any]:
    body = {"name": "x", "disk_format": "raw", "container_format": "bare", **attrs}
    answer = client.post("/image/v2/images", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def put(client: httpx.Client, image: dict[str, Any], data: Any) -> httpx.Response:
    return client.put(f"/image/v2/images/{image['id']}/file", content=data, headers=OCTETS)


def show(client: httpx.Client, image: dict[str, Any]) -> dict[str, Any]:
    return client.get(f"/image/v2/images/{image['id']}").json()


def stored(cloud: Cloud) -> set[str]:
    folder = files.folder(cloud.services.state_dir)
    return {child.name for child in folder.iterdir()} if folder.exists() else set()


def test_data_in_and_out(cloud: Cloud, demo: httpx.Client):
    image = create(demo, hw_disk_bus="virtio", tags=["a", "a"])
    assert (image["status"], image["visibility"], image["size"]) == ("queued", "shared", None)
    assert image["hw_disk_bus"] == "virtio"
    assert demo.get(f"/image/v2/images/{image['id']}/file").status_code == 204
    assert put(demo, image, DATA).status_code == 204
    after = show(demo, image)
    assert (after["status"], after["size"], after["virtual_size"]) == (
        "active",
        len(DATA),
        len(DATA),
    )
    assert after["checksum"] == hashlib.md5(DATA).hexdigest()
    assert after["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert after["tags"] == ["a"]
    answer = demo.get(f"/image/v2/images/{image['id']}/file")
    assert answer.content == DATA
    assert answer.headers["content-md5"] == after["checksum"]
    assert put(demo, image, DATA).status_code == 409
    assert demo.delete(f"/image/v2/images/{image['id']}").status_code == 204
    assert demo.get(f"/image/v2/images/{image['id']}").status_code == 404
    assert image["id"] not in stored(cloud)


def test_data_that_is_not_there_is_said_plainly(cloud: Cloud, demo: httpx.Client):
    """As after a backup of the database alone."""
    image = create(demo)
    assert put(demo, image, DATA).status_code == 204
    files.path(cloud.services.state_dir, image["id"]).unlink()
    answer = demo.get(f"/image/v2/images/{image['id']}/file")
    assert (answer.status_code, "is not on this server" in answer.text) == (404, True)


def test_too_large_leaves_nothing(cloud: Cloud, demo: httpx.Client):
    image = create(demo)
    before = stored(cloud)
    assert put(demo, image, b"x" * (LIMIT + 1)).status_code == 413

    def chunks():
        for _ in range(LIMIT // 65536 + 1):
            yield b"x" * 65536

    assert put(demo, image, chunks()).status_code == 413
    assert show(demo, image)["status"] == "queued"
    assert stored(cloud) == before


def test_an_upload_cut_short_leaves_nothing(cloud: Cloud, demo: httpx.Client):
    image = create(demo)
    before = stored(cloud)
    host, port = cloud.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        head = (
            f"PUT /image/v2/images/{image['id']}/file HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n"
            f"Content-Type: application/octet-stream\r\nX-Auth-Token: {demo.headers['x-auth-token']}\r\n\r\n"
        )
        raw.sendall(head.encode() + DATA[: len(DATA) // 2])
        deadline = time.monotonic() + 5
        while stored(cloud) == before and time.monotonic() < deadline:
            time.sleep(0.02)
    while stored(cloud) != before and time.monotonic() < deadline + 5:
        time.sleep(0.02)
    assert stored(cloud) == before
    assert show(demo, image)["status"] == "queued"
    assert put(demo, image, DATA).status_code == 204


def qemu_img(*arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


def test_qcow2_is_looked_into(demo: httpx.Client, tmp_path: Path):
    disk, overlay, huge = (
        tmp_path / "disk.qcow2",
        tmp_path / "overlay.qcow2",
        tmp_path / "huge.qcow2",
    )
    qemu_img("create", "-f", "qcow2", str(disk), "1M")
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", str(overlay))
    qemu_img("create", "-f", "qcow2", str(huge), "4M")
    outside = tmp_path / "outside.qcow2"
    qemu_img(
        "create",
        "-f",
        "qcow2",
        "-o",
        f"data_file={tmp_path}/data,data_file_raw=on",
        str(outside),
        "1M",
    )
    good = create(demo, disk_format="qcow2")
    assert put(demo, good, overlay.read_bytes()).status_code == 415
    assert put(demo, good, outside.read_bytes()).status_code == 415
    assert put(demo, good, huge.read_bytes()).status_code == 400
    assert put(demo, good, DATA).status_code == 415
    assert put(demo, good, b"").status_code == 415
    assert put(demo, good, disk.read_bytes()).status_code == 204
    assert show(demo, good)["virtual_size"] == 2**20
    raw = create(demo)
    refused = put(demo, raw, disk.read_bytes())
    assert refused.status_code == 415
    assert "qcow2, not raw" in refused.json()["message"]


def test_visibility(cloud: Cloud, demo: httpx.Client, admin: httpx.Client):
    refused = demo.post("/image/v2/images", json={"name": "p", "visibility": "public"})
    assert refused.status_code == 403
    public, private = create(admin, visibility="public"), create(admin, visibility="private")
    shared = create(admin)
    mine = create(demo, visibility="private")
    listed = {image["id"] for image in demo.get("/image/v2/images").json()["images"]}
    assert {public["id"], mine["id"]} <= listed
    assert not {private["id"], shared["id"]} & listed
    assert demo.get(f"/image/v2/images/{private['id']}").status_code == 404
    assert demo.delete(f"/image/v2/images/{public['id']}").status_code == 403
    rename = json.dumps([{"op": "replace", "path": "/name", "value": "mine"}])
    assert (
        demo.patch(f"/image/v2/images/{public['id']}", content=rename, headers=PATCH).status_code
        == 403
    )

    project = mine["owner"]
    members = f"/image/v2/images/{shared['id']}/members"
    assert demo.get(members).status_code == 404
    assert admin.post(members, json={"member": project}).status_code == 200
    assert admin.post(members, json={"member": project}).status_code == 409
    assert demo.get(f"/image/v2/images/{shared['id']}").status_code == 200
    accepted = [i["id"] for i in demo.get("/image/v2/images?visibility=shared").json()["images"]]
    assert shared["id"] not in accepted
    assert demo.put(f"{members}/{project}", json={"status": "accepted"}).status_code == 200
    accepted = [i["id"] for i in demo.get("/image/v2/images?visibility=shared").json()["images"]]
    assert shared["id"] in accepted
    assert demo.post(members, json={"member": "another"}).status_code == 403
    assert admin.delete(f"{members}/{project}").status_code == 204
    assert demo.get(f"/image/v2/images/{shared['id']}").status_code == 404


def test_patch(demo: httpx.Client):
    image = create(demo)
    url = f"/image/v2/images/{image['id']}"

    def patch(*operations: dict[str, Any], headers: dict[str, str] = PATCH) -> httpx.Response:
        return demo.patch(url, content=json.dumps(operations), headers=headers)

    changed = patch(
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/os_distro", "value": "debian"},
        {"op": "add", "path": "/with~1slash", "value": "x"},
        {"op": "replace", "path": "/tags", "value": ["t"]},
        {"op": "replace", "path": "/protected", "value": True},
    ).json()
    assert (changed["name"], changed["os_distro"], changed["with/slash"]) == ("new", "debian", "x")
    assert demo.delete(url).status_code == 403
    assert patch({"op": "remove", "path": "/os_distro"}).status_code == 200
    assert "os_distro" not in show(demo, image)
    assert patch({"op": "remove", "path": "/os_distro"}).status_code == 409
    assert patch({"op": "remove", "path": "/name"}).status_code == 403
    assert patch({"op": "replace", "path": "/status", "value": "active"}).status_code == 403
    assert patch({"op": "replace", "path": "/id", "value": "x"}).status_code == 403
    assert patch({"op": "replace", "path": "/min_ram", "value": "x"}).status_code == 400
    assert patch({"op": "replace", "path": "/min_ram", "value": -1}).status_code == 400
    assert patch({"op": "add", "path": "/a/b", "value": "x"}).status_code == 400
    assert patch({"op": "add", "path": "/a", "value": {"b": 1}}).status_code == 400
    assert patch({"op": "move", "path": "/a", "from": "/name"}).status_code == 400
    assert patch({"op": "add", "path": "/visibility", "value": "public"}).status_code == 403
    assert patch(headers={"content-type": "application/json"}).status_code == 415
    assert patch({"op": "replace", "path": "/protected", "value": False}).status_code == 200
    assert demo.put(url + "/tags/one").status_code == 204
    assert show(demo, image)["tags"] == ["t", "one"]
    assert demo.delete(url + "/tags/one").status_code == 204
    assert demo.delete(url + "/tags/one").status_code == 404
    assert demo.delete(url).status_code == 204


def test_lists(demo: httpx.Client):
    ids = [create(demo, name=f"list-{n}", kind="listed", min_ram=n)["id"] for n in range(5)]
    query = "/image/v2/images?kind=listed&sort=name:asc"
    assert [i["id"] for i in demo.get(query).json()["images"]] == ids
    first = demo.get(query + "&limit=2").json()
    assert [i["id"] for i in first["images"]] == ids[:2]
    second = demo.get("/image" + first["next"]).json()
    assert [i["id"] for i in second["images"]] == ids[2:4]
    assert "next" not in demo.get("/image" + second["next"]).json()
    assert [i["name"] for i in demo.get("/image/v2/images?name=list-3").json()["images"]] == [
        "list-3"
    ]
    assert len(demo.get(f"/image/v2/images?id=in:{ids[0]},{ids[1]}").json()["images"]) == 2
    assert demo.get("/image/v2/images?kind=listed&size_min=1").json()["images"] == []
    for bad in ("limit=-1", "limit=x", "sort=shoe:asc", "sort_dir=up", "marker=x", "visibility=x",
                "member_status=x", "size_min=x", "os_hidden=x", "sort=name&sort_key=name",
                "name=in:a%0Ab"):  # fmt: skip
        assert demo.get("/image/v2/images?" + bad).status_code == 400, bad


def test_bad_bodies(demo: httpx.Client):
    for body, code in [
        ({"name": 5}, 400),
        ({"disk_format": "zip"}, 400),
        ({"container_format": "zip"}, 400),
        ({"visibility": "x"}, 400),
        ({"id": "../../etc/passwd"}, 400),
        ({"size": 3}, 403),
        ({"locations": []}, 403),
        ({"owner": "somebody"}, 403),
        ({"min_disk": 2**40}, 400),
        ({"property": {"a": 1}}, 400),
        ({f"p{n}": "x" for n in range(200)}, 413),
        ([], 400),
    ]:  # fmt: skip
        answer = demo.post("/image/v2/images", json=body)
        assert answer.status_code == code, body
        assert answer.json()["message"]
    assert demo.post("/image/v2/images", content=b"{").status_code == 400
    for path in ("/image/v2/images/..%2f..%2fetc", "/image/v2/images/nothing/file"):
        assert demo.get(path).status_code == 404
    image = create(demo, id="11111111-2222-4333-8444-555555555555")
    assert demo.post("/image/v2/images", json={"id": image["id"]}).status_code == 409
    assert demo.put(f"/image/v2/images/{image['id']}/file", content=b"x").status_code == 415
    bare = demo.post("/image/v2/images", json={"name": "no formats"}).json()
    assert put(demo, bare, b"x").status_code == 400


def test_without_a_token(cloud: Cloud):
    assert cloud.http.get("/image/v2/images").status_code == 401
    assert cloud.http.get("/image").status_code == 300
    assert cloud.http.get("/image/versions").status_code == 200
    assert cloud.http.get("/image/").json()["versions"][0]["status"] == "CURRENT"


def test_schemas(demo: httpx.Client):
    for name in ("image", "images", "member", "members"):
        assert demo.get(f"/image/v2/schemas/{name}").json()["name"] == name
    assert demo.get("/image/v2/schemas/none").status_code == 404
    assert demo.get("/image/v2/info/stores").status_code == 404
    assert demo.get("/image/v2/info/import").json()["import-methods"]["value"] == []


def test_what_a_killed_server_left_is_swept(tmp_path: Path):
    kept = "11111111-2222-4333-8444-555555555555"
    folder = files.folder(tmp_path)
    folder.mkdir()
    for name in (kept, f".{kept}.abc", "99999999-2222-4333-8444-555555555555"):
        (folder / name).write_text("x")
    files.sweep(tmp_path, {kept})
    assert [child.name for child in folder.iterdir()] == [kept]


def test_a_deactivated_image_is_out_of_use(demo: httpx.Client, admin: httpx.Client):
    image = create(demo)
    url = f"/image/v2/images/{image['id']}"
    refused = demo.post(url + "/actions/deactivate")
    assert (refused.status_code, "status 'queued'" in refused.text) == (403, True)
    put(demo, image, DATA)
    assert demo.post(url + "/actions/deactivate").status_code == 204
    assert show(demo, image)["status"] == "deactivated"
    assert demo.get(url + "/file").status_code == 403
    assert admin.get(url + "/file").content == DATA
    assert put(demo, image, DATA).status_code == 409
    assert demo.post(url + "/actions/reactivate").status_code == 204
    assert demo.get(url + "/file").content == DATA
    public = create(admin, visibility="public")
    put(admin, public, DATA)
    assert demo.post(f"/image/v2/images/{public['id']}/actions/deactivate").status_code == 403


def test_who_does_not_ask_for_json_gets_the_error_as_a_page(cloud: Cloud, demo: httpx.Client):
    url = "/image/v2/images/x"
    assert demo.get(url).json() == {
        "code": "404 Not Found",
        "title": "Not Found",
        "message": "No image found with ID x",
    }
    page = demo.get(url, headers={"accept": "*/*"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    # The glance client of 2016 takes the tags away and shows the lines.
    assert "<h1>404 Not Found</h1>\n  No image found with ID x<br />" in page.text
    assert "&lt;b&gt;" in demo.get("/image/v2/images/<b>", headers={"accept": "*/*"}).text
