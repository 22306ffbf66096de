"""What is built in a lab for each picture, and what is asked: source, destination and protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from netloom.lab.topology import WEB
from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Instance, Tenant

ANY = {"ethertype": "IPv4"}


@dataclass
class Cloud:
    """A tenant in the lab and what several pictures share."""

    lab: RunningLab
    tenant: Tenant
    group: dict[str, Any] = field(default_factory=dict[str, Any])

    def pair(self, network: dict[str, Any], *hosts: str) -> list[Instance]:
        """An instance on each host, ACTIVE."""
        name = network["name"]
        asked = [
            self.tenant.boot(f"{name}{n + 1}", h, network, self.group) for n, h in enumerate(hosts)
        ]
        return [self.tenant.instance(each) for each in asked]

    def routed(self, name: str, cidr: str, **router: Any) -> Instance:
        """An instance behind a router with a gateway."""
        network = self.tenant.network(name, cidr)
        self.tenant.router(network, **router)
        (instance,) = self.pair(network, "compute1")
        return instance


Question = tuple[str, str]


def tunnel(kind: str) -> Callable[[Cloud], Question]:
    """Two instances of one network, on two hosts."""

    def built(cloud: Cloud) -> Question:
        number = ("vxlan", "gre", "geneve").index(kind)
        more = {"provider:network_type": kind}
        network = cloud.tenant.network(f"in-{kind}", f"10.9{number}.0.0/24", None, **more)
        one, two = cloud.pair(network, "compute1", "compute2")
        return one.port["id"], two.port["id"]

    return built


def vlan(cloud: Cloud) -> Question:
    """Two instances on a VLAN of a physical network."""
    tagged = {"provider:network_type": "vlan", "provider:physical_network": "extnet"}
    network = cloud.tenant.network("office", "10.93.0.0/24", None, **tagged)
    one, two = cloud.pair(network, "compute1", "compute2")
    return one.port["id"], two.port["id"]


def trunk(cloud: Cloud) -> Question:
    """An instance with a subport, and an instance of the subport's network."""
    tenant = cloud.tenant
    native, tagged = tenant.network("native", "10.94.0.0/24"), tenant.network("red", "10.95.0.0/24")
    (plain,) = cloud.pair(tagged, "compute2")
    groups = [cloud.group["id"]]
    parent = tenant.make("ports", network_id=native["id"], security_groups=groups)
    sub = tenant.make("ports", name="red-sub", network_id=tagged["id"], security_groups=groups)
    entry = {"port_id": sub["id"], "segmentation_type": "vlan", "segmentation_id": 101}
    tenant.make("trunks", port_id=parent["id"], sub_ports=[entry])
    tenant.instance(tenant.boot_on("trunked", "compute1", parent))
    return sub["id"], plain.port["id"]


def central(cloud: Cloud) -> Question:
    """From outside to a floating IP through an ordinary router."""
    instance = cloud.routed("private", "10.96.0.0/24")
    return "203.0.113.1", cloud.tenant.floating_ip(instance.port["id"])["floating_ip_address"]


def snat(cloud: Cloud) -> Question:
    """Out by SNAT of an ordinary router."""
    return cloud.routed("hidden", "10.97.0.0/24").port["id"], WEB


def highly_available(cloud: Cloud) -> Question:
    """Out by an HA router."""
    instance = cloud.routed("safe", "10.98.0.0/24", ha=True)
    router = next(r for r in cloud.tenant.get(f"{NETWORKING}/routers")["routers"] if r["ha"])
    path = f"{NETWORKING}/routers/{router['id']}/l3-agents"

    def one_is_active() -> bool:
        states = sorted(agent["ha_state"] for agent in cloud.tenant.get(path)["agents"])
        return states == ["active", "standby"]

    RunningLab.until(one_is_active, 30, "no replica is active")
    return instance.port["id"], WEB


def spread(cloud: Cloud) -> Question:
    """Two instances of two networks of a distributed router."""
    red = cloud.tenant.network("red-spread", "10.99.0.0/24")
    blue = cloud.tenant.network("blue-spread", "10.100.0.0/24")
    cloud.tenant.router(red, blue, distributed=True)
    (one,), (two,) = cloud.pair(red, "compute1"), cloud.pair(blue, "compute2")
    return one.port["id"], two.port["id"]


def spread_floating(cloud: Cloud) -> Question:
    """From outside to a floating IP through a distributed router."""
    instance = cloud.routed("at-home", "10.101.0.0/24", distributed=True)
    return "203.0.113.1", cloud.tenant.floating_ip(instance.port["id"])["floating_ip_address"]


def spread_snat(cloud: Cloud) -> Question:
    """Out by SNAT of a distributed router."""
    return cloud.routed("shy", "10.102.0.0/24", distributed=True).port["id"], WEB


def limited(cloud: Cloud) -> Question:
    """From an instance whose port has limits and a mark."""
    tenant = cloud.tenant
    policy = tenant.request("POST", f"{NETWORKING}/qos/policies", json={"policy": {"name": "gold"}})
    path = f"{NETWORKING}/qos/policies/{policy['policy']['id']}"
    for sort, rule in (
        ("bandwidth_limit", {"max_kbps": 1000}),
        ("packet_rate_limit", {"max_kpps": 1}),
        ("dscp_marking", {"dscp_mark": 26}),
    ):
        tenant.request("POST", f"{path}/{sort}_rules", json={f"{sort}_rule": rule})
    network = tenant.network("slow", "10.103.0.0/24")
    one, two = cloud.pair(network, "compute1", "compute2")
    port = {"port": {"qos_policy_id": policy["policy"]["id"]}}
    tenant.put(f"{NETWORKING}/ports/{one.port['id']}", port)
    return one.port["id"], two.port["id"]


def bridged(cloud: Cloud) -> Question:
    """From an instance on a host with Linux bridges to one on a host with Open vSwitch."""
    network = cloud.tenant.network("mixed", "10.104.0.0/24")
    one, two = cloud.pair(network, "compute3", "compute1")
    return one.port["id"], two.port["id"]


PICTURES: dict[str, Callable[[Cloud], Question]] = {
    "vxlan": tunnel("vxlan"),
    "gre": tunnel("gre"),
    "geneve": tunnel("geneve"),
    "vlan": vlan,
    "trunk": trunk,
    "floating-ip": central,
    "snat": snat,
    "ha": highly_available,
    "distributed": spread,
    "distributed-floating-ip": spread_floating,
    "distributed-snat": spread_snat,
    "linuxbridge": bridged,
    "qos": limited,
}
"""Name of the place in the page → what is built there."""


def drawn(cloud: Cloud, names: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Build and ask, one after another: (name, the answer of `/explain/v1`)."""
    for name in names:
        source, destination = PICTURES[name](cloud)
        query = {"source": source, "destination": destination}

        def answer(query: dict[str, str] = query) -> dict[str, Any]:
            return cloud.tenant.get("/explain/v1", **query)

        RunningLab.until(lambda: answer()["verdict"] == "reachable", 30, f"{name}: {answer()}")
        yield name, answer()
