"""Lists, tags and filters of an object: bounded as in Neutron, or before anything compares each with all others."""

from __future__ import annotations

from typing import Any

import pytest

from netloom.contract.decode import MOST_ITEMS, MOST_OBJECTS
from tests.api.conftest import cloud, make_cloud  # noqa: F401
from tests.support.networking import Cloud, error_of


def addresses(count: int) -> list[str]:
    return [f"10.{n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(count)]


@pytest.fixture
def ids(cloud: Cloud) -> dict[str, str]:  # noqa: F811
    network = cloud.member.make("network")["id"]
    subnet = cloud.member.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/16")["id"]
    return {
        "network": network,
        "subnet": subnet,
        "port": cloud.member.make("port", network_id=network)["id"],
        "router": cloud.member.make("router")["id"],
    }


def pairs(count: int) -> list[dict[str, str]]:
    return [{"ip_address": address} for address in addresses(count)]


def routes(count: int) -> list[dict[str, str]]:
    return [{"destination": f"{a}/32", "nexthop": "10.0.0.9"} for a in addresses(count)]


@pytest.mark.parametrize(
    ("noun", "attribute", "items", "most", "kind"),
    [
        ("port", "allowed_address_pairs", pairs, 10, "AllowedAddressPairExhausted"),
        ("subnet", "dns_nameservers", addresses, 5, "DNSNameServersExhausted"),
        ("subnet", "host_routes", routes, 20, "HostRoutesExhausted"),
    ],
)
def test_neutrons_limits(
    cloud: Cloud,  # noqa: F811
    ids: dict[str, str],
    noun: str,
    attribute: str,
    items: Any,
    most: int,
    kind: str,
) -> None:
    path = f"/{noun}s/{ids[noun]}"
    fits = cloud.member("PUT", path, {noun: {attribute: items(most)}})
    assert fits.status_code == 200, fits.text
    over = cloud.member("PUT", path, {noun: {attribute: items(most + 1)}})
    assert (over.status_code, error_of(over)[1]) in ((400, kind), (409, kind)), over.text
    assert len(cloud.member("GET", path).json()[noun][attribute]) == most


def test_a_router_has_thirty_routes(cloud: Cloud, ids: dict[str, str]) -> None:  # noqa: F811
    cloud.member(
        "PUT", f"/routers/{ids['router']}/add_router_interface", {"subnet_id": ids["subnet"]}
    )
    path = f"/routers/{ids['router']}"

    def sent(count: int) -> list[dict[str, str]]:
        return [{"destination": f"172.16.{n}.0/24", "nexthop": "10.0.0.9"} for n in range(count)]

    assert cloud.member("PUT", path, {"router": {"routes": sent(30)}}).status_code == 200
    assert cloud.member("PUT", path, {"router": {"routes": sent(31)}}).status_code == 409


LISTS = {
    "port": [
        ("fixed_ips", pairs),
        ("allowed_address_pairs", pairs),
        ("security_groups", lambda n: [f"6f1b1c1e-0f0b-4d0e-9a3e-{i:012x}" for i in range(n)]),
        (
            "extra_dhcp_opts",
            lambda n: [{"opt_name": f"o{i}", "opt_value": "x"} for i in range(n)],
        ),
    ],
    "subnet": [
        ("dns_nameservers", addresses),
        ("host_routes", routes),
        ("allocation_pools", lambda n: [{"start": a, "end": a} for a in addresses(n)]),
    ],
    "router": [
        ("routes", routes),
        (
            "external_gateway_info",
            lambda n: {"network_id": "6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01", "external_fixed_ips": pairs(n)},
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("noun", "attribute"), [(n, a) for n, each in LISTS.items() for a, _ in each]
)
def test_no_list_is_long_enough_to_be_slow(
    cloud: Cloud,  # noqa: F811
    ids: dict[str, str],
    noun: str,
    attribute: str,
) -> None:
    items = dict(LISTS[noun])[attribute]
    for count in (MOST_ITEMS + 1, 12_000):
        answer = cloud.admin("PUT", f"/{noun}s/{ids[noun]}", {noun: {attribute: items(count)}})
        assert answer.status_code == 400, answer.text[:200]
        assert f"more than {MOST_ITEMS}" in error_of(answer)[2]


def test_tags(cloud: Cloud, ids: dict[str, str]) -> None:  # noqa: F811
    fifty = [f"t{n}" for n in range(50)]
    path = f"/networks/{ids['network']}/tags"
    assert cloud.member("PUT", path, {"tags": fifty}).status_code == 200
    assert cloud.member("PUT", path, {"tags": [*fifty, "more"]}).status_code == 400
    assert cloud.member("PUT", f"{path}/more").status_code == 400
    assert cloud.member("POST", path, {"tags": ["more"]}).status_code == 400
    assert cloud.member("PUT", f"{path}/{'x' * 256}").status_code == 400
    assert cloud.member("PUT", path, {"tags": ["x" * 256]}).status_code == 400
    assert len(cloud.member("GET", path).json()["tags"]) == 50
    port = {"network_id": ids["network"], "tags": [*fifty, "more"]}
    assert cloud.member("POST", "/ports", {"port": port}).status_code == 400
    assert cloud.member("POST", "/ports", {"port": port | {"tags": fifty}}).status_code == 201


def test_a_request_creates_a_thousand_objects_at_most(cloud: Cloud) -> None:  # noqa: F811
    answer = cloud.admin("POST", "/networks", {"networks": [{}] * (MOST_OBJECTS + 1)})
    assert answer.status_code == 400 and str(MOST_OBJECTS) in error_of(answer)[2]


def test_a_query_has_at_most_16_kib(cloud: Cloud) -> None:  # noqa: F811
    for path, code in (("/networks?id=", 200), ("/networks/", 404)):
        assert cloud.member("GET", path + "x" * 16_000).status_code == code
        assert cloud.member("GET", path + "x" * 17_000).status_code == 414


def test_a_sort_key_that_stands_again_costs_nothing(cloud: Cloud, ids: dict[str, str]) -> None:  # noqa: F811
    from netloom.api.networking import query

    asked = [("sort_key", "name"), ("sort_dir", "desc"), ("sort_key", "id"), ("sort_dir", "asc")]
    found = query.parse("ports", [*asked, ("sort_key", "name"), ("sort_dir", "asc")] * 300)
    assert found.sorts == (("name", False), ("id", True))
    many = "&".join(["sort_key=status&sort_dir=asc"] * 400)
    assert cloud.member("GET", f"/ports?{many}").status_code == 200
