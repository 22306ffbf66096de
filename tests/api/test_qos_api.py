"""QoS over HTTP: policies, their rules, and what they are put on. Each answer was asked of real Neutron once."""

import pytest

from tests.support.networking import ONE, TWO, error_of

POLICY = {
    "project_id": ONE,
    "tenant_id": ONE,
    "name": "p",
    "shared": False,
    "rules": [],
    "is_default": False,
    "description": "",
    "tags": [],
}


@pytest.fixture
def manager(cloud):
    return cloud.client("manager,member,reader")


@pytest.fixture
def policy(manager):
    return manager.make("policy", name="p")["id"]


def rule(client, policy, type, **values):
    name = f"{type}_rule"
    return client("POST", f"/qos/policies/{policy}/{name}s", {name: values})


def made(answer):
    assert answer.status_code == 201, answer.text
    return next(iter(answer.json().values()))


def show(client, collection, id):
    answer = client("GET", f"/{collection}/{id}")
    assert answer.status_code == 200, answer.text
    return next(iter(answer.json().values()))


def put(client, collection, id, **attrs):
    singular = {"qos/policies": "policy"}.get(collection, collection.removesuffix("s"))
    return client("PUT", f"/{collection}/{id}", {singular: attrs})


def test_a_policy_is_made_by_a_manager_and_seen_by_its_project(cloud, manager):
    assert error_of(cloud.member("POST", "/qos/policies", {"policy": {"name": "p"}})) == (
        403,
        "PolicyNotAuthorized",
        "rule:create_policy is disallowed by policy",
    )
    shown = manager.make("policy", name="p")
    varying = ("id", "created_at", "updated_at", "revision_number")
    assert {name: value for name, value in shown.items() if name not in varying} == POLICY
    assert show(cloud.reader, "qos/policies", shown["id"]) == shown
    missing = f"QoS policy {shown['id']} could not be found."
    other = cloud.other("GET", f"/qos/policies/{shown['id']}")
    assert error_of(other) == (404, "QosPolicyNotFound", missing)
    assert cloud.member.list("/qos/policies") == [shown]
    assert cloud.other.list("/qos/policies") == []
    assert cloud.member("GET", "/policies").status_code == 404
    changed = put(manager, "qos/policies", shown["id"], name="n", description="d").json()["policy"]
    assert (changed["name"], changed["description"]) == ("n", "d")
    assert changed["revision_number"] == shown["revision_number"] + 1
    assert put(cloud.member, "qos/policies", shown["id"], name="x").status_code == 403
    assert manager("PUT", f"/qos/policies/{shown['id']}/tags/red").status_code == 201
    assert [each["id"] for each in manager.list("/qos/policies?tags=red")] == [shown["id"]]
    wrong = put(manager, "qos/policies", shown["id"], rules=[])
    assert error_of(wrong)[2] == "Cannot update read-only attribute rules"
    assert manager("DELETE", f"/qos/policies/{shown['id']}").status_code == 204
    assert manager.list("/qos/policies") == []


def test_rules_of_a_policy(cloud, manager, policy):
    first = made(rule(manager, policy, "bandwidth_limit", max_kbps=1000))
    assert first == {
        "id": first["id"],
        "max_kbps": 1000,
        "max_burst_kbps": 0,
        "direction": "egress",
    }
    again = rule(manager, policy, "bandwidth_limit", max_kbps=2000)
    assert error_of(again) == (
        409,
        "QoSRulesConflict",
        f"Rule bandwidth_limit conflicts with rule {first['id']} which already exists in QoS Policy {policy}.",
    )
    other = made(rule(manager, policy, "bandwidth_limit", max_kbps="5000", direction="ingress"))
    assert other["max_kbps"] == 5000
    mark = made(rule(manager, policy, "dscp_marking", dscp_mark=26))
    assert mark == {"id": mark["id"], "dscp_mark": 26}
    rate = made(rule(manager, policy, "packet_rate_limit", max_kpps=5))
    assert rate == {"id": rate["id"], "max_kpps": 5, "max_burst_kpps": 0, "direction": "egress"}
    least = made(rule(manager, policy, "minimum_bandwidth", min_kbps=500))
    assert least == {"id": least["id"], "min_kbps": 500, "direction": "egress"}
    packets = made(rule(manager, policy, "minimum_packet_rate", min_kpps=5, direction="any"))
    assert packets == {"id": packets["id"], "min_kpps": 5, "direction": "any"}
    shown = show(manager, "qos/policies", policy)["rules"]
    assert [each["type"] for each in shown] == [
        "bandwidth_limit",
        "bandwidth_limit",
        "dscp_marking",
        "minimum_bandwidth",
        "minimum_packet_rate",
        "packet_rate_limit",
    ]
    assert shown[2] == mark | {"qos_policy_id": policy, "type": "dscp_marking"}
    path = f"/qos/policies/{policy}/bandwidth_limit_rules"
    assert {each["id"] for each in manager.list(path)} == {first["id"], other["id"]}
    assert manager("GET", f"{path}/{mark['id']}").status_code == 404
    changed = manager("PUT", f"{path}/{first['id']}", {"bandwidth_limit_rule": {"max_kbps": 1500}})
    assert changed.json() == {"bandwidth_limit_rule": first | {"max_kbps": 1500}}
    assert show(manager, "qos/policies", policy)["rules"][0]["max_kbps"] == 1500
    assert manager("DELETE", f"{path}/{first['id']}").status_code == 204
    assert [each["id"] for each in show(manager, "qos/policies", policy)["rules"]] == [
        each["id"] for each in (other, mark, least, packets, rate)
    ]
    gone = manager("DELETE", f"{path}/{first['id']}")
    said = f"QoS rule {first['id']} for policy {policy} could not be found."
    assert error_of(gone) == (404, "QosRuleNotFound", said)


WRONG = [
    ("bandwidth_limit", {}, "Failed to parse request. Required attribute 'max_kbps' not specified"),
    (
        "bandwidth_limit",
        {"max_kbps": 1, "direction": "any"},
        "Invalid input for direction. Reason: any is not in valid_values.",
    ),
    (
        "bandwidth_limit",
        {"max_kbps": -1},
        "Invalid input for max_kbps. Reason: '-1' is too small - must be at least '0'.",
    ),
    ("bandwidth_limit", {"max_kbps": 1, "foo": 1}, "Unrecognized attribute(s) 'foo'"),
    (
        "dscp_marking",
        {"dscp_mark": 9},
        "Invalid input for dscp_mark. Reason: 9 is not in valid_values.",
    ),
]


@pytest.mark.parametrize(("type", "values", "said"), WRONG)
def test_what_is_no_rule(manager, policy, type, values, said):
    assert error_of(rule(manager, policy, type, **values)) == (400, "HTTPBadRequest", said)


def test_no_limit_below_what_is_promised(manager, policy):
    limit = made(rule(manager, policy, "bandwidth_limit", max_kbps=1000))
    more = rule(manager, policy, "minimum_bandwidth", min_kbps=2000)
    said = "Unable to add the rule with value {} to the policy {} as the existing rule of type {} has value {}."
    assert error_of(more) == (
        409,
        "QoSRuleParameterConflict",
        said.format(2000, policy, "bandwidth_limit", 1000),
    )
    made(rule(manager, policy, "minimum_bandwidth", min_kbps=500))
    less = manager(
        "PUT",
        f"/qos/policies/{policy}/bandwidth_limit_rules/{limit['id']}",
        {"bandwidth_limit_rule": {"max_kbps": 400}},
    )
    assert error_of(less)[2] == said.format(400, policy, "minimum_bandwidth", 500)
    made(rule(manager, policy, "minimum_packet_rate", min_kpps=5, direction="any"))
    one = rule(manager, policy, "minimum_packet_rate", min_kpps=5, direction="egress")
    assert error_of(one)[2] == said.format("egress", policy, "minimum_packet_rate", "any")


def test_rules_without_their_policy_in_the_path(cloud, manager, policy):
    mark = made(rule(manager, policy, "dscp_marking", dscp_mark=26))
    path = f"/qos/alias_dscp_marking_rules/{mark['id']}"
    for name in (path, path.replace("_", "-", 3).replace("/alias-", "/alias-")):
        assert cloud.reader("GET", name).json() == {"alias_dscp_marking_rule": mark}
    body = {"alias_dscp_marking_rule": {"dscp_mark": 10}}
    assert cloud.member("PUT", path, body).status_code == 403
    assert manager("PUT", path, body).json() == {
        "alias_dscp_marking_rule": mark | {"dscp_mark": 10}
    }
    assert show(manager, "qos/policies", policy)["rules"][0]["dscp_mark"] == 10
    wrong = manager("GET", f"/qos/alias_bandwidth_limit_rules/{mark['id']}")
    assert error_of(wrong)[1:] == (
        "QosRuleNotFound",
        f"QoS rule {mark['id']} for policy  could not be found.",
    )
    assert cloud.other("GET", path).status_code == 404
    assert manager("GET", "/qos/alias_packet_rate_limit_rules/x").status_code == 404
    assert manager("DELETE", path).status_code == 204
    assert show(manager, "qos/policies", policy)["rules"] == []


def test_shared_with_all_or_with_one(cloud, manager, policy):
    made(rule(manager, policy, "dscp_marking", dscp_mark=26))
    assert put(manager, "qos/policies", policy, shared=True).json()["policy"]["shared"] is True
    assert show(cloud.other, "qos/policies", policy)["shared"] is True
    assert cloud.other.list(f"/qos/policies/{policy}/dscp_marking_rules") == []
    managing = cloud.client("manager,member,reader", TWO)
    assert rule(managing, policy, "bandwidth_limit", max_kbps=1).status_code == 403
    assert put(managing, "qos/policies", policy, name="x").status_code == 403
    network = cloud.other.make("network", qos_policy_id=policy)
    used = put(manager, "qos/policies", policy, shared=False)
    assert error_of(used)[:2] == (409, "RbacPolicyInUse")
    granted = cloud.member.make(
        "rbac_policy",
        object_type="qos_policy",
        object_id=policy,
        action="access_as_shared",
        target_tenant=TWO,
    )
    assert put(manager, "qos/policies", policy, shared=False).status_code == 200
    assert show(cloud.other, "qos/policies", policy)["shared"] is True
    path = f"/rbac-policies/{granted['id']}"
    assert error_of(cloud.member("DELETE", path))[:2] == (409, "RbacPolicyInUse")
    assert put(cloud.other, "networks", network["id"], qos_policy_id=None).status_code == 200
    assert cloud.member("DELETE", path).status_code == 204
    assert cloud.other("GET", f"/qos/policies/{policy}").status_code == 404
    wrong = cloud.member(
        "POST",
        "/rbac-policies",
        {
            "rbac_policy": {
                "object_type": "qos_policy",
                "object_id": policy,
                "action": "access_as_external",
                "target_tenant": TWO,
            }
        },
    )
    assert error_of(wrong) == (
        400,
        "InvalidActionForType",
        "Invalid action 'access_as_external' for object type 'qos_policy'. "
        "Valid actions: ('access_as_shared',)",
    )


def test_new_networks_of_a_project_get_its_default(cloud, manager):
    default = manager.make("policy", is_default=True)["id"]
    second = manager("POST", "/qos/policies", {"policy": {"is_default": True}})
    assert error_of(second) == (
        409,
        "QoSPolicyDefaultAlreadyExists",
        f"A default QoS policy exists for project {ONE}.",
    )
    assert cloud.member.make("network")["qos_policy_id"] == default
    assert cloud.member.make("network", qos_policy_id=None)["qos_policy_id"] == default
    assert cloud.other.make("network")["qos_policy_id"] is None
    assert put(manager, "qos/policies", default, is_default=False).status_code == 200
    assert cloud.member.make("network")["qos_policy_id"] is None


@pytest.fixture
def world(cloud, manager, policy):
    """A network with a port, an external one, a router and a floating IP; each is the caller's own."""
    network = cloud.member.make("network")["id"]
    cloud.member.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")
    outside = cloud.admin.make("network", **{"router:external": True})["id"]
    cloud.admin.make("subnet", network_id=outside, ip_version=4, cidr="192.0.2.0/24")
    return network, outside


def test_put_on_ports_and_networks(cloud, manager, policy, world):
    network, _ = world
    foreign = cloud.client("manager,member", TWO).make("policy")["id"]
    missing = (404, "QosPolicyNotFound", f"QoS policy {foreign} could not be found.")
    for collection, attrs in (("port", {"network_id": network}), ("network", {})):
        body = {collection: attrs | {"qos_policy_id": foreign}}
        assert error_of(cloud.member("POST", f"/{collection}s", body)) == missing
        made_of = cloud.member.make(collection, **attrs, qos_policy_id=policy)
        assert made_of["qos_policy_id"] == policy
        path = (f"{collection}s", made_of["id"])
        assert error_of(put(cloud.member, *path, qos_policy_id=foreign)) == missing
        assert error_of(put(cloud.member, *path, qos_policy_id="x"))[:2] == (400, "HTTPBadRequest")
        used = manager("DELETE", f"/qos/policies/{policy}")
        said = f"QoS Policy {policy} is used by {collection} {made_of['id']}."
        assert error_of(used) == (409, "QosPolicyInUse", said)
        assert put(cloud.admin, *path, qos_policy_id=foreign).status_code == 200
        assert error_of(put(cloud.member, *path, qos_policy_id=policy)) == (
            403,
            "PolicyRemoveAuthorizationError",
            f"Failed to remove provided policy {foreign} because you are not authorized.",
        )
        assert put(cloud.admin, *path, qos_policy_id=None).status_code == 200
        assert show(cloud.member, *path)["qos_policy_id"] is None
    port = cloud.member.make("port", network_id=network)
    assert port["qos_network_policy_id"] is None
    assert put(cloud.member, "networks", network, qos_policy_id=policy).status_code == 200
    assert show(cloud.member, "ports", port["id"])["qos_network_policy_id"] == policy
    listed = {each["qos_network_policy_id"] for each in cloud.member.list("/ports")}
    assert listed == {policy}
    listed = cloud.member.list(f"/ports?id={port['id']}&fields=qos_network_policy_id")
    assert listed == [{"qos_network_policy_id": policy}]
    fixed = put(cloud.member, "ports", port["id"], qos_network_policy_id=policy)
    assert error_of(fixed)[2] == "Cannot update read-only attribute qos_network_policy_id"
    filtered = cloud.member("GET", f"/ports?qos_policy_id={policy}")
    assert error_of(filtered)[2] == "['qos_policy_id'] is invalid attribute for filtering"


def test_put_on_floating_ips_and_gateways(cloud, manager, policy, world):
    _, outside = world
    fip = cloud.member.make("floatingip", floating_network_id=outside, qos_policy_id=policy)
    assert fip["qos_policy_id"] == policy
    used = manager("DELETE", f"/qos/policies/{policy}")
    assert error_of(used)[2] == f"QoS Policy {policy} is used by fip {fip['id']}."
    assert (
        put(cloud.member, "floatingips", fip["id"], description="d").json()["floatingip"][
            "qos_policy_id"
        ]
        == policy
    )
    assert put(cloud.member, "floatingips", fip["id"], qos_policy_id=None).status_code == 200
    assert show(cloud.member, "floatingips", fip["id"])["qos_policy_id"] is None

    way = {"network_id": outside}
    router = cloud.member.make("router", external_gateway_info=way | {"qos_policy_id": policy})
    assert router["external_gateway_info"]["qos_policy_id"] == policy
    used = manager("DELETE", f"/qos/policies/{policy}")
    assert error_of(used)[2] == f"QoS Policy {policy} is used by router {router['id']}."

    def gateway(**more):
        answer = put(cloud.member, "routers", router["id"], external_gateway_info=way | more)
        assert answer.status_code == 200, answer.text
        return answer.json()["router"]["external_gateway_info"].get("qos_policy_id", "absent")

    assert gateway() == policy
    assert gateway(qos_policy_id=None) == "absent"
    assert put(cloud.admin, "networks", outside, qos_policy_id=policy).status_code == 200
    assert gateway() is None
    assert gateway(qos_policy_id=policy) == policy
    nobodys = "b" * 32
    answer = put(
        cloud.member,
        "routers",
        router["id"],
        external_gateway_info=way | {"qos_policy_id": nobodys},
    )
    assert error_of(answer)[:2] == (404, "QosPolicyNotFound")
    cleared = put(cloud.member, "routers", router["id"], external_gateway_info={})
    assert cleared.json()["router"]["external_gateway_info"] is None
    assert put(cloud.admin, "networks", outside, qos_policy_id=None).status_code == 200
    assert manager("DELETE", f"/qos/policies/{policy}").status_code == 204


def test_what_is_promised_to_an_instance_does_not_change_under_it(cloud, manager, policy, world):
    port = cloud.member.make("port", network_id=world[0], qos_policy_id=policy)["id"]
    least = made(rule(manager, policy, "minimum_bandwidth", min_kbps=5))
    owner = put(cloud.admin, "ports", port, device_owner="compute:nova", device_id="x")
    assert owner.status_code == 200
    said = "Cannot update QoS policies/rules backed by resources tracked in Placement"
    more = rule(manager, policy, "minimum_bandwidth", min_kbps=5, direction="ingress")
    assert error_of(more) == (501, "NotImplementedError", said)
    path = f"/qos/policies/{policy}/minimum_bandwidth_rules/{least['id']}"
    assert manager("DELETE", path).status_code == 501
    made(rule(manager, policy, "bandwidth_limit", max_kbps=100))


def test_a_card_that_nobody_can_limit(cloud, manager, policy, world):
    made(rule(manager, policy, "bandwidth_limit", max_kbps=100))
    card = {"network_id": world[0], "binding:vnic_type": "macvtap"}
    answer = cloud.admin("POST", "/ports", {"port": card | {"qos_policy_id": policy}})
    assert error_of(answer)[:2] == (409, "QosRuleNotSupported")
    assert error_of(answer)[2].startswith("Rule bandwidth_limit is not supported by port ")
    port = cloud.admin.make("port", **card)["id"]
    answer = put(cloud.admin, "ports", port, qos_policy_id=policy)
    assert error_of(answer)[2] == f"Rule bandwidth_limit is not supported by port {port}"


def test_types_of_rules(cloud):
    types = {each["type"] for each in cloud.reader.list("/qos/rule-types")}
    assert types == {
        "bandwidth_limit",
        "dscp_marking",
        "minimum_bandwidth",
        "minimum_packet_rate",
        "packet_rate_limit",
    }
    assert len(cloud.reader.list("/qos/rule-types?all_rules=True")) == len(types)
    assert cloud.client("other").list("/qos/rule-types") == []
    assert error_of(cloud.member("GET", "/qos/rule-types/dscp_marking"))[:2] == (
        403,
        "NotAuthorized",
    )
    (driver,) = show(cloud.admin, "qos/rule-types", "bandwidth_limit")["drivers"]
    assert driver == {
        "name": "openvswitch",
        "supported_parameters": [
            {
                "parameter_name": "max_kbps",
                "parameter_values": {"start": 0, "end": 2147483647},
                "parameter_type": "range",
            },
            {
                "parameter_name": "max_burst_kbps",
                "parameter_values": {"start": 0, "end": 2147483647},
                "parameter_type": "range",
            },
            {
                "parameter_name": "direction",
                "parameter_values": ["ingress", "egress"],
                "parameter_type": "choices",
            },
        ],
    }
    assert cloud.admin("GET", "/qos/rule-types/nonsense").status_code == 404


def test_extensions_that_clients_ask_for(cloud):
    there = {each["alias"] for each in cloud.member.list("/extensions")}
    assert there >= {
        "qos",
        "qos-bw-limit-direction",
        "qos-bw-minimum-ingress",
        "qos-default",
        "qos-fip",
        "qos-gateway-ip",
        "qos-port-network-policy",
        "qos-pps",
        "qos-pps-minimum",
        "qos-pps-minimum-rule-alias",
        "qos-rule-type-details",
        "qos-rule-type-filter",
        "qos-rules-alias",
    }
    # There is no Placement that would be asked for what a port requests.
    assert "port-resource-request" not in there
