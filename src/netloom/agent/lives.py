"""How long instances live: one that ends soon after its start is started again with growing pauses."""

from __future__ import annotations

from msgspec import Struct

STEADY_SECONDS = 20.0
"""An instance that lives so long has come up: earlier ends are forgotten."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds until it is started again: none after its first end, then doubled from the first to the longest."""


class _Life(Struct):
    started: float
    ends: int = 0


class Lives:
    """One entry for each instance that was started; times are of one clock that never goes back."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}

    def started(self, server_id: str, now: float) -> None:
        """It runs since `now`."""
        self._lives.setdefault(server_id, _Life(now)).started = now

    def ended(self, server_id: str, now: float) -> tuple[float, str]:
        """It ended; returns (seconds until it may be started again, what to say of it)."""
        life = self._lives.setdefault(server_id, _Life(now - STEADY_SECONDS))
        if now - life.started >= STEADY_SECONDS:
            life.ends = 0
        life.ends += 1
        if life.ends == 1:
            return 0.0, ""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (life.ends - 2))
        return pause, (
            f"the instance ended {life.ends} times, each within {STEADY_SECONDS:.0f} s of its start:"
            f" it is started again after {pause:.0f} s"
        )

    def proving(self, server_id: str, now: float) -> float:
        """Seconds until an instance that kept ending counts as steady; 0 where it does, or never ended so."""
        life = self._lives.get(server_id)
        if life is None or life.ends < 2:
            return 0.0
        return max(0.0, life.started + STEADY_SECONDS - now)

    def keep(self, server_ids: set[str]) -> None:
        """Forget all others."""
        for gone in self._lives.keys() - server_ids:
            del self._lives[gone]
