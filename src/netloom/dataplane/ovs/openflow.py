"""Flows, through `ovs-ofctl`: read by their cookies, changed in one atomic bundle a bridge.

A flow's cookie is 0x4e4c («NL») followed by 48 bits of a hash of its text: so it is found again after a restart. Whether it
still says what it was given is compared word by word: `ovs-ofctl parse-flows` writes a text of ours as `dump-flows` writes
the flow in the switch (`Switch.expected`). Flows with other cookies are not ours and are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from netloom.dataplane.mark import digest
from netloom.dataplane.process import ApplyError, run

PREFIX = 0x4E4C
_VERSION = ("-O", "OpenFlow14")
_LIMIT = re.compile(r"^zone=(\d+),limit=(\d+)", re.MULTILINE)
_DUMPED = re.compile(
    r"^ (?:cookie=0x([0-9a-f]+), )?(?:table=(\d+), )?(\S.* ?actions=.*)$", re.MULTILINE
)
_PARSED = re.compile(
    r"^OFPT_FLOW_MOD .*?: ADD (?:table:(\d+) )?(.*?) ?cookie:0x([0-9a-f]+) (.*)$", re.MULTILINE
)


class Entry(Struct, frozen=True):
    """One flow of a switch. `text`: table, priority, match and actions in the switch's own wording."""

    cookie: int
    text: str

    @property
    def ours(self) -> bool:
        """Whether its cookie is one of ours."""
        return self.cookie >> 48 == PREFIX


def cookie(text: str) -> int:
    """The cookie of a flow with this text (as `render.openflow.flow_text` writes it)."""
    return PREFIX << 48 | int(digest(text, 12), 16)


class Switch:
    """The OpenFlow side of the bridges below one run directory of Open vSwitch."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir

    def identity(self) -> tuple[str, ...]:
        """Which switch process serves: another value after a restart, which forgets all flows."""
        pidfile = self.rundir / "ovs-vswitchd.pid"
        pid = pidfile.read_text().strip() if pidfile.is_file() else ""
        controls = sorted(path.name for path in self.rundir.glob("ovs-vswitchd.*.ctl"))
        return (pid, str(pid.isdigit() and Path(f"/proc/{pid}").exists()), *controls)

    def forget_connections(self, zone: int) -> None:
        """Empty a conntrack zone, so that its next owner inherits nothing."""
        self._appctl("dpctl/flush-conntrack", f"zone={zone}")

    def limit_connections(self, zones: Iterable[int], limit: int) -> None:
        """Let each of these conntrack zones hold so many connections and no more."""
        self._appctl("dpctl/ct-set-limits", *(f"zone={zone},limit={limit}" for zone in zones))

    def limits(self) -> dict[int, int]:
        """Zone → how many connections it may hold, of those that have a limit."""
        found = _LIMIT.findall(self._appctl("dpctl/ct-get-limits"))
        return {int(zone): int(limit) for zone, limit in found}

    def unlimit_connections(self, zone: int) -> None:
        """Take a zone's limit away."""
        self._appctl("dpctl/ct-del-limits", f"zone={zone}")

    def show_ports_of_fragments(self, bridge: str) -> None:
        """Let flows see the ports and the ICMP type of a first fragment; later fragments have none.

        Open vSwitch hides them unless it is told so, and forgets it when it starts again.
        """
        if not self.shows_ports_of_fragments(bridge):
            self._ofctl(bridge, "set-frags", rest=["nx-match"])

    def shows_ports_of_fragments(self, bridge: str) -> bool:
        """Whether flows see them."""
        return "nx-match" in self._ofctl(bridge, "get-frags")

    def _appctl(self, *words: str) -> str:
        pid = (self.rundir / "ovs-vswitchd.pid").read_text().strip()
        control = self.rundir / f"ovs-vswitchd.{pid}.ctl"
        if not control.exists():
            control = self.rundir / "ovs-vswitchd.ctl"
        return run(["ovs-appctl", "-t", str(control), *words])

    def send(self, bridge: str, frames: Iterable[tuple[bytes, str]]) -> None:
        """Put frames into a bridge, each with the text of the actions for it."""
        lines = [
            f"packet-out in_port=controller,packet={frame.hex()},actions={actions}\n"
            for frame, actions in frames
        ]
        if lines:
            self._ofctl(bridge, "bundle", rest=["-"], stdin="".join(lines))

    def _ofctl(self, bridge: str, *words: str, rest: Sequence[str] = (), stdin: str = "") -> str:
        """Run ovs-ofctl: the words, the bridge, the rest."""
        return run(["ovs-ofctl", *_VERSION, *words, self.target(bridge), *rest], stdin=stdin)

    def target(self, bridge: str) -> str:
        """Where ovs-ofctl finds a bridge."""
        return f"unix:{self.rundir / bridge}.mgmt"

    def read(self, bridge: str, number: int | None = None) -> list[Entry]:
        """All flows of a bridge, others' too; `number`: those with this cookie alone."""
        which = [] if number is None else [f"cookie={number:#x}/-1"]
        text = self._ofctl(bridge, "--no-names", "dump-flows", "--no-stats", rest=which)
        return [
            Entry(int(number or "0", 16), f"table={table or 0} {rest}")
            for number, table, rest in _DUMPED.findall(text)
        ]

    def expected(self, texts: Mapping[int, str]) -> dict[int, str]:
        """Cookie → how `read` shows the flow of this text; a text that ovs-ofctl does not take is left out."""
        lines = [f"cookie={number:#x},{text}\n" for number, text in texts.items()]
        try:
            said = run(["ovs-ofctl", *_VERSION, "parse-flows", "-"], stdin="".join(lines))
        except ApplyError:
            if len(texts) < 2:
                return {}
            numbers = list(texts)
            middle = len(numbers) // 2
            halves = numbers[:middle], numbers[middle:]
            parts = [self.expected({n: texts[n] for n in half}) for half in halves]
            return parts[0] | parts[1]
        return {
            int(number, 16): f"table={table or 0} {match} {actions}"
            for table, match, number, actions in _PARSED.findall(said)
        }

    def apply(self, bridge: str, add: dict[int, str], remove: Iterable[int]) -> dict[int, str]:
        """Remove flows by their cookies and add others (cookie → text), all or nothing.

        Where the switch refuses the bundle it is halved until the culprits are alone: returns their
        cookies → reason. A flow that replaces another with the same match takes its place in one step.
        """
        gone = sorted(remove)
        lines = [(number, f"delete cookie={number:#x}/-1") for number in gone]
        lines += [(number, _add_line(number, text)) for number, text in add.items()]
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
        text = "\n".join(lines) + "\n"
        self._ofctl(bridge, "--bundle", "add-flows", rest=["-"], stdin=text)


def _add_line(number: int, text: str) -> str:
    return f"add cookie={number:#x},{text}"


def _unreachable(reason: str) -> bool:
    """True where halving cannot help: there is no switch to talk to."""
    return "failed to connect" in reason or "connection" in reason or "did not finish" in reason
