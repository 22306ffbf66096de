"""Bodies, against what Neutron 29 answered (asked of the oracle)."""

import json

import pytest
from neutron_lib import exceptions as lib

from netloom.contract import errors
from netloom.contract.attributes import MAPS
from netloom.contract.decode import decode_create, decode_update
from netloom.model import Caller

MEMBER = Caller(project_id="p1", roles=frozenset({"member", "reader"}))
ADMIN = Caller(project_id="p0", roles=frozenset({"admin"}))
UUID = "6f1b1c1e-0f0b-4d0e-9a3e-0d7c0a0c0d01"


def create(collection, value, caller=MEMBER):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return decode_create(collection, body, caller)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Unable to find 'network' in request body"),
        (b"{", "Body contains invalid data"),
        (b"[]", "Body contains invalid data"),
        (b"{}", "Unable to find 'network' in request body"),
        (b'{"x": 1}', "Unable to find 'network' in request body"),
        (b'{"network": null}', "Unable to find 'network' in request body"),
        (b'{"network": []}', "Object 'network' contains invalid data"),
        (b'{"networks": []}', "Resources required"),
        (b'{"networks": {"name": 3}}', "Object 'network' contains invalid data"),
        (b'{"network": {"foo": 1, "bar": 2}}', "Unrecognized attribute(s) 'foo, bar'"),
        (b'{"network": {"name": 5}}', "Invalid input for name. Reason: '5' is not a valid string."),
        (b'{"network": {"id": "x"}}', "Attribute 'id' not allowed in POST"),
        (b'{"network": {"tags": ["x"]}}', "Attribute 'tags' not allowed in POST"),
        (
            b'{"network": {"tenant_id": "a", "project_id": "b"}}',
            "'project_id' and 'tenant_id' do not match",
        ),
        (
            b'{"network": {"project_id": "b"}}',
            "Specifying 'project_id' other than the authenticated project in request is not allowed for the "
            "current user.",
        ),
    ],
)
def test_a_wrong_body_is_refused_in_neutrons_words(body, message):
    with pytest.raises(errors.HTTPBadRequest) as caught:
        create("networks", body)
    assert str(caught.value) == message
    assert errors.code_of(caught.value) == 400


def test_a_value_that_cannot_be_converted_is_invalid_input():
    with pytest.raises(lib.InvalidInput) as caught:
        create("networks", {"network": {"admin_state_up": "x"}})
    assert str(caught.value) == "Invalid input for operation: 'x' cannot be converted to boolean."


def test_required_attributes():
    with pytest.raises(
        errors.HTTPBadRequest, match="Required attribute 'ip_version' not specified"
    ):
        create("subnets", {"subnet": {}})


def test_defaults_and_owner_are_filled_in_and_undecided_ones_are_absent():
    decoded = create("networks", {"network": {}})
    assert not decoded.bulk
    assert decoded.items == [
        {
            "name": "",
            "admin_state_up": True,
            "project_id": "p1",
            "shared": False,
            "router:external": False,
            "mtu": 0,
            "availability_zone_hints": [],
            "port_security_enabled": True,
            "qos_policy_id": None,
            "is_default": False,
            "description": "",
        }
    ]


def test_mutable_defaults_are_not_shared():
    first = create("networks", {"network": {}}).items[0]
    first["availability_zone_hints"].append("x")
    assert create("networks", {"network": {}}).items[0]["availability_zone_hints"] == []


def test_bulk_with_and_without_inner_wrappers():
    decoded = create("networks", {"networks": [{"name": "a"}, {"network": {"name": "b"}}]})
    assert decoded.bulk
    assert [item["name"] for item in decoded.items] == ["a", "b"]


def test_an_administrator_names_another_project_under_either_name():
    assert (
        create("networks", {"network": {"tenant_id": "p9"}}, ADMIN).items[0]["project_id"] == "p9"
    )
    assert (
        create("networks", {"network": {"project_id": "p9"}}, ADMIN).items[0]["project_id"] == "p9"
    )


def test_an_update_holds_only_what_was_sent():
    assert decode_update("networks", b'{"network": {"name": "x"}}', MEMBER) == {"name": "x"}
    assert decode_update("routers", b'{"router": {"routes": null}}', MEMBER) == {"routes": []}


def test_read_only_attributes():
    with pytest.raises(errors.HTTPBadRequest, match="Cannot update read-only attribute cidr"):
        decode_update("subnets", b'{"subnet": {"cidr": "10.0.0.0/24"}}', MEMBER)


def test_bulk_update_is_refused():
    with pytest.raises(errors.HTTPBadRequest, match="Bulk operation not supported"):
        decode_update("networks", b'{"networks": [{"name": "x"}]}', MEMBER)


@pytest.mark.parametrize("collection", sorted(set(MAPS) - {"agents", "availability_zones"}))
@pytest.mark.parametrize(
    "value", [5, "x", [], {}, [1], [{}], {"a": []}, True, None, 2**70, "\ud83d", [[]]]
)
def test_whatever_is_sent_the_error_is_the_clients(collection, value):
    """Every attribute with every JSON type: accepted, or refused with a 4xx of the contract."""
    for name in MAPS[collection]:
        body = {
            "network_id": UUID,
            "floating_network_id": UUID,
            "ip_version": 4,
            "direction": "egress",
        }
        body |= {"security_group_id": UUID, "cidr": "10.0.0.0/24"}
        body = {key: value for key, value in body.items() if key in MAPS[collection]} | {
            name: value
        }
        singular = collection[:-1]
        try:
            raw = json.dumps({singular: body}, ensure_ascii=False).encode("utf-8", "surrogatepass")
            create(collection, raw, ADMIN)
        except Exception as error:
            assert 400 <= errors.code_of(error) < 500, (name, value, error)


def test_security_group_rules_keep_neutrons_spellings():
    sent = {
        "security_group_id": UUID,
        "direction": "ingress",
        "protocol": "TCP",
        "ethertype": "ipv4",
    }
    sent |= {"remote_ip_prefix": "10.0.0.5/24", "port_range_min": "22", "port_range_max": 22}
    item = create("security_group_rules", {"security_group_rule": sent}).items[0]
    assert item["protocol"] == "tcp"
    assert item["ethertype"] == "IPv4"
    assert item["remote_ip_prefix"] == "10.0.0.5/24"
    assert item["port_range_min"] == 22


@pytest.mark.parametrize(
    ("attribute", "value", "kind", "code"),
    [
        ("protocol", "nope", "SecurityGroupRuleInvalidProtocol", 400),
        ("protocol", 256, "SecurityGroupRuleInvalidProtocol", 400),
        ("protocol", " 6", "SecurityGroupRuleInvalidProtocol", 400),
        ("protocol", "1_0", "SecurityGroupRuleInvalidProtocol", 400),
        ("ethertype", "IPv5", "SecurityGroupRuleInvalidEtherType", 400),
        ("port_range_min", 70000, "SecurityGroupInvalidPortValue", 400),
        ("remote_ip_prefix", "10.0.0.300", "InvalidCIDR", 400),
        ("direction", "sideways", "HTTPBadRequest", 400),
    ],
)
def test_security_group_rule_errors(attribute, value, kind, code):
    sent = {"security_group_id": UUID, "direction": "ingress", attribute: value}
    with pytest.raises(Exception) as caught:
        create("security_group_rules", {"security_group_rule": sent})
    assert type(caught.value).__name__ == kind
    assert errors.code_of(caught.value) == code


def test_a_group_called_default_cannot_be_made():
    with pytest.raises(Exception) as caught:
        create("security_groups", {"security_group": {"name": "Default"}})
    assert type(caught.value).__name__ == "SecurityGroupDefaultAlreadyExists"
    assert errors.code_of(caught.value) == 409
