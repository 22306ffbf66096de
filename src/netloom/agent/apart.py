"""Whether another host may have this one's ordinary routers by now, without this one having heard of it.

The server moves them when it has not heard of a host for some time and no other host gets an answer from it (`network/placement.stranded`).
So an agent that has spoken with neither the server nor any other host for as long gives them up by itself: of the two hosts
never more than one serves a router. One that was just booted waits for the server, for a while, before it serves them.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from netloom.agent.link import Link
from netloom.dataplane.linux import netns
from netloom.model.files import write_whole
from netloom.model.hosts import HostView
from netloom.model.names import router_namespace

log = logging.getLogger(__name__)

BOOT_SECONDS = 30.0
"""How long a host that was booted waits for the server: if that is away altogether, the routers come all the same."""
EARLIER = 0.9
"""Part of the server's time after which routers are given up: before another host gets them."""
FILE = "failover"
"""Its name in the agent's run folder, which does not outlive a boot. It holds the server's `failover` seconds."""


class Apart:
    """Says which routers of the view are served. An agent without a link serves them all. Times are `time.monotonic()`."""

    def __init__(self, run_dir: Path, link: Link | None) -> None:
        self._link = link
        self._file = run_dir / FILE
        self._after: float | None = None
        if link is not None:
            with contextlib.suppress(OSError, ValueError):
                self._after = float(self._file.read_text())
        self._now = self._booted = link is not None and self._after is None and not _has_routers()
        self._since = time.monotonic()

    def served(self, view: HostView) -> HostView:
        """The view without its ordinary routers where another host may have them. HA routers need nobody for that.

        Of a distributed router only the SNAT goes: what it is on an instance's host no other host takes over.
        """
        if not self._now:
            return view
        routers = {
            id: router if router.ha else msgspec.structs.replace(router, replicas=())
            for id, router in view.routers.items()
            if router.ha or router.distributed
        }
        return msgspec.structs.replace(view, routers=routers)

    def heard(self) -> bool:
        """The server says what shall be on this host. Returns whether all its routers are served again."""
        failover = self._link.failover if self._link is not None else 0.0
        if failover != self._after:
            self._after = failover
            with contextlib.suppress(OSError):
                write_whole(self._file, f"{failover:g}".encode(), 0o600)
        came, self._now, self._booted = self._now, False, False
        return came

    def look(self, now: float, tunnels: Collection[str]) -> bool:
        """Look whether others are still heard; returns whether other routers are served now. `tunnels`: what is wrong with each."""
        before = self._now
        if self._booted:
            self._now = self._booted = now - self._since < BOOT_SECONDS
        elif self._link is not None and self._after and not before:
            # A little earlier than the server.
            silent = now - max(self._link.spoke, self._since)
            alone = bool(tunnels) and all(tunnels)
            self._now = alone and silent > self._after * EARLIER
            if self._now:
                log.warning("neither the server nor another host is heard: its routers end here")
        return self._now != before


def _has_routers() -> bool:
    """Whether routers are here already: then the agent alone was started."""
    folder = netns.DIRECTORY
    return folder.is_dir() and any(
        path.name.startswith(router_namespace("")) for path in folder.iterdir()
    )
