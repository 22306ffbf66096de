"""Each truth of both walkthroughs, with real packets: addresses, NAT, DHCP, tags, tunnels, rules."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from netloom.lab.topology import GATEWAYS, WEB
from tests.support import tcp_talk
from tests.support.pings import Pinging
from tests.support.running_lab import RunningLab
from tests.support.tenant import (
    NETWORKING,
    Background,
    Capture,
    Instance,
    Tenant,
    flat_network,
    on_host,
)

pytestmark = [pytest.mark.root, pytest.mark.slow]

ICMP = {"protocol": "icmp"}
TCP = {"protocol": "tcp", "port_range_min": 1, "port_range_max": 65535}
TALK = str(Path(tcp_talk.__file__))


@pytest.fixture(scope="module")
def cloud(lab: RunningLab) -> Iterator[SimpleNamespace]:
    """Two private networks on a router, a flat and a VLAN network, instances on both compute hosts."""
    with Tenant(lab) as tenant:
        made = SimpleNamespace(tenant=tenant)
        made.open = tenant.group(ICMP, TCP)
        # Addresses outside the pool are for tests to choose.
        pool = {"allocation_pools": [{"start": "10.41.0.100", "end": "10.41.0.199"}]}
        made.red = tenant.network(
            "red", "10.41.0.0/24", {"dns_nameservers": ["198.51.100.10"], **pool}
        )
        made.blue = tenant.network("blue", "10.42.0.0/24")
        made.router = tenant.router(made.red, made.blue)
        made.flat = flat_network(tenant)
        vlan = {"provider:network_type": "vlan", "provider:physical_network": "extnet"}
        made.vlan = tenant.network(
            "tagged", "10.43.0.0/24", **vlan, **{"provider:segmentation_id": 143}
        )
        asked = {
            "red1": tenant.boot("red1", "compute1", made.red, made.open),
            "red2": tenant.boot("red2", "compute2", made.red, made.open),
            "blue2": tenant.boot("blue2", "compute2", made.blue, made.open),
            "flat1": tenant.boot("flat1", "compute1", made.flat, made.open),
            "vlan1": tenant.boot("vlan1", "compute1", made.vlan, made.open),
            "vlan2": tenant.boot("vlan2", "compute2", made.vlan, made.open),
        }
        for name, server in asked.items():
            setattr(made, name, tenant.instance(server))
        made.red1.reaches(made.red2.address)
        made.red1.reaches(WEB)
        yield made


def in_router(lab: RunningLab, cloud: SimpleNamespace, *command: str) -> str:
    return lab.exec("network1", "ip", "netns", "exec", f"qrouter-{cloud.router['id']}", *command)


def router_addresses(lab: RunningLab, cloud: SimpleNamespace, device: str) -> set[str]:
    """Addresses with their prefix lengths on the router's devices of a prefix, such as `qg-`.

    Whole ones, for 203.0.113.25 is also the beginning of a broadcast address.
    """
    lines = in_router(lab, cloud, "ip", "-4", "-br", "addr").splitlines()
    return {address for line in lines if line.startswith(device) for address in line.split()[2:]}


def outside_sees(instance: Instance) -> str:
    # Who is cut off in the middle waits for a quarter of an hour.
    line = ("timeout", "3", "busybox", "wget", "-q", "-O", "-", f"http://{WEB}/cgi-bin/address")
    said = instance.run(*line)
    return said.strip().removeprefix("[::ffff:").removesuffix("]")


def gateway_address(cloud: SimpleNamespace) -> str:
    shown = cloud.tenant.get(f"{NETWORKING}/routers/{cloud.router['id']}")["router"]
    return shown["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]


class Session:
    """A TCP session that echoes; `beats` counts the echoes so far. `asked`: the port where it is forwarded from."""

    def __init__(
        self,
        server: Instance,
        client: list[str],
        address: str,
        port: int,
        asked: int | None = None,
    ) -> None:
        self.server = Background(server.line(sys.executable, TALK, "serve", str(port)))
        RunningLab.until(lambda: f":{port}" in server.run("ss", "-Hltn"), 30)
        self.client = Background(
            [*client, sys.executable, TALK, "talk", address, str(asked or port)]
        )
        self.beats = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        assert self.client.process.stdout is not None
        for line in self.client.process.stdout:
            self.beats += line == "beat\n"

    def __enter__(self) -> Session:
        RunningLab.until(lambda: self.beats >= 3, 30, "the session never began")
        return self

    def __exit__(self, *error: object) -> None:
        for process in (self.client.process, self.server.process):
            process.kill()
            process.wait()

    def is_cut(self) -> bool:
        """Whether nothing comes any more, now."""
        before = self.beats
        time.sleep(1.0)
        return self.beats == before


def test_namespaces_stand_on_the_right_hosts(lab: RunningLab, cloud: SimpleNamespace) -> None:
    found = {host: lab.exec(host, "ip", "netns") for host in ("network1", "compute1", "compute2")}
    holds = {
        f"qrouter-{cloud.router['id']}": {"network1"},
        f"qdhcp-{cloud.red['id']}": {"network1", "compute1", "compute2"},
        f"qdhcp-{cloud.blue['id']}": {"network1", "compute2"},
        f"qdhcp-{cloud.vlan['id']}": {"compute1", "compute2"},
    }
    for namespace, hosts in holds.items():
        assert {host for host, text in found.items() if namespace in text} == hosts, namespace


def test_the_router_s_addresses_and_nat(lab: RunningLab, cloud: SimpleNamespace) -> None:
    tenant = cloud.tenant
    floating = [tenant.floating_ip(i.port["id"]) for i in (cloud.red1, cloud.blue2)]
    addresses = [fip["floating_ip_address"] for fip in floating]
    try:
        wanted = {f"{address}/32" for address in addresses} | {f"{gateway_address(cloud)}/24"}
        RunningLab.until(
            lambda: router_addresses(lab, cloud, "qg-") == wanted,
            30,
            f"the router has not just {wanted}",
        )
        assert router_addresses(lab, cloud, "qr-") == {"10.41.0.1/24", "10.42.0.1/24"}
        rules = in_router(lab, cloud, "nft", "list", "ruleset")
        for fip, instance in zip(addresses, (cloud.red1, cloud.blue2), strict=True):
            assert len(re.findall(rf"ip daddr {fip} dnat to {instance.address}\b", rules)) == 1
            assert len(re.findall(rf"ip saddr {instance.address} snat to {fip}\b", rules)) == 1
        assert (
            len(re.findall(rf"oifname \"qg-\S+\" snat to {gateway_address(cloud)}\b", rules)) == 1
        )
        assert rules.count("dnat to") == 2 and rules.count("snat to") == 3
    finally:
        for fip in floating:
            tenant.delete(f"{NETWORKING}/floatingips/{fip['id']}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flat1", ["Default-Gateway (3), length 4: 192.0.2.1", "MTU (26), length 2: 1500"]),
        ("red1", ["Default-Gateway (3), length 4: 10.41.0.1", "MTU (26), length 2: 1450"]),
    ],
)
def test_what_dhcp_answers(cloud: SimpleNamespace, name: str, said: list[str]) -> None:
    instance: Instance = getattr(cloud, name)
    with Capture(instance.line(), "eth0", "udp", "port", "67", verbose=True) as seen:
        ask = ("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-s", "/bin/true")
        instance.run(*ask, "-O", "staticroutes", "-O", "mtu", "-x", "hostname:x")
    for line in [*said, f"Domain-Name-Server (6), length 4: {WEB}"]:
        assert line in seen.text
    # The question names the option too; the answer comes last.
    routes = seen.text.rpartition("Classless-Static-Route (121)")[2].splitlines()[0]
    assert "(169.254.169.254/32:" in routes and f"(default:{said[0].rpartition(' ')[2]})" in routes


def test_flat_frames_are_untagged_and_vlan_frames_tagged(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    wire = on_host(lab, "fabric")
    with Capture(wire, "e-compute1", "icmp", "or", "vlan") as seen:
        assert cloud.flat1.pings(GATEWAYS["extnet"])
        assert cloud.vlan1.pings(cloud.vlan2.address)
    flat = [line for line in seen.frames if cloud.flat1.address in line and "ICMP" in line]
    tagged = [line for line in seen.frames if cloud.vlan1.address in line and "ICMP" in line]
    assert flat and not any("vlan" in line for line in flat)
    assert tagged and all("vlan 143" in line for line in tagged)
    # No NAT: outside sees the instance's own address.
    assert outside_sees(cloud.flat1) == cloud.flat1.address


def test_a_full_packet_crosses_hosts_whole_in_vxlan(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    assert "mtu 1450" in cloud.red1.run("ip", "link", "show", "eth0")
    with Capture(on_host(lab, "fabric"), "u-compute1", "udp", "and", "host", "10.255.0.12") as seen:
        assert cloud.red1.pings(cloud.red2.address, "-s", "1422", "-M", "do", count=2)
    outer = [line for line in seen.frames if "> 10.255.0.13.4789:" in line]
    assert outer and all("VXLAN" in line for line in outer)
    # Whole: 1422 + 8 ICMP + 20 IP + 14 Ethernet inside, + 8 VXLAN + 8 UDP + 20 IP + 14 outside.
    assert any("length 1514" in line for line in outer)
    assert "frag" not in seen.text
    assert not cloud.red1.pings(cloud.red2.address, "-s", "1423", "-M", "do")


def test_between_hosts_networks_and_outside(cloud: SimpleNamespace) -> None:
    assert cloud.red2.pings(cloud.red1.address, count=3)
    assert cloud.red1.pings(cloud.blue2.address, count=3)
    assert cloud.blue2.pings(cloud.red2.address, count=3)
    way = cloud.red1.run(
        "traceroute", "-n", "-I", "-w", "5", "-q", "1", cloud.blue2.address
    ).splitlines()
    assert "10.41.0.1" in way[1] and cloud.blue2.address in way[2]


def test_outside_sees_the_router_or_the_floating_ip(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    tenant = cloud.tenant
    assert outside_sees(cloud.red2) == gateway_address(cloud)
    fip = tenant.floating_ip(cloud.red2.port["id"])
    path = f"{NETWORKING}/floatingips/{fip['id']}"
    address = fip["floating_ip_address"]
    outside = on_host(lab, "outside")
    RunningLab.until(
        lambda: outside_sees(cloud.red2) == address, 30, "outside never saw the floating IP"
    )
    assert address not in cloud.red2.run("ip", "addr")
    with Session(cloud.red2, outside, address, 7001) as session:
        RunningLab.until(lambda: not session.is_cut(), 30)
        tenant.put(path, {"floatingip": {"port_id": None}})
        RunningLab.until(session.is_cut, 30, "an open session outlived its floating IP")
    ping = lab.exec("outside", "ping", "-n", "-c", "2", "-W", "1", address, check=False)
    assert " 0 received" in ping
    RunningLab.until(lambda: outside_sees(cloud.red2) == gateway_address(cloud), 30)


def test_forwarded_ports_of_a_floating_ip(lab: RunningLab, cloud: SimpleNamespace) -> None:
    """By the client that people use; explain agrees before and after."""
    tenant, fip = cloud.tenant, cloud.tenant.floating_ip(None)
    address, outside = fip["floating_ip_address"], on_host(lab, "outside")

    def explained(port: int) -> str:
        query = {"source": "outside", "destination": address, "protocol": "tcp", "port": str(port)}
        return tenant.get("/explain/v1", **query)["verdict"]

    with lab.openstack() as client:
        command = ("floating", "ip", "port", "forwarding")
        made = [
            client.json(
                *(*command, "create", "--protocol", "tcp"),
                *("--port", instance.port["id"], "--internal-ip-address", instance.address),
                *("--internal-protocol-port", "7003", "--external-protocol-port", str(external)),
                fip["id"],
            )
            for external, instance in ((8001, cloud.red1), (8002, cloud.blue2))
        ]
        listed = client.json(*command, "list", fip["id"])
        assert {row["External Port"] for row in listed} == {8001, 8002}
        path = f"{NETWORKING}/floatingips/{fip['id']}"
        RunningLab.until(lambda: tenant.get(path)["floatingip"]["status"] == "ACTIVE", 30)
        with (
            Session(cloud.red1, outside, address, 7003, 8001) as first,
            Session(cloud.blue2, outside, address, 7003, 8002) as second,
        ):
            RunningLab.until(lambda: not first.is_cut() and not second.is_cut(), 30)
            RunningLab.until(lambda: explained(8001) == explained(8002) == "reachable", 30)
            assert explained(7003) == "unreachable"
            client.quiet(*command, "delete", fip["id"], made[0]["id"])
            RunningLab.until(first.is_cut, 30, "a session outlived its port forwarding")
            assert not second.is_cut()
        assert explained(8001) == "unreachable"
        client.quiet(*command, "delete", fip["id"], made[1]["id"])


def test_only_the_instance_answers_at_its_floating_ip(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    """Not the router in its place, not for a moment: neither before NAT leads there nor after."""
    tenant: Tenant = cloud.tenant
    fip = tenant.floating_ip(None)
    path, address = f"{NETWORKING}/floatingips/{fip['id']}", fip["floating_ip_address"]
    pings = Pinging(on_host(lab, "outside", "ping", "-n", "-i", "0.003", address))
    try:
        for _ in range(6):
            tenant.put(path, {"floatingip": {"port_id": cloud.red1.port["id"]}})
            RunningLab.until(lambda: tenant.get(path)["floatingip"]["status"] == "ACTIVE", 30)
            time.sleep(0.3)
            tenant.put(path, {"floatingip": {"port_id": None}})
            RunningLab.until(lambda: tenant.get(path)["floatingip"]["status"] == "DOWN", 30)
            time.sleep(0.3)
    finally:
        said = pings.stop()
    hops = Counter(re.findall(r" ttl=(\d+)", said))
    assert hops["63"] > 50 and set(hops) == {"63"}, hops


def test_an_address_used_again_has_a_lease_and_is_reached(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    """DHCP kept the lease of the one that is gone for a day, and neighbours its MAC address for half a minute."""
    address, macs = "10.41.0.77", set[str]()
    for host in ("compute1", "compute1", "compute2"):
        with Tenant(lab) as tenant:
            found = tenant.instance(
                tenant.boot("again", host, cloud.red, cloud.open, address=address)
            )
            for asks in (cloud.red1, cloud.red2, cloud.blue2):
                asks.reaches(address)
            macs.add(found.mac)
    assert len(macs) == 3


def test_a_removed_rule_cuts_an_open_session(cloud: SimpleNamespace) -> None:
    tenant = cloud.tenant
    group = tenant.group({"protocol": "tcp", "port_range_min": 7002, "port_range_max": 7002})
    port = f"{NETWORKING}/ports/{cloud.red2.port['id']}"
    tenant.put(port, {"port": {"security_groups": [group["id"]]}})
    try:
        RunningLab.until(
            lambda: not cloud.red1.pings(cloud.red2.address), 30, "no ICMP rule, still pings"
        )
        with Session(cloud.red2, cloud.red1.line(), cloud.red2.address, 7002) as session:
            RunningLab.until(lambda: not session.is_cut(), 30)
            tenant.delete(f"{NETWORKING}/security-group-rules/{group['rules'][0]['id']}")
            RunningLab.until(session.is_cut, 30, "an open session outlived its rule")
    finally:
        tenant.put(port, {"port": {"security_groups": [cloud.open["id"]]}})
        cloud.red1.reaches(cloud.red2.address)


def test_134_the_members_of_a_remote_group_are_followed(cloud: SimpleNamespace) -> None:
    """Who joins the group is let in at once; who leaves it loses the session that is open."""
    tenant = cloud.tenant
    members = tenant.group()
    rule = {
        "protocol": "tcp",
        "port_range_min": 7004,
        "port_range_max": 7004,
        "remote_group_id": members["id"],
    }
    group = tenant.group(rule)
    port, asker = (
        f"{NETWORKING}/ports/{instance.port['id']}" for instance in (cloud.red2, cloud.red1)
    )
    tenant.put(port, {"port": {"security_groups": [group["id"]]}})
    try:
        RunningLab.until(
            lambda: not cloud.red1.pings(cloud.red2.address), 30, "no ICMP rule, still pings"
        )
        tenant.put(asker, {"port": {"security_groups": [cloud.open["id"], members["id"]]}})
        with Session(cloud.red2, cloud.red1.line(), cloud.red2.address, 7004) as session:
            RunningLab.until(lambda: not session.is_cut(), 30)
            tenant.put(asker, {"port": {"security_groups": [cloud.open["id"]]}})
            RunningLab.until(session.is_cut, 30, "an open session outlived its membership")
    finally:
        tenant.put(port, {"port": {"security_groups": [cloud.open["id"]]}})
        tenant.put(asker, {"port": {"security_groups": [cloud.open["id"]]}})
        cloud.red1.reaches(cloud.red2.address)


def test_errors_about_a_connection_pass_in_both_directions(cloud: SimpleNamespace) -> None:
    """A server behind a tcp rule learns that its packets are too big; a client, that a port is closed."""
    tenant = cloud.tenant
    group = tenant.group({"protocol": "tcp", "port_range_min": 7003, "port_range_max": 7003})
    port = f"{NETWORKING}/ports/{cloud.red2.port['id']}"
    tenant.put(port, {"port": {"security_groups": [group["id"]]}})
    try:
        RunningLab.until(lambda: not cloud.red1.pings(cloud.red2.address), 30)
        with Session(cloud.red2, cloud.blue2.line(), cloud.red2.address, 7003):
            # The way back through the router becomes narrow: it says so to the server, whose group lets no ICMP in.
            device = next(
                line.split()[0]
                for line in in_router(
                    cloud.tenant.lab, cloud, "ip", "-4", "-br", "addr"
                ).splitlines()
                if "10.42.0.1/" in line
            )
            program = (
                f"import socket;s=socket.create_connection(({cloud.red2.address!r},7003),5);n=0\n"
                "s.sendall(b'x'*60000)\nwhile n<60000: n+=len(s.recv(65536))\nprint('all',n)"
            )
            # The agent would widen it again at once.
            lab = cloud.tenant.lab
            agent = (lab.lab.host("network1") / "services/agent").read_text()
            lab.exec("network1", "kill", "-STOP", agent)
            try:
                in_router(lab, cloud, "ip", "link", "set", device, "mtu", "1300")
                with Capture(cloud.red2.line(), "eth0", "icmp") as seen:
                    said = cloud.blue2.run(sys.executable, "-c", program)
                in_router(lab, cloud, "ip", "link", "set", device, "mtu", "1450")
            finally:
                lab.exec("network1", "kill", "-CONT", agent)
            assert "need to frag" in seen.text and "all 60000" in said, said + seen.text
    finally:
        tenant.put(port, {"port": {"security_groups": [cloud.open["id"]]}})
    # In the reply direction: nothing listens, UDP's port-unreachable comes back though no rule names it.
    closed = (
        f"import socket;s=socket.socket(2,2);s.settimeout(3);s.connect(({cloud.red2.address!r},9))\n"
        "s.send(b'x');s.recv(9)"
    )
    udp = tenant.group({"protocol": "udp"}, ICMP)
    tenant.put(port, {"port": {"security_groups": [udp["id"]]}})
    nothing = tenant.group()
    asker = f"{NETWORKING}/ports/{cloud.red1.port['id']}"
    tenant.put(asker, {"port": {"security_groups": [nothing["id"]]}})
    try:
        RunningLab.until(lambda: "refused" in cloud.red1.run(sys.executable, "-c", closed), 30)
    finally:
        for path in (port, asker):
            tenant.put(path, {"port": {"security_groups": [cloud.open["id"]]}})
        cloud.red1.reaches(cloud.red2.address)


def restart_agent(lab: RunningLab, host: str) -> None:
    pid = lab.lab.host(host) / "services/agent"
    before = pid.read_text()
    lab.exec(host, "kill", "-9", before)
    RunningLab.until(lambda: pid.read_text() != before, 30, "the agent did not come back")


def test_a_host_without_the_physical_network_refuses_the_binding(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    tenant = cloud.tenant
    config = lab.lab.host("compute2") / "agent.toml"
    whole = config.read_text()

    def mapped() -> bool:
        agents = tenant.get(f"{NETWORKING}/agents", host="compute2")["agents"]
        return any(
            "extnet" in agent["configurations"].get("bridge_mappings", {}) for agent in agents
        )

    def binding() -> str:
        attributes = {"network_id": cloud.flat["id"], "binding:host_id": "compute2"}
        port = tenant.make("ports", **attributes)
        tenant.delete(f"{NETWORKING}/ports/{port['id']}")
        return port["binding:vif_type"]

    assert mapped()
    assert binding() == "ovs"
    try:
        config.write_text(
            "".join(line for line in whole.splitlines(True) if not line.startswith('"extnet"'))
        )
        restart_agent(lab, "compute2")
        RunningLab.until(lambda: not mapped(), 30, "the host never said that it lost the network")
        assert binding() == "binding_failed"
    finally:
        config.write_text(whole)
        restart_agent(lab, "compute2")
        RunningLab.until(mapped, 30)
    cloud.vlan1.reaches(cloud.vlan2.address)
