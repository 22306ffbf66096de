"""Container instances: they boot, are adopted, go, and cannot get out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.agents import apply_view
from tests.support.host import Host
from tests.support.instances import inside, pids, wait, world
from tests.support.worlds import World

pytestmark = pytest.mark.root


def test_instances_boot_are_adopted_and_go(host: Host, config: Path) -> None:
    cloud = world()
    said = apply_view(host, config, cloud.view("a"))
    print(said)
    assert "error" not in said
    first = pids(config)
    assert set(first) == {"vm1", "vm2"}
    address = wait(host, f"nsenter -t {first['vm1']} -n ip -4 addr show eth0 | grep 10.0.0.11/24")
    assert "10.0.0.11/24" in address
    assert wait(host, f"nsenter -t {first['vm2']} -n ip -4 addr show eth0 | grep 10.0.0.12/24")
    assert "2 packets received" in inside(host, "vm1", "ping -c 2 10.0.0.12")
    # Another agent finds them as they are.
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1] == "1 changes"  # the listener
    assert pids(config) == first
    # One that ends is started again; the other is left alone.
    host.run("kill", "-9", str(first["vm1"]))
    for _ in range(5):
        # Its devices go with it, a little later; the running agent hears of that, here it is tried again.
        time.sleep(0.5)
        said = apply_view(host, config, cloud.view("a"), check=False)
        if "error" not in said and first["vm1"] != pids(config)["vm1"]:
            break
    second = pids(config)
    assert second["vm2"] == first["vm2"]
    assert second["vm1"] != first["vm1"]
    assert wait(host, f"nsenter -t {second['vm1']} -n ip -4 addr show eth0 | grep 10.0.0.11/24")
    # One that is shut off stays so.
    cloud.change("servers", "vm1", power="off")
    apply_view(host, config, cloud.view("a"))
    host.sh(f"while [ -e /proc/{second['vm1']} ]; do sleep 0.1; done")
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1] == "1 changes"
    # Its card was taken back first: the next start finds it and does not fail.
    cloud.change("servers", "vm1", power="on")
    assert "error" not in apply_view(host, config, cloud.view("a"))
    third = pids(config)
    assert third["vm2"] == first["vm2"]
    assert wait(host, f"nsenter -t {third['vm1']} -n ip -4 addr show eth0 | grep 10.0.0.11/24")
    assert "2 packets received" in inside(host, "vm1", "ping -c 2 10.0.0.12")
    # They go, without a trace.
    empty = World()
    empty.host("a")
    apply_view(host, config, empty.view("a"))
    assert not list((config.parent / "state/instances").iterdir())
    assert not list((config.parent / "state/images").iterdir())
    assert "netloom-vm" not in host.sh(
        "ps axo args; ls /run/netloom/agent/crun /run/netloom/agent/roots"
    )
    assert "netloom/agent/roots" not in host.sh("cat /proc/mounts")


def test_an_instance_is_nobody_on_its_host(host: Host, config: Path) -> None:
    cloud = world()
    apply_view(host, config, cloud.view("a"))
    pid = pids(config)["vm1"]
    other = pids(config)["vm2"]
    status = host.sh(
        f"until grep -q 'Seccomp:.2' /proc/{pid}/status; do sleep 0.1; done; cat /proc/{pid}/status"
    )
    uid = int(next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:")))
    assert uid >= 1 << 20
    neighbour = next(
        line
        for line in host.sh(f"cat /proc/{other}/status").splitlines()
        if line.startswith("Uid:")
    )
    assert uid != int(neighbour.split()[1])
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    effective = int(
        next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16
    )
    for capability in (
        16,
        17,
        19,
        21,
        22,
        27,
        39,
    ):  # modules, raw I/O, ptrace, sysadmin, boot, mknod, bpf
        assert not effective >> capability & 1
    for attempt in (
        "mount -t tmpfs none /mnt",
        "mount -t proc none /tmp",
        "unshare -Urn true",
        "mknod /tmp/disk b 254 0",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "dmesg -c",
        "cat /proc/kcore | head -c 1 | grep .",
        "swapoff -a; swapon /tmp",
        "chroot /proc/1/root/../../.. ls /work",
    ):
        assert (
            inside(host, "vm1", f"{attempt} >/dev/null 2>&1 && echo succeeded").strip()
            != "succeeded"
        ), attempt
    devices = set(inside(host, "vm1", "ls /dev").split())
    assert devices <= {"console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
                       "stdout", "tty", "urandom", "zero", "mqueue"}  # fmt: skip
    # The host's underlay, its services and the sockets of Open vSwitch are not to be seen.
    assert "10.0.0" in wait(host, f"nsenter -t {pid} -n ip -4 addr show eth0 | grep 10.0.0")
    assert "br-int" not in inside(host, "vm1", "ip link")
    assert "No such file" in inside(host, "vm1", "ls /run/openvswitch")


def test_it_says_what_it_says_on_its_console(host: Host, config: Path) -> None:
    apply_view(host, config, world().view("a"))
    pipe = config.parent / "state/instances/vm1/console"
    assert "booting" in wait(host, f"timeout 2 cat {pipe}")
