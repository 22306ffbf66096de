from __future__ import annotations

import pytest
from tests.support.host import Host

pytestmark = pytest.mark.root

HIDDEN = """
set -e
mount --bind /run/netns /run/netns
mount -t tmpfs tmpfs /run
mkdir /run/netns
"""
MAKE = """
from netloom.dataplane.linux import netns
print(netns.is_mounted(netns.DIRECTORY))
netns.create("one")
print(netns.is_mounted(netns.DIRECTORY), netns.exists("one"))
"""
REMOVE = 'from netloom.dataplane.linux import netns; netns.delete("one"); print(netns.exists("one"), netns.names())'


def test_a_mount_below_another_one_does_not_count() -> None:
    """As in a lab on a machine where `ip netns` was used: the host's /run lies above it."""
    host = Host("a")
    try:
        host.sh(HIDDEN)
        assert host.python(MAKE).split() == ["False", "True", "True"]
        assert host.python(REMOVE) == "False []\n"
    finally:
        host.close()


KEPT = """
import subprocess
from netloom.dataplane.linux import netns
netns.create("one")
first = netns.identity("one")
with netns.inside("one"):
    kept = subprocess.Popen(["sleep", "60"])
netns.delete("one")
print(first > 0, netns.identity("one"))
netns.create("one")
print(netns.identity("one") not in (0, first))
kept.kill()
"""


def test_a_name_that_leads_to_another_namespace_is_seen() -> None:
    """The old one lives on without its name, as long as a process is in it."""
    host = Host("a")
    try:
        assert host.python(KEPT).split() == ["True", "0", "True"]
    finally:
        host.close()
