"""Routers with real packets: SNAT, floating IPs, and that what is taken away is gone at once."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netloom.model import FixedIP, HostView, Port, Route
from netloom.model.hoststate import SourceNat
from netloom.render.nft import nft_ruleset
from tests.support.agents import apply_view, lease, plug, settings
from tests.support.host import Host
from tests.support.routed import behind_a_router, routed_host
from tests.support.worlds import World

pytestmark = pytest.mark.root

OUTSIDE = "ip netns exec outside"


@pytest.fixture
def host() -> Iterator[Host]:
    """A host whose eth1 leads to a namespace that plays the outside, 198.51.100.1."""
    with routed_host() as made:
        yield made


def world(floating: str | None) -> tuple[World, Port]:
    """A private network behind a router of host a; the floating IP belongs to the instance, or to none."""
    cloud = behind_a_router(my2="10.0.0.5")
    port = cloud.tables["ports"]["my2"]
    more = (
        {"port_id": port.id, "fixed_ip_address": "10.0.0.5", "router_id": "router1"}
        if floating
        else {}
    )
    cloud.floating("fip", "public", "pub-sub", "198.51.100.77", **more)
    return cloud, port


def test_floating_ips_and_snat(host: Host, tmp_path: Path) -> None:
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    cloud, port = world(None)
    print(apply_view(host, config, cloud.view("a")))
    vm = plug(host, port)
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1].endswith("changes")
    assert lease(host, vm)["ip"] == "10.0.0.5"
    inside = f"ip netns exec {vm}"
    assert " 2 received" in host.sh(f"{inside} ping -c 2 -W 2 10.0.0.1")
    # Without a floating IP the instance goes out by the router's address, and nobody comes in.
    host.start("sh", "-c", f"{OUTSIDE} busybox nc -ll -p 80 -e sh -c 'echo $NCAT_REMOTE_ADDR ok'")
    capture = host.start(
        "sh",
        "-c",
        f"{OUTSIDE} timeout 5 tcpdump --immediate-mode -nli eth0 icmp > /run/seen 2> /run/listens",
    )
    host.sh("until grep -q listening /run/listens; do sleep 0.1; done")
    assert " 2 received" in host.sh(f"{inside} ping -c 2 -W 2 198.51.100.1")
    capture.wait()
    assert "198.51.100.10 > 198.51.100.1" in host.sh("cat /run/seen")
    assert " 0 received" in host.sh(f"{OUTSIDE} ping -c 1 -W 1 198.51.100.77", check=False)
    # With one it answers under that address.
    cloud, _ = world("yes")
    print(apply_view(host, config, cloud.view("a")))
    assert " 2 received" in host.sh(f"{OUTSIDE} ping -c 2 -W 2 198.51.100.77")
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1] == "1 changes"  # the listener
    # Taken away, an open session is cut at once.
    running = subprocess.Popen(
        host.command("sh", "-c", f"{OUTSIDE} timeout -s INT 20 ping -D -i 0.1 198.51.100.77"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (
        running.stdout is not None
        and "bytes from" in running.stdout.readline() + running.stdout.readline()
    )
    cloud, _ = world(None)
    apply_view(host, config, cloud.view("a"))
    cut = time.time()
    time.sleep(2)
    host.sh("pkill -INT -x ping")
    answered = [
        float(at) for at in re.findall(r"\[([\d.]+)\] \d+ bytes from", running.communicate()[0])
    ]
    assert max(answered, default=0.0) < cut + 0.3
    assert (
        host.sh("ip netns exec qrouter-router1 conntrack -L 2>/dev/null | grep 198.51.100.77; true")
        == ""
    )
    # All of it goes.
    empty = World()
    empty.host("a")
    plain = settings("a", tmp_path / "b", 1)
    print(apply_view(host, plain, empty.view("a")))
    assert "qrouter" not in host.run("ip", "netns")
    assert host.run("ovs-vsctl", "list-br").split() == ["br-int"]
    assert "eth1" in host.run("ip", "-o", "link")


def test_who_was_killed_before_connections_were_cut_cuts_them(host: Host, tmp_path: Path) -> None:
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    cloud, port = world("yes")
    apply_view(host, config, cloud.view("a"))
    vm = plug(host, port)
    apply_view(host, config, cloud.view("a"))
    assert lease(host, vm)["ip"] == "10.0.0.5"
    inside = "ip netns exec qrouter-router1"
    known = f"{inside} conntrack -L 2>/dev/null | grep 198.51.100.77"
    pings = host.start("sh", "-c", f"{OUTSIDE} ping -q -i 0.02 198.51.100.77")
    try:
        host.sh(f"until {known}; do sleep 0.1; done")
        # As an agent leaves it that is killed between the new table and what has to be cut.
        text = nft_ruleset(
            (),
            (
                SourceNat(
                    namespace="qrouter-router1", device="qg-gw-router1", address="198.51.100.10"
                ),
            ),
        )
        host.run(
            *inside.split(), "nft", "-f", "-", stdin=f"{text}add chain ip netloom unfinished\n"
        )
        assert host.sh(known, check=False)
        cloud, _ = world(None)
        apply_view(host, config, cloud.view("a"))
        assert not host.sh(known, check=False)
    finally:
        pings.kill()
    assert "unfinished" not in host.sh(f"{inside} nft list table ip netloom")


def test_the_second_address_stays_when_the_first_goes(host: Host, tmp_path: Path) -> None:
    """The kernel takes a device's other addresses of a subnet away with the first one."""
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})

    def addresses(*wanted: str) -> list[str]:
        cloud, _ = world(None)
        gateway = cloud.tables["ports"]["gw-router1"]
        fixed = tuple(FixedIP("pub-sub", address) for address in wanted)
        cloud.tables["ports"]["gw-router1"] = msgspec.structs.replace(gateway, fixed_ips=fixed)
        apply_view(host, config, cloud.view("a"))
        return sorted(host.sh("ip -n qrouter-router1 -4 -br addr show qg-gw-router1").split()[2:])

    assert addresses("198.51.100.10", "198.51.100.11") == ["198.51.100.10/24", "198.51.100.11/24"]
    assert addresses("198.51.100.11", "198.51.100.12") == ["198.51.100.11/24", "198.51.100.12/24"]
    assert host.sh("ip -n qrouter-router1 route show 198.51.100.0/24")


def test_a_device_that_the_switch_forgot_goes(host: Host, tmp_path: Path) -> None:
    """A tap outlives ovs-vswitchd where that is killed; nobody takes it away with its port."""
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    cloud, _ = world(None)
    apply_view(host, config, cloud.view("a"))
    devices = "ip -n qrouter-router1 -br link"
    before = host.sh(devices)
    host.sh("ip netns exec qrouter-router1 ip tuntap add qr-forgotten mode tap")
    apply_view(host, config, cloud.view("a"))
    assert host.sh(devices) == before


def test_what_runs_while_snat_is_switched_on_is_translated_too(host: Host, tmp_path: Path) -> None:
    """A floating IP has connections tracked that leave as they are; these must not go on so."""
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})

    def view(snat: bool) -> HostView:
        cloud, _ = world("yes")
        cloud.gateway("router1", "public", "pub-sub", "198.51.100.10", enable_snat=snat)
        cloud.port("other", "private", [("priv-sub", "10.0.0.6")], "a", security_groups=("sg-all",))
        return cloud.view("a")

    apply_view(host, config, view(False))
    vm = plug(host, view(False).ports["other"])
    apply_view(host, config, view(False))
    assert lease(host, vm)["ip"] == "10.0.0.6"
    host.sh(f"{OUTSIDE} ip route add 10.0.0.0/24 via 198.51.100.10")
    known = "ip netns exec qrouter-router1 conntrack -L -s 10.0.0.6 2>/dev/null"
    pings = host.start("sh", "-c", f"ip netns exec {vm} ping -q -i 0.02 198.51.100.1")
    try:
        host.sh(f"until {known} | grep -q dst=10.0.0.6; do sleep 0.1; done")
        apply_view(host, config, view(True))
        host.sh(f"until {known} | grep -q dst=198.51.100.10; do sleep 0.1; done")
    finally:
        pings.kill()
    assert "dst=10.0.0.6" not in host.sh(known)


def test_a_route_in_the_place_of_a_connected_network_gives_it_back(
    host: Host, tmp_path: Path
) -> None:
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})

    def routes(*extra: Route) -> list[str]:
        cloud, _ = world(None)
        cloud.network("other")
        cloud.subnet("other-sub", "other", "10.0.1.0/24")
        cloud.interface("router1", "other", "other-sub", "10.0.1.1")
        cloud.router("router1", "a", routes=extra)
        apply_view(host, config, cloud.view("a"))
        said = host.sh("ip -n qrouter-router1 route show 10.0.1.0/24")
        return [line.split(" dev ")[0] for line in said.splitlines()]

    assert routes() == ["10.0.1.0/24"]
    # The first one is used.
    assert routes(Route("10.0.1.0/24", "10.0.0.5")) == ["10.0.1.0/24 via 10.0.0.5", "10.0.1.0/24"]
    assert routes(Route("10.0.1.0/24", "10.0.0.6")) == ["10.0.1.0/24 via 10.0.0.6", "10.0.1.0/24"]
    assert routes() == ["10.0.1.0/24"]


def test_a_route_on_the_link_goes_while_its_device_stays(host: Host, tmp_path: Path) -> None:
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    for more, wanted in ((True, "203.0.113.0/24 dev qg-gw-router1"), (False, "")):
        cloud, _ = world(None)
        if more:
            cloud.subnet("second", "public", "203.0.113.0/24", enable_dhcp=False)
        apply_view(host, config, cloud.view("a"))
        said = host.sh("ip -n qrouter-router1 route show 203.0.113.0/24")
        assert said.startswith(wanted) and bool(said) == bool(wanted), said
