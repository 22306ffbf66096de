"""Which system calls an instance may make.

Everything but what is refused here: calls that it has no use for and that have been ways into kernels, new namespaces,
typing into a terminal, and every socket that is not of a family on the list.
"""

from __future__ import annotations

import errno
import platform
import socket
from typing import Any

_CALLS = """
acct add_key adjtimex bpf clock_adjtime clock_adjtime64 clock_settime clock_settime64
create_module delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick
get_kernel_syms get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm
iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages modify_ldt mount
mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree
perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev ptrace
query_module quotactl quotactl_fd reboot request_key set_mempolicy setns settimeofday stime
swapoff swapon sysfs syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old
vmsplice
"""
REFUSED_CALLS = tuple(_CALLS.split())
"""System calls that an instance has no use for and that have been ways into kernels."""

FAMILIES = {
    "AF_UNIX": socket.AF_UNIX,
    "AF_INET": socket.AF_INET,
    "AF_INET6": socket.AF_INET6,
    "AF_NETLINK": socket.AF_NETLINK,
    "AF_PACKET": socket.AF_PACKET,
}
"""Socket families that an instance may open; of AF_NETLINK only the protocol NETLINK_ROUTE.

AF_VSOCK leads past every network to the machine below; others load kernel modules that hardly anybody looks after.
"""

_NETLINK_ROUTE = 0
_CLONE_NEW_ANYTHING = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def profile() -> dict[str, Any]:
    """The profile as the OCI runtime configuration has it."""
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": _ARCHITECTURES.get(platform.machine(), []),
        "syscalls": [*_calls(), *_clones(), *_terminals(), *_sockets()],
    }


def _refuse(names: list[str], number: int, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "names": names,
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": number,
        "args": list(arguments),
    }


def _argument(index: int, op: str, value: int, second: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": second}


def _calls() -> list[dict[str, Any]]:
    return [
        _refuse(list(REFUSED_CALLS), errno.EPERM),
        # Its flags lie in memory, where seccomp cannot look: programs then use clone.
        _refuse(["clone3"], errno.ENOSYS),
    ]


def _clones() -> list[dict[str, Any]]:
    bits = [1 << bit for bit in range(32) if _CLONE_NEW_ANYTHING >> bit & 1]
    return [_refuse(["clone"], errno.EPERM, _argument(0, "MASKED_EQ", bit, bit)) for bit in bits]


def _terminals() -> list[dict[str, Any]]:
    requests = (_TIOCSTI, _TIOCLINUX)
    return [_refuse(["ioctl"], errno.EPERM, _argument(1, "EQ", each)) for each in requests]


def _sockets() -> list[dict[str, Any]]:
    calls = ["socket", "socketpair"]
    allowed = sorted(FAMILIES.values())
    others = [number for number in range(allowed[-1]) if number not in allowed]
    tests = [_argument(0, "EQ", number) for number in others]
    # Seccomp sees 64 bits where the kernel takes 32: what has higher bits set is above the list as well.
    tests.append(_argument(0, "GT", allowed[-1]))
    refused = [_refuse(calls, errno.EAFNOSUPPORT, test) for test in tests]
    refused.append(
        _refuse(
            calls,
            errno.EPROTONOSUPPORT,
            _argument(0, "EQ", FAMILIES["AF_NETLINK"]),
            _argument(2, "GT", _NETLINK_ROUTE),
        )
    )
    # The 32-bit call that has its arguments in memory; C libraries use `socket` where it is there.
    refused.append(_refuse(["socketcall"], errno.ENOSYS))
    return refused
