"""Port forwardings with real packets: what is forwarded arrives, nothing else does, sessions of others live on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.model.hoststate import FloatingNat
from netloom.plan import plan
from tests.support import tcp_talk
from tests.support.agents import apply_view, lease, plug, settings
from tests.support.host import Host
from tests.support.routed import behind_a_router, routed_host
from tests.support.worlds import World

pytestmark = pytest.mark.root

FLOATING = "198.51.100.77"


@pytest.fixture
def host() -> Iterator[Host]:
    with routed_host() as made:
        yield made


def world() -> World:
    """Two instances behind a router of host a, and a floating IP that forwards nothing yet."""
    cloud = behind_a_router(web="10.0.0.5", other="10.0.0.6")
    cloud.floating("fip", "public", "pub-sub", FLOATING, router_id="router1")
    return cloud


def says(host: Host, namespace: str, port: int, at: str = FLOATING) -> str:
    """What whoever answers at a port says; empty where nobody does."""
    command = f"echo | ip netns exec {namespace} busybox nc -w 2 {at} {port} 2>/dev/null"
    return host.sh(command, check=False).strip()


def serve(host: Host, namespace: str, port: int, word: str, *more: str) -> None:
    """Answer with a word at a port of a namespace."""
    words = ("busybox", "nc", *more, "-ll", "-p", str(port), "-e", "echo", word)
    host.start("ip", "netns", "exec", namespace, *words)


def test_ports_lead_where_they_should(host: Host, tmp_path: Path) -> None:
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    cloud = world()
    cloud.forwarding("one", "fip", "2222:2222", "web", "22:22")
    cloud.forwarding("shifted", "fip", "3000:3002", "web", "4000:4002")
    cloud.forwarding("many", "fip", "5000:5009", "other", "80:80")
    apply_view(host, config, cloud.view("a"))
    vms = {name: plug(host, cloud.tables["ports"][name]) for name in ("web", "other")}
    apply_view(host, config, cloud.view("a"))
    for vm in vms.values():
        lease(host, vm)
    serve(host, vms["web"], 22, "one")
    serve(host, vms["web"], 4001, "shifted")
    serve(host, vms["web"], 99, "hidden")
    serve(host, vms["other"], 80, "many")
    host.sh(
        f"for n in $(seq 50); do echo | ip netns exec outside busybox nc -w 2 {FLOATING} 2222 && break; sleep 0.1; done"
    )
    assert says(host, "outside", 2222) == "one"
    assert says(host, "outside", 3001) == "shifted"
    assert says(host, "outside", 5000) == says(host, "outside", 5009) == "many"
    assert says(host, "outside", 99) == says(host, "outside", 22) == ""
    # From inside and back inside; the router itself answers a ping at the address.
    assert says(host, vms["other"], 2222) == "one"
    assert says(host, vms["web"], 2222) == "one"
    assert " 1 received" in host.sh(f"ip netns exec outside ping -c 1 -W 2 {FLOATING}")
    # Whoever starts a connection from behind it goes out by the router's own address.
    host.start(
        "sh",
        "-c",
        "ip netns exec outside busybox nc -ll -p 81 -e sh -c 'echo from $NCAT_REMOTE_ADDR'",
    )
    capture = (
        "timeout 3 ip netns exec outside tcpdump --immediate-mode -nli eth0 -c 1 'dst port 81'"
    )
    seen = host.start("sh", "-c", f"{capture} > /run/seen 2> /run/listens")
    host.sh("until grep -q listening /run/listens; do sleep 0.1; done")
    says(host, vms["web"], 81, "198.51.100.1")
    seen.wait()
    assert "198.51.100.10." in host.sh("cat /run/seen")


def test_only_the_sessions_of_what_goes_are_cut(host: Host, tmp_path: Path) -> None:
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    cloud = world()
    cloud.forwarding("stays", "fip", "2001:2001", "web", "7000:7000")
    cloud.forwarding("goes", "fip", "2002:2003", "web", "7001:7002")
    apply_view(host, config, cloud.view("a"))
    vm = plug(host, cloud.tables["ports"]["web"])
    apply_view(host, config, cloud.view("a"))
    lease(host, vm)
    talks: dict[int, subprocess.Popen[str]] = {}
    for port in (7000, 7001):
        host.start("ip", "netns", "exec", vm, sys.executable, tcp_talk.__file__, "serve", str(port))
    time.sleep(1)
    for port in (2001, 2002):
        words = ("ip", "netns", "exec", "outside", sys.executable, tcp_talk.__file__)
        talks[port] = subprocess.Popen(
            host.command(*words, "talk", FLOATING, str(port)), stdout=subprocess.PIPE, text=True
        )
        out = talks[port].stdout
        assert out is not None and out.readline() == "beat\n"
    del cloud.tables["port_forwardings"]["goes"]
    cloud.forwarding("comes", "fip", "2004:2004", "web", "7001:7001")
    apply_view(host, config, cloud.view("a"))
    known = "ip netns exec qrouter-router1 conntrack -L 2>/dev/null"
    time.sleep(0.5)
    assert not host.sh(f"{known} | grep dport=2002", check=False)
    assert host.sh(f"{known} | grep dport=2001")
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1] in ("0 changes", "1 changes")
    for talk in talks.values():
        talk.kill()
        talk.wait()
    # What others do to the rules is seen, and repaired.
    table = "ip netns exec qrouter-router1 nft"
    host.sh(f"{table} flush chain ip netloom prerouting")
    apply_view(host, config, cloud.view("a"))
    (nat,) = plan(cloud.view("a")).each(FloatingNat)
    rules = host.sh(f"{table} list chain ip netloom prerouting")
    assert rules.count("dnat to") == len(nat.ports) == 2
    # The last one takes the address along.
    cloud.tables["port_forwardings"].clear()
    apply_view(host, config, cloud.view("a"))
    assert FLOATING not in host.sh("ip -n qrouter-router1 -4 address")
