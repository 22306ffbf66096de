from __future__ import annotations

from pathlib import Path

import pytest

from netloom.model import Chassis, HostView
from tests.support.agents import apply_view, lease, plug, settings
from tests.support.host import Host
from tests.support.worlds import World

pytestmark = pytest.mark.root


def world() -> World:
    """Two hosts and a private network, two ports on the first and one on the second."""
    cloud = World()
    cloud.host("a")
    cloud.host("b")
    cloud.network("net-a")
    cloud.subnet("sub-a", "net-a", "10.0.0.0/24", dns_nameservers=("9.9.9.9",))
    cloud.default_group("sg")
    for number, host in ((1, "a"), (2, "b"), (3, "a")):
        cloud.port(
            f"port{number}",
            "net-a",
            [("sub-a", f"10.0.0.1{number}")],
            host,
            security_groups=("sg",),
        )
    return cloud


def view(cloud: World, host: str) -> HostView:
    """The host's view, with tunnel addresses of the test's cable."""
    plain = cloud.view(host)
    chassis = {
        name: Chassis(host=name, tunnel_ip=f"172.31.0.{number}", tunnel_types=("vxlan",))
        for number, name in enumerate(cloud.hosts, 1)
    }
    return HostView(
        **{**{f: getattr(plain, f) for f in plain.__struct_fields__}, "chassis": chassis}
    )


def test_ports_plugged_by_others_get_dhcp_and_reach_each_other(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    a, b = hosts
    cloud = world()
    config = {
        "a": settings("a", tmp_path / "a", 1),
        "b": settings("b", tmp_path / "b", 2),
    }
    said = apply_view(a, config["a"], view(cloud, "a"))
    assert "pending: interface br-int tapport1: device tapport1 is not plugged" in said
    apply_view(b, config["b"], view(cloud, "b"))
    names = {
        p.id: plug(b if p.host == "b" else a, p) for p in cloud.tables["ports"].values() if p.host
    }
    for host in (a, b):
        print(apply_view(host, config[host.name], view(cloud, host.name)))
    got = {name: lease(b if name == "vm-port2" else a, name) for name in names.values()}
    assert got["vm-port1"]["ip"] == "10.0.0.11"
    assert got["vm-port2"]["ip"] == "10.0.0.12"
    assert got["vm-port1"]["dns"] == "9.9.9.9"
    assert got["vm-port1"]["mtu"] == "1450"
    ping = ("ip", "netns", "exec", "vm-port1", "ping", "-c", "2", "-i", "0.2", "-W", "2")
    # The switch drops the packet for which it first asks the underlay for the other host's MAC.
    a.run(*ping, "10.0.0.12", check=False)
    assert " 2 received" in a.run(*ping, "10.0.0.12")
    assert " 2 received" in a.run(*ping, "10.0.0.13")
    assert " 2 received" in a.run(*ping, "-M", "do", "-s", "1422", "10.0.0.12")
    # Once more: nothing differs, the DHCP server is the same process.
    pid = a.sh("cat /run/netloom/agent/dhcp/net-a/pid")
    assert (
        apply_view(a, config["a"], view(cloud, "a")).splitlines()[-1] == "1 changes"
    )  # the listener
    assert a.sh("cat /run/netloom/agent/dhcp/net-a/pid") == pid
    # The security group's rule goes: a ping that went on stops.
    del cloud.tables["security_group_rules"]["sg-in"]
    apply_view(b, config["b"], view(cloud, "b"))
    assert " 0 received" in a.run(*ping, "10.0.0.12", check=False)
    # Everything goes.
    empty = World()
    empty.host("a")
    apply_view(a, config["a"], view(empty, "a"))
    assert "qdhcp" not in a.run("ip", "netns")
    assert not a.sh("ls /run/netloom/agent/dhcp")
    assert "vm-port1" in a.run("ip", "netns")
