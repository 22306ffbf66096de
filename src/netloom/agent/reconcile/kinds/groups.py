"""OpenFlow groups and their buckets: there before the flows that name them, gone after these.

Groups have no cookie: all that a bridge of ours has are ours, so a restarted agent knows them by their bridge. They are read
whole, in the words in which they are written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, NotReady
from netloom.dataplane.mark import broken
from netloom.dataplane.ovs import bridges, groups
from netloom.dataplane.ovs.flowwatch import Command
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Bucket, Group, Key
from netloom.render.openflow import bucket_actions_text

_ALL = "all"


class Groups(Kind):
    """`flows_went`: is told where flows went with a group that had to be made anew; `made`: that there are new groups."""

    name = "group"
    sorts = ("group", "bucket")
    after = ("bridge", "interface")

    def __init__(
        self,
        database: Ovsdb,
        table: groups.GroupTable,
        flows_went: Callable[[], object],
        made: Callable[[], object],
    ) -> None:
        self._database = database
        self._table = table
        self._flows_went = flows_went
        self._made = made
        self._there: dict[str, groups.Groups] = defaultdict(dict)

    def read(self, look: Look) -> dict[Key, Mark]:
        self._there.clear()
        found: dict[Key, Mark] = {}
        for bridge in bridges.ours(self._database):
            there = self._there[bridge] = self._table.read(bridge)
            for number, buckets in there.items():
                other = buckets.get(groups.OTHER_TYPE)
                key = ("group", bridge, str(number))
                found[key] = broken(f"its type was {other}") if other else _ALL
                if not other:
                    found |= {_bucket(bridge, number, n): text for n, text in buckets.items()}
        return found

    def mark(self, item: Group | Bucket) -> Mark:
        if isinstance(item, Group):
            return _ALL
        try:
            return bucket_actions_text(item)
        except ValueError as error:
            raise NotReady(f"a bucket is left out: {error}", "error") from error

    def apply(self, change: Change) -> dict[Key, Failure]:
        wanted: dict[str, groups.Groups] = defaultdict(dict)
        gone: dict[str, set[int]] = defaultdict(set)
        keys: dict[tuple[str, int], list[Key]] = defaultdict(list)
        for item in change.make:
            if isinstance(item, Group | Bucket):
                buckets = self._buckets(wanted[item.bridge], item.bridge, item.group)
                if isinstance(item, Bucket):
                    buckets[item.bucket] = bucket_actions_text(item)
                keys[item.bridge, item.group].append(item.key)
        for key in change.remove:
            bridge, number = key[1], int(key[2])
            keys[bridge, number].append(key)
            if key[0] == "group":
                gone[bridge].add(number)
            else:
                self._buckets(wanted[bridge], bridge, number).pop(int(key[3]), None)
        failed: dict[Key, Failure] = {}
        for bridge in sorted({*wanted, *gone}):
            try:
                bad = self._change(bridge, wanted[bridge], gone[bridge])
            except (ApplyError, OSError) as error:
                bad = dict.fromkeys([*wanted[bridge], *gone[bridge]], str(error))
            for number, why in bad.items():
                failed |= dict.fromkeys(keys[bridge, number], Failure(why))
        if any(isinstance(item, Group) and item.key not in failed for item in change.make):
            self._made()
        return failed

    def others_changed(self, bridge: str, commands: Iterable[Command]) -> bool:
        """Whether one of these commands, which the switch tells of, was given by somebody else."""
        return self._table.others(bridge, commands)

    def _buckets(self, wanted: groups.Groups, bridge: str, number: int) -> dict[int, str]:
        """The buckets of a group as they shall be, to be changed: at first they are as they are."""
        there = self._there[bridge].get(number, {})
        plain = {n: text for n, text in there.items() if n != groups.OTHER_TYPE}
        return wanted.setdefault(number, plain)

    def _change(self, bridge: str, wanted: groups.Groups, gone: set[int]) -> dict[int, str]:
        if bridge not in bridges.ours(self._database):
            return dict.fromkeys([*wanted, *gone], f"bridge {bridge} is not there")
        there = self._there[bridge]
        made = {number: buckets for number, buckets in wanted.items() if number not in gone}
        anew = [n for n in made if groups.OTHER_TYPE in there.get(n, {})]
        failed = self._table.change(bridge, there, made)
        failed |= self._table.remove(bridge, gone)
        there |= {number: buckets for number, buckets in made.items() if number not in failed}
        for number in gone - failed.keys():
            there.pop(number, None)
        if anew:
            self._flows_went()
        return failed

    def forget_bridge(self, name: str) -> None:
        """A bridge was made anew: it has no groups."""
        self._there.pop(name, None)

    def goes_with(self, key: Key) -> Key | None:
        return ("group", key[1], key[2]) if key[0] == "bucket" else ("bridge", key[1])


def _bucket(bridge: str, group: int, bucket: int) -> Key:
    return ("bucket", bridge, str(group), str(bucket))
