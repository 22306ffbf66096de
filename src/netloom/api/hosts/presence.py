"""Which agent process speaks for a host: one at a time, or two machines would carry the same routers."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from netloom.model.errors import Conflict

LATE_SECONDS = 7.0
"""An agent whose heartbeat is late by so much may be replaced."""

MOST_STREAMS = 4
"""Of one agent: the one that it reads, and those that it left and the server has not noticed yet."""


@dataclass
class _Agent:
    """An agent with `streams` open, last heard of at `heard` (time.monotonic)."""

    streams: int
    heard: float


class Presence:
    """Any thread may ask. An agent is a random word that its process sends with every request.

    `heartbeat`: seconds between two reports of an idle host.
    """

    def __init__(self, heartbeat: float) -> None:
        self.fresh_seconds = heartbeat + LATE_SECONDS
        self._lock = threading.Lock()
        self._hosts: dict[str, dict[str, _Agent]] = {}
        self._away: set[str] = set()

    def heard(self, host: str, agent: str) -> None:
        """Note a request of an agent; raises Conflict while another one streams for that host and is alive."""
        now = time.monotonic()
        with self._lock:
            self._check_alone(host, agent, now)
            found = self._hosts.get(host, {}).get(agent)
            if found is not None:
                found.heard = now

    def _check_alone(self, host: str, agent: str, now: float) -> None:
        for name, other in self._hosts.get(host, {}).items():
            if name != agent and now - other.heard < self.fresh_seconds:
                raise Conflict(
                    f"Another agent reports as host {host}: stop that one, or give this host a name of its own."
                )

    def begun(self, host: str, agent: str) -> None:
        """Note that an agent's stream is open; whoever calls this calls `ended` later.

        Raises Conflict where it must not be: another agent streams and is alive, or this one has streams enough.
        """
        now = time.monotonic()
        with self._lock:
            agents = self._hosts.setdefault(host, {})
            self._check_alone(host, agent, now)
            found = agents.get(agent) or _Agent(0, now)
            if found.streams >= MOST_STREAMS:
                raise Conflict(f"The agent of host {host} has {MOST_STREAMS} streams already.")
            agents[agent] = found
            found.streams += 1
            found.heard = now
            self._away.discard(host)

    def ended(self, host: str, agent: str) -> None:
        """Note that a stream is closed; an agent without any is nobody."""
        with self._lock:
            found = self._hosts[host][agent]
            found.streams -= 1
            if not found.streams:
                del self._hosts[host][agent]
            if not self._hosts[host]:
                self._away.add(host)

    def is_away(self, host: str) -> bool:
        """True for a host whose last stream has ended: it lost its connection, or its agent has stopped.

        A host that this server process has not heard of yet is not away.
        """
        with self._lock:
            return host in self._away
