"""Networks in GRE, Geneve and VXLAN side by side, over IPv4 and IPv6: type, key, ends and sizes, seen on the wire."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from netloom.model.names import tunnel_overhead
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import NETWORKING, Capture, Instance, Tenant, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

TYPES = ("gre", "geneve", "vxlan")
FILTER = {
    "vxlan": "udp port 4789",
    "geneve": "udp port 6081",
    "gre": "proto 47",
}
KEY = {"vxlan": r"VXLAN, .*vni {}\b", "geneve": r"Geneve, .*vni {:#x}\b", "gre": r"key={:#x}\b"}
"""How tcpdump shows the key of a tunnel."""
ANY = {"ethertype": "IPv4"}


@dataclass(frozen=True)
class Pair:
    """A network of one type and an instance of it on each compute host."""

    type: str
    network: dict[str, Any]
    one: Instance
    two: Instance


class Cloud:
    """A network of each tunnel type on one router, with a pair of instances each."""

    def __init__(self, lab: RunningLab, tenant: Tenant) -> None:
        self.lab, self.tenant = lab, tenant
        group = tenant.group(ANY)
        networks = {
            kind: tenant.network(
                f"in-{kind}", f"10.7{number}.0.0/24", None, **{"provider:network_type": kind}
            )
            for number, kind in enumerate(TYPES)
        }
        self.router = tenant.router(*networks.values())
        asked = {
            (kind, host): tenant.boot(f"{kind}-{host}", host, networks[kind], group)
            for kind in TYPES
            for host in ("compute1", "compute2")
        }
        self.pairs = {
            kind: Pair(
                kind,
                networks[kind],
                tenant.instance(asked[kind, "compute1"]),
                tenant.instance(asked[kind, "compute2"]),
            )
            for kind in TYPES
        }
        for pair in self.pairs.values():
            pair.one.reaches(pair.two.address)

    def end(self, host: str) -> str:
        """A host's end of tunnels."""
        agents = self.tenant.get(
            f"{NETWORKING}/agents", host=host, binary="neutron-openvswitch-agent"
        )
        return agents["agents"][0]["configurations"]["tunneling_ip"]


@pytest.fixture(scope="module")
def cloud(lab: RunningLab) -> Iterator[Cloud]:
    with Tenant(lab) as tenant:
        yield Cloud(lab, tenant)


@pytest.fixture(scope="module")
def cloud_over_ipv6() -> Iterator[Cloud]:
    with own_lab("six", 2, overlay_ip_version=6) as lab, Tenant(lab) as tenant:
        yield Cloud(lab, tenant)


def check_wire(cloud: Cloud, pair: Pair) -> None:
    """The frames of a ping, and of its answer, are in tunnels of the network's type, with its key, between the two hosts."""
    one, two = cloud.end("compute1"), cloud.end("compute2")
    with Capture(on_host(cloud.lab, "compute1"), "eth-underlay", "host", two) as capture:
        assert pair.one.pings(pair.two.address, count=3)
    key = KEY[pair.type].format(pair.network["provider:segmentation_id"])
    for source, target, what in ((one, two, "echo request"), (two, one, "echo reply")):
        outer = rf" {re.escape(source)}[. ].*> {re.escape(target)}[.:].*{key}"
        inner = rf"[^\n]*\n?[^\n]*{what}"
        seen = re.findall(f"{outer}{inner}", capture.text)
        assert len(seen) >= 3, f"{outer}{inner}\n{capture.text}"
    print(capture.text)


def check_sizes(cloud: Cloud, pair: Pair, version: int) -> None:
    """The MTU reaches the instance by DHCP; a packet of that size passes whole, one more byte is refused at its sender."""
    mtu = 1500 - tunnel_overhead(pair.type, version)
    assert pair.network["mtu"] == mtu
    assert f"mtu {mtu} " in pair.one.run("ip", "link", "show", "dev", "eth0")
    whole = ("-M", "do", "-s", str(mtu - 28))
    assert pair.one.pings(pair.two.address, *whole, count=3)
    larger = ("-M", "do", "-s", str(mtu - 27))
    said = pair.one.run("ping", "-c", "1", "-W", "1", *larger, pair.two.address)
    assert re.search(rf"[Mm]essage too long, mtu[:=] ?{mtu}", said), said


def check_explained(cloud: Cloud, pair: Pair) -> None:
    """Explain names the tunnel with its type, key and ends, and a packet that is too big for it."""
    one, two = cloud.end("compute1"), cloud.end("compute2")
    names = {"source": pair.one.port["id"], "destination": pair.two.address}
    answer = cloud.tenant.get("/explain/v1", **names)
    assert answer["verdict"] == "reachable", answer
    key = pair.network["provider:segmentation_id"]
    assert f"{pair.type} tunnel, key {key}, from {one} to {two}" in str(answer), answer
    answer = cloud.tenant.get("/explain/v1", **names, size=str(pair.network["mtu"] + 1))
    assert answer["verdict"] != "reachable" and answer["cause"] == "too_big", answer


@pytest.mark.parametrize("kind", TYPES)
def test_a_frame_is_in_its_network_s_tunnel(cloud: Cloud, kind: str) -> None:
    check_wire(cloud, cloud.pairs[kind])


@pytest.mark.parametrize(("kind", "mtu"), [("vxlan", 1450), ("gre", 1458), ("geneve", 1442)])
def test_the_mtu_of_a_tunnel_holds_on_the_way(cloud: Cloud, kind: str, mtu: int) -> None:
    assert cloud.pairs[kind].network["mtu"] == mtu
    check_sizes(cloud, cloud.pairs[kind], 4)


def test_the_router_says_that_a_packet_is_too_big_for_the_next_network(cloud: Cloud) -> None:
    large, small = cloud.pairs["gre"], cloud.pairs["geneve"]
    large.one.reaches(small.two.address)
    assert large.one.pings(small.two.address, "-M", "do", "-s", str(1442 - 28))
    large.one.run("ip", "route", "flush", "cache")
    said = large.one.run(
        "ping", "-c", "1", "-W", "2", "-M", "do", "-s", str(1442 - 27), small.two.address
    )
    assert "frag needed" in said.lower() and "mtu = 1442" in said, said


@pytest.mark.parametrize("kind", TYPES)
def test_explain_names_the_tunnel(cloud: Cloud, kind: str) -> None:
    check_explained(cloud, cloud.pairs[kind])


@pytest.mark.parametrize("kind", TYPES)
def test_a_lost_tunnel_port_comes_back(cloud: Cloud, kind: str) -> None:
    pair = cloud.pairs[kind]
    cloud.lab.exec("compute1", "ovs-vsctl", "del-port", "br-int", f"{kind}0")
    pair.one.reaches(pair.two.address, 15)


@pytest.mark.parametrize("kind", TYPES)
def test_over_ipv6(cloud_over_ipv6: Cloud, kind: str) -> None:
    """Type, key and ends on the wire, 20 bytes less of MTU, explain and repair: all as over IPv4."""
    pair = cloud_over_ipv6.pairs[kind]
    check_wire(cloud_over_ipv6, pair)
    check_sizes(cloud_over_ipv6, pair, 6)
    check_explained(cloud_over_ipv6, pair)
    test_a_lost_tunnel_port_comes_back(cloud_over_ipv6, kind)


def test_over_ipv6_nothing_differs_and_nobody_is_silent(cloud_over_ipv6: Cloud) -> None:
    lab = cloud_over_ipv6.lab
    RunningLab.until(lambda: "no errors" in lab.status(), 30, lab.status())
    command = [sys.executable, "-m", "netloom", "doctor", "--name", lab.lab.name]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def test_a_second_external_network_is_in_a_tunnel_and_works(lab: RunningLab) -> None:
    """Without provider attributes, where `public` has the physical network: SNAT and a floating IP, as on any other."""
    with Tenant(lab) as tenant:
        group = tenant.group(ANY)
        outer = tenant.network("second", "10.76.0.0/24", None, **{"router:external": True})
        assert outer["provider:network_type"] == "vxlan" and outer["router:external"]
        inner = tenant.network("behind-second", "10.77.0.0/24")
        tenant.router(inner, external="second")
        asked = [
            tenant.boot("inside", "compute1", inner, group),
            tenant.boot("outside", "compute2", outer, group),
        ]
        inside, outside = map(tenant.instance, asked)
        inside.reaches(outside.address)
        floating = tenant.make(
            "floatingips", floating_network_id=outer["id"], port_id=inside.port["id"]
        )
        outside.reaches(floating["floating_ip_address"])
