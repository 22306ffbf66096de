"""Hosts as sets of namespaces, with real Open vSwitch, before there is any server or agent."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netloom.lab import down, hosts, state, topology, wiring
from netloom.lab.processes import Process
from netloom.lab.state import Lab
from tests.support.lab_traces import picture

pytestmark = pytest.mark.root

Run = Callable[..., str]


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    # Not tmp_path: unix sockets have short paths only.
    with tempfile.TemporaryDirectory(prefix="nl") as folder:
        monkeypatch.setenv("NETLOOM_STATE", folder)
        found = state.find("t")
        found.directory.mkdir(parents=True)
        try:
            yield found
        finally:
            down.down(found)


def start(lab: Lab, computes: int) -> dict[str, Process]:
    nodes = topology.nodes(computes)
    running = hosts.start(lab, hosts.infrastructure(lab, nodes))
    wiring.make_fabric(running, nodes)
    for node in nodes:
        wiring.set_up_host(running[node.name], node, kernel_datapath=False)
    wiring.set_up_outside(running[topology.OUTSIDE])
    return running


def inside(process: Process, *command: str) -> str:
    done = subprocess.run(
        wiring.inside(process, command), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_hosts_reach_one_another_and_leave_nothing(empty: Lab) -> None:
    before = picture(empty.directory)
    running = start(empty, 2)
    during = picture(empty.directory)
    assert during["links"] == before["links"]
    assert during["mounts"] == before["mounts"]
    assert during["named"] == before["named"]
    assert len(during["namespaces"]) == 5
    inside(running["compute1"], "ping", "-c1", "-W2", "10.255.0.13")
    assert inside(running["compute2"], "hostname").strip() == "compute2"
    # A host sees its own devices, processes and control groups.
    assert "eth-underlay" in inside(running["compute1"], "ls", "/sys/class/net")
    assert "netloom.lab.init" in inside(running["compute1"], "cat", "/proc/1/cmdline")
    assert empty.group not in inside(running["compute1"], "cat", "/proc/self/cgroup")
    assert down.down(empty)
    after = picture(empty.directory)
    assert after == before


def test_vxlan_crosses_hosts_and_full_packets_pass(empty: Lab) -> None:
    running = start(empty, 2)
    for name, remote, last in (("compute1", "10.255.0.13", 1), ("compute2", "10.255.0.12", 2)):
        script = f"""
            ovs-vsctl -- add-br br-t -- set bridge br-t datapath_type=netdev \
              -- add-port br-t vx -- set interface vx type=vxlan options:remote_ip={remote} options:key=7 \
              -- add-port br-t in0 -- set interface in0 type=internal mtu_request=1450
            ip netns add inner; ip link set in0 netns inner
            ip -n inner addr add 10.7.0.{last}/24 dev in0; ip -n inner link set in0 up"""
        inside(running[name], "sh", "-ec", script)
    # The first packet waits for the tunnel's own ARP.
    inside(
        running["compute1"],
        "ip",
        "netns",
        "exec",
        "inner",
        "ping",
        "-c3",
        "-i0.3",
        "-W2",
        "10.7.0.2",
    )
    inside(
        running["compute1"],
        *(
            "ip",
            "netns",
            "exec",
            "inner",
            "ping",
            "-c1",
            "-W2",
            "-M",
            "do",
            "-s",
            "1422",
            "10.7.0.2",
        ),
    )


def test_outside_plays_the_internet(empty: Lab) -> None:
    running = start(empty, 0)
    script = "ip addr add 192.0.2.50/24 dev eth-extnet; ip route add default via 192.0.2.1"
    inside(running["network1"], "sh", "-ec", script)
    page = inside(
        running["network1"], "busybox", "wget", "-qO-", f"http://{topology.WEB}/cgi-bin/address"
    )
    assert "192.0.2.50" in page
    assert topology.WEB in inside(
        running["network1"], "busybox", "nslookup", "-type=a", "www.example.net", topology.WEB
    )
    inside(running["network1"], "ping", "-c1", "-W2", topology.GATEWAYS["extnet"])


def test_a_killed_service_comes_back_and_a_stopped_one_does_not(empty: Lab) -> None:
    running = start(empty, 0)
    host = running["network1"]
    pid = Path(empty.host("network1") / "services/ovs-vswitchd")
    first = pid.read_text()
    inside(host, "kill", "-9", first)
    until(lambda: pid.read_text() != first)
    until(lambda: "br-phy" in inside(host, "sh", "-c", "ovs-appctl dpif/show || true"))
    hosts.switch_service(empty, "network1", host, "ovs-vswitchd", on=False)
    until(lambda: not inside(host, "sh", "-c", "pidof ovs-vswitchd || true").strip())
    time.sleep(0.5)
    assert not inside(host, "sh", "-c", "pidof ovs-vswitchd || true").strip()
    hosts.switch_service(empty, "network1", host, "ovs-vswitchd", on=True)
    until(lambda: bool(inside(host, "sh", "-c", "pidof ovs-vswitchd || true").strip()))


def test_a_killed_host_ends_wholly_and_down_removes_the_rest(empty: Lab) -> None:
    before = picture(empty.directory)
    running = start(empty, 1)
    os.kill(running["compute1"].pid, signal.SIGKILL)
    until(
        lambda: not any("/hosts/compute1/" in line for line in picture(empty.directory)["commands"])
    )
    assert running["network1"].alive
    assert down.down(empty)
    assert picture(empty.directory) == before


def test_orphans_are_reaped(empty: Lab) -> None:
    running = start(empty, 0)
    host = running["network1"]
    inside(host, "sh", "-c", "for i in 1 2 3; do (setsid sleep 0.1 &); done")
    states = "cut -d')' -f2 /proc/[0-9]*/stat | cut -c2 || true"
    until(lambda: "sleep 0.1" not in inside(host, "ps", "-wweo", "args"))
    until(lambda: "Z" not in inside(host, "sh", "-c", states))
