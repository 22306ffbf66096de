"""Private hosts for tests that need root: each a namespace set with an Open vSwitch of its own.

Nothing of them is visible in the machine's own network namespace, and all of it goes when the host's
first process is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from netloom.lab import cgroups

SOURCE = Path(__file__).resolve().parents[2]

SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/openvswitch /run/lock
mount -t sysfs sysfs /sys 2>/dev/null || true
{cgroup}
ip link set lo up
export OVS_RUNDIR=/run/openvswitch OVS_DBDIR=/run/openvswitch
ovsdb-tool create /run/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /run/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock \
    --pidfile=/run/openvswitch/ovsdb-server.pid --log-file=/run/openvswitch/ovsdb.log -vconsole:off --detach
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile=/run/openvswitch/ovs-vswitchd.pid --log-file=/run/openvswitch/vswitchd.log \
    -vconsole:off --detach
"""
# Control groups as a lab's host has them: rooted at a group of its own.
ENTER = "import os, sys; from netloom.lab import cgroups; cgroups.enter(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])"
CGROUP = (
    "from pathlib import Path; from netloom.lab import cgroups, init;"
    "init.mount_cgroups([(Path(p), k, o) for p, k, o in {seen!r}])"
)


# The first process reaps what others leave behind, as an init does.
INIT = "while :; do sleep 1000 & wait; done"


class Host:
    """A namespace set; `run` runs a command in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._group = f"netloom-test-{name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        seen = [(str(point), kind, options) for point, kind, options in cgroups.hierarchies()]
        self._init = subprocess.Popen(
            [
                sys.executable,
                "-c",
                ENTER,
                self._group,
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                INIT,
            ],
            stdin=subprocess.DEVNULL,
            env=self.environment(),
        )
        deadline = time.monotonic() + 30
        self.pid = 0
        while not self.pid and time.monotonic() < deadline:
            children = (
                Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
            )
            if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "sh":
                self.pid = int(children[0])
            else:
                time.sleep(0.01)
        try:
            assert self.pid, f"no first process of {name}"
            self.sh(SETUP.format(cgroup=f'{sys.executable} -c "{CGROUP.format(seen=seen)}"'))
        except BaseException:
            self.close()
            raise

    def command(self, *words: str) -> list[str]:
        """The words, to be run in this host."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "-C", "--", *words]

    def environment(self) -> dict[str, str]:
        """Environment of commands in this host."""
        return {
            **os.environ,
            "PYTHONPATH": f"{SOURCE / 'src'}:{SOURCE}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *words: str, check: bool = True, timeout: float = 30, stdin: str = "") -> str:
        """Run a command and return its output (both streams)."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env=self.environment(),
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{self.name}: {' '.join(words)}: status {done.returncode}\n{done.stdout}"
            )
        return done.stdout

    def sh(self, script: str, check: bool = True, timeout: float = 30) -> str:
        """Run a shell script."""
        return self.run("sh", "-c", script, check=check, timeout=timeout)

    def python(self, script: str, *words: str, timeout: float = 60) -> str:
        """Run Python code in this host, with `words` as its arguments."""
        return self.run(sys.executable, "-c", script, *words, timeout=timeout)

    def start(self, *words: str, output: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command and leave it running; the caller (or the host's end) ends it."""
        with contextlib.ExitStack() as stack:
            sink = stack.enter_context(output.open("ab")) if output else subprocess.DEVNULL
            return subprocess.Popen(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=self.environment(),
            )

    def close(self) -> None:
        """End every process of the host; its namespaces, mounts and links go with them."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._init.kill()
        self._init.wait()
        cgroups.remove(self._group)


def join(left: Host, right: Host, device: str = "eth0", bridge: str | None = "br-phy") -> None:
    """A cable between two hosts, `device` on both, with addresses 172.31.0.1 and .2 on it.

    `bridge`: a userspace bridge that gets the device and its address, as native tunnels need.
    """
    subprocess.run(
        f"nsenter -t {left.pid} -n ip link add {device} type veth peer name {device} netns {right.pid}".split(),
        check=True,
    )
    for number, host in enumerate((left, right), 1):
        host.run("ethtool", "-K", device, "tx", "off")
        host.run("ip", "link", "set", device, "up")
        where = device
        if bridge:
            host.sh(
                f"ovs-vsctl add-br {bridge} -- set bridge {bridge} datapath_type=netdev"
                f" -- add-port {bridge} {device}"
            )
            host.run("ip", "link", "set", bridge, "up")
            where = bridge
        host.run("ip", "addr", "add", f"172.31.0.{number}/24", "dev", where)
