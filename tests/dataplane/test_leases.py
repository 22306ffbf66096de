"""DHCP over changes: an address that one port gives up is there for the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agents import apply_view, lease, plug, settings
from tests.support.host import Host
from tests.support.worlds import World

pytestmark = pytest.mark.root

MACS = ("old", "new", "left", "right")


def world(**addresses: str) -> World:
    """A network with these ports (id → address), all on host a."""
    cloud = World()
    cloud.host("a")
    cloud.network("net-a")
    cloud.subnet("sub-a", "net-a", "10.0.0.0/24")
    cloud.default_group("sg")
    for port, address in addresses.items():
        mac = f"fa:16:3e:00:01:{MACS.index(port):02x}"
        cloud.port(
            port, "net-a", [("sub-a", address)], "a", security_groups=("sg",), mac_address=mac
        )
    return cloud


def test_an_address_given_up_is_leased_to_the_next_port(host: Host, tmp_path: Path) -> None:
    config = settings("a", tmp_path / "a", 1)
    first = world(old="10.0.0.11", left="10.0.0.12", right="10.0.0.13")
    apply_view(host, config, first.view("a"))
    ports = first.tables["ports"]
    vms = {name: plug(host, ports[name]) for name in ("old", "left", "right")}
    apply_view(host, config, first.view("a"))
    assert {name: lease(host, vm)["ip"] for name, vm in vms.items()} == {
        "old": "10.0.0.11",
        "left": "10.0.0.12",
        "right": "10.0.0.13",
    }
    pid = host.sh("cat /run/netloom/agent/dhcp/net-a/pid")
    # One goes, and only later another comes; two change places.
    apply_view(host, config, world(left="10.0.0.12", right="10.0.0.13").view("a"))
    then = world(new="10.0.0.11", left="10.0.0.13", right="10.0.0.12")
    apply_view(host, config, then.view("a"))
    vms["new"] = plug(host, then.tables["ports"]["new"])
    apply_view(host, config, then.view("a"))
    assert {name: lease(host, vms[name])["ip"] for name in ("new", "left", "right")} == {
        "new": "10.0.0.11",
        "left": "10.0.0.13",
        "right": "10.0.0.12",
    }
    assert host.sh("cat /run/netloom/agent/dhcp/net-a/pid") == pid
