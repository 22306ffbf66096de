"""Removing a lab, whatever state it is in: whole, half started, crashed, or from before a reboot."""

from __future__ import annotations

import shutil

from netloom.lab import cgroups, processes
from netloom.lab.processes import Process, boot_id
from netloom.lab.state import Lab
from netloom.model.errors import UserError


def down(lab: Lab) -> bool:
    """End the lab's processes and remove what it left; returns False where there was nothing.

    PID 1 of each host takes the host's namespaces, mounts and devices with it. What was started but not
    written down yet is found by the tag that all of a lab's processes carry.
    """
    with lab.lock():
        return remove(lab)


def remove(lab: Lab) -> bool:
    """Do as `down`, for one who holds the lock already."""
    found = bool(end(lab)) or lab.directory.exists()
    cgroups.remove(lab.group)
    shutil.rmtree(lab.directory, ignore_errors=True)
    return found


def end(lab: Lab) -> list[Process]:
    """End the lab's processes; returns those that there were."""
    state = lab.load()
    known = (
        list(state.processes.values()) if state is not None and state.boot_id == boot_id() else []
    )
    ended: list[Process] = []
    # A second look finds what a process started between the first look and its end.
    while running := [each for each in {*known, *processes.tagged(lab.directory)} if each.alive]:
        left = processes.kill(running, timeout=3.0)
        if left:
            cgroups.thaw(lab.group)
            left = processes.kill(left)
        if left:
            raise UserError(f"process {left[0].pid} of lab {lab.name!r} does not end")
        ended += running
    return ended
