"""The first process of a lab host: makes its namespaces and mounts, then keeps its services running.

`python -m netloom.lab.init HOST.json` forks a process that is PID 1 of new network, mount, PID, UTS and
IPC namespaces, writes that process's id to the file `pid_file`, and ends. PID 1 does what systemd does on
a real host: it reaps orphans and starts services again that end. When it is killed, the kernel ends
everything in the host, and with the last process go namespaces, mounts and devices.

SIGHUP makes it read the file again: services that are new are started, those that are gone or `off` are
stopped. Standard library only, so that it starts at once and stays small.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from netloom.lab import cgroups

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MNT_DETACH = 2
LONGEST_PAUSE = 5.0
"""Seconds between two starts of a service that keeps ending; the first is started at once."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system; the arguments are those of the system call."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _check(result, f"mount {target}")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones; the flags are those of the system call."""
    _check(_libc.unshare(flags), "unshare")


def set_up_mounts(config: dict[str, Any]) -> None:
    """Give the host a /proc, /sys, /run and /etc/openvswitch of its own; nothing of it is seen outside."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    seen = cgroups.hierarchies()
    _check(_libc.umount2(b"/sys", MNT_DETACH), "umount /sys")
    # A sysfs shows the network devices of the namespace that it was mounted in.
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount_cgroups(seen)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for name in ("netns", "openvswitch", "netloom", "lock"):
        Path("/run", name).mkdir()
    Path("/run/tmp").mkdir(mode=0o1777)
    if Path("/etc/openvswitch").is_dir():
        mount("tmpfs", "/etc/openvswitch", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for source, target in config.get("binds", []):
        Path(source).mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        mount(source, target, flags=MS_BIND)


def mount_cgroups(seen: list[tuple[Path, str, str]]) -> None:
    """Mount the machine's control group hierarchies again, rooted at the host's own group.

    Where version 1 controllers are mounted beside a unified hierarchy (hybrid), the unified one stays away:
    crun refuses to run under the mixture.
    """
    version1 = [(point, options) for point, kind, options in seen if kind == "cgroup"]
    if not version1:
        if seen:
            mount("cgroup2", str(cgroups.ROOT), "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        return
    mount("tmpfs", str(cgroups.ROOT), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755")
    for point, options in version1:
        point.mkdir(parents=True, exist_ok=True)
        mount("cgroup", str(point), "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


class Service:
    """One program that shall run."""

    def __init__(self, name: str, logs: Path) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self.pid = 0
        self.started = 0.0
        self.pause = 0.0
        self.wanted: dict[str, Any] | None = None

    def start(self) -> None:
        """Start the program in a session of its own; its output goes to its log."""
        assert self.wanted is not None
        command: list[str] = self.wanted["command"]
        environment = {**os.environ, **self.wanted.get("env", {})}
        self.started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.execvpe(command[0], command, environment)
            except OSError as error:
                os.write(2, f"{command[0]}: {error}\n".encode())
            finally:
                os._exit(127)
        self.pid = pid

    def due(self, now: float) -> float | None:
        """Seconds until it must be started; None where it runs or is not wanted."""
        if self.pid or self.wanted is None:
            return None
        return max(0.0, self.started + self.pause - now)

    def ended(self, status: int, now: float) -> None:
        """Note that it ended; one that keeps ending is started ever more seldom."""
        code = os.waitstatus_to_exitcode(status)
        # PID 1 must outlive a full disk: all of its host would end with it.
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(f"-- {time.strftime('%H:%M:%S')} {self.name} ended with {code}\n")
        lived = now - self.started
        self.pause = 0.0 if lived > LONGEST_PAUSE else min(LONGEST_PAUSE, max(0.1, self.pause * 2))
        self.pid = 0


def serve(path: Path, config: dict[str, Any]) -> None:
    """Keep services running until killed."""
    signals = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    logs = Path(config["logs"])
    pids = Path(config["service_pids"])
    services: dict[str, Service] = {}

    def want() -> None:
        wanted = {item["name"]: item for item in json.loads(path.read_text())["services"]}
        for name in wanted:
            services.setdefault(name, Service(name, logs))
        for name, service in services.items():
            item = wanted.get(name)
            service.wanted = None if item is None or item.get("off") else item
            if service.wanted is None and service.pid:
                os.kill(
                    service.pid, signal.SIGKILL if item and item.get("kill") else signal.SIGTERM
                )

    want()
    while True:
        now = time.monotonic()
        waits: list[float] = []
        for service in services.values():
            due = service.due(now)
            if due is None:
                continue
            if due > 0:
                waits.append(due)
                continue
            service.start()
            with contextlib.suppress(OSError):
                (pids / service.name).write_text(str(service.pid))
        got = signal.sigtimedwait(signals, min(waits, default=3600.0))
        if got is not None and got.si_signo == signal.SIGTERM:
            return
        if got is not None and got.si_signo == signal.SIGHUP:
            want()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            for service in services.values():
                if service.pid == pid:
                    service.ended(status, time.monotonic())


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the id it names the process for good."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def main(path: Path) -> None:
    """Make the host described by the file; returns in the parent once PID 1 is on its way."""
    config = json.loads(path.read_text())
    os.setsid()
    cgroups.enter(config["cgroup"])
    unshare(CLONE_NEWPID)
    ready, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        target = Path(config["pid_file"])
        partial = target.with_suffix(".new")
        partial.write_text(f"{pid} {start_time(pid)}")
        partial.rename(target)
        # End of file without a byte: PID 1 ended before its mounts were made, and has said why.
        raise SystemExit(0 if os.read(ready, 1) else 1)
    os.close(ready)
    # Only now: the parent still needs the machine's own /proc.
    unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM})
    set_up_mounts(config)
    _libc.sethostname(config["name"].encode(), len(config["name"]))
    os.environ.update(TMPDIR="/run/tmp", **config.get("env", {}))
    os.chdir("/")
    os.write(told, b"x")
    os.close(told)
    # Whoever started us must be able to see the end of our output.
    log = os.open(Path(config["logs"]) / "init.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    serve(path, config)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except OSError as failure:
        reason = f"{failure.filename}: {failure.strerror}" if failure.filename else failure.strerror
        print(f"cannot make the host: {reason}", file=sys.stderr)  # noqa: T201 (one line to whoever started us)
        raise SystemExit(1) from failure
