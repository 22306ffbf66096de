"""Removing a folder of ours, however deep it is and however many entries it has."""

from __future__ import annotations

import os
from pathlib import Path

from netloom.dataplane.process import run

REMOVE_SECONDS = 300.0
"""A folder with a million entries takes some ten seconds."""


def remove_tree(place: Path) -> None:
    """Remove a folder and all in it; one that is not there is no error. Raises ApplyError with the reason.

    `rm` keeps no folder open for each level and needs no stack for it, and it leaves other mounts alone.
    """
    if os.path.lexists(place):
        run(["rm", "-rf", "--one-file-system", "--", str(place)], timeout=REMOVE_SECONDS)
