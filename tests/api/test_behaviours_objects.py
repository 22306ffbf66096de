"""Networks, subnets, ports, groups, routers and quotas, by the numbers of docs/behaviours.md: what no other test asks."""

from __future__ import annotations

import pytest

from tests.api.conftest import make_clouds
from tests.api.test_operations import host
from tests.support.behaviours import Case, check, named
from tests.support.networking import ONE, TWO, error_of

FORBIDDEN = (403, "PolicyNotAuthorized")
CIDR = {"ip_version": 4, "cidr": "10.7.0.0/24"}
EXTERNAL = {"router:external": True, "project_id": "e" * 32}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with make_clouds(tmp_path_factory.mktemp("objects")) as make:
        cloud = make()
        net = cloud.member.make("network")["id"]
        shared = cloud.admin.make("network", shared=True, project_id=TWO)["id"]
        external = cloud.admin.make("network", **EXTERNAL)["id"]
        ids = {
            "net": net,
            "subnet": cloud.member.make("subnet", network_id=net, **CIDR)["id"],
            "shared": shared,
            "external": external,
            "theirs": cloud.admin.make(
                "subnet", network_id=external, ip_version=4, cidr="203.0.113.0/24"
            )["id"],
            "port": cloud.member.make("port", network_id=shared)["id"],
            "router": cloud.member.make("router")["id"],
            "group": cloud.member.make("security_group")["id"],
        }
        yield cloud, ids


FOR_ADMINISTRATORS = [
    {"shared": True},
    {"router:external": True},
    {"is_default": True},
    {"provider:network_type": "vxlan"},
    {"provider:physical_network": "extnet"},
    {"provider:segmentation_id": 5},
]
FOR_THE_NETWORKS_OWNER = [
    {"fixed_ips": [{"ip_address": "10.9.0.9"}]},
    {"mac_address": "fa:16:3e:00:00:77"},
    {"port_security_enabled": False},
    {"allowed_address_pairs": [{"ip_address": "192.0.2.1"}]},
    {"device_owner": "network:dhcp"},
    {"binding:host_id": "compute1"},
    {"binding:profile": {"a": 1}},
]


def posted(number: str, singular: str, attrs: object, error: object, who: str = "member") -> Case:
    path = f"/{singular.replace('_', '-')}s"
    return Case(number, who, "POST", path, {singular: attrs}, error)


def subnet(number: str, attrs: dict[str, object], error: object, who: str = "member") -> Case:
    return posted(
        number,
        "subnet",
        {"network_id": "{net}", "ip_version": 4, "cidr": "10.8.0.0/24"} | attrs,
        error,
        who,
    )


REFUSED = [
    *(posted("39", "network", attrs, FORBIDDEN) for attrs in FOR_ADMINISTRATORS),
    *(
        Case("39", "member", "PUT", "/networks/{net}", {"network": attrs}, FORBIDDEN)
        for attrs in FOR_ADMINISTRATORS
    ),
    *(
        posted(
            "47",
            "network",
            {"provider:network_type": kind},
            (
                400,
                "InvalidInput",
                f"Invalid input for operation: network_type value '{kind}' not supported.",
            ),
            "admin",
        )
        for kind in ("local", "nope")
    ),
    *(
        posted("59", "subnet", {"network_id": "{external}"} | CIDR, FORBIDDEN, who)
        for who in ("member", "other")
    ),
    *(
        Case("59", "other", method, "/networks/{external}", body, FORBIDDEN)
        for method, body in (("PUT", {"network": {"name": "x"}}), ("DELETE", None))
    ),
    Case("59", "other", "DELETE", "/subnets/{theirs}", None, FORBIDDEN),
    subnet("61", {"ip_version": None}, (400, "InvalidInput")),
    subnet("61", {"ip_version": 5}, (400, "HTTPBadRequest")),
    subnet("73", {"dns_nameservers": ["192.0.2.1"] * 2}, (400, "HTTPBadRequest")),
    subnet("73", {"dns_nameservers": ["x"]}, (400, "HTTPBadRequest")),
    subnet(
        "73",
        {"host_routes": [{"destination": "x", "nexthop": "10.8.0.2"}]},
        (400, "HTTPBadRequest"),
    ),
    subnet("74", {"ipv6_address_mode": "slaac"}, (400, "InvalidInput")),
    subnet("76", {}, FORBIDDEN, "reader"),
    *(
        Case("102", "member", "PUT", "/ports/{port}", {"port": attrs}, FORBIDDEN)
        for attrs in FOR_THE_NETWORKS_OWNER
    ),
    *(
        Case("106", "member", "PUT", "/ports/{port}", {"port": attrs}, FORBIDDEN)
        for attrs in ({"binding:host_id": "compute1"}, {"binding:profile": {"a": 1}})
    ),
    *(
        posted(
            "125",
            "security_group_rule",
            {
                "security_group_id": "{group}",
                "direction": "ingress",
                "protocol": protocol,
                "port_range_min": 1,
                "port_range_max": 2,
            },
            (400, "InvalidInput"),
        )
        for protocol in ("dccp", "udplite", 33)
    ),
    *(
        Case("135", "member", "PUT", "/routers/{router}", {"router": attrs}, FORBIDDEN)
        for attrs in ({"ha": True}, {"distributed": True}, {"distributed": False})
    ),
    *(
        Case("136", "admin", "PUT", "/routers/{router}", {"router": attrs}, (400, "BadRequest"))
        for attrs in ({"ha": True}, {"distributed": True})
    ),
    *(
        Case("167", "admin", "PUT", f"/quotas/{ONE}", {"quota": {name: 1}}, (400, "HTTPBadRequest"))
        for name in ("subnetpool", "segment", "foo")
    ),
]


@pytest.mark.parametrize(**named(REFUSED))
def test_what_is_refused(world, case):
    check(*world, case)


def test_39_and_those_that_administrators_may(cloud):
    for attrs in (
        {"shared": True},
        {"router:external": True, "is_default": True},
        {"provider:segmentation_id": 5},
    ):
        named = {"provider:network_type": "vxlan"} if "provider:segmentation_id" in attrs else {}
        made = cloud.admin.make("network", **attrs, **named)
        assert attrs.items() <= made.items()


def test_54_55_what_a_network_takes_along_and_what_not(cloud):
    network = cloud.member.make("network")["id"]
    subnet = cloud.member.make("subnet", network_id=network, **CIDR)["id"]
    port = cloud.member.make("port", network_id=network)["id"]
    dhcp = cloud.admin.make("port", network_id=network, device_owner="network:dhcp")["id"]
    assert error_of(cloud.member("DELETE", f"/networks/{network}")) == (
        409,
        "NetworkInUse",
        f"Unable to complete operation on network {network}. There are one or more ports still in use on the "
        f"network, id for these ports is: {port}.",
    )
    cloud.member("DELETE", f"/ports/{port}")
    assert cloud.member("DELETE", f"/networks/{network}").status_code == 204
    for path in (f"/subnets/{subnet}", f"/ports/{dhcp}"):
        assert cloud.admin("GET", path).status_code == 404


def test_55_floating_ips_that_stand_for_nothing_go_with_their_network(cloud):
    external = cloud.admin.make("network", **EXTERNAL)["id"]
    cloud.admin.make("subnet", network_id=external, ip_version=4, cidr="203.0.113.0/24")
    network = cloud.member.make("network")["id"]
    inner = cloud.member.make("subnet", network_id=network, **CIDR)["id"]
    router = cloud.member.make("router", external_gateway_info={"network_id": external})["id"]
    cloud.member("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": inner})
    port = cloud.member.make("port", network_id=network)["id"]
    used = cloud.member.make("floatingip", floating_network_id=external, port_id=port)["id"]
    free = cloud.member.make("floatingip", floating_network_id=external)["id"]
    # What is in use is in the way, and then nothing goes.
    assert error_of(cloud.admin("DELETE", f"/networks/{external}"))[:2] == (409, "NetworkInUse")
    assert len(cloud.member.list("/floatingips")) == 2
    cloud.member("DELETE", f"/floatingips/{used}")
    cloud.member("PUT", f"/routers/{router}", {"router": {"external_gateway_info": {}}})
    assert cloud.admin("DELETE", f"/networks/{external}").status_code == 204
    assert error_of(cloud.member("GET", f"/floatingips/{free}"))[:2] == (404, "FloatingIPNotFound")
    assert cloud.admin.list("/ports?device_owner=network:floatingip") == []


def test_56_sharing_ends_where_nobody_else_uses_it(cloud):
    network = cloud.admin.make("network", shared=True, name="open")["id"]
    port = cloud.other.make("port", network_id=network)["id"]
    body = {"network": {"shared": False}}
    assert error_of(cloud.admin("PUT", f"/networks/{network}", body)) == (
        409,
        "InvalidSharedSetting",
        "Unable to reconfigure sharing settings for network open. Multiple projects are using it.",
    )
    cloud.other("DELETE", f"/ports/{port}")
    assert cloud.admin("PUT", f"/networks/{network}", body).json()["network"]["shared"] is False
    assert cloud.other("GET", f"/networks/{network}").status_code == 404


@pytest.mark.parametrize("use", ["router", "floatingip"])
def test_57_an_external_network_that_is_used_stays_external(cloud, use):
    network = cloud.admin.make("network", **EXTERNAL)["id"]
    cloud.admin.make("subnet", network_id=network, ip_version=4, cidr="203.0.113.0/24")
    attrs = {"external_gateway_info": {"network_id": network}}
    cloud.member.make(use, **(attrs if use == "router" else {"floating_network_id": network}))
    answer = cloud.admin("PUT", f"/networks/{network}", {"network": {"router:external": False}})
    assert error_of(answer) == (
        409,
        "ExternalNetworkInUse",
        f"External network {network} cannot be updated to be made non-external, since it has existing gateway "
        "ports.",
    )


def test_60_a_network_that_is_down_is_still_active_in_the_api(cloud):
    network = cloud.member.make("network", admin_state_up=False)
    assert (network["admin_state_up"], network["status"]) == (False, "ACTIVE")


def test_78_79_a_subnet_in_use(cloud):
    network = cloud.member.make("network")["id"]
    subnet = cloud.member.make("subnet", network_id=network, **CIDR)["id"]
    port = cloud.member.make("port", network_id=network)["id"]
    dhcp = cloud.admin.make("port", network_id=network, device_owner="network:dhcp")["id"]
    assert error_of(cloud.member("DELETE", f"/subnets/{subnet}")) == (
        409,
        "SubnetInUse",
        f"Unable to complete operation on subnet {subnet}: One or more ports have an IP allocation from this "
        "subnet.",
    )
    cloud.member("DELETE", f"/ports/{port}")
    assert cloud.member("DELETE", f"/subnets/{subnet}").status_code == 204
    assert cloud.admin("GET", f"/ports/{dhcp}").json()["port"]["fixed_ips"] == []


def test_89_one_address_of_one_subnet(cloud):
    network = cloud.member.make("network")["id"]
    for cidr in ("10.1.0.0/24", "10.2.0.0/24"):
        cloud.member.make("subnet", network_id=network, ip_version=4, cidr=cidr)
    assert len(cloud.member.make("port", network_id=network)["fixed_ips"]) == 1


@pytest.mark.parametrize("singular", ["network", "port", "security_group"])
def test_119_the_default_group_comes_with_the_first_thing(cloud, singular):
    attrs = (
        {"network_id": cloud.admin.make("network", shared=True)["id"]} if singular == "port" else {}
    )
    cloud.other.make(singular, **attrs)
    assert "default" in {
        group["name"]
        for group in cloud.admin.list("/security-groups")
        if group["project_id"] == TWO
    }


def test_119_an_administrator_finds_the_default_group_of_the_project_that_it_names(cloud):
    for name in ("project_id", "tenant_id"):
        project = name[0] * 32
        assert cloud.member.list(f"/security-groups?{name}={project}") == []
        assert [
            group["name"] for group in cloud.admin.list(f"/security-groups?{name}={project}")
        ] == ["default"]


def test_119_the_rules_of_the_default_group_are_there_for_whoever_lists_rules(cloud):
    assert len(cloud.other.list("/security-group-rules")) == 4
    assert len(cloud.admin.list(f"/security-group-rules?project_id={'r' * 32}")) == 4


@pytest.mark.parametrize(
    "twice",
    [
        ({"protocol": "sctp"}, {"protocol": 132}),
        ({"protocol": "udp"}, {"protocol": "udp", "remote_ip_prefix": "0.0.0.0/0"}),
        ({"ethertype": "IPv6", "protocol": "icmp"}, {"ethertype": "IPv6", "protocol": "icmpv6"}),
        ({"protocol": "tcp"}, {"protocol": "tcp", "description": "again"}),
    ],
)
def test_130_the_same_rule_twice_in_one_request(cloud, twice):
    group = cloud.member.make("security_group")["id"]
    rules = [{"security_group_id": group, "direction": "egress"} | rule for rule in twice]
    answer = cloud.member("POST", "/security-group-rules", {"security_group_rules": rules})
    assert error_of(answer) == (
        409,
        "DuplicateSecurityGroupRuleInPost",
        "Duplicate Security Group Rule in POST.",
    )


def test_131_stateful_and_stateless_groups_do_not_go_together(cloud):
    network = cloud.member.make("network")["id"]
    groups = [
        cloud.member.make("security_group", stateful=stateful)["id"] for stateful in (True, False)
    ]
    body = {"port": {"network_id": network, "security_groups": groups}}
    assert error_of(cloud.member("POST", "/ports", body))[:2] == (409, "SecurityGroupConflict")


def test_137_what_an_interface_answers(cloud):
    network = cloud.member.make("network")["id"]
    subnet = cloud.member.make("subnet", network_id=network, **CIDR)["id"]
    router = cloud.member.make("router")["id"]
    for action in ("add_router_interface", "remove_router_interface"):
        answer = cloud.member("PUT", f"/routers/{router}/{action}", {"subnet_id": subnet}).json()
        port = answer.pop("port_id")
        assert answer == {
            "id": router,
            "project_id": ONE,
            "network_id": network,
            "subnet_id": subnet,
            "subnet_ids": [subnet],
        }
    assert cloud.member("GET", f"/ports/{port}").status_code == 404


def test_162_shared_with_everyone_is_shared_for_everyone(cloud):
    network = cloud.admin.make("network", shared=True, project_id=ONE)["id"]
    for client in (cloud.admin, cloud.member, cloud.other):
        assert client("GET", f"/networks/{network}").json()["network"]["shared"] is True


@pytest.mark.parametrize(
    "singular",
    ["network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule"],
)
def test_166_every_quota_is_kept(cloud, singular):
    network = cloud.member.make("network")["id"]
    external = cloud.admin.make("network", **EXTERNAL)["id"]
    cloud.admin.make(
        "subnet", network_id=external, ip_version=4, cidr="203.0.113.0/24", project_id="e" * 32
    )
    group = cloud.member.make("security_group")["id"]
    attrs = {
        "subnet": {"network_id": network} | CIDR,
        "port": {"network_id": network},
        "floatingip": {"floating_network_id": external},
        "security_group_rule": {"security_group_id": group, "direction": "ingress"},
    }
    used = cloud.member("GET", f"/quotas/{ONE}/details").json()["quota"][singular]["used"]
    cloud.admin("PUT", f"/quotas/{ONE}", {"quota": {singular: used}})
    answer = cloud.member(
        "POST", f"/{singular.replace('_', '-')}s", {singular: attrs.get(singular, {})}
    )
    assert error_of(answer) == (409, "OverQuota", f"Quota exceeded for resources: ['{singular}'].")


def test_172_agents_are_filtered_sorted_and_paged(cloud):
    for name, age in (("a", 0), ("b", 1000), ("c", 0)):
        host(cloud, name, "compute", age=age)
    kind = "agent_type=Open%20vSwitch%20agent"

    def hosts(query):
        return [agent["host"] for agent in cloud.admin.list(f"/agents?{kind}&{query}")]

    assert hosts("alive=true&sort_key=host&sort_dir=asc") == ["a", "c"]
    assert hosts("alive=False") == ["b"]
    assert hosts("sort_key=host&sort_dir=desc") == ["c", "b", "a"]
    first = cloud.admin("GET", f"/agents?{kind}&sort_key=host&sort_dir=asc&limit=2").json()
    assert [agent["host"] for agent in first["agents"]] == ["a", "b"]
    following = next(link["href"] for link in first["agents_links"] if link["rel"] == "next")
    rest = cloud.admin("GET", following.removeprefix("http://cloud:9696/networking/v2.0")).json()
    assert [agent["host"] for agent in rest["agents"]] == ["c"]
    assert error_of(cloud.admin("GET", "/agents?limit=1&marker=x"))[:2] == (404, "AgentNotFound")
    assert error_of(cloud.admin("GET", "/agents?alive=x"))[:2] == (400, "InvalidInput")
    one = first["agents"][0]["id"]
    assert cloud.admin("GET", f"/agents/{one}?fields=host").json() == {"agent": {"host": "a"}}
    assert error_of(cloud.admin("GET", f"/agents/{one}?foo=1"))[:2] == (400, "HTTPBadRequest")


def test_availability_zones_are_filtered(cloud):
    host(cloud, "a", "network")
    host(cloud, "b", "compute")

    def zones(query):
        found = cloud.member.list(f"/availability_zones?{query}")
        return sorted((zone["name"], zone["resource"]) for zone in found)

    assert zones("name=nova&resource=router") == [("nova", "router")]
    assert zones("state=available") == [("nova", "network"), ("nova", "router")]
    assert zones("state=unavailable") == zones("name=east") == []
    assert error_of(cloud.member("GET", "/availability_zones?foo=1"))[:2] == (400, "HTTPBadRequest")
