"""What must never happen: a frame in another tenant's network, a forged frame, a way out of an instance."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from netloom.instances.container import CAPABILITIES
from tests.support import raw_frames
from tests.support.raw_frames import BROADCAST, arp, icmpv6, udp, vlan
from tests.support.running_lab import RunningLab
from tests.support.tenant import Background, Instance, Tenant, background, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

RAW = str(Path(raw_frames.__file__))
RANGE = "10.0.0.0/24"
CAPABILITY_BITS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_AUDIT_WRITE": 29,
}
"""linux/capability.h"""


@pytest.fixture(scope="module")
def cloud(lab: RunningLab) -> Iterator[SimpleNamespace]:
    """Two projects with the same range and addresses, their instances on the same hosts; rules let all in."""
    with Tenant(lab) as ours, Tenant(lab, "demo") as theirs:
        made = SimpleNamespace()
        asked: dict[str, tuple[Tenant, str]] = {}
        for letter, tenant in (("a", ours), ("b", theirs)):
            group = tenant.group({}, {"ethertype": "IPv6"})
            network = tenant.network(f"same-{letter}", RANGE)
            tenant.router(network)
            for number, host in ((1, "compute1"), (2, "compute2")):
                name = f"{letter}{number}"
                server = tenant.boot(name, host, network, group, address=f"10.0.0.1{number}")
                asked[name] = (tenant, server)
            if letter == "a":
                asked["a3"] = (
                    tenant,
                    tenant.boot("a3", "compute1", network, group, address="10.0.0.13"),
                )
        for name, (tenant, server) in asked.items():
            setattr(made, name, tenant.instance(server))
        made.a1.reaches("10.0.0.12")
        made.b1.reaches("10.0.0.12")
        yield made


class Sniffer:
    """All frames that reach an instance."""

    def __init__(self, instance: Instance) -> None:
        self._line = instance.line(sys.executable, RAW, "listen", "eth0")
        self.frames: list[str] = []

    def __enter__(self) -> Sniffer:
        self._running = Background(self._line)
        assert self._running.process.stdout is not None
        assert self._running.process.stdout.readline() == "listening\n"
        return self

    def __exit__(self, *error: object) -> None:
        time.sleep(0.5)
        self.frames = self._running.stop(15).split()

    def saw(self, mark: bytes) -> bool:
        """Whether a frame with these bytes came."""
        return any(mark.hex() in frame for frame in self.frames)


def send(instance: Instance, *frames: bytes) -> None:
    said = instance.run(sys.executable, RAW, "send", "eth0", *(frame.hex() for frame in frames))
    assert not said, said


def test_two_tenants_with_the_same_addresses_see_nothing_of_each_other(
    cloud: SimpleNamespace,
) -> None:
    a1, a2 = cloud.a1, cloud.a2
    mark = b"only for our own network"
    with Sniffer(a2) as own, Sniffer(cloud.b1) as neighbour, Sniffer(cloud.b2) as far:
        assert a1.pings("10.0.0.12", count=3)
        a1.run("arping", "-c", "2", "-w", "2", "-I", "eth0", "10.0.0.77")
        send(
            a1,
            udp((a1.mac, BROADCAST), (a1.address, "10.0.0.255"), (5000, 5000), mark),
            udp((a1.mac, cloud.b1.mac), (a1.address, "10.0.0.12"), (5000, 5000), mark),
            udp((a1.mac, cloud.b2.mac), (a1.address, "10.0.0.12"), (5000, 5000), mark),
        )
    ours = bytes.fromhex(a1.mac.replace(":", ""))
    assert own.saw(mark) and own.saw(ours)
    for other in (neighbour, far):
        assert not other.saw(ours) and not other.saw(mark)


def forgeries(a1: Instance, a2: Instance, a3: Instance) -> dict[bytes, bytes]:
    """Mark → a frame that a1 must not get out."""
    found: dict[bytes, bytes] = {}

    def mark() -> bytes:
        return b"forged %02d" % len(found)

    def put(frame: bytes) -> None:
        found[mark()] = frame

    own, other = a1.mac, "fa:16:3e:00:be:ef"
    for target in (BROADCAST, a2.mac, a3.mac):
        put(udp((other, target), (a1.address, "10.0.0.255"), (5, 5), mark()))
        put(udp((a3.mac, target), (a3.address, "10.0.0.255"), (5, 5), mark()))
        put(udp((own, target), (a3.address, "10.0.0.255"), (5, 5), mark()))
        put(udp((own, target), ("10.0.0.99", "10.0.0.255"), (5, 5), mark()))
        # The gateway's, a neighbour's and nobody's address claimed in answers and announcements.
        for operation in (1, 2):
            for claimed in ("10.0.0.1", a3.address, "10.0.0.99", "169.254.169.254"):
                put(arp(own, target, operation, own, claimed, a2.address, mark()))
            put(arp(own, target, operation, a3.mac, a1.address, a2.address, mark()))
            put(arp(other, target, operation, other, a1.address, a2.address, mark()))
        put(udp((own, target), (a1.address, "255.255.255.255"), (67, 68), mark().ljust(300, b"\0")))
        put(udp((own, target), ("0.0.0.0", "255.255.255.255"), (67, 68), mark().ljust(300, b"\0")))
        # No IPv6 address is the port's: neighbour and router advertisements, echo.
        for kind in (128, 134, 136):
            put(icmpv6((own, target), ("fe80::1", "ff02::1"), kind, mark().ljust(24, b"\0")))
        put(vlan(7, udp((own, target), (a1.address, "10.0.0.255"), (5, 5), mark())))
        put(raw_frames.ethernet(own, target, 0x88CC, mark().ljust(46, b"\0")))
    return found


def test_forged_frames_go_nowhere(cloud: SimpleNamespace) -> None:
    a1, a2, a3 = cloud.a1, cloud.a2, cloud.a3
    frames = forgeries(a1, a2, a3)
    honest = b"in my own name"
    with Sniffer(a2) as far, Sniffer(a3) as near, Sniffer(cloud.b1) as stranger:
        send(a1, *frames.values())
        send(a1, udp((a1.mac, BROADCAST), (a1.address, "10.0.0.255"), (5, 5), honest))
    assert far.saw(honest) and near.saw(honest)
    for sniffer in (far, near, stranger):
        assert [mark for mark in frames if sniffer.saw(mark)] == []
    assert a2.pings(a3.address) and a2.pings("10.0.0.1")


def metadata(instance: Instance, *, source: str = "", headers: dict[str, str] | None = None) -> str:
    """The id that the metadata service gives who asks; empty without an answer."""
    program = (
        "import http.client,json;"
        f"c=http.client.HTTPConnection('169.254.169.254',80,3,source_address={(source, 0) if source else None!r});"
        f"c.request('GET','/openstack/latest/meta_data.json',headers={headers or {}!r});"
        "print(json.load(c.getresponse())['uuid'])"
    )
    said = instance.run(sys.executable, "-c", program).strip()
    return "" if "Traceback" in said else said


def test_metadata_is_of_who_asks_whatever_he_says(cloud: SimpleNamespace) -> None:
    a1, a3, b1 = cloud.a1, cloud.a3, cloud.b1
    assert metadata(a1) == a1.id and metadata(a3) == a3.id
    assert metadata(b1) == b1.id  # the same address as a1
    lies = {
        "X-Forwarded-For": a3.address,
        "X-Instance-ID": a3.id,
        "X-Instance-ID-Signature": "0" * 64,
        "X-Tenant-ID": "demo",
        "Forwarded": f"for={a3.address}",
    }
    assert metadata(a1, headers=lies) == a1.id
    a1.run("ip", "addr", "add", f"{a3.address}/32", "dev", "eth0")
    try:
        assert metadata(a1, source=a3.address) == ""
    finally:
        a1.run("ip", "addr", "del", f"{a3.address}/32", "dev", "eth0")
    assert metadata(a1) == a1.id


def connects(instance: Instance, address: str, port: int) -> bool:
    program = (
        f"import socket;socket.create_connection(({address!r},{port}),1).close();print('through')"
    )
    return "through" in instance.run(sys.executable, "-c", program)


def test_instances_reach_no_part_of_the_cloud_itself(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    a1 = cloud.a1
    for last in (11, 12, 13):
        assert not a1.pings(f"10.255.0.{last}")
    for address in ("10.255.0.11", "10.255.0.12", "10.0.0.1", "10.0.0.2", "203.0.113.1"):
        for port in (lab.state.port, 6640, 22):
            assert not connects(a1, address, port), (address, port)
    # An address of the underlay taken by hand changes nothing.
    a1.run("ip", "addr", "add", "10.255.0.99/16", "dev", "eth0")
    try:
        assert not a1.pings("10.255.0.12")
    finally:
        a1.run("ip", "addr", "del", "10.255.0.99/16", "dev", "eth0")
    assert (
        inside(a1, "find / -xdev -type s 2>/dev/null; ls /run/netloom /run/openvswitch 2>/dev/null")
        == ""
    )


HEAR = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
    ear.bind(("", 7777))
    print("listening", flush=True)
    while True:
        print(ear.recv(100).decode(), flush=True)
"""


def test_the_host_s_own_kernel_hears_nothing_of_an_instance(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    """The userspace switch reads copies: without more the kernel would take the frames themselves, past every flow."""
    a1, host = cloud.a1, "10.255.0.12"
    mac = lab.exec(a1.host, "cat", f"/sys/class/net/{a1.tap}/address").strip()
    assert "inet" not in lab.exec(a1.host, "ip", "addr", "show", a1.tap)
    a1.run("ip", "addr", "add", "10.255.0.99/16", "dev", "eth0")
    try:
        assert "reply from" not in a1.run("arping", "-c", "2", "-w", "3", "-I", "eth0", host)
    finally:
        a1.run("ip", "addr", "del", "10.255.0.99/16", "dev", "eth0")
    with background(on_host(lab, a1.host, sys.executable, "-c", HEAR)) as hearing:
        assert hearing.process.stdout is not None
        assert hearing.process.stdout.readline() == "listening\n"
        for source, target in (
            (a1.address, host),
            ("10.255.0.13", host),
            (a1.address, "255.255.255.255"),
        ):
            send(a1, udp((a1.mac, mac), (source, target), (5000, 7777), b"from the instance"))
        itself = "import socket;socket.socket(2,2).sendto(b'from the host',('127.0.0.1',7777))"
        lab.exec(a1.host, sys.executable, "-c", itself)
        assert hearing.process.stdout.readline() == "from the host\n"


def test_only_the_tunnels_own_device_answers_for_their_address(
    lab: RunningLab, cloud: SimpleNamespace
) -> None:
    """The card below it does not: a switch that believed it would send tunnels where nothing unpacks them."""
    find = "ip -o -4 addr | awk '$4 ~ /^10.255.0./ {print $2}'"
    device = lab.exec("network1", "sh", "-c", find).strip()
    mac = lab.exec("network1", "cat", f"/sys/class/net/{device}/address").strip()
    said = lab.exec("compute1", "arping", "-c", "3", "-I", device, "10.255.0.11")
    assert set(re.findall(r"\[(.*?)\]", said)) == {mac.upper()} and "Received 3 response" in said, (
        said
    )


def inside(instance: Instance, script: str) -> str:
    """Run a script as root in the container, with what its own programs may do."""
    crun = [
        "crun",
        "--root",
        "/run/netloom/agent/crun",
        "exec",
        f"netloom-{instance.id}",
        "sh",
        "-c",
        script,
    ]
    return instance.lab.exec(instance.host, *crun, check=False, timeout=300).strip()


def test_the_container_is_closed(cloud: SimpleNamespace) -> None:
    a1 = cloud.a1
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{a1.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    allowed = sum(1 << CAPABILITY_BITS[name] for name in CAPABILITIES)
    for kind in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[kind], 16) & ~allowed == 0, kind
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert status["Uid"].split()[0] != "0"
    assert inside(a1, "id -u") == "0"
    assert inside(a1, "sed -n 's/^CapEff:.//p' /proc/self/status") == status["CapEff"]
    for kind in ("user", "net", "pid", "mnt", "uts", "ipc"):
        hosts = a1.lab.exec(a1.host, "readlink", f"/proc/1/ns/{kind}").strip()
        assert str(Path(f"/proc/{a1.pid}/ns/{kind}").readlink()) != hosts, kind
    devices = set(inside(a1, "cd /dev; find . -type c -o -type b").split())
    known = {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "console",
        "ptmx",
        "pts/ptmx",
        "pts/0",
    }
    assert {name.removeprefix("./") for name in devices} <= known
    tries = [
        "mknod /tmp/disk b 8 0",
        "mount -t tmpfs none /tmp",
        "unshare -U true",
        "chroot /proc/1/root true && false",
        "echo 1 >/proc/sys/kernel/panic",
        "echo h >/proc/sysrq-trigger",
        "echo x >/proc/sys/kernel/core_pattern",
        "echo 1 >/sys/kernel/mm/ksm/run",
        "dmesg",
        "reboot -f",
    ]
    for script in tries:
        assert "done anyway" not in inside(a1, f"({script}) && echo done anyway"), script
    # Opened for appending, nothing is written.
    look = (
        "find /proc/sys /sys -type f | while read f; do { true >>$f; } 2>/dev/null && echo $f; done"
    )
    # Its own network namespace's settings are its own.
    found = inside(a1, look).splitlines()
    assert [name for name in found if not name.startswith("/proc/sys/net/")] == []
    assert "/proc/sys/net/ipv4/ip_forward" in found
