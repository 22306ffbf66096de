"""What a lab needs of the machine, looked at before anything is started: each lack is one plain line."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from netloom.lab import cgroups
from netloom.lab.state import Lab, command
from netloom.model.errors import UserError

DEFAULT_PORT = 9696
STARTING = Path("/run/netloom-lab-starting")
"""Locked while a lab of this machine chooses its port and begins to listen there."""
_PROGRAMS = {
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "ovs-ofctl": "openvswitch-switch",
    "ip": "iproute2",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "crun": "crun",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "busybox": "busybox-static",
    "dropbear": "dropbear-bin",
    "ethtool": "ethtool",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
}
"""Program → the Debian package that has it."""


def root() -> None:
    """Refuse where we are not root."""
    if os.geteuid() != 0:
        raise UserError("network namespaces need root: run this again as root (sudo)")


def machine() -> None:
    """Refuse where a lab cannot run: not root, missing programs, no TUN device, no control groups."""
    root()
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
    missing = sorted(
        {package for name, package in _PROGRAMS.items() if not shutil.which(name, path=path)}
    )
    if missing:
        raise UserError(f"Debian packages are missing: apt-get install {' '.join(missing)}")
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        hint = {
            errno.ENOENT: "run `modprobe tun`, or give this container the device",
            errno.ENODEV: "run `modprobe tun`",
            errno.EPERM: "this container is not allowed to use the device",
            errno.EACCES: "this container is not allowed to use the device",
        }.get(error.errno or 0, "Open vSwitch needs it")
        raise UserError(f"/dev/net/tun cannot be opened ({error.strerror}): {hint}") from None
    for point, _, _ in cgroups.hierarchies():
        if not os.access(point, os.W_OK):
            raise UserError(
                f"control groups cannot be made in {point}, and instances need them: let this container write there"
            )


def no_earlier_lab(lab: Lab) -> None:
    """Refuse where the lab runs already, or an earlier one left something behind."""
    state = lab.load()
    if state is not None and state.ready and state.alive:
        raise UserError(
            f"lab {lab.name!r} is running already: use it, or remove it with `{command('down', lab.name)}`"
        )
    if lab.directory.exists():
        raise UserError(
            f"an earlier lab {lab.name!r} left things behind: remove them with `{command('down', lab.name)}`"
        )


@contextmanager
def one_starts() -> Generator[Callable[[], None]]:
    """Let one lab of this machine at a time choose its port and begin to listen there: a free port is free for all of them.

    It gives a function that lets the next one go on; it does so in the end as well.
    """
    with STARTING.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


def choose_port(wanted: int | None) -> int:
    """Return the API's port on 127.0.0.1: the one asked for, or 9696, or where that is taken any free one."""
    if wanted is not None and not 1 <= wanted <= 65535:
        raise UserError(f"--port {wanted} is no port: 1 to 65535")
    for port in (wanted,) if wanted else (DEFAULT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if wanted:
                    raise UserError(
                        f"127.0.0.1:{port} cannot be used ({error.strerror}): give another one with --port"
                    ) from None
                continue
            return int(probe.getsockname()[1])
    raise UserError("no free port on 127.0.0.1")


def kernel_datapath() -> bool:
    """Return whether this kernel has Open vSwitch's datapath, loading it where it is a module."""
    module = Path("/sys/module/openvswitch")
    if not module.exists():
        subprocess.run(["modprobe", "-q", "openvswitch"], capture_output=True, check=False)
    return module.exists()
