"""HA routers with real packets: what an operator would try, and how long it is felt."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from netloom.agent.doctor import Request, ask
from netloom.dataplane.linux import netns
from netloom.dataplane.linux.netlink import addresses_on, open_netlink
from netloom.lab import hosts, wiring
from netloom.lab.topology import FABRIC, OUTSIDE, WEB
from tests.support import tcp_talk
from tests.support.pings import Pinging
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import NETWORKING, Background, Capture, Tenant, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOSTS = ("network1", "network2")
EVERY = 0.05
"""Seconds between two pings."""
OUTAGE = 1.0
"""Seconds without an answer that a failover may cost."""
TALK = str(Path(tcp_talk.__file__))
PORT = 8090


@pytest.fixture(scope="module")
def ha_lab() -> Iterator[RunningLab]:
    """A lab with two network hosts."""
    with own_lab("ha", 1, networks=2) as running:
        yield running


class Cloud(SimpleNamespace):
    """An HA router with an instance behind it that has a floating IP, and one that has none."""

    lab: RunningLab
    tenant: Tenant

    @property
    def namespace(self) -> str:
        return f"qrouter-{self.router['id']}"

    def namespace_file(self, host: str) -> str:
        """The router's namespace on a host, as this machine sees the file."""
        return f"/proc/{self.lab.process(host).pid}/root/run/netns/{self.namespace}"

    def addresses(self, host: str) -> set[str]:
        """The router's addresses on a host, but those of the HA network and of `lo`."""
        # Without a program of its own: tests look often, on a machine with few processors.
        try:
            target = os.open(self.namespace_file(host), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return set()
        with netns.entered(target), open_netlink() as link:
            devices = [(d.get("ifname"), d["index"]) for d in link.get_links()]
            ours = [index for name, index in devices if name[:3] in ("qr-", "qg-")]
            return {address for index in ours for address in addresses_on(link, index)}

    def owners(self) -> list[str]:
        """The hosts where the router has its addresses."""
        return [host for host in HOSTS if self.addresses(host)]

    def states(self) -> dict[str, str]:
        """What the API says: host → ha_state."""
        path = f"{NETWORKING}/routers/{self.router['id']}/l3-agents"
        return {agent["host"]: agent["ha_state"] for agent in self.tenant.get(path)["agents"]}

    def active(self) -> str:
        """The host where the router is active; waits until it is exactly one, and the API says so."""
        RunningLab.until(lambda: len(self.owners()) == 1, 10, f"owners: {self.owners()}")
        (host,) = self.owners()
        RunningLab.until(
            lambda: self.states() == {h: "active" if h == host else "standby" for h in HOSTS},
            10,
            f"{host} is active, and the API says {self.states()}",
        )
        return host


@pytest.fixture(scope="module")
def cloud(ha_lab: RunningLab) -> Iterator[Cloud]:
    with Tenant(ha_lab) as tenant:
        made = Cloud(lab=ha_lab, tenant=tenant)
        made.group = tenant.group({})
        made.net = tenant.network("ha-net", "10.61.0.0/24")
        made.router = tenant.router(made.net, ha=True)
        asked = [tenant.boot(name, "compute1", made.net, made.group) for name in ("a", "b")]
        made.behind, made.plain = map(tenant.instance, asked)
        made.fip = tenant.floating_ip(made.behind.port["id"])["floating_ip_address"]
        for instance in (made.behind, made.plain):
            instance.reaches(WEB, 40)
        yield made


class Felt:
    """Pings out of an instance by SNAT, and in to a floating IP; `longest`: seconds without an answer, of each."""

    def __init__(self, cloud: Cloud) -> None:
        lines = [
            cloud.plain.line("ping", "-n", "-D", "-i", str(EVERY), WEB),
            on_host(cloud.lab, OUTSIDE, "ping", "-n", "-D", "-i", str(EVERY), cloud.fip),
        ]
        self._running = [Pinging(line) for line in lines]
        self.longest: list[float] = []

    def __enter__(self) -> Felt:
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1.0)
        for pings in self._running:
            said = pings.stop()
            at = [
                float(found) for found in re.findall(r"^\[([\d.]+)\].*icmp_seq=.*ttl=", said, re.M)
            ]
            assert len(at) > 10, said
            gaps = [then - before for before, then in itertools.pairwise(at)]
            self.longest.append(max(0.0, max(gaps) - EVERY))


class Talks:
    """TCP sessions out by SNAT and in through a floating IP, that must go on."""

    def __init__(self, cloud: Cloud) -> None:
        serve = [sys.executable, TALK, "serve", str(PORT)]
        talk = [sys.executable, "-u", TALK, "talk"]
        self._servers = [
            Background(on_host(cloud.lab, OUTSIDE, *serve)),
            Background(cloud.behind.line(*serve)),
        ]
        for where in (on_host(cloud.lab, OUTSIDE), cloud.behind.line()):
            line = [*where, "ss", "-Hltn"]
            RunningLab.until(lambda line=line: f":{PORT}" in wiring.run(line), 30)
        self._talks = [
            Background(cloud.plain.line(*talk, WEB, str(PORT))),
            Background(on_host(cloud.lab, OUTSIDE, *talk, cloud.fip, str(PORT))),
        ]
        time.sleep(1.0)
        assert [each.process.poll() for each in self._talks] == [None, None]

    def stop(self) -> list[bool]:
        """Whether each still lived."""
        lived: list[bool] = []
        for each in self._talks:
            alive = each.process.poll() is None
            lived.append(alive and each.stop().count("beat") > 3)
        for each in self._servers:
            each.stop()
        return lived


class Both:
    """Watches how long, in one piece, two hosts have the router's addresses."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.seconds = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        since = None
        while not self._end.is_set():
            now = time.monotonic()
            if len(self._cloud.owners()) < 2:
                since = None
            else:
                since = since or now
                self.seconds = max(self.seconds, now - since)
            time.sleep(0.02)

    def stop(self) -> float:
        self._end.set()
        self._thread.join()
        return self.seconds

    def __enter__(self) -> Both:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def fabric(lab: RunningLab, *command: str) -> None:
    """Run a command in the namespace that has the lab's cables."""
    wiring.run(wiring.inside(lab.process(FABRIC), command, network_only=True))


def plugs(host: str) -> list[str]:
    return [f"{network}-{host}" for network in "uep"]


def cut(lab: RunningLab, *cables: str, up: bool = False) -> None:
    """Pull cables out of the switches, or plug them in again."""
    for cable in cables:
        fabric(lab, "ip", "link", "set", cable, "up" if up else "down")


def other(host: str) -> str:
    return next(each for each in HOSTS if each != host)


def keepalived(cloud: Cloud, host: str) -> list[str]:
    """Process ids of the router's keepalived on a host."""
    home = f"/run/netloom/agent/ha/{cloud.namespace}"
    said = cloud.lab.exec(host, "cat", f"{home}/pid", f"{home}/vrrp.pid", check=False)
    return said.split()


def test_one_host_has_the_router_and_the_api_says_which(cloud: Cloud) -> None:
    active = cloud.active()
    wanted = {"10.61.0.1", cloud.fip}
    RunningLab.until(lambda: {a.split("/")[0] for a in cloud.addresses(active)} >= wanted, 5)
    assert cloud.addresses(other(active)) == set()


def test_the_agent_killed_is_not_felt(cloud: Cloud) -> None:
    active = cloud.active()
    with Felt(cloud) as felt:
        for host in HOSTS:
            pid = cloud.lab.lab.host(host) / "services/agent"
            before = pid.read_text()
            cloud.lab.exec(host, "kill", "-9", before)
            RunningLab.until(lambda p=pid, b=before: p.read_text() != b, 30)
        time.sleep(2)
    # None, but on a machine with few processors the agent's own start is felt; a failover would be more.
    assert max(felt.longest) < 0.4, felt.longest
    assert cloud.active() == active


def test_keepalived_killed(cloud: Cloud) -> None:
    active = cloud.active()
    talks = Talks(cloud)
    with Felt(cloud) as felt:
        before = keepalived(cloud, active)
        cloud.lab.exec(active, "kill", "-9", *before)
        both = Both(cloud)

        def fresh() -> bool:
            now = keepalived(cloud, active)
            return len(now) == 2 and now != before

        RunningLab.until(fresh, 5, "it did not come back")
        time.sleep(2.0)
    print("keepalived killed:", felt.longest, "two owners for", both.stop())
    assert talks.stop() == [True, True]
    assert len(cloud.owners()) == 1 and cloud.active()
    assert max(felt.longest) <= OUTAGE and both.seconds <= OUTAGE


def test_one_of_its_processes_killed(cloud: Cloud) -> None:
    """The parent of what does the work starts it again; and where that is killed, all of it ends."""
    for which in (1, 0):
        time.sleep(3.0)
        active = cloud.active()
        with Felt(cloud) as felt, Both(cloud) as both:
            cloud.lab.exec(active, "kill", "-9", keepalived(cloud, active)[which])
            time.sleep(2.0)
        print("one of keepalived's processes killed:", felt.longest, both.seconds)
        assert max(felt.longest) <= OUTAGE and both.seconds <= OUTAGE


def test_the_active_hosts_links_cut(cloud: Cloud) -> None:
    active = cloud.active()
    talks = Talks(cloud)
    with Felt(cloud) as felt:
        began = time.monotonic()
        cut(cloud.lab, *plugs(active))
        print("cut took", time.monotonic() - began)
        RunningLab.until(lambda: other(active) in cloud.owners(), 5)
        print("taken over after", time.monotonic() - began)
        RunningLab.until(lambda: cloud.owners() == [other(active)], 5)
        print("given up after", time.monotonic() - began)
        time.sleep(1.0)
    print("links cut:", felt.longest)
    assert max(felt.longest) <= OUTAGE
    with Felt(cloud) as felt:
        cut(cloud.lab, *plugs(active), up=True)
        RunningLab.until(lambda: cloud.owners() == [other(active)], 5)
        time.sleep(2.0)
    print("healed:", felt.longest)
    assert max(felt.longest) <= OUTAGE
    assert talks.stop() == [True, True]
    assert cloud.active() == other(active)


def apart(lab: RunningLab, isolated: bool) -> None:
    """Have no frame between the network hosts' tunnel interfaces pass, though each has its link; or heal that."""
    for host in HOSTS:
        state = "on" if isolated else "off"
        fabric(lab, "bridge", "link", "set", "dev", f"u-{host}", "isolated", state)


def test_the_network_hosts_lose_sight_of_each_other(cloud: Cloud) -> None:
    """The one that becomes active finds by ARP, on the external network, that the other one is, and yields."""
    active = cloud.active()
    with Felt(cloud) as felt, Both(cloud) as both:
        apart(cloud.lab, True)
        time.sleep(3.0)
        owners = cloud.owners()
        # While they are apart the owner is lost: the other one hears it no more.
        assert cloud.active() == active
        apart(cloud.lab, False)
        time.sleep(2.0)
    print("split:", felt.longest, both.seconds)
    assert owners == [active] == cloud.owners()
    assert max(felt.longest) <= OUTAGE and both.seconds <= OUTAGE


def test_the_owner_is_lost_while_they_do_not_see_each_other(cloud: Cloud) -> None:
    active = cloud.active()
    apart(cloud.lab, True)
    try:
        time.sleep(2.0)
        with Felt(cloud) as felt:
            cut(cloud.lab, *plugs(active))
            RunningLab.until(lambda: other(active) in cloud.owners(), 5)
        print("owner lost while apart:", felt.longest)
    finally:
        apart(cloud.lab, False)
        cut(cloud.lab, *plugs(active), up=True)
    assert cloud.active() == other(active)


def in_router(cloud: Cloud, host: str) -> list[str]:
    """The command line that runs a tool of this machine in the router's namespace on a host."""
    return ["nsenter", f"--net={cloud.namespace_file(host)}", "--"]


def test_a_standby_never_speaks_in_the_routers_name(cloud: Cloud) -> None:
    standby = other(cloud.active())
    devices = cloud.lab.exec(standby, "ip", "-n", cloud.namespace, "-br", "link").splitlines()
    ours = [line.split()[0].partition("@")[0] for line in devices if line[:3] in ("qr-", "qg-")]
    assert len(ours) == 2
    with contextlib.ExitStack() as stack:
        seen = [
            stack.enter_context(Capture(in_router(cloud, standby), device, "outbound"))
            for device in ours
        ]
        heard = stack.enter_context(Capture(in_router(cloud, standby), max(ours), "inbound"))
        # Its copies of what is for the router, questions for the router's addresses, and its own start.
        cloud.plain.run("ping", "-n", "-c", "20", "-i", "0.1", WEB)
        cloud.plain.run("arping", "-c", "3", "-I", "eth0", "10.61.0.1")
        cloud.lab.exec(OUTSIDE, "arping", "-c", "3", "-I", "eth-public", cloud.fip, check=False)
        cloud.lab.exec(standby, "kill", "-9", *keepalived(cloud, standby))
        time.sleep(2.0)
        pid = cloud.lab.lab.host(standby) / "services/agent"
        before = pid.read_text()
        cloud.lab.exec(standby, "kill", "-9", before)
        RunningLab.until(lambda: pid.read_text() != before, 30)
        time.sleep(3.0)
    spoken = [line for capture in seen for line in capture.frames if " > " in line]
    assert spoken == []
    assert [line for line in heard.frames if " > " in line]
    assert cloud.active() == other(standby)


def test_what_somebody_damages_is_repaired(cloud: Cloud) -> None:
    active = cloud.active()
    home = "/run/netloom/agent"
    conf = f"{home}/ha/{cloud.namespace}/conf"
    text = cloud.lab.exec(active, "cat", conf)
    cloud.lab.exec(active, "sh", "-c", f"echo '# more' >>{conf}")
    RunningLab.until(lambda: cloud.lab.exec(active, "cat", conf) == text, 5, "the file stays")
    told = f"{home}/sync/{cloud.namespace}/pid"
    before = cloud.lab.exec(active, "cat", told)
    cloud.lab.exec(active, "kill", "-9", before.strip())
    RunningLab.until(
        lambda: cloud.lab.exec(active, "cat", told, check=False) not in ("", before), 5, "no sync"
    )
    device = next(
        line.split()[0].partition("@")[0]
        for line in cloud.lab.exec(active, "ip", "-n", cloud.namespace, "-br", "link").splitlines()
        if line.startswith("qg-")
    )
    gone = f"{cloud.fip}/32"
    cloud.lab.exec(active, "ip", "-n", cloud.namespace, "addr", "del", gone, "dev", device)
    RunningLab.until(
        lambda: len(cloud.owners()) == 1 and gone in cloud.addresses(cloud.owners()[0]),
        5,
        "the floating IP stays away",
    )
    for host in HOSTS:
        RunningLab.until(
            lambda host=host: not examine(cloud, host), 10, f"{host}: {examine(cloud, host)}"
        )


def examine(cloud: Cloud, host: str) -> list[str]:
    """What `netloom doctor` finds on a host."""
    report = ask(cloud.lab.lab.host(host) / "state", Request())
    return [str(each) for each in report.findings] if not report.wrong else [report.wrong]


def test_explain_says_which_host_is_active(cloud: Cloud) -> None:
    active = cloud.active()
    query = {"source": cloud.plain.port["id"], "destination": WEB}

    def said() -> str:
        hops = cloud.tenant.get("/explain/v1", **query)
        return str(hops)

    words = f"HA: active on {active}, standby on {other(active)}"
    RunningLab.until(lambda: words in said(), 15, said())


def test_floating_ips_come_and_go_where_it_is_active(cloud: Cloud) -> None:
    fip = cloud.tenant.floating_ip(cloud.plain.port["id"])
    address, path = f"{fip['floating_ip_address']}/32", f"{NETWORKING}/floatingips/{fip['id']}"
    RunningLab.until(lambda: address in cloud.addresses(cloud.active()), 5)
    RunningLab.until(lambda: cloud.tenant.get(path)["floatingip"]["status"] == "ACTIVE", 10)
    cloud.tenant.delete(path)
    RunningLab.until(lambda: address not in cloud.addresses(cloud.active()), 5)


def test_hosts_begin_in_any_order(cloud: Cloud) -> None:
    lab = cloud.lab
    for order in (HOSTS, HOSTS[::-1]):
        for host in HOSTS:
            pid = (lab.lab.host(host) / "services/agent").read_text().strip()
            hosts.switch_service(lab.lab, host, lab.process(host), "agent", False)
            gone = f"kill -0 {pid} 2>/dev/null || echo gone"
            RunningLab.until(
                lambda host=host, gone=gone: "gone" in lab.exec(host, "sh", "-c", gone), 15
            )
            lab.exec(host, "kill", "-9", *keepalived(cloud, host), check=False)
        for host in order:
            hosts.switch_service(lab.lab, host, lab.process(host), "agent", True)
            time.sleep(2.0)
        RunningLab.until(lambda: len(cloud.owners()) == 1, 20, f"{cloud.owners()}")
        cloud.plain.reaches(WEB, 10)
        cloud.active()


@contextlib.contextmanager
def bonded_tunnels(lab: RunningLab, host: str) -> Iterator[str]:
    """A host whose tunnels leave by a bond of two cards, as its operator made it; the second one's plug."""
    plug, card = f"u2-{host}", "eth-underlay2"
    lines = [
        f"link add {plug} type veth peer name {card} netns {lab.process(host).pid}",
        f"link set {plug} master underlay up",
    ]
    line = wiring.inside(lab.process(FABRIC), ["ip", "-batch", "-"], network_only=True)
    wiring.run(line, "".join(f"{each}\n" for each in lines))
    lab.exec(host, "sh", "-ec", f"ethtool -K {card} tx off >/dev/null; ip link set {card} up")
    to_bond = f"add-bond br-phy bond-phy eth-underlay {card} bond_mode=active-backup"
    lab.exec(host, "sh", "-ec", f"ovs-vsctl -- del-port eth-underlay -- {to_bond}")
    try:
        yield plug
    finally:
        undo = "ovs-vsctl -- del-port bond-phy -- add-port br-phy eth-underlay"
        lab.exec(host, "sh", "-ec", f"{undo}; ip link del {card}")


def test_tunnels_on_a_bond(cloud: Cloud) -> None:
    """One of its cards cut is no failover; both are."""
    host = cloud.active()
    with bonded_tunnels(cloud.lab, host) as second:
        cloud.plain.reaches(WEB, 20)
        time.sleep(2.0)
        active, first = cloud.active(), f"u-{host}"
        assert active == host, "making the bond moved the router"
        with Felt(cloud) as felt:
            cut(cloud.lab, first)
            time.sleep(2.0)
        print("one card of the bond cut:", felt.longest)
        assert max(felt.longest) <= OUTAGE and cloud.active() == active
        with Felt(cloud) as felt:
            cut(cloud.lab, second)
            RunningLab.until(lambda: cloud.owners() == [other(active)], 5)
            time.sleep(1.0)
        print("both cut:", felt.longest)
        assert max(felt.longest) <= OUTAGE
        cut(cloud.lab, first, second, up=True)
        assert cloud.active() == other(active)
    RunningLab.until(lambda: "no errors" in cloud.lab.status(), 30, cloud.lab.status())


def test_the_active_host_is_lost(cloud: Cloud) -> None:
    active = cloud.active()
    talks = Talks(cloud)
    with Felt(cloud) as felt:
        began = time.monotonic()
        os.kill(cloud.lab.process(active).pid, signal.SIGKILL)
        RunningLab.until(lambda: cloud.addresses(other(active)), 5)
        print("taken over after", time.monotonic() - began)
        time.sleep(1.0)
    print("host lost:", felt.longest)
    assert talks.stop() == [True, True]
    assert max(felt.longest) <= OUTAGE
    RunningLab.until(
        lambda: cloud.states() == {active: "standby", other(active): "active"},
        40,
        f"{cloud.states()}",
    )
