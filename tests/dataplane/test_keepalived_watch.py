"""keepalived of HA routers on a machine whose kernel has no watch left for it (fs.inotify.max_user_instances)."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.root

# A user namespace has a bound of its own: other programs of the machine keep their watches.
BEGIN = """
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
mount --bind /run/netns /run/netns
exec "$@"
"""
STEPS = """
import os, signal
from pathlib import Path
from netloom.dataplane.linux import keepalived, netns
from netloom.dataplane.linux.netlink import open_netlink
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Keepalived

bound = Path("/proc/sys/user/max_inotify_instances")
home = Path("/run/ha")
netns.create("qrouter-a")
with netns.inside("qrouter-a"), open_netlink() as link:
    link.link("add", ifname="ha-1", kind="veth", peer={"ifname": "other"})
    for name in ("ha-1", "other"):
        link.link("set", index=link.link_lookup(ifname=name)[0], state="up")
    link.addr("add", index=link.link_lookup(ifname="ha-1")[0], address="169.254.192.1", prefixlen=18)
item = Keepalived(namespace="qrouter-a", router_id="a", device="ha-1", vrid=1, priority=100, links=("tunnels",))
keepalived.tell_links({"tunnels": False}, home)

bound.write_text("0")
keepalived.begin(item, home)
try:
    keepalived.finish(item, home)
    print("taken")
except ApplyError as error:
    print(error)
print(keepalived.read(home)[item.key])

bound.write_text("10")
keepalived.begin(item, home)
keepalived.finish(item, home)
print(keepalived.running(home / "qrouter-a") > 0, "its start" in keepalived.read(home)[item.key])
keepalived.remove("qrouter-a", home)
"""


def test_one_that_cannot_watch_its_links_is_an_error_until_it_can() -> None:
    line = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"]
    line += ["--mount-proc", "sh", "-ec", BEGIN, "sh", sys.executable, "-c", STEPS]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    refused, mark, healed = done.stdout.splitlines()
    assert "raise fs.inotify.max_user_instances" in refused
    assert "its start was interrupted" in mark
    assert healed == "True False"
