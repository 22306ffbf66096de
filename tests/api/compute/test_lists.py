"""Lists of the compute API: filters, names, pages."""

from __future__ import annotations

import httpx
import pytest

from tests.support.compute_cloud import URL, ComputeCloud, at, boot, booted


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("web", 2), ("^web$", 0), ("^web-1$", 1), ("web.*", 2), ("w.*-2", 1), ("^b$", 1), ("none", 0)],
)
def test_names_in_lists(
    cloud: ComputeCloud, demo: httpx.Client, private: str, pattern: str, found: int
):
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
def test_filters(cloud: ComputeCloud, demo: httpx.Client, two: None, query: str, found: list[str]):
    answer = demo.get(f"{URL}/servers?{query}", headers=at("2.92"))
    assert answer.status_code == 200, answer.text
    assert sorted(server["name"] for server in answer.json()["servers"]) == found


@pytest.fixture(scope="module")
def two(cloud: ComputeCloud, demo: httpx.Client, private: str):
    """A server that runs and one that is being made."""
    more = {"networks": [{"uuid": private}], "description": "first", "tags": ["a", "b"]}
    up = booted(demo, cloud, "2.92", name="up", **more)["id"]
    new = boot(demo, cloud, "2.92", name="new", networks="none", tags=["c"]).json()["server"]["id"]
    cloud.runs(up)
    yield
    for ident in (up, new):
        demo.delete(f"{URL}/servers/{ident}")


def test_pages_of_hypervisors_and_their_sums(admin: httpx.Client):
    first = admin.get(f"{URL}/os-hypervisors?limit=1", headers=at("2.92")).json()
    assert [h["hypervisor_hostname"] for h in first["hypervisors"]] == ["node1"]
    second = admin.get(first["hypervisors_links"][0]["href"], headers=at("2.92")).json()
    assert [h["hypervisor_hostname"] for h in second["hypervisors"]] == ["node2"]
    assert "hypervisors_links" not in second
    sums = admin.get(f"{URL}/os-hypervisors/statistics").json()["hypervisor_statistics"]
    assert sums["count"] == 2
    assert admin.get(f"{URL}/os-hypervisors/statistics", headers=at("2.88")).status_code == 404
