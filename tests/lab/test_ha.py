"""HA routers with real packets: what an operator would try, and how long it is felt."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from netloom.agent.doctor import Request, ask
from netloom.lab import hosts, wiring
from netloom.lab.topology import FABRIC, OUTSIDE, WEB
from tests.support.ha_cloud import (
    HOSTS,
    OUTAGE,
    Both,
    Cloud,
    Felt,
    Talks,
    cut,
    fabric,
    keepalived,
    other,
    plugs,
)
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import NETWORKING, Capture, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def ha_lab() -> Iterator[RunningLab]:
    """A lab with two network hosts."""
    with own_lab("ha", 1, networks=2) as running:
        yield running


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
