"""What an instance sees of /proc and /sys: a list of what is shown; all else is hidden, whatever the kernel adds.

The lists are compared with the host's own /proc and /sys when an instance is made: both show the same entries.
"""

from __future__ import annotations

from pathlib import Path

_PROC = """
cgroups cpuinfo crypto devices filesystems loadavg meminfo mounts net self stat swaps sys
sysvipc thread-self tty uptime version vmstat
"""
SHOWN_PROC = frozenset(_PROC.split())
"""What programs read. Not the kernel's command line, configuration, symbols, memory, keys, timers, interrupts, locks."""

SHOWN_SYS = {
    "": {"class", "devices"},
    "devices": {"system", "virtual"},
    "devices/system": {"cpu", "node"},
    "devices/virtual": {"net"},
}
"""Folder of /sys → what is shown in it: the instance's own devices, and how many processors there are.

`class` holds links alone; what they lead to is hidden.
"""

READ_ONLY_PROC = ("tty",)


def hidden() -> list[str]:
    """Paths that are covered by something empty."""
    names = [entry.name for entry in Path("/proc").iterdir()]
    found = [f"/proc/{n}" for n in names if not n.isdigit() and n not in SHOWN_PROC]
    for folder, shown in SHOWN_SYS.items():
        place = Path("/sys", folder)
        if place.is_dir():
            found += [
                str(entry)
                for entry in place.iterdir()
                if entry.name not in shown and entry.is_dir() and not entry.is_symlink()
            ]
    return sorted(found)


def read_only() -> list[str]:
    """Paths that nothing can be written to. Of /proc/sys only `net` stays open.

    That is the instance's own namespace, and one that routes must set it.
    """
    settings = [str(e) for e in Path("/proc/sys").iterdir() if e.name != "net"]
    return sorted([*settings, *(f"/proc/{n}" for n in READ_ONLY_PROC if Path("/proc", n).exists())])
