"""Lists and counts as operators' scripts rely on them: complete pages, true filters, no lost quota (docs/reports.md)."""

from __future__ import annotations

import threading

import pytest

from tests.support.networking import ONE, TWO, error_of

SORTABLE = ("id", "name", "device_id", "mac_address", "status", "admin_state_up", "device_owner")


def paged(client, query, size):
    """Identifiers of a list that is read page by page, as clients do."""
    found, marker = [], ""
    while True:
        page = client.list(f"/ports?{query}&limit={size}" + (f"&marker={marker}" if marker else ""))
        found += [each["id"] for each in page]
        if len(page) < size:
            return found
        marker = page[-1]["id"]


@pytest.mark.parametrize("key", SORTABLE)
def test_pages_of_any_order_hold_each_object_once(cloud, key):
    network = cloud.member.make("network")["id"]
    for number in range(7):
        more = {"device_id": "one"} if number % 3 else {}
        cloud.member.make("port", network_id=network, name=["a", "", "A"][number % 3], **more)
    known = sorted(each["id"] for each in cloud.member.list("/ports"))
    for direction in ("asc", "desc"):
        for size in (1, 2, 3, 7):
            found = paged(cloud.member, f"sort_key={key}&sort_dir={direction}", size)
            assert sorted(found) == known, (direction, size)


def test_a_marker_that_was_deleted_meanwhile_is_said(cloud):
    network = cloud.member.make("network")["id"]
    first, second = (cloud.member.make("port", network_id=network)["id"] for _ in range(2))
    assert cloud.member("DELETE", f"/ports/{first}").status_code == 204
    answer = cloud.member("GET", f"/ports?limit=1&marker={first}")
    assert error_of(answer)[:2] == (404, "PortNotFound")
    assert [each["id"] for each in cloud.member.list("/ports?limit=1")] == [second]


def test_an_administrator_sees_by_filter_what_is_shared(cloud):
    every = cloud.admin.make("network", name="every", shared=True)
    own = cloud.admin.make("network", name="own")
    policy = {"object_type": "network", "object_id": own["id"], "action": "access_as_shared"}
    cloud.admin.make("rbac_policy", target_tenant=TWO, **policy)
    for client, shared, private in (
        (cloud.admin, ["every"], ["own"]),
        (cloud.other, ["every", "own"], []),
    ):
        for word, expected in (("true", shared), ("false", private)):
            found = client.list(f"/networks?shared={word}")
            assert sorted(each["name"] for each in found) == expected, (word, every["id"])


def test_requests_at_once_keep_to_the_quota_and_a_refused_bulk_counts_nothing(cloud):
    network = cloud.member.make("network")["id"]
    assert cloud.admin("PUT", f"/quotas/{ONE}", {"quota": {"port": 5}}).status_code == 200
    codes = list[int]()

    def make() -> None:
        body = {"port": {"network_id": network}}
        codes.append(cloud.member("POST", "/ports", body).status_code)

    threads = [threading.Thread(target=make) for _ in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(codes) == [201] * 5 + [409] * 7
    for each in cloud.member.list("/ports"):
        assert cloud.member("DELETE", f"/ports/{each['id']}").status_code == 204
    bad = {"network_id": network, "fixed_ips": [{"ip_address": "192.0.2.1"}]}
    good = {"network_id": network}
    assert cloud.member("POST", "/ports", {"ports": [good, good, bad]}).status_code == 400
    assert cloud.member("POST", "/ports", {"ports": [good] * 6}).status_code == 409
    assert cloud.member.list("/ports") == []
    used = cloud.admin("GET", f"/quotas/{ONE}/details").json()["quota"]["port"]
    assert (used["used"], used["limit"]) == (0, 5)
