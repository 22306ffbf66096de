"""What hosts said last, in memory: who lives and how far it is, before a transaction writes it for all of them.

A heartbeat is worth nothing after the next one, and a server that crashes asks all hosts anew: no host's heartbeat needs
a durable commit of its own. A Reader of this process sees what is here over the rows of the database; other
processes see the rows, which are behind by as much as `keeper` lets pass (a second).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from netloom.store.rows import HostRow

WANTED_AS_OF = "wanted_as_of"
"""The setting that says up to which change the rows' `wanted_seq` is known."""


class Heard(Struct, frozen=True):
    """A host was heard `at` (seconds since 1970) and had carried out change `applied`; None: it did not say."""

    at: float
    applied: int | None = None


class Unwritten(Struct, frozen=True):
    """What one transaction writes: host → what it said last, host → the newest change that concerns it, and `seq`.

    `seq`: `wanted` is as of this change.
    """

    heard: dict[str, Heard]
    wanted: dict[str, int]
    seq: int

    def __bool__(self) -> bool:
        return bool(self.heard or self.wanted or self.seq)


class Liveness:
    """The last word of each host. Any thread may call it; nothing here waits for the disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, Heard] = {}
        self._wanted: dict[str, int] = {}
        self._new_heard: set[str] = set()
        self._new_wanted: set[str] = set()
        self._seq = self._written_seq = 0

    def heard(
        self, host: str, at: float, applied: int | None = None, written: bool = False
    ) -> None:
        """Note a host's word. `written`: a transaction has written it already."""
        with self._lock:
            if applied is None and (had := self._heard.get(host)) is not None:
                applied = had.applied
            self._heard[host] = Heard(at, applied)
            if not written:
                self._new_heard.add(host)

    def applied(self, host: str) -> int | None:
        """How far the host said that it is; None where it has not said so to this process."""
        with self._lock:
            found = self._heard.get(host)
            return None if found is None else found.applied

    def wanted(self, seqs: dict[str, int], seq: int) -> None:
        """Note the newest change that concerns each of these hosts; of all others it is as it was, up to `seq`."""
        with self._lock:
            self._wanted.update(seqs)
            self._new_wanted.update(seqs)
            self._seq = max(self._seq, seq)

    def forget(self, host: str) -> None:
        """Drop what a host said: it is another one now, or none."""
        with self._lock:
            self._heard.pop(host, None)
            self._wanted.pop(host, None)
            self._new_heard.discard(host)
            self._new_wanted.discard(host)

    def moved(self, by: float, now: float, near: float) -> None:
        """As `Writer.move_heartbeats`: the clock was set by `by` seconds."""
        with self._lock:
            for host, said in self._heard.items():
                if abs(said.at - now) > near:
                    self._heard[host] = replace(said, at=said.at + by)

    def over(self, row: HostRow) -> HostRow:
        """The row as of now. The later word counts, so a transaction that wrote a host's own word is not hidden."""
        with self._lock:
            said, wanted = self._heard.get(row.name), self._wanted.get(row.name)
        at, applied = row.heartbeat_at, row.applied_seq
        if said is not None and (at is None or said.at >= at):
            at = said.at
            applied = applied if said.applied is None else said.applied
        return replace(
            row,
            heartbeat_at=at,
            applied_seq=applied,
            wanted_seq=row.wanted_seq if wanted is None else wanted,
        )

    def newer(self, heartbeats: dict[str, float]) -> dict[str, float]:
        """Host → when it was heard last, of these hosts and what their rows say."""
        with self._lock:
            heard = {name: self._heard[name].at for name in heartbeats.keys() & self._heard.keys()}
        return {name: max(at, heard.get(name, at)) for name, at in heartbeats.items()}

    def take(self) -> Unwritten:
        """Return what is to be written, and take it as written; `put_back` where it could not be."""
        with self._lock:
            seq = self._seq if self._heard and self._seq != self._written_seq else 0
            found = Unwritten(
                {host: self._heard[host] for host in self._new_heard},
                {host: self._wanted[host] for host in self._new_wanted},
                seq,
            )
            self._new_heard, self._new_wanted = set(), set()
            self._written_seq = seq or self._written_seq
            return found

    def put_back(self, failed: Unwritten) -> None:
        """Have it written next time: the disk was full, say."""
        with self._lock:
            self._new_heard |= failed.heard.keys() & self._heard.keys()
            self._new_wanted |= failed.wanted.keys() & self._wanted.keys()
            if failed.seq:
                self._written_seq = 0


def heartbeats(unwritten: Unwritten) -> Iterable[dict[str, Any]]:
    """Values of the statement that writes what hosts said."""
    return [
        {"n": host, "at": said.at, "seq": said.applied} for host, said in unwritten.heard.items()
    ]
