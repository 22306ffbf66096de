"""What is taken away from a namespace is told at once, with the namespace's name."""

from __future__ import annotations

import pytest

from tests.support.host import Host

pytestmark = pytest.mark.root

SCRIPT = """
import queue, subprocess
from netloom.dataplane.linux import watch

def sh(words):
    subprocess.run(words, shell=True, check=True)

sh("ip netns add one; ip netns add two; ip netns add empty")
for name in ("one", "two"):
    sh(f"ip link add {name} type veth peer name peer-{name}; ip link set {name} netns {name}")
    sh(f"ip -n {name} addr add 10.0.0.1/24 dev {name}; ip -n {name} link set {name} up; ip link set peer-{name} up")
    sh(f"ip -n {name} route add default via 10.0.0.2")
names = watch.names()
print(sorted(names.values()))
told = queue.SimpleQueue()
watch.Watch(told.put)

def after(words):
    # One command is told of in several messages, and the listener gathers them for a while.
    sh(words)
    found = set(told.get(timeout=30))
    try:
        while True:
            found |= told.get(timeout=0.7)
    except queue.Empty:
        print([names.get(number, "here") for number in sorted(found)])

after("ip -n one route del default")
after("ip -n two addr del 10.0.0.1/24 dev two")
after("ip link add gone type veth peer name peer-gone; ip link del gone")
after("ip -n two link del two")
"""


def test_removals_are_told_by_namespace(host: Host) -> None:
    said = host.python(SCRIPT).splitlines()
    assert said[0] == "['one', 'two']"  # one that never had a device has no id
    assert said[1:4] == ["['one']", "['two']", "['here']"]
    # The other end of the pair was here.
    assert said[4] == "['here', 'two']"


OTHERS = """
import queue, subprocess, time
from netloom.dataplane.linux import netns, watch
from netloom.dataplane.linux.netlink import open_netlink
from netloom.dataplane.process import run

def sh(words):
    subprocess.run(words, shell=True, check=True)

sh("ip netns add one; ip link add one type veth peer name peer-one; ip link set one netns one; ip -n one link set one up")
names = watch.names()
told, tables = queue.SimpleQueue(), queue.SimpleQueue()
watch.Watch(told.put, tables.put)

def heard(where):
    found = set()
    try:
        while True:
            found |= where.get(timeout=1.0)
    except queue.Empty:
        return [names.get(number, "here") for number in sorted(found)]

for words in ("rule add from 192.0.2.9 table 99", "neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev one nud permanent",
              "route add 192.0.2.0/24 dev one", "addr add 10.0.0.7/24 dev one"):
    sh("ip -n one " + words)
    print(heard(told), heard(tables))
sh("ip netns exec one nft add table ip others")
print(heard(told), heard(tables))
with netns.inside("one"):
    run(["nft", "add", "table", "ip", "ours"])
    with open_netlink() as link:
        link.rule("add", priority=77, table=98)
        link.addr("add", index=link.link_lookup(ifname="one")[0], address="10.0.1.7", prefixlen=32)
print(heard(told), heard(tables))
"""


def test_what_others_add_is_told_and_what_this_process_does_is_not(host: Host) -> None:
    said = host.python(OTHERS).splitlines()
    assert said[:4] == ["['one'] []"] * 4
    assert said[4] == "[] ['one']"
    assert said[5] == "[] []"
