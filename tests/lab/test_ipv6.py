"""IPv6 in a cloud of several hosts: the API's addresses are those that instances make themselves, and rules count for them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Instance, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]

PING = {"protocol": "ipv6-icmp", "ethertype": "IPv6"}
MODES = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}


def own(instance: Instance) -> str:
    """The instance's IPv6 address as the API says it."""
    every = [fixed["ip_address"] for fixed in instance.port["fixed_ips"]]
    return next(address for address in every if ip_address(address).version == 6)


def test_instances_of_two_networks_speak_ipv6(lab: RunningLab) -> None:
    """On two hosts, by SLAAC, within a network and through an ordinary router; a rule opens, its end closes."""
    with Tenant(lab) as tenant:
        router = tenant.make("routers", name="six", distributed=False, ha=False)
        nets: list[dict[str, Any]] = []
        for number in (1, 2):
            net = tenant.network(f"six{number}", f"10.6{number + 5}.0.0/24")
            subnet = tenant.make(
                "subnets",
                network_id=net["id"],
                ip_version=6,
                cidr=f"fd00:66:{number}::/64",
                **MODES,
            )
            path = f"{NETWORKING}/routers/{router['id']}/add_router_interface"
            tenant.put(path, {"subnet_id": subnet["id"]})
            nets.append(net)
        opened, closed = tenant.group(PING), tenant.group()
        booted = [
            tenant.boot("a", "compute1", nets[0], opened),
            tenant.boot("b", "compute2", nets[0], opened),
            tenant.boot("c", "compute2", nets[1], closed),
        ]
        a, b, c = map(tenant.instance, booted)
        a.reaches(own(b))
        b.reaches(own(a))
        c.reaches(own(a))  # through the router, to whom lets it in
        assert not a.pings(own(c))
        rule = tenant.make(
            "security-group-rules", security_group_id=closed["id"], direction="ingress", **PING
        )
        a.reaches(own(c))
        tenant.delete(f"{NETWORKING}/security-group-rules/{rule['id']}")
        RunningLab.until(lambda: not a.pings(own(c)), 30, "the rule's end does not close")
        # A full-size packet passes, one that is larger than the network's is never sent.
        mtu = nets[0]["mtu"]
        assert a.pings(own(b), "-M", "do", "-s", str(mtu - 48))
