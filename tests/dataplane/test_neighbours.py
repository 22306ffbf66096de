"""An address that goes over to another MAC address: whoever knew the old one hears of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.agents import apply_view, lease, plug, settings
from tests.support.host import Host
from tests.support.worlds import World

pytestmark = pytest.mark.root

ONE_AFTER_THE_OTHER = """
import sys
from pathlib import Path
import msgspec
from netloom.agent.loop import Agent
from netloom.agent.settings import load
from netloom.model import HostView
views = [msgspec.json.decode(Path(file).read_bytes(), type=HostView) for file in sys.argv[2:]]
agent = Agent(load(Path(sys.argv[1])), views[0].facts)
for view in views:
    agent.take_view(view)
    agent.settle()
"""


def world(**macs: str) -> World:
    """A network with the port `asker` on host a, and others at 10.0.0.12 with these MACs, on host b."""
    cloud = World()
    cloud.host("a")
    cloud.host("b")
    cloud.network("net-a")
    cloud.subnet("sub-a", "net-a", "10.0.0.0/24")
    cloud.default_group("sg")
    cloud.port("asker", "net-a", [("sub-a", "10.0.0.11")], "a", security_groups=("sg",))
    for port, mac in macs.items():
        cloud.port(
            port, "net-a", [("sub-a", "10.0.0.12")], "b", security_groups=("sg",), mac_address=mac
        )
    return cloud


def test_those_who_knew_an_address_hear_that_it_moved(host: Host, tmp_path: Path) -> None:
    config = settings("a", tmp_path / "a", 1)
    old, new = "fa:16:3e:00:02:01", "fa:16:3e:00:02:02"
    worlds = [world(old=old), world(), world(new=new)]
    apply_view(host, config, worlds[0].view("a"))
    vm = plug(host, worlds[0].tables["ports"]["asker"])
    apply_view(host, config, worlds[0].view("a"))
    lease(host, vm)
    knows = f"ip -n {vm} neigh show 10.0.0.12"
    host.sh(f"ip netns exec {vm} ping -c 1 -W 1 10.0.0.12", check=False)
    assert old in host.sh(knows)
    files = [tmp_path / f"{number}.json" for number in range(len(worlds))]
    for file, cloud in zip(files, worlds, strict=True):
        file.write_bytes(msgspec.json.encode(cloud.view("a")))
    host.python(ONE_AFTER_THE_OTHER, str(config), *map(str, files))
    host.sh(f"until {knows} | grep -q {new}; do sleep 0.1; done", timeout=5)


def test_a_question_that_nobody_heard_is_asked_again(host: Host) -> None:
    """A router with traffic waiting asks as soon as it has its device, before the switch knows it."""
    inside = "ip netns exec router"
    host.sh(
        "ip netns add router; ip netns add other\n"
        "ip -n router link add qg-1 type veth peer name eth0 netns other\n"
        "ip -n other addr add 198.51.100.1/24 dev eth0; ip -n other link set eth0 up\n"
        "ip -n router addr add 198.51.100.10/24 dev qg-1; ip -n router link set qg-1 up\n"
        "ip -n router neigh flush all; ip -n other link set eth0 arp off\n"
        # The kernel itself waits for longer than this test.
        f"{inside} ip ntable change name arp_cache dev qg-1 retrans 600000"
    )
    ping = host.start("sh", "-c", f"{inside} ping -c 1 -W 60 198.51.100.1 >/run/said")
    try:
        host.sh(
            "until ip -n router neigh show 198.51.100.1 | grep -q INCOMPLETE; do sleep 0.1; done"
        )
        host.sh("ip -n other link set eth0 arp on")
        host.python(
            "from netloom.dataplane.linux import namespaces; namespaces.ask_again('router')"
        )
        assert ping.wait(20) == 0  # not even the packet that waited is lost
    finally:
        ping.kill()
