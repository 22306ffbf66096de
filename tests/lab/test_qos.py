"""QoS with real packets: limits of ports, networks, floating IPs and gateways within 10 %, marks, and what a change changes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netloom.lab.topology import WEB
from tests.support import flood
from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Background, Tenant, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

ANY = {"ethertype": "IPv4"}
FLOOD = (sys.executable, str(Path(flood.__file__)))
HOST, OTHER = "compute1", "compute2"
SECONDS = {"tcp": ("1.5", "2.5", "5"), "udp": ("0.8", "1.5", "3")}
"""Protocol → seconds that are not counted (a burst comes first), that are, and for which is sent."""
TOO_MUCH = 2.5
"""A UDP sender tries so much more than gets through: a burst is used up within half a second."""

TCP_FRAME = (1450 + 14) / (1450 - 52)
"""Bytes that a limit counts for each byte that a program gets by TCP."""

Line = Sequence[str]


class Stream(NamedTuple):
    """What is sent; `mbit`: what should come of it, in millions of bits of frames a second."""

    protocol: str
    sender: Line
    receiver: Line
    address: str
    mbit: float
    size: int = 1400


class World:
    """An instance to limit (`near`) and one to talk to, on different hosts; both reach outside."""

    def __init__(self, lab: RunningLab, tenant: Tenant) -> None:
        self.lab, self.tenant = lab, tenant
        self.group = tenant.group(ANY)
        self.network = tenant.network("of-qos", "10.90.0.0/24")
        self.router = tenant.router(self.network)
        servers = [
            tenant.boot(f"qos-{host}", host, self.network, self.group) for host in (HOST, OTHER)
        ]
        self.near, self.far = (tenant.instance(server) for server in servers)
        self.near.reaches(self.far.address)
        self._ports = iter(range(5001, 6000))

    def put(self, collection: str, id: str, **attributes: Any) -> None:
        """Change an object."""
        path = f"{NETWORKING}/{collection}/{id}"
        self.tenant.put(path, {collection.removesuffix("s"): attributes})

    def meters(self, host: str) -> list[tuple[str, str]]:
        """What the host's switch bounds, as `ovs-ofctl dump-meters` writes it."""
        said = self.lab.exec(host, *OFCTL, "dump-meters", "br-int")
        return sorted(re.findall(r"(\w+) burst bands=\s*type=drop (rate=\d+ burst_size=\d+)", said))

    def flows(self, host: str) -> set[str]:
        """The flows of the host's switch, without what they counted."""
        said = self.lab.exec(host, *OFCTL, "--no-stats", "dump-flows", "br-int")
        return set(said.splitlines())

    def until_metered(self, host: str, *wanted: tuple[str, int, int]) -> None:
        """Wait until the host's switch has these meters and no others: (unit, rate, burst)."""
        shown = sorted((unit, f"rate={rate} burst_size={burst}") for unit, rate, burst in wanted)
        RunningLab.until(
            lambda: self.meters(host) == shown, 30, f"{host} has not exactly the meters {shown}"
        )

    def measure(self, *streams: Stream) -> list[dict[str, Any]]:
        """Send all at once; returns what came of each, `mbit` in millions of bits of frames a second."""
        receivers: list[Background] = []
        senders: list[Background] = []
        for protocol, sender, receiver, address, mbit, size in streams:
            port = str(next(self._ports))
            skip, counted, sent = SECONDS[protocol]
            receiving = Background([*receiver, *FLOOD, "receive", protocol, port, skip, counted])
            assert receiving.process.stdout is not None
            assert receiving.process.stdout.readline() == "ready\n"
            receivers.append(receiving)
            more = [str(mbit * TOO_MUCH), str(size)] if protocol == "udp" else []
            line = [*sender, *FLOOD, "send", protocol, address, port, sent, *more]
            senders.append(Background(line))
        found: list[dict[str, Any]] = []
        for stream, receiving in zip(streams, receivers, strict=True):
            said, _ = receiving.process.communicate(timeout=30)
            came = json.loads(said.strip().splitlines()[-1])
            frame = (stream.size + 42) / stream.size if stream.protocol == "udp" else TCP_FRAME
            found.append(came | {"mbit": came["octets"] * 8 * frame / 1e6})
        for sender in senders:
            sender.stop()
        return found


QOS = f"{NETWORKING}/qos"
OFCTL = ("ovs-ofctl", "-O", "OpenFlow15")


@pytest.fixture(scope="module")
def world(lab: RunningLab) -> Iterator[World]:
    with Tenant(lab) as tenant:
        yield World(lab, tenant)


def test_bandwidth_of_a_port_both_ways(world: World) -> None:
    near, far, tenant = world.near, world.far, world.tenant
    policy = tenant.policy(
        bandwidth_limit=[{"max_kbps": 10_000}, {"max_kbps": 20_000, "direction": "ingress"}]
    )
    out, back = (near.line(), far.line(), far.address), (far.line(), near.line(), near.address)
    world.put("ports", near.port["id"], qos_policy_id=policy)
    slow, fast = ("kbps", 10_000, 8000), ("kbps", 20_000, 16_000)
    world.until_metered(HOST, slow, fast)
    # One after the other: acknowledgements of one way would count as traffic of the other.
    tcp = (*world.measure(Stream("tcp", *out, 10)), *world.measure(Stream("tcp", *back, 20)))
    udp = world.measure(Stream("udp", *out, 10), Stream("udp", *back, 20))
    for protocol, (sent, got) in (("tcp", tcp), ("udp", udp)):
        print(f"{protocol}: sends {sent['mbit']:.2f} of 10, gets {got['mbit']:.2f} of 20 Mbit/s")
    for sent, got in (tcp, udp):
        assert sent["mbit"] == pytest.approx(10, rel=0.1)
        assert got["mbit"] == pytest.approx(20, rel=0.1)

    # A rule that changes changes its meter and nothing else, on no other host.
    flows = world.flows(HOST)
    rules = tenant.get(f"{QOS}/policies/{policy}")["policy"]["rules"]
    (rule,) = (rule["id"] for rule in rules if rule["direction"] == "egress")
    path = f"{QOS}/policies/{policy}/bandwidth_limit_rules/{rule}"
    tenant.put(path, {"bandwidth_limit_rule": {"max_kbps": 3000, "max_burst_kbps": 500}})
    world.until_metered(HOST, ("kbps", 3000, 500), fast)
    assert world.flows(HOST) == flows
    assert world.meters(OTHER) == []
    (sent,) = world.measure(Stream("udp", *out, 3))
    print(f"udp after a change: sends {sent['mbit']:.2f} of 3 Mbit/s")
    assert sent["mbit"] == pytest.approx(3, rel=0.1)

    # What somebody removes by hand comes back, with the flows that went with it.
    world.lab.exec(HOST, *OFCTL, "del-meters", "br-int")
    world.until_metered(HOST, ("kbps", 3000, 500), fast)
    RunningLab.until(lambda: world.flows(HOST) == flows, 30, "the flows did not come back")

    said = tenant.get("/explain/v1", source=near.address, destination=far.address)
    assert "no more than 3000 kbit/s get on" in json.dumps(said)
    world.put("ports", near.port["id"], qos_policy_id=None)
    world.until_metered(HOST)


def test_marks_and_packet_rates(world: World) -> None:
    near, far = world.near, world.far
    policy = world.tenant.policy(
        dscp_marking=[{"dscp_mark": 26}],
        packet_rate_limit=[{"max_kpps": 1}, {"max_kpps": 2, "direction": "ingress"}],
    )
    world.put("ports", near.port["id"], qos_policy_id=policy)
    world.until_metered(HOST, ("pktps", 1000, 800), ("pktps", 2000, 1600))
    sent, got = world.measure(
        Stream("udp", near.line(), far.line(), far.address, 1.6, 200),
        Stream("udp", far.line(), near.line(), near.address, 3.2, 200),
    )
    print(
        f"sends {sent['packets']:.0f} of 1000, gets {got['packets']:.0f} of 2000 packets a second"
    )
    assert sent["packets"] == pytest.approx(1000, rel=0.1)
    assert got["packets"] == pytest.approx(2000, rel=0.1)
    assert (sent["marks"], got["marks"]) == ([26], [0])
    world.put("ports", near.port["id"], qos_policy_id=None)
    world.until_metered(HOST)


def test_a_networks_policy_is_for_its_ports_that_have_none(world: World) -> None:
    of_network = world.tenant.policy(bandwidth_limit=[{"max_kbps": 4000}])
    own = world.tenant.policy(bandwidth_limit=[{"max_kbps": 9000}])
    world.put("ports", world.far.port["id"], qos_policy_id=own)
    world.put("networks", world.network["id"], qos_policy_id=of_network)
    world.until_metered(HOST, ("kbps", 4000, 3200))
    world.until_metered(OTHER, ("kbps", 9000, 7200))
    sent, got = world.measure(
        Stream("udp", world.near.line(), world.far.line(), world.far.address, 4),
        Stream("udp", world.far.line(), world.near.line(), world.near.address, 9),
    )
    print(f"of the network {sent['mbit']:.2f} of 4, of its own {got['mbit']:.2f} of 9 Mbit/s")
    assert sent["mbit"] == pytest.approx(4, rel=0.1)
    assert got["mbit"] == pytest.approx(9, rel=0.1)

    # Where both ends have the same limit it is not asked twice: each port has a meter of its own.
    path = f"{QOS}/policies/{of_network}/bandwidth_limit_rules"
    rule = {"max_kbps": 4000, "direction": "ingress"}
    world.tenant.request("POST", path, json={"bandwidth_limit_rule": rule})
    world.put("ports", world.far.port["id"], qos_policy_id=None)
    for host in (HOST, OTHER):
        world.until_metered(host, ("kbps", 4000, 3200), ("kbps", 4000, 3200))
    (sent,) = world.measure(
        Stream("udp", world.near.line(), world.far.line(), world.far.address, 4)
    )
    print(f"limited at both ends {sent['mbit']:.2f} of 4 Mbit/s")
    assert sent["mbit"] == pytest.approx(4, rel=0.1)

    # A switch that is started again knows no meters.
    pid = (world.lab.lab.host(HOST) / "services/ovs-vswitchd").read_text()
    world.lab.exec(HOST, "kill", "-9", pid)
    RunningLab.until(lambda: world.near.pings(world.far.address), 60, "no way after the restart")
    world.until_metered(HOST, ("kbps", 4000, 3200), ("kbps", 4000, 3200))
    world.put("networks", world.network["id"], qos_policy_id=None)
    for host in (HOST, OTHER):
        world.until_metered(host)


def test_floating_ips_and_gateways_have_limits_of_their_own(world: World) -> None:
    lab, near, far, tenant = world.lab, world.near, world.far, world.tenant
    of_address = tenant.policy(
        bandwidth_limit=[{"max_kbps": 6000}, {"max_kbps": 12_000, "direction": "ingress"}]
    )
    of_gateway = tenant.policy(bandwidth_limit=[{"max_kbps": 3000}])
    fip = tenant.floating_ip(near.port["id"])
    world.put("floatingips", fip["id"], qos_policy_id=of_address)
    gateway = world.router["external_gateway_info"]
    way = {"network_id": gateway["network_id"], "qos_policy_id": of_gateway}
    world.put("routers", world.router["id"], external_gateway_info=way)
    world.until_metered(
        "network1", ("kbps", 3000, 2400), ("kbps", 6000, 4800), ("kbps", 12_000, 9600)
    )
    outside = on_host(lab, "outside")
    address = fip["floating_ip_address"]
    RunningLab.until(
        lambda: "1 received" in lab.exec("outside", "ping", "-c1", "-W1", address, check=False)
    )
    sent, got, others = world.measure(
        Stream("udp", near.line(), outside, WEB, 6),
        Stream("udp", outside, near.line(), address, 12),
        Stream("udp", far.line(), outside, WEB, 3),
    )
    print(
        f"floating IP: sends {sent['mbit']:.2f} of 6, gets {got['mbit']:.2f} of 12; "
        f"gateway: sends {others['mbit']:.2f} of 3 Mbit/s"
    )
    assert sent["mbit"] == pytest.approx(6, rel=0.1)
    assert got["mbit"] == pytest.approx(12, rel=0.1)
    assert others["mbit"] == pytest.approx(3, rel=0.1)
    tenant.delete(f"{NETWORKING}/floatingips/{fip['id']}")
    world.put("routers", world.router["id"], external_gateway_info=way | {"qos_policy_id": None})
    world.until_metered("network1")


def test_a_floating_ip_of_a_distributed_router_is_limited_where_it_enters(world: World) -> None:
    lab, near, tenant, router = world.lab, world.near, world.tenant, world.router["id"]

    def spread(distributed: bool) -> None:
        world.put("routers", router, admin_state_up=False)
        world.put("routers", router, distributed=distributed)
        world.put("routers", router, admin_state_up=True)

    rules = [{"max_kbps": 6000}, {"max_kbps": 12_000, "direction": "ingress"}]
    policy = tenant.policy(bandwidth_limit=rules)
    spread(True)
    try:
        fip = tenant.floating_ip(near.port["id"])
        world.put("floatingips", fip["id"], qos_policy_id=policy)
        world.until_metered(near.host, ("kbps", 6000, 4800), ("kbps", 12_000, 9600))
        world.until_metered("network1")
        outside, address = on_host(lab, "outside"), fip["floating_ip_address"]
        RunningLab.until(
            lambda: "1 received" in lab.exec("outside", "ping", "-c1", "-W1", address, check=False)
        )
        sent, got = world.measure(
            Stream("udp", near.line(), outside, WEB, 6),
            Stream("udp", outside, near.line(), address, 12),
        )
        print(f"at home: sends {sent['mbit']:.2f} of 6, gets {got['mbit']:.2f} of 12 Mbit/s")
        assert sent["mbit"] == pytest.approx(6, rel=0.1)
        assert got["mbit"] == pytest.approx(12, rel=0.1)
        tenant.delete(f"{NETWORKING}/floatingips/{fip['id']}")
        world.until_metered(near.host)
    finally:
        spread(False)
