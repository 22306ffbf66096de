"""The kernel's table of neighbours (IP address → MAC): one for the whole machine, and whether it overflows.

A full table makes the kernel drop packets to addresses that it does not know yet, tunnels' ends included, and the only
word of it is in the kernel's log. The counter `table_fulls` of /proc/net/stat/arp_cache tells as well.
"""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)

STATISTICS = Path("/proc/net/stat/arp_cache")
LIMIT = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
QUIET_LOOKS = 30
"""After so many looks without an overflow it is over."""


class NeighbourTable:
    """Whether the table was full of late; `wrong` is the line that says so, empty where it was not."""

    def __init__(self, statistics: Path = STATISTICS, limit: Path = LIMIT) -> None:
        self._statistics = statistics
        self._limit = limit
        self._fulls: int | None = None
        self._quiet = 0
        self.wrong = ""

    def look(self) -> bool:
        """Look again (some once a second); true where `wrong` changed."""
        found = self._read()
        if found is None:
            return False
        entries, fulls = found
        more = self._fulls is not None and fulls > self._fulls
        self._fulls = fulls
        self._quiet = 0 if more else self._quiet + 1
        if more and not self.wrong:
            self.wrong = (
                f"the kernel's neighbour table is full ({entries} entries): packets to new addresses are lost."
                f" Raise net.ipv4.neigh.default.gc_thresh3{self._now()} of the machine"
            )
            log.error("%s", self.wrong)
            return True
        if self.wrong and self._quiet >= QUIET_LOOKS:
            self.wrong = ""
            log.info("the kernel's neighbour table has room again")
            return True
        return False

    def _now(self) -> str:
        try:
            return f" (now {int(self._limit.read_text())})"
        except (OSError, ValueError):
            return ""  # it can only be read in the machine's own network namespace

    def _read(self) -> tuple[int, int] | None:
        """(entries, how often the table was full), summed over the processors; None where the kernel does not say."""
        try:
            head, *lines = self._statistics.read_text().splitlines()
            names = head.split()
            rows = [dict(zip(names, line.split(), strict=False)) for line in lines]
            return int(rows[0]["entries"], 16), sum(int(row["table_fulls"], 16) for row in rows)
        except (OSError, ValueError, KeyError, IndexError):
            return None
