"""Instances of a private host, without a server: two on one network, from the small image."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from netloom.instances.rootfs import unpack
from netloom.lab.image import small_image
from tests.support.agents import settings
from tests.support.host import Host
from tests.support.worlds import World, open_group


def world() -> World:
    """vm1 and vm2 on host a."""
    cloud = World()
    cloud.host("a")
    open_group(cloud)
    cloud.network("net-a")
    cloud.subnet("sub-a", "net-a", "10.0.0.0/24")
    for number in (1, 2):
        port = cloud.port(
            f"port{number}", "net-a", [("sub-a", f"10.0.0.1{number}")], security_groups=("sg-all",)
        )
        cloud.server(f"vm{number}", "a", port)
    return cloud


def agent_settings(directory: Path) -> Path:
    """Settings of an agent that has the small image already."""
    made = settings("a", directory, 1, instance_types="['container']")
    image = image_root(made)
    image.mkdir(parents=True)
    size = unpack(small_image(), "qcow2", "bare", image, 1 << 30)
    (image.parent / "size").write_bytes(msgspec.json.encode(size))
    return made


def image_root(config: Path) -> Path:
    """Where the agent keeps the unpacked image: what is put there, instances made from now on have."""
    return config.parent / "state/images/image/rootfs"


def pids(config: Path) -> dict[str, int]:
    """Instance → its first process, as the host counts."""
    homes = (config.parent / "state/instances").iterdir()
    return {home.name: int((home / "running").read_text().split()[0]) for home in homes}


def wait(host: Host, script: str, seconds: float = 15) -> str:
    """Run a script until it says something; returns what it says."""
    deadline = time.monotonic() + seconds
    while True:
        out = host.sh(script, check=False)
        if out.strip() or time.monotonic() > deadline:
            return out
        time.sleep(0.2)


def inside(host: Host, server: str, script: str) -> str:
    """Run a script as root of the instance, with what its own processes may do."""
    crun = ("crun", "--root", "/run/netloom/agent/crun", "exec", f"netloom-{server}")
    return host.run(*crun, "sh", "-c", script, check=False)
