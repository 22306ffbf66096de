"""What an agent leaves that was killed in the middle, or cannot remove: found, removed, and said."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netloom.agent import view
from netloom.instances import volume
from tests.support.agents import apply_view
from tests.support.host import Host
from tests.support.instances import pids, world
from tests.support.worlds import World

pytestmark = pytest.mark.root


def empty() -> World:
    cloud = World()
    cloud.host("a")
    return cloud


def test_what_a_killed_agent_left_goes_at_the_next_start(host: Host, config: Path) -> None:
    cloud = world()
    apply_view(host, config, cloud.view("a"))
    running = pids(config)
    state, roots = config.parent / "state", "/run/netloom/agent/roots"
    # Killed while it removed one, while it unpacked an image, and while it started two.
    for folder in ("instances/.removed/deep/er", "images/half/rootfs", "instances/begun"):
        (state / folder).mkdir(parents=True)
    volume.make(state / "instances/begun/disk.new", 1 << 24)
    host.sh(
        f"mkdir {roots}/begun {roots}/only-a-folder; mkdir -p /run/netloom/agent/crun/netloom-gone"
    )
    host.sh(f"mount -o loop {state}/instances/begun/disk.new {roots}/begun")
    host.sh("for d in /sys/fs/cgroup/*/netloom; do mkdir -p $d/left/below; done", check=False)
    apply_view(host, config, cloud.view("a"))
    assert pids(config) == running
    assert sorted(p.name for p in (state / "instances").iterdir()) == ["vm1", "vm2"]
    assert [p.name for p in (state / "images").iterdir()] == ["image"]
    assert host.sh(f"ls {roots}").split() == ["vm1", "vm2"]
    assert "begun" not in host.sh("cat /proc/mounts; losetup -a")
    assert host.sh("ls /run/netloom/agent/crun").split() == ["netloom-vm1", "netloom-vm2"]
    assert "left" not in host.sh("find /sys/fs/cgroup -path '*netloom*' -type d")


def test_a_folder_that_cannot_be_removed_is_tried_again_and_said(host: Host, config: Path) -> None:
    state = config.parent / "state"
    stuck = state / "instances/.stuck/file"
    stuck.parent.mkdir(parents=True)
    stuck.touch()
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "tunnel_ip" not in line))
    view.save(state / "view.json", "", empty().view("a"))
    log = config.parent / "log"
    subprocess.run(["chattr", "+i", str(stuck)], check=True)
    try:
        command = (sys.executable, "-m", "netloom", "agent", "--config", str(config))
        agent = host.start(*command, output=log)
        try:
            until(lambda: "instance stuck stays: rm: cannot remove" in log.read_text(), log)
            subprocess.run(["chattr", "-i", str(stuck)], check=True)
            until(lambda: "instance stuck is removed at last" in log.read_text(), log)
        finally:
            agent.kill()
            agent.wait()
    finally:
        if stuck.exists():
            subprocess.run(["chattr", "-i", str(stuck)], check=True)
    assert not stuck.parent.exists()
    assert (
        log.read_text().count("instance stuck stays") == 1
    )  # said once, however often it was tried


def until(true: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
