"""Network hosts that are lost, cut off from the server, or late: where ordinary routers are then, and who says so."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from netloom.lab import wiring
from netloom.lab.hosts import SOCKET_IN_HOST
from netloom.lab.topology import FABRIC, OUTSIDE, WEB
from tests.support.pings import Pinging, answered, unanswered
from tests.support.running_lab import RunningLab, own_lab
from tests.support.tenant import NETWORKING, Capture, Tenant, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOSTS = ("network1", "network2")
LOST = 60.0
"""Seconds until a lost host's routers must be elsewhere: the lab's `agent_down_seconds` are 15."""


class Cloud(SimpleNamespace):
    """An ordinary router with an instance behind it that has a floating IP."""

    lab: RunningLab
    tenant: Tenant

    def hosts(self, router: str = "") -> list[str]:
        """The hosts of a router, as the API says."""
        path = f"{NETWORKING}/routers/{router or self.router['id']}/l3-agents"
        return [agent["host"] for agent in self.tenant.get(path)["agents"]]

    def alive(self, host: str) -> bool:
        agents = self.tenant.get(f"{NETWORKING}/agents", host=host)["agents"]
        return all(agent["alive"] for agent in agents)

    def has(self, host: str) -> bool:
        """Whether the router's namespace is on a host."""
        return f"qrouter-{self.router['id']}" in self.lab.exec(host, "ip", "netns")

    def explained(self, **more: str) -> dict[str, Any]:
        query = {"source": self.instance.port["id"], "destination": WEB, **more}
        return self.tenant.get("/explain/v1", **query)

    def from_outside(self) -> bool:
        return answered(lambda *line: self.lab.exec(OUTSIDE, *line, check=False), self.fip, count=2)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with own_lab("lost", 1, networks=2) as lab, Tenant(lab) as tenant:
        made = Cloud(lab=lab, tenant=tenant)
        group = tenant.group({})
        made.net = tenant.network("kept", "10.71.0.0/24")
        made.router = tenant.router(made.net)
        made.instance = tenant.instance(tenant.boot("kept", "compute1", made.net, group))
        made.fip = tenant.floating_ip(made.instance.port["id"])["floating_ip_address"]
        made.instance.reaches(WEB, 40)
        RunningLab.until(made.from_outside, 20, "the floating IP does not answer")
        yield made


@contextlib.contextmanager
def without_server(lab: RunningLab, *names: str) -> Iterator[None]:
    """Hosts that cannot reach the server: its socket is hidden, and an agent that is started again has no connection left."""
    folder = SOCKET_IN_HOST.rpartition("/")[0]
    for name in names:
        lab.exec(name, "mount", "-t", "tmpfs", "none", folder)
        restart(lab, name)
    try:
        yield
    finally:
        for name in names:
            lab.exec(name, "umount", folder)


def restart(lab: RunningLab, host: str) -> None:
    pid = lab.lab.host(host) / "services/agent"
    before = pid.read_text()
    lab.exec(host, "kill", "-9", before)
    RunningLab.until(lambda: pid.read_text() != before, 30, "the agent did not come back")


def cables(lab: RunningLab, host: str, word: str) -> None:
    batch = "".join(f"link set {network}-{host} {word}\n" for network in "uep")
    line = wiring.inside(lab.process(FABRIC), ["ip", "-batch", "-"], network_only=True)
    wiring.run(line, batch)


def test_a_lost_hosts_router_moves_and_is_not_served_twice(cloud: Cloud) -> None:
    lab, (lost,) = cloud.lab, cloud.hosts()
    other = next(host for host in HOSTS if host != lost)
    with without_server(lab, lost):
        with Capture(on_host(lab, OUTSIDE), "eth-public", "arp") as seen:
            cables(lab, lost, "down")
            began = time.monotonic()
            RunningLab.until(lambda: not cloud.alive(lost), LOST)
            said = cloud.explained()
            if cloud.hosts() == [lost]:
                assert said["verdict"] != "reachable", said
                assert f"host {lost} does not report any more" in said["sentence"], said
            RunningLab.until(lambda: cloud.hosts() == [other], LOST, "the router stays")
            print("moved after", time.monotonic() - began)
            cloud.instance.reaches(WEB, 20)
            RunningLab.until(cloud.from_outside, 20, "the floating IP does not answer there")
            print("felt for", time.monotonic() - began)
        announced = re.findall(r"(?:Announcement|who-has) ([\d.]+)", seen.text)
        assert cloud.fip in announced, seen.text
        # The lost one hears neither the server nor anybody else, and has given the router up.
        RunningLab.until(lambda: not cloud.has(lost), LOST, "two hosts serve the router")
        says = cloud.explained()
        assert says["verdict"] == "reachable" or other in str(says), says
        pings = Pinging(cloud.instance.line("ping", "-n", "-i", "0.1", WEB))
        cables(lab, lost, "up")
        time.sleep(3.0)
        assert not cloud.has(
            lost
        )  # its tunnels are well again; the server has not said yet what is its
    RunningLab.until(lambda: cloud.alive(lost), 30)
    time.sleep(2.0)
    assert not unanswered(pings.stop())
    assert cloud.hosts() == [other] and not cloud.has(lost)
    assert "no errors" in lab.status()


def test_hosts_without_the_server_keep_what_they_have(cloud: Cloud) -> None:
    """And a router that is made meanwhile waits for a host, and comes up with the first that is back."""
    lab, (carrier,), tenant = cloud.lab, cloud.hosts(), cloud.tenant
    with contextlib.ExitStack() as away:
        back = [away.enter_context(contextlib.ExitStack()) for _ in HOSTS]
        for host, end in zip(HOSTS, back, strict=True):
            end.enter_context(without_server(lab, host))
        pings = Pinging(cloud.instance.line("ping", "-n", "-i", "0.1", WEB))
        RunningLab.until(lambda: not any(map(cloud.alive, HOSTS)), LOST)
        net = tenant.network("late", "10.72.0.0/24")
        router = tenant.router(net)
        shown = tenant.get(f"{NETWORKING}/routers/{router['id']}")["router"]
        assert (shown["status"], cloud.hosts(router["id"])) == ("ACTIVE", [])
        port = tenant.make("ports", network_id=net["id"], **{"binding:host_id": "compute1"})
        said = cloud.explained(source=port["id"])
        assert "is on no host: no network host is alive" in said["sentence"] or (
            said["verdict"] != "reachable"
        ), said
        print("no host is alive:", said["sentence"])
        assert cloud.explained()["verdict"] == "unknown"
        assert cloud.hosts() == [carrier] and cloud.has(carrier)
        assert not unanswered(pings.stop())
        for end in reversed(back):  # in any order
            end.close()
            RunningLab.until(lambda: len(cloud.hosts(router["id"])) == 1, 30, "nobody takes it")
    RunningLab.until(lambda: all(map(cloud.alive, HOSTS)), 30)
    assert cloud.hosts() == [carrier]
    (there,) = cloud.hosts(router["id"])
    RunningLab.until(
        lambda: f"qrouter-{router['id']}" in lab.exec(there, "ip", "netns"), 20, "it never came up"
    )


def test_a_host_that_lags_is_never_called_reachable(cloud: Cloud) -> None:
    lab, (carrier,), tenant = cloud.lab, cloud.hosts(), cloud.tenant
    pid = (lab.lab.host(carrier) / "services/agent").read_text().strip()
    port = tenant.make("ports", network_id=cloud.net["id"])
    lab.exec(carrier, "kill", f"-{signal.SIGSTOP.value}", pid)
    try:
        fip = tenant.floating_ip(port["id"])
        behind = r"changes behind"
        RunningLab.until(lambda: re.search(rf"{carrier} .*{behind}", lab.status()), 15)
        said = cloud.explained()
        assert said["verdict"] == "unknown" and f"host {carrier} has applied" in said["sentence"]
        status = tenant.get(f"{NETWORKING}/floatingips/{fip['id']}")["floatingip"]["status"]
        assert status == "DOWN"
    finally:
        lab.exec(carrier, "kill", f"-{signal.SIGCONT.value}", pid)
    RunningLab.until(lambda: cloud.explained()["verdict"] == "reachable", 20, "it stays behind")


def test_a_host_without_the_physical_network_gets_no_router_of_it(cloud: Cloud) -> None:
    lab, (carrier,), tenant = cloud.lab, cloud.hosts(), cloud.tenant
    poor = next(host for host in HOSTS if host != carrier)
    config = lab.lab.host(poor) / "agent.toml"
    whole = config.read_text()
    agents = {
        host: tenant.get(f"{NETWORKING}/agents", host=host, agent_type="L3 agent")["agents"][0][
            "id"
        ]
        for host in HOSTS
    }
    path = f"{NETWORKING}/agents/{agents[carrier]}/l3-routers"
    try:
        config.write_text(re.sub(r'(?m)^"public".*\n', "", whole))
        restart(lab, poor)
        RunningLab.until(
            lambda: "public" not in str(tenant.get(f"{NETWORKING}/agents", host=poor)), 20
        )
        net = tenant.network("more", "10.73.0.0/24")
        router = tenant.router(net)
        assert cloud.hosts(router["id"]) == [carrier]
        tenant.delete(f"{path}/{router['id']}")
        assert cloud.hosts(router["id"]) == []
        port = tenant.make("ports", network_id=net["id"], **{"binding:host_id": "compute1"})
        print("taken:", cloud.explained(source=port["id"])["sentence"])
        tenant.request("POST", path, json={"router_id": router["id"]})
        assert cloud.hosts(router["id"]) == [carrier]
    finally:
        config.write_text(whole)
        restart(lab, poor)
    RunningLab.until(lambda: "public" in str(tenant.get(f"{NETWORKING}/agents", host=poor)), 20)
