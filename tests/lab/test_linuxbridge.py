"""Hosts with Linux bridges, and one with Open vSwitch among them: one cloud, the same rules, real packets.

What is the same on both backends is tested by the same tests: `pytest --backend linuxbridge tests/lab/test_isolation.py …`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from netloom.lab.topology import GATEWAYS, WEB
from tests.support.pings import Pinging
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import NETWORKING, Capture, Instance, Tenant, flat_network, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

TABLE = "netloom-bridge"
PING = {"protocol": "icmp"}


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    with own_lab("lbr", 3, backend="linuxbridge", backends={"compute3": "ovs"}) as running:
        yield running


@pytest.fixture(scope="module")
def cloud(lab: RunningLab) -> Iterator[SimpleNamespace]:
    """A network on all hosts behind a router, and instances on each compute host."""
    with Tenant(lab) as tenant:
        made = SimpleNamespace(tenant=tenant)
        made.open = tenant.group(PING, {"protocol": "tcp", "port_range_min": 80, "port_range_max": 90})
        made.red = tenant.network("red", "10.61.0.0/24")
        made.router = tenant.router(made.red)
        asked = {f"red{n}": tenant.boot(f"red{n}", f"compute{n}", made.red, made.open) for n in (1, 2, 3)}
        for name, server in asked.items():
            setattr(made, name, tenant.instance(server))
        yield made


def test_hosts_of_both_backends_share_a_vxlan_network(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    for one in (cloud.red1, cloud.red2, cloud.red3):
        for other in (cloud.red1, cloud.red2, cloud.red3):
            one.reaches(other.address)
    cloud.red1.reaches(WEB)
    assert "ovs-vswitchd" not in lab.exec("compute1", "ps", "ax")
