"""Container instances: what crun is told, and how it is called.

An instance has its own user, network, process, mount, host name and IPC namespaces; its root is nobody on
the host. Its capabilities are those that a DHCP client and an SSH server need, over its own namespaces alone;
what the kernel offers beyond that is closed by seccomp. It has no devices but null, zero, full, random,
urandom and its terminals. Memory, processors and processes are limited by control groups, its disk by a file system of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from netloom.dataplane.process import ApplyError, run
from netloom.instances import masks, seccomp
from netloom.instances.limits import GROUP
from netloom.instances.rootfs import ID_COUNT
from netloom.model.files import write_whole
from netloom.model.hoststate import Instance

CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""sshd changes users and roots, a DHCP client sets addresses and reads raw frames."""

MOST_PROCESSES = 512
MOST_OPEN_FILES = 4096
_SMALL = ("size=65536k", "nr_inodes=16384")
"""A file system in memory, which counts as the instance's memory."""
_STARTERS = ("init", "sbin/init", "bin/init")


def starter(root: Path) -> str:
    """What the instance runs first: the image's init."""
    for name in _STARTERS:
        if os.path.lexists(root / name):
            return f"/{name}"
    raise ApplyError("the image has no /init, /sbin/init or /bin/init to start")


def configuration(item: Instance, root: Path, base: int) -> dict[str, Any]:
    """The OCI runtime configuration of an instance (source: opencontainers/runtime-spec 1.0)."""
    identity = [{"containerID": 0, "hostID": base, "size": ID_COUNT}]
    linux: dict[str, Any] = {
        "uidMappings": identity,
        "gidMappings": identity,
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "user")],
        "seccomp": seccomp.profile(),
        "maskedPaths": masks.hidden(),
        "readonlyPaths": masks.read_only(),
        "cgroupsPath": f"/{GROUP}/{item.server_id}",
        "resources": {
            "memory": {"limit": item.ram_mib << 20},
            "cpu": {"quota": item.vcpus * 100_000, "period": 100_000},
            "pids": {"limit": MOST_PROCESSES},
        },
    }
    caps = list(CAPABILITIES)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": [starter(root)],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "container=netloom",
            ],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": True,
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "hard": MOST_OPEN_FILES, "soft": 1024},
                {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
            ],
        },
        "root": {"path": str(root), "readonly": False},
        "hostname": item.hostname or "instance",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", *_SMALL),
            _mount(
                "/dev/pts",
                "devpts",
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ),
            _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", *_SMALL),
            _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        ],
        "linux": linux,
        "annotations": {"netloom.server": item.server_id},
    }


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


class Crun:
    """The container runtime, with its state in a folder of ours (gone after a reboot, as instances are)."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def _command(self, *words: str) -> list[str]:
        return ["crun", "--root", str(self._state), "--cgroup-manager", "cgroupfs", *words]

    def names(self) -> list[str]:
        """Containers that crun remembers, running or not."""
        return [path.name for path in self._state.iterdir()] if self._state.is_dir() else []

    def create(self, name: str, bundle: Path, pid_file: Path, console: int) -> int:
        """Make the container, not started yet; returns the process id of its first process."""
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = self._command(
            "create", "--bundle", str(bundle), "--pid-file", str(pid_file), name
        )
        # Its output must not be a pipe of ours: the container keeps it, and we would wait for its end.
        with (bundle / "crun.log").open("w+") as log:
            # Before the container's own first words, crun's complaints come out here.
            done = subprocess.run(
                [*command[:1], "--log", f"file:{bundle / 'crun.log'}", *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                timeout=60,
                check=False,
            )
            if done.returncode:
                words = log.read().strip().splitlines() or [f"exit status {done.returncode}"]
                raise ApplyError(f"crun: {words[-1][:300]}")
        return int(pid_file.read_text())

    def start(self, name: str) -> None:
        """Let the first process run the image's init."""
        run(self._command("start", name))

    def delete(self, name: str) -> None:
        """Kill the container if need be and forget it; one that is not there is no error."""
        if (self._state / name).exists():
            run(self._command("delete", "--force", name))


def write_bundle(bundle: Path, configuration: dict[str, Any]) -> None:
    """Write config.json, for crun alone."""
    bundle.mkdir(parents=True, exist_ok=True, mode=0o711)
    write_whole(bundle / "config.json", json.dumps(configuration, indent=1).encode())
