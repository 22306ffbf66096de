"""The attacker has a router carry packets in the name of hosts that are on another side of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.model import Port
from tests.support import raw_frames
from tests.support.agents import apply_view, plug, settings
from tests.support.host import Host
from tests.support.raw_frames import udp
from tests.support.routed import attacked, routed_host

pytestmark = pytest.mark.root

RAW = [sys.executable, str(Path(raw_frames.__file__))]
END = b"the end"
UDP = 17
SPOKEN = re.compile(rb"from ([\d.]+)")


@pytest.fixture
def host() -> Iterator[Host]:
    """A host whose eth1 leads to a namespace that plays the outside, 198.51.100.1."""
    with routed_host() as made:
        yield made


def listening(host: Host, namespace: str) -> None:
    line = f"ip netns exec {namespace} {' '.join(RAW)} listen eth0 >>/run/seen-{namespace} 2>&1"
    host.start("sh", "-c", line)
    host.sh(f"until grep -q listening /run/seen-{namespace}; do sleep 0.05; done", timeout=20)


def send(host: Host, namespace: str, frames: list[bytes], last: bytes = b"") -> None:
    """`last` goes when all others are well on their way: the switch may let new ones overtake."""
    for some in (frames, [last] if last else []):
        words = [frame.hex() for frame in some]
        if words:
            host.run("ip", "netns", "exec", namespace, *RAW, "send", "eth0", *words)


def heard(host: Host, namespace: str) -> list[str]:
    """The sources that packets up to the last one claimed, sorted."""
    host.sh(f"until grep -q {END.hex()} /run/seen-{namespace}; do sleep 0.05; done", timeout=20)
    frames = [bytes.fromhex(word) for word in host.sh(f"cat /run/seen-{namespace}").split()[1:]]
    host.sh(f"echo listening >/run/seen-{namespace}")
    # Not what an ICMP error quotes.
    found = [SPOKEN.search(frame) for frame in frames if frame[23] == UDP]
    return sorted(one.group(1).decode() for one in found if one)


def spoken(
    macs: tuple[str, str], target: str, *sources: str, ports: tuple[int, int] = (4000, 5000)
) -> list[bytes]:
    """A datagram from each source, which names it."""
    return [udp(macs, (source, target), ports, f"from {source} ".encode()) for source in sources]


def test_nobody_sends_through_a_router_from_an_address_of_another_side(
    host: Host, tmp_path: Path
) -> None:
    """Without port security on a network of one's own, by a router that has a port on a shared network too."""
    cloud, attacker, victim = attacked()
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    apply_view(host, config, cloud.view("a"))
    vms = [plug(host, port) for port in (attacker, victim)]
    for vm, own in zip(vms, ("10.0.0.11", "10.1.0.12"), strict=True):
        host.run("ip", "-n", vm, "addr", "add", f"{own}/24", "dev", "eth0")
    apply_view(host, config, cloud.view("a"))
    ports: dict[str, Port] = cloud.tables["ports"]
    inner = next(port.mac_address for port in ports.values() if port.id.endswith("router1-own-sub"))
    outer = ports["gw-router1"].mac_address
    listening(host, vms[1])
    listening(host, "outside")

    # From the own network into the shared one: in the name of its gateway, a neighbour in each subnet, the router, an
    # instance of a third network, a neighbour of the router outside. What is connected nowhere may be behind the
    # instance.
    macs = (attacker.mac_address, inner)
    forged = ("10.1.0.1", "10.1.0.99", "10.4.0.99", "10.1.0.77", "10.2.0.5", "198.51.100.99")
    last = udp(macs, ("10.0.0.11", "10.1.0.12"), (4000, 5000), END)
    send(host, vms[0], spoken(macs, "10.1.0.12", *forged, "192.0.2.8", "10.0.0.11"), last)
    assert heard(host, vms[1]) == ["10.0.0.11", "192.0.2.8"]

    # Outside, in the name of a neighbour there: at once, and as the answer to a question of the attacker's own
    # that had no sender on any side.
    question = spoken(macs, "198.51.100.99", "203.0.113.9", ports=(4001, 5001))
    answers = spoken(macs, "198.51.100.10", "198.51.100.99", ports=(5001, 4001))
    straight = spoken(macs, "203.0.113.9", "198.51.100.99", "10.1.0.99")
    host.sh("ip -n outside addr add 198.51.100.99/32 dev eth0")
    last = udp(macs, ("10.0.0.11", "198.51.100.1"), (4000, 5000), END)
    send(host, vms[0], question)
    space = "ip netns exec qrouter-router1"
    host.sh(f"until {space} conntrack -L 2>&1 | grep 203.0.113.9; do sleep 0.05; done", timeout=20)
    send(host, vms[0], [*answers, *straight], last)
    assert heard(host, "outside") == ["203.0.113.9"]

    # From outside to a floating IP, in the name of the instance's neighbours.
    host.sh("ip -n outside link set eth0 address 02:00:00:00:00:01")
    macs = ("02:00:00:00:00:01", outer)
    last = udp(macs, ("198.51.100.1", "198.51.100.20"), (4000, 5000), END)
    frames = spoken(macs, "198.51.100.20", "10.1.0.99", "10.4.0.99", "10.0.0.11", "192.0.2.8")
    send(host, "outside", frames, last)
    assert heard(host, vms[1]) == ["192.0.2.8"]

    # Whoever takes something of it away has it back at the next look.
    listing = f"{space} nft -st list table ip netloom"
    whole = host.sh(listing)
    for damage in (
        "delete table ip netloom",
        "flush chain ip netloom from-shared",
        "flush chain ip netloom sources",
        "insert rule ip netloom sources accept",
        "insert rule ip netloom to-shared accept",
    ):
        host.sh(f"{space} nft {damage}")
        assert host.sh(listing, check=False) != whole
        apply_view(host, config, cloud.view("a"))
        assert host.sh(listing) == whole, damage


def test_of_two_devices_on_one_network_both_may_be_used(host: Host, tmp_path: Path) -> None:
    """A router has an interface in each subnet of a network; an instance sends by either, from either subnet."""
    cloud, sender, victim = attacked()
    cloud.subnet("own-more", "own", "10.3.0.0/24")
    cloud.interface("router1", "own", "own-more", "10.3.0.1")
    config = settings("a", tmp_path / "a", 1, physical={"public": "eth1"})
    apply_view(host, config, cloud.view("a"))
    vms = [plug(host, port) for port in (sender, victim)]
    apply_view(host, config, cloud.view("a"))
    # Nothing is changed twice, save for the listeners of metadata, which end with their agent.
    assert apply_view(host, config, cloud.view("a")).splitlines()[-1] == "3 changes"
    listening(host, vms[1])
    ports: dict[str, Port] = cloud.tables["ports"]
    devices = [port for port in ports.values() if re.search(r"router1-own-(sub|more)$", port.id)]
    assert len(devices) == 2
    frames: list[bytes] = []
    for device in devices:
        macs = (sender.mac_address, device.mac_address)
        frames += spoken(macs, "10.1.0.12", "10.0.0.11", "10.3.0.11", "10.1.0.99")
    last = udp(macs, ("10.0.0.11", "10.1.0.12"), (4000, 5000), END)
    send(host, vms[0], frames, last)
    assert heard(host, vms[1]) == ["10.0.0.11"] * 2 + ["10.3.0.11"] * 2
