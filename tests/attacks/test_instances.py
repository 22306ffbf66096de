"""An instance wants out, or more of its host than is its own."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netloom.agent import view
from netloom.instances.container import MOST_PROCESSES
from netloom.instances.masks import SHOWN_PROC, SHOWN_SYS
from netloom.instances.seccomp import FAMILIES
from tests.support.agents import apply_view
from tests.support.host import Host
from tests.support.instances import agent_settings, image_root, inside, pids, world

pytestmark = pytest.mark.root

SOCKETS = """
my ($socket, $pair) = @ARGV;
my $none = "\\0" x 8;
for my $family (0 .. 63, (1 << 32) + 40, (1 << 32) + 2) {
    for my $type (1, 2, 3, 5) {
        print "family $family\\n" if syscall($socket, $family + 0, $type + 0, 0) >= 0;
        print "pair $family\\n" if syscall($pair, $family + 0, $type + 0, 0, $none) >= 0;
    }
}
for my $protocol (0 .. 31) { print "netlink $protocol\\n" if syscall($socket, 16, 3, $protocol + 0) >= 0; }
"""
FILES = """
my $made = 0;
mkdir "/many";
while ($made < 200000) { open(my $file, ">", "/many/$made") or last; close $file; $made++; }
print "$made $!";
"""
CALLS = {"x86_64": (41, 53), "aarch64": (198, 199)}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of an agent whose image has what an attacker needs: perl, and a program of 32 bits."""
    monkeypatch.setenv("NETLOOM_STATE", str(tmp_path / "lab"))
    made = agent_settings(tmp_path / "a")
    root = image_root(made)
    perl = Path(shutil.which("perl") or "/usr/bin/perl").resolve()
    libraries = subprocess.run(["ldd", str(perl)], capture_output=True, text=True, check=True)
    for file in [str(perl), *re.findall(r"(/\S+) \(0x", libraries.stdout)]:
        place = root / file.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    (root / "perl").symlink_to(perl)
    (root / "vsock32").write_bytes(vsock32())
    (root / "vsock32").chmod(0o755)
    return made


def vsock32() -> bytes:
    """An i386 program that opens AF_VSOCK by `socketcall`; its exit status is the error, 253 for a socket."""
    start = 0x08048000
    code = bytes.fromhex("b866000000bb01000000b9") + struct.pack("<I", start + 84 + 32)
    code += bytes.fromhex("cd8089c3f7dbb801000000cd80")
    code = code.ljust(32, b"\x90") + struct.pack("<III", 40, 1, 0)
    size = 84 + len(code)
    head = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, start + 84, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    return head + struct.pack("<IIIIIIII", 1, 0, start, start, size, size, 5, 0x1000) + code


def test_sockets_of_other_families(host: Host, config: Path) -> None:
    """No way to the machine below (AF_VSOCK), nor into the kernel's corners."""
    assert "error" not in apply_view(host, config, world().view("a"))
    machine = host.run("uname", "-m").strip()
    socket, pair = CALLS[machine]
    said = set(inside(host, "vm1", f"/perl -e '{SOCKETS}' {socket} {pair}").splitlines())
    opened = {int(line.split()[1]) for line in said if line.startswith("family")}
    assert opened == {int(number) for number in FAMILIES.values()}
    assert {line for line in said if line.startswith("pair")} == {"pair 1"}
    assert {line for line in said if line.startswith("netlink")} == {"netlink 0"}
    # By the other door of 32-bit programs: ENOSYS, or there are none of them here.
    assert inside(host, "vm1", "/vsock32; echo $?").split()[-1] in ("38", "126", "127")


def test_more_disk_more_files_more_processes(host: Host, config: Path) -> None:
    """Bytes, inodes, memory and processes end where the flavor says, and the host has lost nothing of its own."""
    cloud = world()
    assert "error" not in apply_view(host, config, cloud.view("a"))
    before = shutil.disk_usage(config.parent).used
    assert "No space" in inside(host, "vm1", "fallocate -l 2G /big; rm /big")
    script = "for n in 1 2 3 4 5 6 7 8 9; do fallocate -l 200M /big$n && echo $n; done; rm /big*"
    got = [line for line in inside(host, "vm1", script).splitlines() if line.isdigit()]
    assert got == ["1", "2", "3", "4"] or got == ["1", "2", "3", "4", "5"]
    made, words = inside(host, "vm1", f"/perl -e '{FILES}'").split(" ", 1)
    assert "No space" in words and 60_000 < int(made) <= 65_536
    assert shutil.disk_usage(config.parent).used - before < 400 << 20
    # Its neighbour has its own.
    assert "done" in inside(host, "vm2", "fallocate -l 500M /big && touch /one && echo done")
    limit = "find /sys/fs/cgroup -path '*netloom/vm1/{}' | head -n 1 | xargs cat"
    memory = host.sh(limit.format("memory.limit_in_bytes") + " || " + limit.format("memory.max"))
    assert int(memory) == next(iter(cloud.tables["servers"].values())).flavor.ram << 20
    assert int(host.sh(limit.format("pids.max"))) == MOST_PROCESSES
    procs = host.sh("find /sys/fs/cgroup -path '*pids*netloom/vm1/cgroup.procs' | xargs cat")
    assert str(pids(config)["vm1"]) in procs.split()


def test_what_the_kernel_says_of_the_host(host: Host, config: Path) -> None:
    """Of /proc and /sys there is what is on a list, whatever else the kernel has."""
    apply_view(host, config, world().view("a"))
    script = (
        "cd /proc; for f in *; do case $f in [0-9]*) continue;; esac;"
        "if [ -d $f ]; then ls -A $f | grep -q . && echo $f;"
        "else head -c 1 $f 2>/dev/null | grep -q . && echo $f; fi; done"
    )
    shown = set(inside(host, "vm1", script).split())
    assert shown <= SHOWN_PROC
    assert {"cpuinfo", "meminfo", "mounts", "net", "self", "stat"} <= shown
    for name in ("config.gz", "cmdline", "kallsyms", "keys", "timer_list", "kcore", "kmsg", "fs"):
        assert name not in shown
    for folder, names in SHOWN_SYS.items():
        found = inside(
            host, "vm1", f"cd /sys/{folder}; for f in *; do ls -A $f/ | grep -q . && echo $f; done"
        )
        assert set(found.split()) <= names
    assert "eth0" in inside(host, "vm1", "ls /sys/class/net/")
    writes = (
        "sysrq-trigger",
        "sys/kernel/hostname",
        "sys/vm/drop_caches",
        "sys/fs/file-max",
        "irq/x",
    )
    for name in writes:
        assert "wrote" not in inside(
            host, "vm1", f"echo 1 2>/dev/null > /proc/{name} && echo wrote"
        )


def test_a_host_without_limits_offers_no_instances(host: Host, config: Path) -> None:
    """Nothing of a tenant runs unlimited: not where a controller is missing, not where disks cannot be made."""
    for damage, reason in (
        ("umount /sys/fs/cgroup/pids; rmdir /sys/fs/cgroup/pids", "no control group of pids"),
        ("mount --bind /dev/null /dev/loop-control", "disks of instances cannot be limited"),
    ):
        if not host.sh(damage.split(";")[0] + " && echo done", check=False).endswith("done\n"):
            continue  # a unified hierarchy
        host.sh(damage, check=False)
        said = apply_view(host, config, world().view("a"), check=False)
        if "loop-control" in damage and reason not in said:
            break  # there are free loop devices, which need no control
        assert "this host offers no instances: " in said and reason in said
        assert re.search(rf"^error: instance vm1: .*{reason}", said, re.MULTILINE)
        assert "netloom-vm" not in host.sh("ps axo args; ls /run/netloom/agent/ -R")


def test_one_that_ends_at_once_is_started_ever_more_seldom(host: Host, config: Path) -> None:
    """An image whose init ends costs the host a start now and then, and its neighbours nothing."""
    root = image_root(config)
    (root / "init").unlink(missing_ok=True)
    (root / "init").write_text("#!/bin/sh\necho started >> /starts\n")
    (root / "init").chmod(0o755)
    state = config.parent / "state"
    cloud = world()
    view.save(state / "view.json", "", cloud.view("a"))
    log = config.parent / "log"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "tunnel_ip" not in line))
    started = time.monotonic()
    agent = host.start(
        sys.executable, "-m", "netloom", "agent", "--config", str(config), output=log
    )
    try:
        wanted = "instance vm1: the instance ended 5 times, each within 20 s of its start:"
        while wanted not in log.read_text():
            assert time.monotonic() < started + 60, log.read_text()
            time.sleep(0.2)
        assert f"{wanted} it is started again after 8 s" in log.read_text()
        # The disk outlives its starts: one start, and one after each end but the last.
        starts = Path(f"/proc/{host.pid}/root/run/netloom/agent/roots/vm1/starts")
        assert starts.read_text().split() == ["started"] * 5
    finally:
        agent.kill()
        agent.wait()
