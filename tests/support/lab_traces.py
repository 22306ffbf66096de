"""What a lab could leave behind in the machine: a picture before and one after must be the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from netloom.lab import state


def picture(ours: Path) -> dict[str, set[str]]:
    """Namespaces, links, mounts, control groups and processes of the machine, and files outside `ours`."""
    namespaces = set()
    commands = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes()
            net = str((entry / "ns/net").readlink())
        except OSError:
            continue
        # Other tests and people work on this machine too: only what carries our folder is ours.
        if str(ours).encode() in environment + command.encode():
            namespaces.add(net)
            commands.add(f"{entry.name} {command}")
    # A lab's control group carries the hash of its folder.
    groups = {
        state.Lab(name, folder).group
        for name in ("netloom", "one", "two", "t")
        for folder in (ours, ours / "labs" / name)
    }
    own = str(Path("/proc/self/ns/net").readlink())
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {
        "namespaces": namespaces - {own},
        "links": {line.split(":")[1].strip() for line in links.splitlines()},
        "mounts": {
            line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
        },
        "groups": {
            path.name
            for path in [
                *Path("/sys/fs/cgroup").glob("netloom-*"),
                *Path("/sys/fs/cgroup").glob("*/netloom-*"),
            ]
            if path.name in groups
        },
        "named": {path.name for path in Path("/run/netns").iterdir()}
        if Path("/run/netns").is_dir()
        else set(),
        "rules": set(
            subprocess.run(
                ["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=False
            ).stdout.splitlines()
        ),
        "commands": {line for line in commands if line.split()[0] != str(os.getpid())},
    }
