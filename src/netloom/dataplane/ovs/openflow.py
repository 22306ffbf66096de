"""Flows, through `ovs-ofctl`: read by their cookies, changed in one atomic bundle a bridge.

A flow's cookie is 0x4e4c («NL») followed by 48 bits of a hash of its text: two flows with one cookie
are the same flow, so reading the cookies alone tells what differs. Flows with other cookies are not
ours and are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from netloom.dataplane.mark import digest
from netloom.dataplane.process import ApplyError, run

PREFIX = 0x4E4C
_COOKIE = re.compile(r"cookie=0x4e4c([0-9a-f]{12})\b")


def cookie(text: str) -> int:
    """The cookie of a flow with this text (as `render.openflow.flow_text` writes it)."""
    return PREFIX << 48 | int(digest(text, 12), 16)


class Switch:
    """The OpenFlow side of the bridges below one run directory of Open vSwitch."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir

    def identity(self) -> tuple[str, ...]:
        """Which switch process serves: another value after a restart, which forgets all flows."""
        pidfile = self._rundir / "ovs-vswitchd.pid"
        pid = pidfile.read_text().strip() if pidfile.is_file() else ""
        controls = sorted(path.name for path in self._rundir.glob("ovs-vswitchd.*.ctl"))
        return (pid, str(pid.isdigit() and Path(f"/proc/{pid}").exists()), *controls)

    def forget_connections(self, zone: int) -> None:
        """Empty a conntrack zone, so that its next owner inherits nothing."""
        self._appctl("dpctl/flush-conntrack", f"zone={zone}")

    def limit_connections(self, zones: Iterable[int], limit: int) -> None:
        """Let each of these conntrack zones hold so many connections and no more."""
        self._appctl("dpctl/ct-set-limits", *(f"zone={zone},limit={limit}" for zone in zones))

    def unlimit_connections(self, zone: int) -> None:
        """Take a zone's limit away."""
        self._appctl("dpctl/ct-del-limits", f"zone={zone}")

    def show_ports_of_fragments(self, bridge: str) -> None:
        """Let flows see the ports and the ICMP type of a first fragment; later fragments have none.

        Open vSwitch hides them unless it is told so, and forgets it when it starts again.
        """
        if "nx-match" not in self._ofctl(bridge, "get-frags"):
            self._ofctl(bridge, "set-frags", "nx-match")

    def _appctl(self, *words: str) -> None:
        pid = (self._rundir / "ovs-vswitchd.pid").read_text().strip()
        control = self._rundir / f"ovs-vswitchd.{pid}.ctl"
        if not control.exists():
            control = self._rundir / "ovs-vswitchd.ctl"
        run(["ovs-appctl", "-t", str(control), *words])

    def send(self, bridge: str, frames: Iterable[tuple[bytes, str]]) -> None:
        """Put frames into a bridge, each with the text of the actions for it."""
        lines = [
            f"packet-out in_port=controller,packet={frame.hex()},actions={actions}\n"
            for frame, actions in frames
        ]
        if lines:
            self._ofctl(bridge, "bundle", "-", stdin="".join(lines))

    def _ofctl(self, bridge: str, *words: str, stdin: str = "") -> str:
        target = f"unix:{self._rundir / bridge}.mgmt"
        command, *rest = words
        return run(["ovs-ofctl", "-O", "OpenFlow14", command, target, *rest], stdin=stdin)

    def read(self, bridge: str) -> set[int]:
        """Cookies of our flows in a bridge."""
        text = self._ofctl(bridge, "dump-flows", "--no-stats")
        return {PREFIX << 48 | int(found, 16) for found in _COOKIE.findall(text)}

    def apply(self, bridge: str, add: dict[int, str], remove: Iterable[int]) -> dict[int, str]:
        """Add flows (cookie → text) and remove others, all or nothing.

        Where the switch refuses the bundle it is halved until the culprits are alone: returns their
        cookies → reason. A flow that replaces another with the same match takes its place in one step.
        """
        gone = sorted(remove)
        lines = [(number, _add_line(number, text)) for number, text in add.items()]
        lines += [(number, f"delete cookie={number:#x}/-1") for number in gone]
        return self._send(bridge, lines)

    def _send(self, bridge: str, lines: list[tuple[int, str]]) -> dict[int, str]:
        if not lines:
            return {}
        try:
            self._bundle(bridge, [line for _, line in lines])
            return {}
        except ApplyError as error:
            if len(lines) == 1 or _unreachable(str(error)):
                return dict.fromkeys((number for number, _ in lines), str(error))
        middle = len(lines) // 2
        return self._send(bridge, lines[:middle]) | self._send(bridge, lines[middle:])

    def _bundle(self, bridge: str, lines: list[str]) -> None:
        target = f"unix:{self._rundir / bridge}.mgmt"
        text = "\n".join(lines) + "\n"
        run(["ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", target, "-"], stdin=text)


def _add_line(number: int, text: str) -> str:
    return f"add cookie={number:#x},{text}"


def _unreachable(reason: str) -> bool:
    """True where halving cannot help: there is no switch to talk to."""
    return "failed to connect" in reason or "connection" in reason or "did not finish" in reason
