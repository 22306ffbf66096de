"""Connection tracking over changes: nobody inherits what another port's connections left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agents import apply_view, lease, plug, settings
from tests.support.host import Host
from tests.support.worlds import World

pytestmark = pytest.mark.root


def world(*ports: str, up: bool = True) -> World:
    cloud = World()
    cloud.host("a")
    cloud.network("net-a")
    cloud.subnet("sub-a", "net-a", "10.0.0.0/24")
    cloud.default_group("sg")
    for number, port in enumerate(ports, 11):
        cloud.port(
            port,
            "net-a",
            [("sub-a", f"10.0.0.{number}")],
            "a",
            security_groups=("sg",),
            admin_state_up=up,
        )
    return cloud


def test_a_freed_zone_is_empty_whatever_runs_meanwhile(host: Host, tmp_path: Path) -> None:
    """Emptied before its flows were gone, it was filled again by what still came in."""
    config = settings("a", tmp_path / "a", 1)
    both = world("one", "two")
    apply_view(host, config, both.view("a"))
    vms = [plug(host, both.tables["ports"][name]) for name in ("one", "two")]
    apply_view(host, config, both.view("a"))
    for vm in vms:
        lease(host, vm)
    zone = host.sh("ovs-vsctl get open_vswitch . external_ids:netloom-zone-two").strip().strip('"')
    dump = f"ovs-appctl dpctl/dump-conntrack zone={zone}"
    pings = host.start("sh", "-c", f"ip netns exec {vms[0]} ping -q -i 0.002 10.0.0.12")
    try:
        host.sh(f"until {dump} | grep -q 10.0.0.12; do sleep 0.1; done")
        apply_view(host, config, world("one").view("a"))
    finally:
        pings.kill()
    assert "netloom-zone-two" not in host.sh("ovs-vsctl get open_vswitch . external_ids")
    assert host.sh(dump) == ""


def test_a_port_that_is_down_keeps_its_connections(host: Host, tmp_path: Path) -> None:
    """Else the first packet when it is up again counts as their beginning, also an answer to what no rule lets in."""
    config = settings("a", tmp_path / "a", 1)
    cloud = world("one", "two")
    apply_view(host, config, cloud.view("a"))
    vms = [plug(host, cloud.tables["ports"][name]) for name in ("one", "two")]
    apply_view(host, config, cloud.view("a"))
    for vm in vms:
        lease(host, vm)
    asked = "ovs-vsctl get open_vswitch . external_ids:netloom-zone-two"
    zone = host.sh(asked)
    assert " 1 received" in host.sh(f"ip netns exec {vms[0]} ping -c 1 -W 2 10.0.0.12")
    apply_view(host, config, world("one", "two", up=False).view("a"))
    assert host.sh(asked) == zone
    number = zone.strip().strip('"')
    assert "10.0.0.12" in host.sh(f"ovs-appctl dpctl/dump-conntrack zone={number}")
