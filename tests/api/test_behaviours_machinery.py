"""The API's machinery, by the numbers of docs/behaviours.md: bodies, methods, filters, revisions, tags, aliases."""

from __future__ import annotations

import re

import pytest

from netloom.api.networking import extensions
from netloom.api.networking.nouns import CHILDREN, NOUNS
from netloom.contract.attributes import MAPS
from tests.api.conftest import make_clouds
from tests.support.behaviours import Case, check, named
from tests.support.networking import ONE, TWO, error_of

BAD = (400, "HTTPBadRequest")
HIDDEN = (404, "HTTPNotFound", "The resource could not be found.")
FORBIDDEN = (403, "PolicyNotAuthorized")
LONG = "x" * 256
TOO_LONG = f"'{LONG}' exceeds maximum length of 255."
OTHERS_PROJECT = "Specifying 'project_id' other than the authenticated project in request is not allowed for the current user."


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with make_clouds(tmp_path_factory.mktemp("machinery")) as make:
        cloud = make()
        member = cloud.member
        net = member.make("network")["id"]
        shared = cloud.admin.make("network", shared=True, project_id=TWO)["id"]
        subnet = member.make("subnet", network_id=net, ip_version=4, cidr="10.0.0.0/24")["id"]
        group = member.make("security_group")["id"]
        ids = {
            "net": net,
            "shared": shared,
            "subnet": subnet,
            "port": member.make("port", network_id=net)["id"],
            "router": member.make("router")["id"],
            "group": group,
            "rule": member.make(
                "security_group_rule", security_group_id=group, direction="ingress"
            )["id"],
        }
        yield cloud, ids


NETWORK, SUBNET, PORT = "/networks/{net}", "/subnets/{subnet}", "/ports/{port}"
ROUTER, GROUP, RULE = (
    "/routers/{router}",
    "/security-groups/{group}",
    "/security-group-rules/{rule}",
)
EVERYTHING = [NETWORK, SUBNET, PORT, ROUTER, GROUP, RULE]
TAGGED = [NETWORK, SUBNET, PORT, ROUTER, GROUP]
TYPES = {
    NETWORK: "NetworkNotFound",
    SUBNET: "SubnetNotFound",
    PORT: "PortNotFound",
    ROUTER: "RouterNotFound",
    GROUP: "SecurityGroupNotFound",
    RULE: "SecurityGroupRuleNotFound",
}
STALE = (412, "RevisionNumberConstraintFailed")
WRONG_REVISION = {"If-Match": "revision_number=99"}


def singular_of(path: str) -> str:
    return path.split("/")[1].replace("-", "_")[:-1]


def post(number: str, path: str, attrs: object, error: object, who: str = "member") -> Case:
    return Case(number, who, "POST", path, {singular_of(path): attrs}, error)


def put(
    number: str, path: str, attrs: object, error: object, who: str = "member", **headers: str
) -> Case:
    return Case(number, who, "PUT", path, {singular_of(path): attrs}, error, headers)


BODIES = [
    post("1", "/networks", {"foo": 1}, (*BAD, "Unrecognized attribute(s) 'foo'")),
    post("1", "/routers", {"foo": None}, (*BAD, "Unrecognized attribute(s) 'foo'")),
    post(
        "2",
        "/ports",
        {},
        (*BAD, "Failed to parse request. Required attribute 'network_id' not specified"),
    ),
    post(
        "2",
        "/subnets",
        {"network_id": "{net}"},
        (*BAD, "Failed to parse request. Required attribute 'ip_version' not specified"),
    ),
    *(
        Case(
            "3",
            "member",
            "POST",
            "/networks",
            body,
            (*BAD, "Unable to find 'network' in request body"),
        )
        for body in (None, {}, {"network": None}, {"subnet": {}}, b"")
    ),
    Case("3", "member", "POST", "/networks", b"x", (*BAD, "Body contains invalid data")),
    Case("3", "member", "POST", "/networks", [], (*BAD, "Body contains invalid data")),
    Case(
        "3",
        "member",
        "POST",
        "/networks",
        {"network": []},
        (*BAD, "Object 'network' contains invalid data"),
    ),
    Case("3", "member", "POST", "/networks", {"networks": []}, (*BAD, "Resources required")),
    *(
        Case(
            "3",
            "member",
            "POST",
            "/networks",
            {"networks": bulk},
            (*BAD, "Body contains invalid data"),
        )
        for bulk in (5, True, 1.5, [5], [None], [{}, False])
    ),
    *(
        Case(
            "3",
            "member",
            "POST",
            "/networks",
            {"networks": bulk},
            (*BAD, "Object 'network' contains invalid data"),
        )
        for bulk in ("abc", {"a": 1}, ["x"], [[]])
    ),
    put("4", SUBNET, {"cidr": "10.0.0.0/24"}, (*BAD, "Cannot update read-only attribute cidr")),
    put("4", PORT, {"network_id": "{net}"}, (*BAD, "Cannot update read-only attribute network_id")),
    put(
        "4",
        NETWORK,
        {"tags": [], "project_id": ONE},
        (*BAD, "Cannot update read-only attribute tenant_id"),
    ),
    Case(
        "14",
        "member",
        "GET",
        NETWORK + "/tags/a%0Ab",
        None,
        (404, "TagNotFound", "Tag a\nb could not be found."),
    ),
    *(
        put("4", path, {owner: ONE}, (*BAD, "Cannot update read-only attribute tenant_id"))
        for path in EVERYTHING
        for owner in ("tenant_id", "project_id")
    ),
    *(
        post(
            "5",
            "/networks",
            {name: LONG},
            (*BAD, f"Invalid input for {name}. Reason: {TOO_LONG}"),
        )
        for name in ("name", "description")
    ),
    *(put("5", path, {"name": LONG}, BAD) for path in TAGGED),
    # Of several faults Neutron says that of the attribute which comes first in its map.
    post(
        "5",
        "/security-group-rules",
        {
            "security_group_id": "{group}",
            "direction": "ingress",
            "protocol": "nope",
            "description": LONG,
        },
        (400, "SecurityGroupRuleInvalidProtocol"),
    ),
    post(
        "5",
        "/security-group-rules",
        {
            "security_group_id": "{group}",
            "direction": "ingress",
            "protocol": "icmpv6",
            "remote_ip_prefix": "::/0",
            "remote_group_id": "{group}",
        },
        (400, "SecurityGroupRuleParameterConflict"),
    ),
    post(
        "5",
        "/security-groups",
        {"name": LONG, "description": 5},
        (*BAD, f"Invalid input for name. Reason: {TOO_LONG}"),
    ),
    post("5", "/routers", {"distributed": "x", "availability_zone_hints": "x"}, BAD, "admin"),
    post("6", "/networks", {"admin_state_up": "maybe"}, (400, "InvalidInput")),
    Case("6", "member", "GET", "/ports?admin_state_up=maybe", None, (400, "InvalidInput")),
    post("7", "/networks", {"project_id": TWO}, (*BAD, OTHERS_PROJECT)),
    post("7", "/networks", {"tenant_id": TWO}, (*BAD, OTHERS_PROJECT)),
    post(
        "7",
        "/networks",
        {"tenant_id": TWO, "project_id": ONE},
        (*BAD, "'project_id' and 'tenant_id' do not match"),
    ),
    *(
        Case(
            "8",
            "other",
            method,
            path,
            {singular_of(path): {}} if method == "PUT" else None,
            (404, TYPES[path]),
        )
        for path in EVERYTHING
        for method in ("GET", "PUT", "DELETE")
    ),
    *(Case("9", "reader", "DELETE", path, None, FORBIDDEN) for path in EVERYTHING),
    *(put("9", path, {"name": "x"}, FORBIDDEN, who="reader") for path in TAGGED),
    put("9", "/networks/{shared}", {"name": "x"}, FORBIDDEN),
    Case("13", "member", "GET", "/networks/{net}.json", None, 200),
    Case("13", "member", "GET", f"/quotas/{ONE}/details.json", None, 200),
    *(
        Case("16", "member", method, NETWORK, None, (405, "HTTPMethodNotAllowed"))
        for method in ("PATCH", "POST", "OPTIONS")
    ),
    *(
        Case(
            "22",
            "member",
            "GET",
            f"{path}?foo=1",
            None,
            (*BAD, "['foo'] is invalid attribute for filtering"),
        )
        for path in EVERYTHING
    ),
    *(
        Case(
            "28",
            "member",
            "GET",
            f"/{path.split('/')[1]}?limit=1&marker=x",
            None,
            (404, TYPES[path]),
        )
        for path in EVERYTHING
    ),
    *(put("31", path, {"name": "x"}, STALE, **WRONG_REVISION) for path in TAGGED),
    *(Case("31", "member", "DELETE", path, None, STALE, WRONG_REVISION) for path in EVERYTHING),
    *(
        Case(
            "31",
            "member",
            "PUT",
            f"{ROUTER}/{action}",
            {"subnet_id": "{subnet}"},
            STALE,
            WRONG_REVISION,
        )
        for action in (
            "add_router_interface",
            "remove_router_interface",
            "add_extraroutes",
            "remove_extraroutes",
        )
    ),
    *(
        Case("31", "member", method, f"{path}/tags{more}", body, STALE, WRONG_REVISION)
        for path in TAGGED
        for method, more, body in (
            ("PUT", "", {"tags": ["a"]}),
            ("POST", "", {"tags": ["a"]}),
            ("DELETE", "", None),
            ("PUT", "/a", None),
        )
    ),
    *(
        put("32", NETWORK, {"name": "x"}, 200, **{"If-Match": header})
        for header in ("", "foo", "*", 'W/"x"')
    ),
    *(
        put(
            "32",
            NETWORK,
            {"name": "x"},
            (400, "BadRequest"),
            **{"If-Match": f"revision_number={header}"},
        )
        for header in ("", "x", "1,revision_number=2")
    ),
    put(
        "32",
        NETWORK,
        {"name": "x"},
        (
            400,
            "BadRequest",
            "Bad if-match request: Multiple revision_number etags are not supported..",
        ),
        **{"If-Match": '"revision_number=1", "revision_number=2"'},
    ),
    *(
        post("34", path, {"tags": ["a"]} | more, (*BAD, "Attribute 'tags' not allowed in POST"))
        for path, more in (
            ("/networks", {}),
            ("/subnets", {"network_id": "{net}", "ip_version": 4, "cidr": "10.9.0.0/24"}),
            ("/routers", {}),
            ("/security-groups", {}),
        )
    ),
    Case("34", "member", "POST", f"{NETWORK}/tags", {"tags": ["a"]}, 200),
]


@pytest.mark.parametrize(**named(BODIES))
def test_what_a_request_gets(world, case):
    check(*world, case)


def test_11_either_name_of_the_owner_and_both_in_the_answer(cloud):
    for name in ("project_id", "tenant_id"):
        made = cloud.admin.make("network", **{name: TWO})
        assert made["project_id"] == made["tenant_id"] == TWO
        assert cloud.admin.list(f"/networks?{name}={TWO}&id={made['id']}")


def test_12_codes_of_success(cloud):
    made = cloud.member("POST", "/networks", {"network": {}})
    path = f"/networks/{made.json()['network']['id']}"
    asked = [made, cloud.member("GET", path), cloud.member("PUT", path, {"network": {}})]
    asked += [cloud.member("PUT", f"{path}/tags/a"), cloud.member("GET", f"{path}/tags/a")]
    asked += [cloud.member("DELETE", f"{path}/tags/a"), cloud.member("DELETE", path)]
    assert [answer.status_code for answer in asked] == [201, 200, 200, 201, 204, 204, 204]
    assert asked[3].json() is None and not asked[4].content


@pytest.mark.parametrize("singular", ["network", "router", "security_group"])
def test_30_35_revisions_and_times(cloud, singular):
    made = cloud.member.make(singular)
    path = f"/{singular.replace('_', '-')}s/{made['id']}"
    for name in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made[name])
    changed = cloud.member("PUT", path, {singular: {"name": "x"}}).json()[singular]
    assert changed["revision_number"] == made["revision_number"] + 1
    same = cloud.member("PUT", path, {singular: {"name": "x"}}).json()[singular]
    assert same["revision_number"] == changed["revision_number"]


def test_every_advertised_alias_has_its_attributes_and_actions():
    """What neutron-lib says that an extension adds is there, and what it requires is advertised too."""
    advertised = {extension["alias"] for extension in extensions.listing()}
    for definition in extensions.DEFINED:
        for collection, attributes in definition.RESOURCE_ATTRIBUTE_MAP.items():
            assert attributes.keys() <= MAPS[collection].keys(), definition.ALIAS
        for collection, below in (definition.SUB_RESOURCE_ATTRIBUTE_MAP or {}).items():
            assert below["parameters"].keys() <= MAPS[collection].keys(), definition.ALIAS
            if "parent" in below:
                assert (below["parent"]["collection_name"], collection) in CHILDREN
        assert set(definition.REQUIRED_EXTENSIONS) <= advertised, definition.ALIAS
    routers = NOUNS["routers"].actions.keys()
    assert routers == {
        "add_router_interface",
        "remove_router_interface",
        "add_extraroutes",
        "remove_extraroutes",
    }


ABSENT = """
    subnetpools address-scopes policies metering/metering-labels segments
    flavors service_profiles service-providers network-ip-availabilities network-segment-ranges
    auto-allocated-topology/null floatingip_pools ndp_proxies local_ips log/logs
    bgp-speakers bgpvpn/bgpvpns vpn/vpnservices fwaas/firewall_groups lbaas/loadbalancers sfc/port_chains
    taas/tap_flows networks/{net}/dhcp-agents routers/{router}/conntrack_helpers
    ports/{port}/bindings agents/x/dhcp-networks
"""


@pytest.mark.parametrize("path", ABSENT.split())
def test_what_is_not_there_is_not_found(world, path):
    for method in ("GET", "POST"):
        check(
            *world, Case("", "admin", method, f"/{path}", {} if method == "POST" else None, HIDDEN)
        )


ABSENT_ATTRIBUTES = {
    NETWORK: "segments vlan_transparent qinq dns_domain ipv4_address_scope ha l2_adjacency pvlan",
    SUBNET: "use_default_subnetpool segment_id dns_publish_fixed_ip",
    PORT: "dns_name dns_domain ip_allocation device_profile hints trusted "
    "propagate_uplink_status numa_affinity_policy data_plane_status resource_request pvlan_type",
    ROUTER: "external_gateways flavor_id enable_ndp_proxy conntrack_helpers enable_default_route_bfd evpn_vni",
}


@pytest.mark.parametrize("path", ABSENT_ATTRIBUTES)
def test_attributes_of_what_is_not_there_are_unknown(world, path):
    cloud, ids = world
    for name in ABSENT_ATTRIBUTES[path].split():
        unknown = (*BAD, f"Unrecognized attribute(s) '{name}'")
        check(cloud, ids, put("", path, {name: None}, unknown, who="admin"))
        check(cloud, ids, post("", "/" + path.split("/")[1], {name: None}, unknown, who="admin"))
        shown = cloud.admin("GET", path.format(**ids)).json()
        assert name not in next(iter(shown.values()))


def test_a_request_that_names_several_unknown_attributes(cloud):
    answer = cloud.member("POST", "/networks", {"network": {"foo": 1, "bar": 2}})
    assert error_of(answer) == (*BAD, "Unrecognized attribute(s) 'foo, bar'")
