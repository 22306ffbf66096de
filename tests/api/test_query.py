"""The query language of lists, against what Neutron 29 answered."""

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.networking import error_of
from tests.support.statements import trace

ALL = "name=a&name=b&name=c"


@pytest.fixture
def three(cloud):
    return [
        cloud.member.make("network", name=name, mtu=mtu)
        for name, mtu in (("c", 1300), ("a", 1200), ("b", 1200))
    ]


def names(cloud, query, who=None):
    return [network["name"] for network in (who or cloud.member).list(f"/networks?{query}")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "foo=1&bar=2",
            (400, "HTTPBadRequest", "['foo', 'bar'] is invalid attribute for filtering"),
        ),
        (
            "changed_since=x",
            (400, "HTTPBadRequest", "['changed_since'] is invalid attribute for filtering"),
        ),
        (
            "limit=a",
            (
                400,
                "BadRequest",
                "Bad limit request: Limit must be an integer 0 or greater and not 'a'.",
            ),
        ),
        (
            "limit=-1",
            (
                400,
                "BadRequest",
                "Bad limit request: Limit must be an integer 0 or greater and not '-1'.",
            ),
        ),
        # A number is what Python reads as one, as in Neutron.
        ("limit=%2B1&marker=x", (404, "NetworkNotFound", "Network x could not be found.")),
        ("limit=%201&marker=x", (404, "NetworkNotFound", "Network x could not be found.")),
        ("limit=1&marker=x", (404, "NetworkNotFound", "Network x could not be found.")),
        (
            "sort_key=a",
            (400, "HTTPBadRequest", "The number of sort_keys and sort_dirs must be same"),
        ),
        (
            "sort_key=a&sort_dir=asc",
            (400, "HTTPBadRequest", "['a'] is invalid attribute for sort_keys"),
        ),
        (
            "sort_key=name&sort_dir=x",
            (
                400,
                "HTTPBadRequest",
                "['x'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'",
            ),
        ),
        (
            "shared=maybe",
            (
                400,
                "InvalidInput",
                "Invalid input for operation: 'maybe' cannot be converted to boolean.",
            ),
        ),
        ("mtu=x", (400, "InvalidInput", "Invalid input for operation: 'x' is not an integer.")),
    ],
)
def test_what_is_refused(cloud, query, expected):
    assert error_of(cloud.member("GET", f"/networks?{query}")) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=a&name=b", {"a", "b"}),
        ("name=a&mtu=1300", set()),
        ("mtu=1200", {"a", "b"}),
        ("name=", set()),
        ("description=", {"a", "b", "c"}),
        ("status=ACTIVE", {"a", "b", "c"}),
        ("status=DOWN", set()),
        ("shared=False", {"a", "b", "c"}),
        ("shared=True", set()),
        ("revision_number=1", {"a", "b", "c"}),
        ("tenant_id=zz", set()),
        ("tenant_id=" + "1" * 32 + "&project_id=" + "1" * 32, {"a", "b", "c"}),
        ("router:external=true", set()),
        ("admin_state_up=true", {"a", "b", "c"}),
    ],
)
def test_filters(cloud, three, query, expected):
    assert set(names(cloud, query)) == expected


def test_fields(cloud, three):
    assert cloud.member.list(
        f"/networks?{ALL}&fields=name&fields=nope&sort_key=name&sort_dir=asc"
    ) == [
        {"name": "a"},
        {"name": "b"},
        {"name": "c"},
    ]
    shown = cloud.member("GET", f"/networks/{three[0]['id']}?fields=id").json()
    assert shown == {"network": {"id": three[0]["id"]}}
    assert cloud.member.list("/networks?fields=nope")[0] == {}


def test_sorting(cloud, three):
    assert names(cloud, "sort_key=name&sort_dir=asc") == ["a", "b", "c"]
    assert names(cloud, "sort_key=name&sort_dir=desc") == ["c", "b", "a"]
    assert names(cloud, "sort_key=mtu&sort_dir=desc&sort_key=name&sort_dir=desc") == ["c", "b", "a"]
    assert names(cloud, "sort_key=status&sort_dir=asc&sort_key=name&sort_dir=asc") == [
        "a",
        "b",
        "c",
    ]
    ids = [network["id"] for network in cloud.member.list("/networks")]
    assert ids == sorted(ids)


def test_links_say_the_public_url(make_cloud):
    cloud = make_cloud(public_url="https://cloud.example.org/openstack/")
    for name in ("a", "b"):
        assert cloud.member("POST", "/networks", {"network": {"name": name}}).status_code == 201
    following = cloud.member("GET", "/networks?limit=1").json()["networks_links"][0]["href"]
    assert following.startswith(
        "https://cloud.example.org/openstack/networking/v2.0/networks?limit=1&marker="
    )


@pytest.mark.parametrize("key", ["name", "status", "id"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_pages_forward_and_back(cloud, three, key, direction):
    order = f"sort_key={key}&sort_dir={direction}" + (
        "&sort_key=name&sort_dir=asc" if key == "status" else ""
    )
    whole = names(cloud, order)
    path, seen, pages = f"/networks?{order}&limit=2", [], []
    for _ in range(5):
        page = cloud.member("GET", path).json()
        pages.append(page)
        seen += [network["name"] for network in page["networks"]]
        following = [link["href"] for link in page["networks_links"] if link["rel"] == "next"]
        if not following:
            break
        assert following[0].startswith("http://cloud:9696/networking/v2.0/networks?")
        path = following[0].removeprefix("http://cloud:9696/networking/v2.0")
    assert seen == whole
    assert [link["rel"] for link in pages[-1]["networks_links"]] == ["previous"]
    back = next(link["href"] for link in pages[1]["networks_links"] if link["rel"] == "previous")
    assert parse_qs(urlsplit(back).query)["page_reverse"] == ["True"]
    first = cloud.member("GET", back.removeprefix("http://cloud:9696/networking/v2.0")).json()
    assert first["networks"] == pages[0]["networks"]


def test_the_last_page_backwards_needs_no_marker(cloud, three):
    assert names(cloud, "sort_key=name&sort_dir=asc&limit=2&page_reverse=True") == ["b", "c"]


def test_the_operator_limits_pages(make_cloud):
    from netloom.model import NetworkSettings

    cloud = make_cloud(NetworkSettings(pagination_max_limit=2))
    for _ in range(3):
        cloud.member.make("network")
    for query in ("", "?limit=10", "?limit=0"):
        page = cloud.member("GET", f"/networks{query}").json()
        assert len(page["networks"]) == 2
        assert page["networks_links"][0]["rel"] == "next"


def test_filters_of_ports(cloud):
    network = cloud.member.make("network")["id"]
    subnet = cloud.member.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")["id"]
    first = cloud.member.make(
        "port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.10"}], name="x"
    )
    cloud.member.make(
        "port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.20"}], device_id="d"
    )
    group = first["security_groups"][0]

    def count(query):
        return len(cloud.member.list(f"/ports?{query}"))

    assert count("fixed_ips=ip_address%3D10.0.0.10") == 1
    assert count("fixed_ips=ip_address=10.0.0.10&fixed_ips=ip_address=10.0.0.20") == 2
    assert count(f"fixed_ips=subnet_id={subnet}") == 2
    assert count(f"fixed_ips=subnet_id={subnet}&fixed_ips=ip_address=10.0.0.20") == 1
    assert count("fixed_ips=ip_address_substr=0.0.1") == 1
    assert count("fixed_ips=foo=bar") == 2
    assert count(f"security_groups={group}") == 2
    assert count("device_id=d") == 1
    assert count("device_id=") == 1
    assert count(f"network_id={network}&name=x") == 1
    assert count("binding:host_id=") == 2
    assert count("status=DOWN&device_id=d") == 1
    assert count(f"mac_address={first['mac_address']}") == 1
    assert error_of(cloud.member("GET", "/ports?fixed_ips=10.0.0.1")) == (
        400,
        "InvalidInput",
        "Invalid input for operation: '10.0.0.1' is not of the form <key>=[value].",
    )


def test_statements_do_not_grow_with_objects(cloud):
    network = cloud.member.make("network")["id"]
    cloud.member.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/22")
    cloud.member.make("port", network_id=network)
    seen = []
    trace(cloud.store._readers, seen.append)

    def statements(path):
        seen.clear()
        cloud.member.list(path)
        return len(seen)

    def measure():
        return {
            path: statements(path)
            for path in ("/networks", "/subnets", "/ports", "/security-groups")
        }

    few = measure()
    for n in range(20):
        other = cloud.member.make("network")["id"]
        cloud.member.make("subnet", network_id=other, ip_version=4, cidr=f"10.1.{n}.0/24")
        cloud.member.make("port", network_id=network)
    assert measure() == few


def test_subnets_are_filtered_by_whether_their_network_is_shared(cloud):
    for name, shared in (("own", False), ("common", True)):
        network = cloud.admin.make("network", shared=shared)["id"]
        subnet = cloud.admin.make(
            "subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24", name=name
        )
        assert "shared" not in subnet
    found = {
        query: [subnet["name"] for subnet in cloud.admin.list(f"/subnets?{query}")]
        for query in ("shared=True", "shared=False", "shared=1&name=own")
    }
    assert found == {"shared=True": ["common"], "shared=False": ["own"], "shared=1&name=own": []}
    assert [subnet["name"] for subnet in cloud.other.list("/subnets?shared=True")] == ["common"]


def test_a_filter_for_nothing_does_not_find_what_has_no_value(cloud):
    cloud.member.make("security_group", name="web")
    assert cloud.member.list("/security-group-rules?direction=ingress") != []
    assert cloud.member.list("/security-group-rules?remote_ip_prefix=") == []
