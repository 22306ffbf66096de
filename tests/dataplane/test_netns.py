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


CHANGED = """
from netloom.dataplane.linux import netns
from netloom.dataplane.mark import fingerprint, why_broken
from netloom.dataplane.linux.namespaces import ensure_namespace, read_namespace
from netloom.model.hoststate import Namespace
for wanted in (Namespace(name="qrouter-x", forward=True), Namespace(name="qdhcp-x")):
    key = wanted.key
    for setting, value in (
        ("ipv4.ip_forward", str(int(not wanted.forward))),
        ("ipv4.conf.all.proxy_arp", "1"),
    ):
        ensure_namespace(wanted)
        assert read_namespace(wanted.name).namespace[key] == fingerprint(wanted)
        with netns.inside(wanted.name):
            netns.write_sysctl(setting, value)
        print(why_broken(read_namespace(wanted.name).namespace[key]))
    # Wanted otherwise from now on: that is no damage.
    other = Namespace(name=wanted.name, forward=not wanted.forward)
    ensure_namespace(other)
    print(read_namespace(wanted.name).namespace[key] == fingerprint(other))
    ensure_namespace(wanted)
    print(read_namespace(wanted.name).namespace[key] == fingerprint(wanted))
"""


def test_what_somebody_changed_is_named_and_not_what_the_kernel_changes_with_it(host: Host) -> None:
    assert host.python(CHANGED).splitlines() == [
        "net.ipv4.ip_forward was 0 and not 1",
        "net.ipv4.conf.all.proxy_arp was 1 and not 0",
        "True",
        "True",
        "net.ipv4.ip_forward was 1 and not 0",
        "net.ipv4.conf.all.proxy_arp was 1 and not 0",
        "True",
        "True",
    ]
