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
from netloom.dataplane import netns
print(netns.is_mounted(netns.DIRECTORY))
netns.create("one")
print(netns.is_mounted(netns.DIRECTORY), netns.exists("one"))
"""
REMOVE = 'from netloom.dataplane import netns; netns.delete("one"); print(netns.exists("one"), netns.names())'


def test_a_mount_below_another_one_does_not_count() -> None:
    """As in a lab on a machine where `ip netns` was used: the host's /run lies above it."""
    host = Host("a")
    try:
        host.sh(HIDDEN)
        assert host.python(MAKE).split() == ["False", "True", "True"]
        assert host.python(REMOVE) == "False []\n"
    finally:
        host.close()
