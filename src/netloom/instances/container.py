"""Container instances: what crun is told, and how it is called.

An instance has its own user, network, process, mount, host name and IPC namespaces; its root is nobody on
the host. Its capabilities are those that a DHCP client and an SSH server need, over its own namespaces alone;
what the kernel offers beyond that is closed by seccomp. It has no devices but null, zero, full, random,
urandom and its terminals.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from netloom.dataplane.process import ApplyError, run
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

REFUSED_CALLS = (
    *("acct", "add_key", "adjtimex", "bpf", "clock_adjtime", "clock_adjtime64", "clock_settime"),
    *(
        "clock_settime64",
        "create_module",
        "delete_module",
        "fanotify_init",
        "finit_module",
        "fsconfig",
    ),
    *(
        "fsmount",
        "fsopen",
        "fspick",
        "get_kernel_syms",
        "get_mempolicy",
        "init_module",
        "io_uring_enter",
    ),
    *(
        "io_uring_register",
        "io_uring_setup",
        "ioperm",
        "iopl",
        "kcmp",
        "kexec_file_load",
        "kexec_load",
    ),
    *("keyctl", "lookup_dcookie", "mbind", "migrate_pages", "modify_ldt", "mount", "mount_setattr"),
    *(
        "move_mount",
        "move_pages",
        "name_to_handle_at",
        "nfsservctl",
        "open_by_handle_at",
        "open_tree",
    ),
    *("perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv"),
    *(
        "process_vm_writev",
        "ptrace",
        "query_module",
        "quotactl",
        "quotactl_fd",
        "reboot",
        "request_key",
    ),
    *(
        "set_mempolicy",
        "setns",
        "settimeofday",
        "stime",
        "swapoff",
        "swapon",
        "sysfs",
        "syslog",
        "umount",
    ),
    *(
        "umount2",
        "unshare",
        "uselib",
        "userfaultfd",
        "ustat",
        "vhangup",
        "vm86",
        "vm86old",
        "vmsplice",
    ),
)
"""System calls that an instance has no use for and that have been ways into kernels."""

_CLONE_NEW_ANYTHING = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_ENOSYS = 38
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
_HIDDEN = (
    *(
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
    ),
    *("/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/fs/selinux"),
)
_READ_ONLY = (
    *(
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sysrq-trigger",
        "/proc/sys/abi",
        "/proc/sys/debug",
    ),
    *("/proc/sys/dev", "/proc/sys/fs", "/proc/sys/kernel", "/proc/sys/user", "/proc/sys/vm"),
)
"""Of /proc/sys only `net` stays open: it is the instance's own namespace, and one that routes must set it."""
MOST_PROCESSES = 512
MOST_OPEN_FILES = 4096
_STARTERS = ("init", "sbin/init", "bin/init")


def seccomp() -> dict[str, Any]:
    """Everything but the refused calls; making namespaces and typing into a terminal are refused too."""
    refuse: list[dict[str, Any]] = [
        {"names": list(REFUSED_CALLS), "action": "SCMP_ACT_ERRNO"},
        # Its flags lie in memory, where seccomp cannot look: programs then use clone.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
    ]
    for bit in range(32):
        if _CLONE_NEW_ANYTHING >> bit & 1:
            flag = {"index": 0, "value": 1 << bit, "valueTwo": 1 << bit, "op": "SCMP_CMP_MASKED_EQ"}
            refuse.append({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [flag]})
    for request in (_TIOCSTI, _TIOCLINUX):
        argument = {"index": 1, "value": request, "op": "SCMP_CMP_EQ"}
        refuse.append({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [argument]})
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": _ARCHITECTURES.get(platform.machine(), []),
        "syscalls": refuse,
    }


def starter(root: Path) -> str:
    """What the instance runs first: the image's init."""
    for name in _STARTERS:
        if os.path.lexists(root / name):
            return f"/{name}"
    raise ApplyError("the image has no /init, /sbin/init or /bin/init to start")


def configuration(item: Instance, root: Path, base: int, *, limits: bool) -> dict[str, Any]:
    """The OCI runtime configuration of an instance (source: opencontainers/runtime-spec 1.0)."""
    identity = [{"containerID": 0, "hostID": base, "size": ID_COUNT}]
    linux: dict[str, Any] = {
        "uidMappings": identity,
        "gidMappings": identity,
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "user")],
        "seccomp": seccomp(),
        "maskedPaths": list(_HIDDEN),
        "readonlyPaths": list(_READ_ONLY),
    }
    if limits:
        memory = item.ram_mib << 20
        linux["cgroupsPath"] = f"/netloom/{item.server_id}"
        linux["resources"] = {
            "memory": {"limit": memory},
            "cpu": {"quota": item.vcpus * 100_000, "period": 100_000},
            "pids": {"limit": MOST_PROCESSES},
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
                {
                    "type": "RLIMIT_FSIZE",
                    "hard": max(1, item.disk_gib) << 30,
                    "soft": max(1, item.disk_gib) << 30,
                },
            ],
        },
        "root": {"path": str(root), "readonly": False},
        "hostname": item.hostname or "instance",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
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
            _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
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
        self.limits = _limits_possible()

    def _command(self, *words: str) -> list[str]:
        manager = "cgroupfs" if self.limits else "disabled"
        return ["crun", "--root", str(self._state), "--cgroup-manager", manager, *words]

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


def _limits_possible() -> bool:
    """Whether control groups can be made here: on a unified hierarchy, or with version 1 controllers."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").is_file():
        given = (top / "cgroup.controllers").read_text().split()
        return {"memory", "pids", "cpu"} <= set(given) and os.access(top, os.W_OK)
    return (top / "memory").is_dir() and (top / "pids").is_dir() and not (top / "unified").is_dir()


def write_bundle(bundle: Path, configuration: dict[str, Any]) -> None:
    """Write config.json, for crun alone."""
    bundle.mkdir(parents=True, exist_ok=True, mode=0o711)
    write_whole(bundle / "config.json", json.dumps(configuration, indent=1).encode())
