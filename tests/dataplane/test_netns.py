"""Names of network namespaces, as `ip netns` keeps them, where others have been before."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.root

# A machine that used `ip netns` itself, and a host on it with a /run of its own, as those of a lab are.
SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
mount --bind /run/netns /run/netns
mount -t tmpfs tmpfs /run
exec "$0" -c "$1"
"""
SCRIPT = """
import subprocess
from netloom.dataplane import netns
assert not netns.is_mounted(netns.DIRECTORY)
netns.create("qdhcp-ours")
assert netns.is_mounted(netns.DIRECTORY)
subprocess.run(["ip", "netns", "add", "theirs"], check=True)
netns.delete("qdhcp-ours")
assert netns.names() == ["theirs"], netns.names()
"""


def test_a_namespace_goes_although_the_machine_used_ip_netns_before() -> None:
    words = ["unshare", "--mount", "sh", "-c", SETUP, sys.executable, SCRIPT]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
