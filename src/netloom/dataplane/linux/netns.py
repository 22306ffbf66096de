"""Entering, making and removing network namespaces by name, as `ip netns` keeps them.

Only the calling thread enters; children that it starts there (nft, dnsmasq, conntrack) inherit the
namespace. A socket opened inside keeps the namespace alive, so whoever opens one closes it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from netloom.dataplane.process import ApplyError

CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH = 2
DIRECTORY = Path("/run/netns")
"""Where `ip netns` looks."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise ApplyError(f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, flags: int) -> int:
    return _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None)


def set_namespace(descriptor: int) -> None:
    """Move the calling thread into the network namespace behind an open file."""
    _check(_libc.setns(descriptor, CLONE_NEWNET), "cannot enter the network namespace")


@contextmanager
def inside(name: str) -> Generator[None]:
    """Run the block with the calling thread in the namespace `name`; raises ApplyError if there is none."""
    try:
        target = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ApplyError(f"there is no namespace {name}") from error
    with entered(target):
        yield


@contextmanager
def inside_pid(pid: int) -> Generator[None]:
    """Run the block with the calling thread in the network namespace of a process."""
    try:
        target = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ApplyError(f"process {pid} is gone") from error
    with entered(target):
        yield


@contextmanager
def entered(target: int) -> Generator[None]:
    """Run the block in the namespace behind `target`, which is closed afterwards."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        set_namespace(target)
        try:
            yield
        finally:
            set_namespace(home)
    finally:
        os.close(target)
        os.close(home)


@contextmanager
def scratch() -> Generator[None]:
    """Run the block with the calling thread in a new network namespace, which is gone afterwards."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNET), "cannot make a network namespace")
        try:
            yield
        finally:
            set_namespace(home)
    finally:
        os.close(home)


def names() -> list[str]:
    """All named namespaces, ours or not."""
    return sorted(entry.name for entry in DIRECTORY.iterdir()) if DIRECTORY.is_dir() else []


def exists(name: str) -> bool:
    """True where `name` is a live namespace, not just a file left behind by a crash or an old mount."""
    try:
        return (DIRECTORY / name).stat().st_dev != DIRECTORY.stat().st_dev
    except FileNotFoundError:
        return False


def identity(name: str) -> int:
    """Number of the namespace that `name` leads to (its inode); 0 where it leads to none.

    The name may go, or lead to another one, while processes and sockets keep the old one alive.
    """
    try:
        return (DIRECTORY / name).stat().st_ino if exists(name) else 0
    except FileNotFoundError:
        return 0


def create(name: str) -> None:
    """Make the namespace, as `ip netns add` does."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    # A mount point of its own, and shared, as `ip netns` does: namespaces must be seen from (and, above all, let
    # go by) other mount namespaces too. Tried, not looked up: a mount of that name may lie hidden below another.
    if _mount("none", str(DIRECTORY), _MS_SHARED | _MS_REC) < 0:
        _check(
            _mount(str(DIRECTORY), str(DIRECTORY), _MS_BIND | _MS_REC), f"cannot mount {DIRECTORY}"
        )
        _check(_mount("none", str(DIRECTORY), _MS_SHARED | _MS_REC), f"cannot share {DIRECTORY}")
    path = DIRECTORY / name
    path.touch(mode=0o444)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNET), "cannot make a network namespace")
        try:
            _check(_mount("/proc/thread-self/ns/net", str(path), _MS_BIND), f"cannot mount {path}")
        finally:
            set_namespace(home)
    except ApplyError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(home)


def delete(name: str) -> None:
    """Remove the namespace's name; it goes when the last process and socket in it are gone."""
    path = DIRECTORY / name
    while exists(name):
        _check(_libc.umount2(str(path).encode(), _MNT_DETACH), f"cannot unmount {path}")
    path.unlink(missing_ok=True)


def is_mounted(place: Path) -> bool:
    """True where something is mounted at this path, in sight of this thread: not below another mount."""
    try:
        return _mount_id(place) != _mount_id(place.parent)
    except FileNotFoundError:
        return False


def _mount_id(place: Path) -> str:
    opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/thread-self/fdinfo/{opened}").read_text().splitlines()
    finally:
        os.close(opened)
    return next(line for line in lines if line.startswith("mnt_id:"))


def bind(source: Path, place: Path) -> None:
    """Show a folder at another place too."""
    _check(_mount(str(source), str(place), _MS_BIND), f"cannot mount {place}")


def unmount(place: Path) -> None:
    """Take a mount away."""
    _check(_libc.umount2(str(place).encode(), _MNT_DETACH), f"cannot unmount {place}")


_DOT_IN_A_NAME = str.maketrans("./", "/.")


def _sysctl(key: str) -> str:
    # A slash stands for a dot inside a component, as in `ipv4.conf.eth0/100.rp_filter`.
    return f"/proc/sys/net/{key.translate(_DOT_IN_A_NAME)}"


def read_sysctls(keys: Iterable[str]) -> dict[str, str]:
    """Values of settings below net (`ipv4.ip_forward`) of the calling thread's namespace, of those that the kernel has."""
    found: dict[str, str] = {}
    for key in keys:
        try:
            file = os.open(_sysctl(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                found[key] = os.read(file, 256).decode().strip()
            finally:
                os.close(file)
        except OSError:
            continue  # this kernel has no such thing, or the device is just going
    return found


def settle_sysctls(wanted: Mapping[str, str]) -> list[str]:
    """Make these settings so, of those that the kernel has; returns what was otherwise, in words.

    Each is read when its turn comes: the kernel changes some with others.
    """
    changed: list[str] = []
    for key, value in wanted.items():
        now = read_sysctls([key]).get(key, value)
        if now != value:
            write_sysctl(key, value)
            changed.append(f"net.{key} was {now} and not {value}")
    return changed


def write_sysctl(key: str, value: str) -> None:
    """Set a sysctl below net of the calling thread's namespace; raises ApplyError where there is none."""
    path = Path(_sysctl(key))
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise ApplyError(f"cannot set net.{key} to {value}: {error.strerror}") from error
