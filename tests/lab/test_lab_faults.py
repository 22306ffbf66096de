"""What fails comes back by itself, and what goes on meanwhile is not disturbed: agents, switches, the server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from netloom.lab import up
from netloom.lab.topology import WEB
from tests.support.pings import Pinging, unanswered
from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Instance, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOSTS = ("network1", "compute1", "compute2")


@pytest.fixture(scope="module")
def cloud(lab: RunningLab) -> Iterator[SimpleNamespace]:
    """Two networks on a router; three instances."""
    with Tenant(lab) as tenant:
        made = SimpleNamespace(tenant=tenant)
        made.group = tenant.group({})
        made.one = tenant.network("one", "10.51.0.0/24")
        made.two = tenant.network("two", "10.52.0.0/24")
        made.router = tenant.router(made.one, made.two)
        asked = {
            "here": tenant.boot("here", "compute1", made.one, made.group),
            "there": tenant.boot("there", "compute2", made.one, made.group),
            "beyond": tenant.boot("beyond", "compute2", made.two, made.group),
        }
        for name, server in asked.items():
            setattr(made, name, tenant.instance(server))
        well(made)
        yield made


def well(cloud: SimpleNamespace, seconds: float = 40.0) -> None:
    """Wait until packets pass across hosts, through the router and to outside."""
    for address in (cloud.there.address, cloud.beyond.address, WEB):
        cloud.here.reaches(address, seconds)


class Pings:
    """Pings every 50 ms while the context lasts, across hosts and through the router; none may be lost."""

    def __init__(self, cloud: SimpleNamespace) -> None:
        self._running = [
            Pinging(cloud.here.line("ping", "-n", "-i", "0.05", address))
            for address in (cloud.there.address, cloud.beyond.address)
        ]

    def __enter__(self) -> Pings:
        time.sleep(0.5)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        said = [pings.stop() for pings in self._running]
        assert kind or not any(map(unanswered, said)), said


def kill(lab: RunningLab, host: str, service: str) -> None:
    """Kill -9 one program of a host, and wait until it is there again."""
    pid = lab.lab.host(host) / "services" / service
    before = pid.read_text()
    lab.exec(host, "kill", "-9", before)
    RunningLab.until(
        lambda: pid.read_text() != before, 30, f"{service} of {host} did not come back"
    )


def has_lease(instance: Instance) -> bool:
    return f"lease of {instance.address} obtained" in instance.run(
        *(
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-n",
            "-q",
            "-f",
            "-t",
            "3",
            "-T",
            "1",
            "-s",
            "/bin/true",
        )
    )


def has_metadata(instance: Instance) -> bool:
    url = "http://169.254.169.254/openstack/latest/meta_data.json"
    return instance.id in instance.run("timeout", "3", "busybox", "wget", "-q", "-O", "-", url)


def test_no_packet_is_lost_while_agents_are_killed(lab: RunningLab, cloud: SimpleNamespace) -> None:
    with Pings(cloud):
        for host in HOSTS:
            kill(lab, host, "agent")
        for instance in (cloud.here, cloud.there):
            RunningLab.until(lambda i=instance: has_metadata(i), 30, "no agent answers")
    for instance in (cloud.here, cloud.beyond):
        assert has_lease(instance)


@pytest.mark.parametrize("service", ["ovs-vswitchd", "ovsdb-server"])
@pytest.mark.parametrize("host", ["compute1", "network1"])
def test_open_vswitch_comes_back(
    lab: RunningLab, cloud: SimpleNamespace, host: str, service: str
) -> None:
    kill(lab, host, service)
    well(cloud)
    RunningLab.until(
        lambda: has_lease(cloud.here) and has_metadata(cloud.here), 30, "no DHCP or metadata"
    )


def test_a_killed_dnsmasq_comes_back(lab: RunningLab, cloud: SimpleNamespace) -> None:
    pid_file = f"/run/netloom/agent/dhcp/{cloud.one['id']}/pid"
    before = lab.exec("compute1", "cat", pid_file)
    with Pings(cloud):
        lab.exec("compute1", "kill", "-9", before.strip())
        RunningLab.until(lambda: has_lease(cloud.here), 30, "no DHCP")
    assert lab.exec("compute1", "cat", pid_file) != before


def test_namespaces_whose_names_are_removed_are_made_anew(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    """The listener for metadata and dnsmasq keep the old namespace alive: the kernel tells of nothing."""
    lab.exec("compute1", "ip", "netns", "del", f"qdhcp-{cloud.one['id']}")
    lab.exec("network1", "ip", "netns", "del", f"qrouter-{cloud.router['id']}")
    RunningLab.until(
        lambda: has_lease(cloud.here) and has_metadata(cloud.here), 30, "no DHCP or metadata"
    )
    well(cloud)
    assert f"qdhcp-{cloud.one['id']}" in lab.exec("compute1", "ip", "netns")


def test_without_the_server_hosts_go_on(lab: RunningLab, cloud: SimpleNamespace) -> None:
    server = lab.process("server")
    os.kill(server.pid, signal.SIGKILL)
    try:
        with Pings(cloud):
            assert has_lease(cloud.here) and has_metadata(cloud.here)
            # An agent that starts now knows what was last said to it.
            kill(lab, "compute1", "agent")
            RunningLab.until(
                lambda: has_metadata(cloud.here), 30, "an agent without a server serves nobody"
            )
        assert has_lease(cloud.here)
        assert cloud.here.pings(WEB)
    finally:
        RunningLab.until(lambda: not server.alive, 30)
        fresh = up.start_server(lab.lab)
        lab.state.processes["server"] = fresh
        lab.lab.save(lab.state)
        up.wait_server(lab.lab, fresh, lab.state.port)
    # All is there again, and new things work.
    names = {network["name"] for network in cloud.tenant.get(f"{NETWORKING}/networks")["networks"]}
    assert {"one", "two", "public"} <= names
    with Tenant(lab) as tenant:
        late = tenant.instance(tenant.boot("late", "compute2", cloud.one, cloud.group))
        late.reaches(cloud.here.address)
        late.reaches(cloud.beyond.address)
    well(cloud)


def test_broken_things_are_mended_and_stop_nothing_else(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    tenant = cloud.tenant
    dhcp = next(
        port
        for port in tenant.get(f"{NETWORKING}/ports", network_id=cloud.one["id"])["ports"]
        if port["device_owner"] == "network:dhcp"
    )
    where = ("ip", "netns", "exec", f"qdhcp-{cloud.one['id']}")
    router = ("ip", "netns", "exec", f"qrouter-{cloud.router['id']}")
    # What the kernel tells of is mended at once …
    lab.exec("compute1", *where, "ip", "link", "del", f"tap{dhcp['id'][:11]}")
    lab.exec("network1", *router, "ip", "route", "del", "default")
    well(cloud, 30)
    RunningLab.until(lambda: has_lease(cloud.here), 30, "the DHCP device was not mended")
    # … the rest by the next audit.
    lab.exec("network1", *router, "nft", "flush", "ruleset")
    lab.exec("compute1", "ovs-ofctl", "del-flows", "br-int", "table=40")
    # Meanwhile other things are made, on the same hosts.
    network = tenant.network("meanwhile", "10.53.0.0/24")
    tenant.attach(cloud.router, network)
    other = tenant.instance(tenant.boot("other", "compute1", network, cloud.group))
    other.reaches("10.53.0.1")
    well(cloud, 75)
    assert has_lease(cloud.here) and has_metadata(cloud.here)
