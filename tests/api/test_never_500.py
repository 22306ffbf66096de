"""Whatever is sent, the server's answer is never its own failure: each attribute with each JSON type, strange paths and queries."""

import json

import pytest

from netloom.contract.attributes import MAPS, SINGULARS
from netloom.model import NetworkSettings
from tests.support.networking import NETWORK

VALUES = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    2**70,
    1.5,
    "",
    "x",
    "\u0000",
    "ü" * 300,
    "10.0.0.0/24",
    "010.1.1.1",
    "fd00::1",
    "6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01",
    [],
    ["x"],
    [None],
    [5],
    [[]],
    [{}],
    {},
    {"a": 1},
    [{"start": "10.0.0.2", "end": "fd00::2"}],
    [{"ip_address": "10.0.0.300"}],
    [{"subnet_id": 5}],
    [{"destination": "10.0.0.1", "nexthop": "x"}],
    {"network_id": 5},
    {"network_id": "6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01", "external_fixed_ips": "x"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from tests.api.conftest import make_clouds

    quotas = dict.fromkeys(
        (
            "network",
            "subnet",
            "port",
            "router",
            "floatingip",
            "security_group",
            "security_group_rule",
        ),
        -1,
    )
    settings = NetworkSettings(
        vni_ranges=((1, 100_000),),
        vlan_ranges=NETWORK.vlan_ranges,
        quotas=quotas,
    )
    with make_clouds(tmp_path_factory.mktemp("never")) as make:
        cloud = make(settings)
        admin = cloud.admin
        network = admin.make("network")["id"]
        subnet = admin.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/16")["id"]
        external = admin.make("network", **{"router:external": True})["id"]
        admin.make("subnet", network_id=external, ip_version=4, cidr="203.0.112.0/20")
        router = admin.make("router", external_gateway_info={"network_id": external})["id"]
        group = admin.make("security_group", name="g")["id"]
        rule = admin.make(
            "security_group_rule", security_group_id=group, direction="ingress", protocol="tcp"
        )
        policy = {"object_type": "network", "object_id": network, "action": "access_as_shared"}
        policy |= {"target_tenant": "a" * 32}
        ids = {
            "networks": network,
            "subnets": subnet,
            "ports": admin.make("port", network_id=network)["id"],
            "routers": router,
            "floatingips": admin.make("floatingip", floating_network_id=external)["id"],
            "security_groups": group,
            "security_group_rules": rule["id"],
            "rbac_policies": admin.make("rbac_policy", **policy)["id"],
            "address_groups": admin.make("address_group", addresses=["10.0.0.0/8"])["id"],
        }
        ids["default_security_group_rules"] = admin.list("/default-security-group-rules")[0]["id"]
        parent, other, carried = (admin.make("port", network_id=network)["id"] for _ in range(3))
        carries = {"port_id": carried, "segmentation_type": "vlan", "segmentation_id": 7}
        ids["trunks"] = admin.make("trunk", port_id=parent, sub_ports=[carries])["id"]
        admin("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet})
        port = admin("GET", f"/ports/{ids['ports']}").json()["port"]
        forwarding = {"protocol": "tcp", "external_port": 22, "internal_port": 22}
        forwarding |= {"internal_port_id": port["id"]}
        forwarding |= {"internal_ip_address": port["fixed_ips"][0]["ip_address"]}
        below = f"/floatingips/{ids['floatingips']}/port_forwardings"
        made = admin("POST", below, {"port_forwarding": forwarding})
        ids["port_forwardings"] = made.json()["port_forwarding"]["id"]
        PATHS["port_forwardings"] = below
        ids["policies"] = qos = admin.make("policy")["id"]
        PATHS["policies"] = "/qos/policies"
        limits: dict[str, dict[str, object]] = {
            "bandwidth_limit_rules": {"max_kbps": 5},
            "dscp_marking_rules": {"dscp_mark": 10},
            "minimum_bandwidth_rules": {"min_kbps": 5},
            "minimum_packet_rate_rules": {"min_kpps": 5},
            "packet_rate_limit_rules": {"max_kpps": 5},
        }
        for rules, values in limits.items():
            PATHS[rules] = f"/qos/policies/{qos}/{rules}"
            PATHS[f"alias_{rules}"] = f"/qos/alias_{rules}"
            made = admin("POST", PATHS[rules], {rules.removesuffix("s"): values})
            ids[rules] = ids[f"alias_{rules}"] = made.json()[rules.removesuffix("s")]["id"]
        bodies = {
            "subnets": {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"},
            "ports": {"network_id": network},
            "floatingips": {"floating_network_id": external},
            "security_group_rules": {
                "security_group_id": group,
                "direction": "egress",
                "protocol": "udp",
            },
            "default_security_group_rules": {
                "direction": "egress",
                "protocol": "udp",
                "used_in_default_sg": False,
                "used_in_non_default_sg": False,
            },
            "rbac_policies": policy | {"target_tenant": "b" * 32},
            "trunks": {"port_id": other},
            "port_forwardings": forwarding | {"external_port": 23, "internal_port": 23},
            **{rules: values | {"direction": "ingress"} for rules, values in limits.items()},
        }
        yield cloud, ids, bodies


COLLECTIONS = sorted(set(MAPS) - {"agents", "availability_zones", "rule_types"})


PATHS = {}
"""Paths of collections that stand behind an object of another, when that is made."""


def path_of(collection):
    return PATHS.get(collection) or "/" + collection.replace("_", "-")


@pytest.mark.slow
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_bodies(world, collection):
    cloud, ids, bodies = world
    singular = SINGULARS[collection]
    for name in MAPS[collection]:
        for value in VALUES:
            body = {singular: bodies.get(collection, {}) | {name: value}}
            made = cloud.admin("POST", path_of(collection), body)
            assert made.status_code < 500 or made.status_code == 503, (body, made.text)
            if made.status_code == 201:
                cloud.admin("DELETE", f"{path_of(collection)}/{made.json()[singular]['id']}")
            changed = cloud.admin(
                "PUT", f"{path_of(collection)}/{ids[collection]}", {singular: {name: value}}
            )
            assert changed.status_code < 500, (name, value, changed.text)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_queries(world, collection):
    cloud, _, _ = world
    for name in (
        *MAPS[collection],
        "fields",
        "limit",
        "marker",
        "sort_key",
        "sort_dir",
        "page_reverse",
        "%00",
    ):
        for value in (
            "",
            "x",
            "5",
            "true",
            "null",
            "a=b",
            "ip_address=x",
            "%00",
            "%FF",
            "ü",
            "-1",
            "9" * 30,
        ):
            answer = cloud.admin("GET", f"{path_of(collection)}?{name}={value}")
            assert answer.status_code < 500, (name, value, answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/routers/{routers}/" + action
        for action in (
            "add_router_interface",
            "remove_router_interface",
            "add_extraroutes",
            "remove_extraroutes",
        )
    ],
)
def test_actions(world, path):
    cloud, ids, _ = world
    for value in VALUES:
        for body in (
            value,
            {"subnet_id": value},
            {"port_id": value},
            {"router": value},
            {"router": {"routes": value}},
        ):
            answer = cloud.admin("PUT", path.format(**ids), json.dumps(body).encode())
            assert answer.status_code < 500, (body, answer.text)


@pytest.mark.parametrize(
    "path", ["/quotas/p", "/agents/x", "/networks/{networks}/tags", "/ports/{ports}/tags/x"]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
def test_odd_ends(world, path, method):
    cloud, ids, _ = world
    for value in VALUES:
        for body in (
            value,
            {"quota": value},
            {"quota": {"network": value}},
            {"agent": value},
            {"tags": value},
        ):
            answer = cloud.admin(method, path.format(**ids), json.dumps(body).encode())
            assert answer.status_code < 500, (body, answer.text)


@pytest.mark.parametrize("id", ["%00", "%FF", "..", "x" * 5000, "ü", "%2F", "'", "<x>"])
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_ids(world, collection, id):
    cloud, _, _ = world
    for method in ("GET", "DELETE"):
        assert cloud.admin(method, f"{path_of(collection)}/{id}").status_code < 500
