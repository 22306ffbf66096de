"""What is around a host: the other ends of its tunnels, and the kernel's table of neighbours that all its namespaces share."""

from __future__ import annotations

import logging

from netloom.dataplane.linux.neightable import Fullness
from netloom.dataplane.linux.netlink import greet
from netloom.dataplane.linux.peers import Peers
from netloom.model.hosts import HostFacts, HostView

log = logging.getLogger(__name__)

GREET_SECONDS = 240.0
"""How often the ends of tunnels are greeted; the switch forgets a neighbour after 15 minutes."""


class Surroundings:
    """`tunnels`: every host that there is a tunnel to → what is wrong with it. `full`: what is wrong with the table of neighbours."""

    def __init__(self, facts: HostFacts) -> None:
        self._facts = facts
        self._peers = Peers()
        self._neighbours = Fullness()
        self._greeted: set[str] = set()
        self._greeted_at = 0.0
        self.tunnels: dict[str, str] = {}
        self.full = ""

    def look(self, view: HostView, now: float) -> bool:
        """Look whether other ends of tunnels answer and the table has room; true where that is not as it was."""
        moved = self._look_at_tunnels(view, now)
        full = self._neighbours.look(now)
        if full and not self.full:
            log.error("%s", full)
        moved = moved or full != self.full
        self.full = full
        return moved

    def _look_at_tunnels(self, view: HostView, now: float) -> bool:
        ends = self._far_ends(view) if self._facts.tunnel_ip else {}
        silent = self._peers.look(ends.values(), now) if ends else set[str]()
        said = {
            host: f"no answer to ping from {host} at {end}" if end in silent else ""
            for host, end in ends.items()
        }
        if said == self.tunnels:
            return False
        self.tunnels = said
        for wrong in filter(None, said.values()):
            log.warning("%s: the tunnel to it may be broken", wrong)
        return True

    def _far_ends(self, view: HostView) -> dict[str, str]:
        """Every other host with tunnels → its end of them."""
        others = [c for c in view.chassis.values() if c.host != self._facts.host]
        return {c.host: c.tunnel_ip for c in others if c.tunnel_ip}

    def forget_greetings(self) -> None:
        """The switch was started anew: it knows nobody's MAC address."""
        self._greeted = set()

    def greet(self, view: HostView, now: float) -> None:
        """Make the other hosts' MAC addresses known to the switch before the first packet needs them."""
        ends = set(self._far_ends(view).values())
        if now >= self._greeted_at + GREET_SECONDS:
            self._greeted = set()
            self._greeted_at = now
        greet(ends - self._greeted)
        self._greeted = ends
