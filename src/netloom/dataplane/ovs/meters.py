"""OpenFlow meters, through `ovs-ofctl`: read whole, changed one by one in a bundle's place.

Meters have no cookie: all that a bridge of ours has are ours. A meter that is changed keeps what it has counted; with one that is removed go
the flows that name it.
"""

from __future__ import annotations

import re
from pathlib import Path

from netloom.dataplane.process import ApplyError, run

_METER = re.compile(
    r"^meter=(\d+) (.*?) *bands=\s*(.*?)\s*(?=^meter=|\Z)", re.MULTILINE | re.DOTALL
)
_BAND = re.compile(r"type=drop rate=(\d+) burst_size=(\d+)")
_FLAGS = re.compile(r"(kbps|pktps) burst")


class MeterTable:
    """The meters of the bridges below one run directory of Open vSwitch."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir

    def read(self, bridge: str) -> dict[int, str]:
        """Number → what the meter is: as `text` writes it, or the switch's words for what is none of ours."""
        found: dict[int, str] = {}
        for number, flags, bands in _METER.findall(self._ofctl(bridge, "dump-meters")):
            unit, band = _FLAGS.fullmatch(flags.strip()), _BAND.fullmatch(bands)
            if unit and band:
                found[int(number)] = text(unit[1], int(band[1]), int(band[2]))
            else:
                found[int(number)] = f"{flags} {bands}"
        return found

    def put(self, bridge: str, number: int, wanted: str, there: bool) -> None:
        """Make a meter, or change it in its place. Raises ApplyError."""
        command = "mod-meter" if there else "add-meter"
        try:
            self._ofctl(bridge, command, f"meter={number},{wanted}")
        except ApplyError:
            # It was made, or went, since it was looked for.
            other = "add-meter" if there else "mod-meter"
            self._ofctl(bridge, other, f"meter={number},{wanted}")

    def remove(self, bridge: str, number: int) -> None:
        """Remove a meter, with the flows that name it."""
        self._ofctl(bridge, "del-meter", f"meter={number}")

    def _ofctl(self, bridge: str, command: str, *rest: str) -> str:
        target = f"unix:{self._rundir / bridge}.mgmt"
        return run(["ovs-ofctl", "-O", "OpenFlow15", command, target, *rest])


def text(unit: str, rate: int, burst: int) -> str:
    """A meter as ovs-ofctl reads it, without its number."""
    return f"{unit},burst,band=type=drop,rate={rate},burst_size={burst}"
