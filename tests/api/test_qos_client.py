"""The unmodified `openstack` client's commands for QoS, with real tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cloud import Cloud, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder: Path = tmp_path_factory.mktemp("qos")
    network = {"external_physical_network": "public", "flat_networks": ["public"]}
    with running(folder, network=network) as cloud:
        yield cloud


def test_every_command_about_qos(cloud: Cloud) -> None:
    def said(line: str) -> str:
        return cloud.openstack(*line.split())

    def value(line: str, column: str) -> str:
        return said(f"{line} -f value -c {column}").strip()

    policy = value("network qos policy create --description d gold", "id")
    said("network qos policy set --name silver --share --default gold")
    assert value("network qos policy show silver", "shared") == "True"
    said("network qos policy set --no-default silver")
    assert value("network qos policy list", "Name") == "silver"
    rules = {
        "bandwidth-limit": "--max-kbps 1000 --max-burst-kbits 100 --ingress",
        "dscp-marking": "--dscp-mark 26",
        "minimum-bandwidth": "--min-kbps 10 --egress",
        "minimum-packet-rate": "--min-kpps 10 --any",
    }
    ids = {
        type: value(f"network qos rule create --type {type} {values} silver", "id")
        for type, values in rules.items()
    }
    assert set(value("network qos rule list silver", "ID").split()) == set(ids.values())
    said(f"network qos rule set --max-kbps 2000 silver {ids['bandwidth-limit']}")
    assert value(f"network qos rule show silver {ids['bandwidth-limit']}", "max_kbps") == "2000"
    said(f"network qos rule delete silver {ids['minimum-packet-rate']}")
    assert "packet_rate_limit" in said("network qos rule type list --all-supported")
    assert "openvswitch" in said("network qos rule type show dscp_marking")

    said("network create --external public")
    said("subnet create --network public --subnet-range 192.0.2.0/24 outside")
    said("network create --qos-policy silver inside")
    said("subnet create --network inside --subnet-range 10.0.0.0/24 inner")
    said("port create --network inside --qos-policy silver card")
    assert value("port show card", "qos_policy_id") == policy
    assert value("port show card", "qos_network_policy_id") == policy
    said("port unset --qos-policy card")
    said("port set --qos-policy silver card")
    said("network set --no-qos-policy inside")
    said("router create r")
    said("router set --external-gateway public --qos-policy silver r")
    assert policy in value("router show r", "external_gateway_info")
    said("router unset --qos-policy r")
    assert policy not in value("router show r", "external_gateway_info")
    address = value("floating ip create --qos-policy silver public", "floating_ip_address")
    said(f"floating ip unset --qos-policy {address}")
    said(f"floating ip set --qos-policy silver {address}")
    assert value(f"floating ip show {address}", "qos_policy_id") == policy
    shared = "--type qos_policy --action access_as_shared --target-all-projects"
    said("network qos policy set --no-share silver")
    rbac = value(f"network rbac create {shared} silver", "id")
    assert value("network qos policy show silver", "shared") == "True"
    said(f"network rbac delete {rbac}")
    said(f"floating ip delete {address}")
    said("port delete card")
    said("network qos policy delete silver")
    assert said("network qos policy list").strip() == ""
