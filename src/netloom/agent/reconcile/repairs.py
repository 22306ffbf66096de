"""What others did to objects of ours, and that it was put right: what, why, how often; a fight slows down.

An object is damaged where it was as wanted and is not any more, though nobody wants it otherwise. The first repairs
are made at once; whoever damages the same object again and again has each repair wait longer.
"""

from __future__ import annotations

import logging
import math
import time

from msgspec import Struct

from netloom.dataplane.mark import why_broken
from netloom.model.hosts import Aspect, State
from netloom.model.hoststate import HostObject, Key
from netloom.model.origin import Origin

log = logging.getLogger(__name__)

AT_ONCE = 6
"""So many repairs of one object are made at once; each further one waits, from the first pause to the longest."""
FORGIVEN_SECONDS = 20.0
"""Each such time in peace makes up for one repair: what is damaged now and then is always repaired at once."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
QUIET_SECONDS = 120.0
"""After so long in peace, an object's repairs are made at once again."""
TOLD_SECONDS = 900.0
"""How long the status rows tell of a repair."""
MOST_LINES = 10
"""Lines of the log about the repairs of one reconcile; the rest is a number (the switch was started anew, say)."""

ASPECT: Aspect = "repair"
"""The aspect of the status rows; their state is `ok`: what they tell of has been put right."""

Row = tuple[str, str, Aspect]


class Repair(Struct):
    """Repairs of one object: why the last one, how often in all and in this fight, and when (time.monotonic).

    `pressure`: how many of them came so fast that peace has not made up for them; `wait`: the last one's pause.
    """

    origin: Origin | None
    why: str
    count: int = 0
    fight: int = 0
    pressure: float = 0.0
    wait: float = 0.0
    last: float = 0.0
    at: str = ""


class Repairs:
    """Used by the reconcile thread alone."""

    def __init__(self) -> None:
        self._well: dict[Key, str] = {}
        self._known: dict[Key, Repair] = {}
        self._lines: list[str] = []
        self._more = 0

    def forget(self, key: Key) -> None:
        """An object is no longer wanted: that it goes is no damage."""
        self._well.pop(key, None)

    def is_well(self, key: Key, mark: str) -> None:
        """Take down that an object is as wanted."""
        self._well[key] = mark

    def was_well(self, key: Key, mark: str) -> bool:
        """Whether an object was as it is wanted, with this mark, until others changed it."""
        return self._well.get(key) == mark

    def expect(self, key: Key) -> None:
        """What comes is our own doing: it is no damage that this object is not as wanted."""
        self._well.pop(key, None)

    def pause(
        self, item: HostObject, mark: str, there: str | None, now: float
    ) -> tuple[float, str]:
        """Seconds for which a repair must wait, and why; 0 for an object that is to be made or changed.

        `there`: the mark that was found, None where the object is gone.
        """
        if not self.was_well(item.key, mark):
            return 0.0, ""
        del self._well[item.key]
        why = "it was gone" if there is None else why_broken(there) or "it was changed"
        known = self._known.setdefault(
            item.key, Repair(item.origin[0] if item.origin else None, why)
        )
        # The pause itself was no peace: there was nothing to damage.
        peace = max(0.0, now - known.last - known.wait)
        fights = now - known.last < QUIET_SECONDS
        known.fight = known.fight + 1 if fights else 1
        known.pressure = max(0.0, known.pressure - peace / FORGIVEN_SECONDS) + 1 if fights else 1.0
        known.count += 1
        known.why, known.last = why, now
        known.at = time.strftime("%H:%M:%S UTC", time.gmtime())
        if (
            known.fight & (known.fight - 1) == 0
        ):  # a fight is told of ever more seldom: 1, 2, 4, 8, …
            self._say(f"{_name(item.key)}: {why}: repaired ({_times(known.count)})")
        late = math.ceil(known.pressure) - AT_ONCE
        known.wait = 0.0
        if late <= 0:
            return 0.0, ""
        known.wait = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(late - 1, 16))
        return (
            known.wait,
            f"somebody damages it again and again ({_times(known.count)}), last: {why}",
        )

    def _say(self, line: str) -> None:
        if len(self._lines) < MOST_LINES:
            self._lines.append(line)
        else:
            self._more += 1

    def speak(self) -> None:
        """Write the lines about this reconcile to the log."""
        for line in self._lines:
            log.warning("%s", line)
        if self._more:
            log.warning("and %d more objects were repaired", self._more)
        self._lines, self._more = [], 0

    def rows(self, now: float) -> dict[Row, tuple[State, str]]:
        """A status row for each API object that something was repaired for lately: the newest repair."""
        self._known = {k: r for k, r in self._known.items() if now - r.last < TOLD_SECONDS}
        found: dict[Row, tuple[State, str]] = {}
        for key, repair in sorted(self._known.items(), key=lambda item: item[1].last):
            text = f"{_name(key)}: {repair.why}: repaired ({_times(repair.count)}, last at {repair.at})"
            if repair.origin is not None:
                found[repair.origin.kind, repair.origin.id, ASPECT] = ("ok", text)
        return found


def _name(key: Key) -> str:
    return " ".join(key)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
