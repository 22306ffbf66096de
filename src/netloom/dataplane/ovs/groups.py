"""OpenFlow groups of type `all`, through `ovs-ofctl`: read whole, changed bucket by bucket.

Groups have no cookie: all that a bridge of ours has are ours. They are read in the very words in which
`render.openflow.bucket_text` writes them. A group whose description is longer than an OpenFlow message cannot be read any more, so
the plan spreads large broadcast domains over several groups.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from netloom.dataplane.ovs.flowwatch import Command
from netloom.dataplane.process import ApplyError, run

Groups = dict[int, dict[int, str]]
"""Group → bucket → its actions, as `ovs-ofctl` writes them."""

_GROUP = re.compile(r"^ *group_id=(\d+),type=(\w+)(.*)$", re.MULTILINE)
_COMMAND = re.compile(r"^group (\w+) group_id=(\d+)", re.MULTILINE)
_COMMANDS = {"add": 0, "delete": 2, "insert_bucket": 3, "remove_bucket": 5}
"""OFPGC_*, as OpenFlow numbers them."""
_BUCKET = re.compile(r"bucket=bucket_id:(\d+),actions=(.*?)(?=,bucket=|$)")

OTHER_TYPE = -1
"""In the place of buckets: the type of a group that is not `all`."""
MOST_INSERTED = 200
"""Buckets in one message, which holds 64 KiB."""


class GroupTable:
    """The groups of the bridges below one run directory of Open vSwitch."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        # Commands given that the switch may not have told of yet: bridge → command → how often.
        self._given: dict[str, Counter[Command]] = defaultdict(Counter)

    def others(self, bridge: str, commands: Iterable[Command]) -> bool:
        """Whether one of these commands, which the switch tells of, was given by somebody else."""
        given = self._given[bridge]
        found = False
        for command in commands:
            if given[command] > 0:
                given[command] -= 1
            else:
                found = True
        return found

    def read(self, bridge: str) -> Groups:
        """All groups of a bridge. One of another type than `all` has no buckets here that anybody would want."""
        self._given[bridge].clear()  # what is told of them later is looked at once more
        text = self._ofctl(bridge, "--no-names", "dump-groups")
        return {
            int(number): {int(n): actions for n, actions in _BUCKET.findall(rest)}
            if kind == "all"
            else {OTHER_TYPE: kind}
            for number, kind, rest in _GROUP.findall(text)
        }

    def change(
        self, bridge: str, there: Mapping[int, Mapping[int, str]], wanted: Groups
    ) -> dict[int, str]:
        """Make these groups as wanted, all in one bundle; an empty dict is a group without buckets.

        Returns group → why it is not as wanted; `there`: the groups as they are.
        """
        lines = {number: _lines(number, there.get(number), wanted[number]) for number in wanted}
        return self._send(bridge, lines)

    def remove(self, bridge: str, numbers: Iterable[int]) -> dict[int, str]:
        """Remove groups, with the flows that name them; returns group → why it stays."""
        return self._send(bridge, {n: [f"group delete group_id={n}"] for n in sorted(numbers)})

    def _send(self, bridge: str, lines: Mapping[int, list[str]]) -> dict[int, str]:
        """Carry out lines in one bundle; if that fails group by group, so that only the culprits fail."""
        text = "".join(f"{line}\n" for several in lines.values() for line in several)
        if not text:
            return {}
        commands = [(_COMMANDS[word], int(number)) for word, number in _COMMAND.findall(text)]
        self._given[bridge].update(commands)
        try:
            self._ofctl(bridge, "bundle", "-", stdin=text)
        except ApplyError as error:
            self._given[bridge].subtract(commands)  # none of them was carried out
            if len(lines) == 1:
                return dict.fromkeys(lines, str(error))
            failed: dict[int, str] = {}
            for number, several in lines.items():
                failed |= self._send(bridge, {number: several})
            return failed
        return {}

    def _ofctl(self, bridge: str, *words: str, stdin: str = "") -> str:
        options = [word for word in words if word.startswith("--")]
        command, *rest = [word for word in words if not word.startswith("--")]
        target = f"unix:{self._rundir / bridge}.mgmt"
        return run(["ovs-ofctl", "-O", "OpenFlow15", *options, command, target, *rest], stdin=stdin)


def _lines(number: int, there: Mapping[int, str] | None, wanted: Mapping[int, str]) -> list[str]:
    """The changes of one group: what goes, what comes; a bucket that changes does both."""
    if there is not None and OTHER_TYPE in there:
        lines = [f"group delete group_id={number}"]
        there = None
    else:
        lines = []
    if there is None:
        lines.append(f"group add group_id={number},type=all")
        there = {}
    # A number is matched to the bucket itself, never to a range of them.
    lines += [
        f"group remove_bucket group_id={number},command_bucket_id={bucket}"
        for bucket, actions in there.items()
        if wanted.get(bucket) != actions
    ]
    fresh = [
        f"bucket=bucket_id:{bucket},actions={actions}"
        for bucket, actions in wanted.items()
        if there.get(bucket) != actions
    ]
    for first in range(0, len(fresh), MOST_INSERTED):
        some = ",".join(fresh[first : first + MOST_INSERTED])
        lines.append(f"group insert_bucket group_id={number},command_bucket_id=last,{some}")
    return lines
