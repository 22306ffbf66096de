"""What somebody damages by hand is found by `netloom doctor`, named by object, and repaired: that and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from netloom.agent.doctor import Report, Request, ask
from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Instance, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]

MAIN, NETWORK = "compute1", "network1"


@dataclass(frozen=True)
class Damage:
    """Something that befalls a host.

    `script`: shell lines that do it; `sorts`: the sorts of objects that it is found at, the first of them for certain; `why`: words of
    what is said. `mend`: takes away what is foreign, which a repair leaves alone.
    """

    name: str
    host: str
    script: str
    sorts: tuple[str, ...]
    why: str = ""
    mend: str = ""


class Ward:
    """A network with a router, a floating IP and an instance, and the names that all this has on hosts."""

    def __init__(self, lab: RunningLab, tenant: Tenant) -> None:
        self.lab = lab
        network = tenant.network("doctor", "10.58.0.0/24")
        group = tenant.group({"ethertype": "IPv4"})
        self.router = tenant.router(network)["id"]
        server = tenant.boot("doctor", MAIN, network, group, address="10.58.0.20")
        self.instance: Instance = tenant.instance(server)
        # More than anything here sends.
        policy = tenant.policy(bandwidth_limit=[{"max_kbps": 1_000_000}])
        path = f"{NETWORKING}/ports/{self.instance.port['id']}"
        tenant.put(path, {"port": {"qos_policy_id": policy}})
        RunningLab.until(lambda: "rate=1000000" in self.meters(), 30, "no meter")
        self.floating = tenant.floating_ip(self.instance.port["id"])["floating_ip_address"]
        self.network = network["id"]
        self.qr, self.qd = f"qrouter-{self.router}", f"qdhcp-{self.network}"
        RunningLab.until(self.is_reached, 60, "the floating IP is not reached")
        links = lab.exec(NETWORK, "ip", "-n", self.qr, "-o", "link")
        names = [line.split(": ")[1] for line in links.splitlines()]
        self.inner = next(name for name in names if name.startswith("qr-"))
        links = lab.exec(MAIN, "ip", "-n", self.qd, "-o", "link")
        names = [line.split(": ")[1] for line in links.splitlines()]
        self.dhcp = next(name for name in names if name.startswith("tap"))

    def is_reached(self) -> bool:
        """Whether somebody outside reaches the instance at its floating IP."""
        said = self.lab.exec("outside", "ping", "-c", "1", "-W", "1", self.floating, check=False)
        return " 1 received" in said

    def meters(self) -> str:
        """The meters of the instance's host."""
        return self.lab.exec(MAIN, "ovs-ofctl", "-O", "OpenFlow15", "dump-meters", "br-int")

    def flow(self) -> str:
        """The cookie of a flow that takes in what the instance sends."""
        port = self.lab.exec(MAIN, "ovs-vsctl", "get", "interface", self.instance.tap, "ofport")
        flows = self.lab.exec(
            MAIN,
            "ovs-ofctl",
            "dump-flows",
            "--no-stats",
            "br-int",
            f"table=0,in_port={port.strip()}",
        )
        return next(line for line in flows.splitlines() if "actions" in line).split("cookie=")[1].split(",")[0]  # fmt: skip

    def zone(self) -> str:
        """The number of the conntrack zone of the instance's port."""
        key = f"external_ids:netloom-zone-{self.instance.port['id']}"
        return self.lab.exec(MAIN, "ovs-vsctl", "get", "Open_vSwitch", ".", key).strip().strip('"')

    def group(self) -> str:
        """The number of a group of the instance's host that has buckets."""
        groups = self.lab.exec(MAIN, "ovs-ofctl", "-O", "OpenFlow15", "dump-groups", "br-int")
        return next(g for g in groups.splitlines() if "bucket=" in g).split("group_id=")[1].split(",")[0]  # fmt: skip


def nft(ward: Ward, chain: str, words: str) -> str:
    """A script that deletes the rule of a router's NAT with these words."""
    inside = f"ip netns exec {ward.qr}"
    find = f"{inside} nft -a list chain ip netloom {chain} | grep '{words}' | grep -o 'handle [0-9]*' | head -1"
    return f"{inside} nft delete rule ip netloom {chain} $({find})"


def of_the_switch(ward: Ward) -> list[Damage]:
    """Damage to Open vSwitch and to devices in its bridges."""
    tap, cookie = ward.instance.tap, ward.flow()
    ofctl = "ovs-ofctl -O OpenFlow14"
    meter = re.findall(r"meter=\d+", ward.meters())[0]
    port = ("interface", "flow", "bucket", "instance")
    return [
        Damage("a flow is gone", MAIN, f"{ofctl} del-flows br-int cookie={cookie}/-1", ("flow",)),
        Damage("a flow does something else", MAIN, f"{ofctl} mod-flows br-int cookie={cookie}/-1,actions=drop", ("flow",), "it was changed to"),
        Damage("a flow of ours too many", MAIN, f"{ofctl} add-flow br-int cookie=0x4e4c00000000beef,table=99,actions=drop", ("flow",), "nothing wants it"),
        Damage("a foreign flow", MAIN, f"{ofctl} add-flow br-int table=0,priority=65535,dl_src=02:00:00:00:00:99,actions=drop", ("flow",), "is not Netloom's",
               f"{ofctl} del-flows --strict br-int table=0,priority=65535,dl_src=02:00:00:00:00:99"),
        Damage("fragments", MAIN, f"{ofctl} set-frags br-int normal", ("bridge",), "it hid the ports of fragments"),
        Damage("a setting of a bridge", MAIN, "ovs-vsctl set bridge br-int other_config:disable-in-band=false", ("bridge",), "disable-in-band"),
        Damage("a port is gone", MAIN, f"ovs-vsctl del-port br-int {tap}", port),
        Damage("a port's name for Nova", MAIN, f"ovs-vsctl set interface {tap} external_ids:iface-id=other", ("interface",), "iface-id of its external_ids was other"),
        Damage("a port's VLAN", MAIN, f"ovs-vsctl set port {tap} tag=7", ("interface",), "VLAN tag 7"),
        Damage("a tunnel's option", MAIN, "ovs-vsctl set interface $(ovs-vsctl --bare --columns=name find interface type=vxlan) options:key=5", ("interface",), "key of its options was 5"),
        Damage("a tunnel's port is gone", MAIN, "ovs-vsctl del-port br-int gre0", ("interface", "flow")),
        Damage("a device is down", MAIN, f"ip link set {tap} down", ("interface",), "was down"),
        Damage("a device's MTU", MAIN, f"ip link set {tap} mtu 1300", ("interface",), "MTU was 1300"),
        Damage("a veth is gone", MAIN, f"ip link del {tap}", port),
        Damage("the bound of a conntrack zone", MAIN, f"ovs-appctl dpctl/ct-del-limits zone={ward.zone()}", ("zone",), "its bound of connections was none"),
        Damage("the number of a conntrack zone", MAIN, f"ovs-vsctl remove Open_vSwitch . external_ids netloom-zone-{ward.instance.port['id']}", ("zone",), "had lost its number"),
        Damage("a group is gone", MAIN, f"{ofctl} del-groups br-int group_id={ward.group()}", ("group", "bucket", "flow")),
        Damage("a bucket is gone", MAIN, f"ovs-ofctl -O OpenFlow15 remove-buckets br-int group_id={ward.group()},command_bucket_id=first", ("bucket",)),
        Damage("a group of somebody's", MAIN, f"{ofctl} add-group br-int group_id=77,type=select,bucket=actions=drop", ("group",), "nothing wants it"),
        Damage("a meter is gone", MAIN, "ovs-ofctl -O OpenFlow15 del-meters br-int", ("meter", "flow")),
        Damage("a meter's rate", MAIN, f"ovs-ofctl -O OpenFlow15 mod-meter br-int {meter},kbps,burst,band=type=drop,rate=7,burst_size=7", ("meter",)),
        Damage("a meter of somebody's", MAIN, "ovs-ofctl -O OpenFlow15 add-meter br-int meter=77,kbps,band=type=drop,rate=7", ("meter",), "nothing wants it"),
        Damage("a device is open to the host's kernel", MAIN, f"nft delete chain netdev netloom from-{tap}", ("interface",), "not kept from"),
    ]  # fmt: skip


def of_namespaces(ward: Ward) -> list[Damage]:
    """Damage in namespaces."""
    qr, qd, inner = ward.qr, ward.qd, ward.inner
    inside = f"ip netns exec {qr}"
    table = "nft add table ip other; nft add chain ip other c '{ type filter hook forward priority 0; }'"
    return [
        Damage("an address is gone", NETWORK, f"ip -n {qr} addr del 10.58.0.1/24 dev {inner}", ("device", "neighbour")),
        Damage("an address too many", NETWORK, f"ip -n {qr} addr add 192.0.2.77/32 dev {inner}", ("device",)),
        Damage("a route is gone", NETWORK, f"ip -n {qr} route del default", ("route",)),
        Damage("the route of an address is gone", NETWORK, f"ip -n {qr} route del 10.58.0.0/24", ("device",), "route of address 10.58.0.1/24 was gone"),
        Damage("a foreign route", NETWORK, f"ip -n {qr} route add 192.0.2.0/24 dev {inner}", ("route",), "is not Netloom's", f"ip -n {qr} route del 192.0.2.0/24"),
        Damage("a policy rule is gone", NETWORK, f"ip -n {qr} rule del pref 32766", ("namespace",), "policy rule for table 254 was gone"),
        Damage("a foreign policy rule", NETWORK, f"ip -n {qr} rule add from 192.0.2.9 table 99", ("rule",), "is not Netloom's", f"ip -n {qr} rule del from 192.0.2.9 table 99"),
        Damage("a setting of a namespace", NETWORK, f"{inside} sysctl -qw net.ipv4.conf.all.rp_filter=1", ("namespace", "device"), "rp_filter"),
        Damage("a setting of a device", NETWORK, f"{inside} sysctl -qw net.ipv4.conf.{inner}.proxy_arp=1", ("device",), "proxy_arp"),
        Damage("an MTU in a namespace", MAIN, f"ip -n {qd} link set {ward.dhcp} mtu 1300", ("device",)),
        Damage("a MAC address", MAIN, f"ip -n {qd} link set {ward.dhcp} address 02:00:00:00:00:01", ("device", "dnsmasq")),
        Damage("a neighbour is gone", NETWORK, f"ip -n {qr} neigh del 10.58.0.20 dev {inner}", ("neighbour",)),
        Damage("a neighbour's MAC", NETWORK, f"ip -n {qr} neigh replace 10.58.0.20 lladdr 02:00:00:00:00:02 dev {inner} nud permanent", ("neighbour",)),
        Damage("the bound for neighbours", NETWORK, f"{inside} nft flush chain ip netloom-neighbours bound", ("neighbour-bound",), "a rule of chain bound was gone"),
        Damage("a rule of a floating IP is gone", NETWORK, nft(ward, "prerouting", f"daddr {ward.floating}"), ("floating-nat",)),
        Damage("a rule of NAT too many", NETWORK, f"{inside} nft insert rule ip netloom postrouting ip saddr 10.58.0.99 accept", ("source-nat",), "a rule was added"),
        Damage("a foreign table", NETWORK, f"ip netns exec {qr} sh -c \"{table}\"", ("table",), "is not Netloom's", f"{inside} nft delete table ip other"),
        Damage("a namespace is gone", MAIN, f"ip netns del {qd}", ("namespace", "device", "route", "neighbour", "neighbour-bound", "dnsmasq", "metadata", "interface", "flow")),
    ]  # fmt: skip


def of_services(ward: Ward) -> list[Damage]:
    """Damage to what answers."""
    home = f"/run/netloom/agent/dhcp/{ward.network}"
    return [
        Damage("a file of dnsmasq", MAIN, f"echo 02:00:00:00:00:03,10.58.0.99,x >> {home}/hosts", ("dnsmasq",), "its file hosts was changed"),
        Damage("dnsmasq is dead", MAIN, f"kill -9 $(cat {home}/pid)", ("dnsmasq",), "it did not run"),
        Damage("the table before dnsmasq", MAIN, f"ip netns exec {ward.qd} nft flush chain ip netloom-dhcp input", ("dnsmasq",), "the table before it"),
        Damage("the metadata listener", MAIN, f"ip netns exec {ward.qd} ss -K -l src 169.254.169.254 >/dev/null", ("metadata",), "its listener was closed"),
        Damage("an instance is dead", MAIN, f"kill -9 $(cut -d' ' -f1 {ward.lab.lab.host(MAIN)}/state/instances/{ward.instance.id}/running)", ("instance", "interface", "flow", "bucket")),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ward(lab: RunningLab) -> Iterator[Ward]:
    with Tenant(lab) as tenant:
        yield Ward(lab, tenant)


def look(lab: RunningLab, host: str, **more: Any) -> Report:
    """Ask the agent of a host, as `netloom doctor` does."""
    report = ask(lab.lab.host(host) / "state", Request(**more))
    assert not report.wrong, report.wrong
    return report


def well(lab: RunningLab, *hosts: str) -> bool:
    """Whether nothing differs on these hosts."""
    return not any(look(lab, host).findings for host in hosts or (MAIN, NETWORK))


def repaired(lab: RunningLab, host: str) -> bool:
    """Repair once more; whether nothing differs then."""
    return not look(lab, host, repair=True).findings


def test_each_damage_is_found_named_and_repaired(lab: RunningLab, ward: Ward) -> None:
    damages: list[Any] = [of_the_switch, of_namespaces, of_services]
    found: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for make in damages:
        for damage in make(ward):
            look(lab, damage.host, hold=300)
            try:
                found[damage.name] = examined(lab, damage)
            except AssertionError as error:
                wrong[damage.name] = str(error)
                RunningLab.until(
                    lambda host=damage.host: repaired(lab, host),
                    30,
                    f"not well after {damage.name}",
                )
    for host in (MAIN, NETWORK):
        look(lab, host, hold=0)
    RunningLab.until(lambda: well(lab), 30, "not well in the end")
    RunningLab.until(ward.is_reached, 30, "the floating IP is not reached in the end")
    assert not wrong, "\n".join(f"{name}: {why[:600]}" for name, why in wrong.items())
    assert len(found) >= 30


def examined(lab: RunningLab, damage: Damage) -> str:
    lab.exec(damage.host, "sh", "-ec", damage.script)
    report = look(lab, damage.host)
    said = [(" ".join(item.key), item.action, item.why) for item in report.findings]
    assert said, "it is not found"
    assert any(item.key[0] == damage.sorts[0] for item in report.findings), said
    assert all(item.key[0] in damage.sorts for item in report.findings), said
    if len(damage.sorts) == 1:
        assert len(said) == 1, said
    assert any(damage.why in item.why for item in report.findings), said
    assert all(item.origin for item in report.findings if item.action in ("add", "alter")), said
    after = look(lab, damage.host, repair=True)
    if damage.mend:
        assert [item.key for item in after.findings] == [item.key for item in report.findings]
        assert all(item.action == "leave" for item in after.findings) and not after.changes
        lab.exec(damage.host, "sh", "-ec", damage.mend)
        assert well(lab, damage.host)
    else:
        made = {item.key for item in report.findings if item.action in ("add", "alter", "remove")}
        if len(damage.sorts) == 1:
            assert after.changes == len(made), f"{after.changes} changes for {said}"
        if after.findings:  # an instance's worker may still be at it
            RunningLab.until(lambda: repaired(lab, damage.host), 30, f"left: {after.findings}")
    return str(said)


def test_what_is_announced_is_repaired_without_an_audit(lab: RunningLab, ward: Ward) -> None:
    """By the agent itself, at once: the next audit may be a minute away. Each check succeeds when the damage is gone."""
    qr, inner, cookie = ward.qr, ward.inner, ward.flow()
    inside, tap = f"ip netns exec {qr}", ward.instance.tap
    flows = "ovs-ofctl -O OpenFlow14 {} br-int cookie=" + cookie
    same = lab.exec(MAIN, "sh", "-c", flows.format("dump-flows --no-stats") + "/-1").strip()
    rule = nft(ward, "prerouting", f"daddr {ward.floating}")
    dumped = "ovs-ofctl -O OpenFlow15 dump-groups br-int | sort | md5sum"
    same_groups = f"{dumped} | grep -q '{lab.exec(MAIN, 'sh', '-c', dumped).strip()}'"
    group = f"br-int group_id={ward.group()}"
    zone = f"external_ids:netloom-zone-{ward.instance.port['id']}"
    leases = f"/run/netloom/agent/dhcp/{ward.network}/hosts"
    cases = [
        (MAIN, f"ovs-ofctl -O OpenFlow15 remove-buckets {group},command_bucket_id=first", same_groups),
        (MAIN, f"ovs-ofctl -O OpenFlow15 del-groups {group}", same_groups),
        (MAIN, "ovs-ofctl -O OpenFlow15 del-groups br-int", same_groups),
        (MAIN, "ovs-ofctl -O OpenFlow15 add-group br-int group_id=77,type=select,bucket=actions=drop", same_groups),
        (MAIN, f"ovs-vsctl remove Open_vSwitch . {zone.replace(':', ' ')}", f"ovs-vsctl get Open_vSwitch . {zone} | grep -q {ward.zone()}"),
        (MAIN, f"echo 02:00:00:00:00:03,10.58.0.99,x >> {leases}", f"! grep -q 10.58.0.99 {leases}"),
        (MAIN, flows.format("del-flows") + "/-1", flows.format("dump-flows") + f"/-1 | grep -q {cookie}"),
        (MAIN, flows.format("mod-flows") + "/-1,actions=drop", flows.format("dump-flows --no-stats") + f"/-1 | grep -qF '{same}'"),
        (MAIN, "ovs-ofctl -O OpenFlow14 add-flow br-int cookie=0x4e4c00000000beef,table=99,actions=drop", "! ovs-ofctl -O OpenFlow14 dump-flows br-int | grep -q beef"),
        (MAIN, f"ovs-vsctl set interface {tap} external_ids:iface-id=other", f"! ovs-vsctl get interface {tap} external_ids:iface-id | grep -q other"),
        (MAIN, f"ip link set {tap} mtu 1300", f"! ip link show {tap} | grep -q 'mtu 1300'"),
        (MAIN, f"nft delete chain netdev netloom from-{tap}", f"nft list chain netdev netloom from-{tap}"),
        (MAIN, f"ip netns exec {ward.qd} nft flush chain ip netloom-dhcp input", f"ip netns exec {ward.qd} nft list chain ip netloom-dhcp input | grep -q 67"),
        (NETWORK, f"ip -n {qr} addr add 192.0.2.77/32 dev {inner}", f"! ip -n {qr} addr | grep -q 192.0.2.77"),
        (NETWORK, f"ip -n {qr} route del default", f"ip -n {qr} route | grep -q default"),
        (NETWORK, f"ip -n {qr} rule del pref 32766", f"ip -n {qr} rule | grep -q 32766"),
        (NETWORK, f"ip -n {qr} neigh del 10.58.0.20 dev {inner}", f"ip -n {qr} neigh | grep -q '10.58.0.20.*PERMANENT'"),
        (NETWORK, f"{inside} sysctl -qw net.ipv4.conf.{inner}.proxy_arp=1", f"{inside} sysctl -n net.ipv4.conf.{inner}.proxy_arp | grep -q 0"),
        (NETWORK, rule, f"{inside} nft list chain ip netloom prerouting | grep -q 'daddr {ward.floating}'"),
        (NETWORK, f"{inside} nft flush chain ip netloom-neighbours bound", f"{inside} nft list chain ip netloom-neighbours bound | grep -q limit"),
    ]  # fmt: skip
    for host in (MAIN, NETWORK):
        # All is as wanted: what follows is announced.
        RunningLab.until(lambda host=host: well(lab, host), 30, "not well before")
        for where, damage, check in cases:
            if where == host:
                lab.exec(host, "sh", "-ec", damage)
                RunningLab.until(
                    lambda host=host, check=check: lab.exec(
                        host, "sh", "-c", f"{check} >/dev/null 2>&1 && echo yes", check=False
                    ),
                    10,
                    f"not repaired: {damage}",
                )


def test_a_dry_run_says_what_would_be_done_and_does_nothing(lab: RunningLab, ward: Ward) -> None:
    config = str(lab.lab.host(MAIN) / "agent.toml")
    command = (sys.executable, "-m", "netloom", "agent", "--config", config, "--dry-run")
    look(lab, MAIN, hold=60)
    try:
        lab.exec(MAIN, "ovs-ofctl", "del-flows", "br-int", f"cookie={ward.flow()}/-1")
        said = lab.exec(MAIN, *command, check=False)
        assert "flow br-int 0" in said and "is not there" in said
        assert lab.exec(MAIN, *command, check=False) == said
    finally:
        look(lab, MAIN, hold=0)
    RunningLab.until(lambda: well(lab, MAIN), 30, "not repaired")


def test_the_command_says_it_in_lines(lab: RunningLab, ward: Ward) -> None:
    command = [sys.executable, "-m", "netloom", "doctor", "--name", lab.lab.name, MAIN]
    look(lab, MAIN, hold=60)
    try:
        lab.exec(MAIN, "ip", "link", "set", ward.instance.tap, "down")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        tap, port = ward.instance.tap, ward.instance.port["id"]
        assert done.returncode == 1
        assert (
            f"  interface br-int {tap} differs: device {tap} was down [port/{port}]" in done.stdout
        )
    finally:
        look(lab, MAIN, hold=0)
    done = subprocess.run([*command[:-1], "nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "there is no host 'nowhere'" in done.stderr
