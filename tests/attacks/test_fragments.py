"""Fragments: a rule with ports or an ICMP type holds for the whole datagram, and none of its tricks opens anything."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_frames
from tests.support.agents import apply_view, plug, settings
from tests.support.host import Host
from tests.support.running_lab import RunningLab
from tests.support.worlds import World, pair

pytestmark = pytest.mark.root

ADDRESSES = {
    name: (f"10.0.0.{n}", f"fd00::{n}") for n, name in enumerate(("one", "two", "free"), 11)
}
OPEN, SHUT = 5000, 5001

SEND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as link:
    link.sendto(sys.argv[4].encode() * int(sys.argv[3]), (sys.argv[1], int(sys.argv[2])))
"""
HEAR = """
import select, socket, sys
links = []
for port in (5000, 5001):
    links.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    links[-1].bind(("::", port))
print("hearing", flush=True)
while True:
    for link in select.select(links, [], [])[0]:
        data, where = link.recvfrom(65000)
        mark = data[:1].decode() if data == data[:1] * len(data) else "mixed"
        print(link.getsockname()[1], where[0].removeprefix("::ffff:"), len(data), mark, flush=True)
"""


def cloud() -> World:
    """Three ports of one network: everything out; in: UDP 5000 and echo requests. `free` has no connection tracking."""
    world = World()
    world.host("a")
    world.network("net-a")
    world.subnet("sub-a", "net-a", "10.0.0.0/24")
    for group, stateful in (("sg", True), ("sg-free", False)):
        world.group(group, stateful=stateful)
        for ethertype, icmp, echo in (("IPv4", "icmp", 8), ("IPv6", "ipv6-icmp", 128)):
            name = f"{group}-{ethertype}"
            more: dict[str, Any] = {"ethertype": ethertype}
            world.rule(f"{name}-out", group, "egress", **more)
            ports = {"port_range_min": OPEN, "port_range_max": OPEN}
            world.rule(f"{name}-udp", group, "ingress", protocol="udp", **ports, **more)
            world.rule(f"{name}-icmp", group, "ingress", protocol=icmp, port_range_min=echo, **more)
            if not stateful:
                answer = {"port_range_min": 0 if icmp == "icmp" else 129}
                world.rule(f"{name}-answer", group, "ingress", protocol=icmp, **answer, **more)
    for name, (v4, v6) in ADDRESSES.items():
        world.port(
            name,
            "net-a",
            [("sub-a", v4)],
            "a",
            security_groups=("sg-free" if name == "free" else "sg",),
            allowed_address_pairs=(pair(v6, ""),),
        )
    return world


class Heard:
    """What came to a port since the test began to listen."""

    def __init__(self, said: Path, seen: Path) -> None:
        self._said, self._seen = said, seen
        self.begin()

    def begin(self) -> Heard:
        """Forget what came before."""
        self._from = [len(file.read_text()) for file in (self._said, self._seen)]
        return self

    @property
    def datagrams(self) -> str:
        """Lines: port, source, length, and the letter that it is made of."""
        return self._said.read_text()[self._from[0] :]

    @property
    def frames(self) -> list[bytes]:
        """All frames."""
        return [bytes.fromhex(line) for line in self._seen.read_text()[self._from[1] :].split()]

    def wait(self, line: str) -> None:
        """Wait until a datagram has arrived."""
        RunningLab.until(lambda: line in self.datagrams, what=f"no {line} in {self.datagrams}")


class Play:
    """One host with the three ports plugged."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        world, config = cloud(), settings("a", folder / "a", 1)
        apply_view(host, config, world.view("a"))
        self.ports = {name: world.tables["ports"][name] for name in ADDRESSES}
        for name, (v4, v6) in ADDRESSES.items():
            there = plug(host, self.ports[name])
            host.sh(
                f"ip -n {there} addr add {v4}/24 dev eth0; ip -n {there} addr add {v6}/64 dev eth0 nodad\n"
                f"ip -n {there} link set eth0 mtu 1450"
            )
        for name, (
            _,
            v6,
        ) in ADDRESSES.items():  # nobody asks for neighbours: it is not what is tested
            for other in ADDRESSES:
                if other != name:
                    mac = self.ports[name].mac_address
                    host.sh(f"ip -n vm-{other} neigh replace {v6} lladdr {mac} dev eth0")
        apply_view(host, config, world.view("a"))
        self.at = {name: self.listen(name, folder) for name in ("two", "free")}

    def inside(self, name: str, *words: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", f"vm-{name}", *words)

    def send(self, name: str, *frames: bytes) -> None:
        program = str(Path(raw_frames.__file__))
        words = self.inside(name, sys.executable, program, "send", "eth0")
        self.host.run(*words, *(frame.hex() for frame in frames))

    def datagram(self, name: str, to: str, port: int, size: int, mark: str) -> None:
        self.host.run(
            *self.inside(name, sys.executable, "-c", SEND, to, str(port), str(size), mark)
        )

    def listen(self, name: str, folder: Path) -> Heard:
        """Have two programs write down what comes to a port: datagrams, and frames as they are on its device."""
        said, seen = folder / f"said-{name}", folder / f"seen-{name}"
        program = str(Path(raw_frames.__file__))
        self.host.start(*self.inside(name, sys.executable, "-c", HEAR), output=said)
        self.host.start(*self.inside(name, sys.executable, program, "listen", "eth0"), output=seen)
        RunningLab.until(lambda: said.is_file() and "hearing" in said.read_text())
        RunningLab.until(lambda: seen.is_file() and "listening" in seen.read_text())
        return Heard(said, seen)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    host = Host("a")
    try:
        yield Play(host, tmp_path_factory.mktemp("fragments"))
    finally:
        host.close()


def test_a_datagram_arrives_whole_or_not_at_all(play: Play) -> None:
    """4,000 bytes are three fragments: to the open port all of them get in, to the other one none."""
    for name in ("two", "free"):
        there = play.at[name].begin()
        for to, source in zip(ADDRESSES[name], ADDRESSES["one"], strict=True):
            play.datagram("one", to, SHUT, 4000, "s")
            play.datagram("one", to, OPEN, 4000, "o")
            there.wait(f"{OPEN} {source} 4000 o")
        assert str(SHUT) not in there.datagrams
        assert not [frame for frame in there.frames if b"ssssssss" in frame]
        assert len([frame for frame in there.frames if b"oooooooo" in frame]) == 6
        # Answers of a port without connection tracking belong to no known question: not in fragments.
        for to in ADDRESSES[name] if name == "two" else ():
            ping = play.inside("one", "ping", "-c", "3", "-i", "0.2", "-s", "4000", "-W", "3", to)
            assert " 3 received" in play.host.run(*ping, check=False)


@pytest.mark.parametrize("version", [4, 6])
def test_tiny_overlapping_and_lone_fragments_open_nothing(play: Play, version: int) -> None:
    make = raw_frames.ipv4 if version == 4 else raw_frames.ipv6
    macs = (play.ports["one"].mac_address, play.ports["two"].mac_address)
    family = 0 if version == 4 else 1
    ends = ADDRESSES["one"][family], ADDRESSES["two"][family]
    icmp = 1 if version == 4 else 58
    bad = raw_frames.datagram(ends, (4000, SHUT), b"b" * 2600)
    good = raw_frames.datagram(ends, (4000, OPEN), b"g" * 2600)
    other = b"b" * 2608

    def part(data: bytes, ident: int, start: int, end: int, protocol: int = 17) -> bytes:
        more = end < len(data)
        return make(macs, ends, protocol, data[start:end], ident=ident, offset=start, more=more)

    there = play.at["two"].begin()
    play.send(
        "one",
        # Tiny: eight bytes have the ports, the rest comes later; and the same the other way round.
        *(part(bad, 11, *place) for place in ((0, 8), (8, 1400), (1400, 2608))),
        *(part(bad, 12, *place) for place in ((8, 1400), (1400, 2608), (0, 8))),
        # An open port's first fragment, and another one over it that names the shut port.
        part(good, 13, 0, 1400),
        part(bad, 13, 0, 1400),
        part(bad, 13, 1400, 2608),
        # The second one begins inside the first one and writes over its ports.
        part(good, 14, 0, 1400),
        part(bad, 14, 0, 8),
        part(bad, 14, 8, 1208),
        part(bad, 14, 1400, 2608),
        # Later ones alone, of UDP and of ICMP.
        part(bad, 15, 1400, 2608),
        part(other, 16, 1400, 2608, icmp),
        # A first one that says UDP to the open port, later ones that say ICMP.
        part(good, 17, 0, 1400),
        part(other, 17, 1400, 2608, icmp),
        # A shut port's datagram, then an open port's first fragment of the same number.
        part(bad, 18, 0, 1400),
        part(bad, 18, 1400, 2608),
        part(good, 18, 0, 1400),
    )
    play.datagram("one", ends[1], OPEN, 100, "h")
    there.wait(f"{ends[0]} 100 h")
    assert str(SHUT) not in there.datagrams
    # No frame from there names the shut port, at any place where the ports may be.
    assert not [frame for frame in there.frames if struct.pack("!HH", 4000, SHUT) in frame[34:66]]


def test_a_fragmented_answer_of_a_dhcp_server_or_router_is_not_sent(play: Play) -> None:
    one, two = play.ports["one"].mac_address, play.ports["two"].mac_address
    v4 = ADDRESSES["one"][0], ADDRESSES["two"][0]
    v6 = ADDRESSES["one"][1], ADDRESSES["two"][1]
    offer = raw_frames.datagram(v4, (67, OPEN), b"dhcp-offer" * 260)
    reply = raw_frames.datagram(v6, (547, OPEN), b"dhcp-reply" * 260)
    advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"router-here" * 230
    hidden = bytes([58, 0, 1, 4, 0, 0, 0, 0]) + advertisement
    there = play.at["two"].begin()
    for make, ends, kind, whole in (
        (raw_frames.ipv4, v4, 17, offer),
        (raw_frames.ipv6, v6, 17, reply),
        (raw_frames.ipv6, v6, 58, advertisement),
        # Destination options first, so that the first fragment does not say what it is.
        (raw_frames.ipv6, v6, 60, hidden),
    ):
        play.send(
            "one",
            make((one, two), ends, kind, whole[:1400], ident=7, more=True),
            make((one, two), ends, kind, whole[1400:], ident=7, offset=1400),
        )
    play.datagram("one", v4[1], OPEN, 100, "h")
    there.wait(f"{v4[0]} 100 h")
    frames = b"".join(there.frames)
    for mark in (b"dhcp-offer", b"dhcp-reply", b"router-here"):
        assert mark not in frames
