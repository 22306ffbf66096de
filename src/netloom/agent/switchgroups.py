"""Bringing a state's groups into the switch: what comes before the flows that name it, what goes after them."""

from __future__ import annotations

from collections import defaultdict

from netloom.agent.there import There
from netloom.agent.trouble import Troubles
from netloom.dataplane.ovs.groups import Groups, GroupTable
from netloom.model.hoststate import Bucket, Group, HostState, Key
from netloom.render.openflow import bucket_actions_text


class SwitchGroups:
    """`changes` counts groups and buckets that came, changed or went."""

    def __init__(self, table: GroupTable, there: There, trouble: Troubles) -> None:
        self._table = table
        self._there = there
        self._trouble = trouble
        self.changes = 0

    def bring_about(self, state: HostState) -> None:
        """Make all groups and add their buckets; what is not wanted any more still stays, flows may name it."""
        for bridge, wanted in self._wanted(state).items():
            there = self._groups_of(bridge)
            if there is None:
                for number in wanted:
                    self._failed(bridge, number, wanted, f"bridge {bridge} is not there")
                continue
            kept = {
                number: {**there.get(number, {}), **buckets} for number, buckets in wanted.items()
            }
            self._change(bridge, there, kept)

    def clean(self, state: HostState) -> None:
        """Remove the groups and buckets that are not wanted any more."""
        wanted = self._wanted(state)
        for bridge in self._there.flows:
            there = self._groups_of(bridge) or {}
            gone = there.keys() - wanted.get(bridge, {}).keys()
            failed = self._table.remove(bridge, gone)
            self.changes += len(gone) - len(failed)
            for number in gone - failed.keys():
                del there[number]
            known = {n: b for n, b in wanted.get(bridge, {}).items() if n in there}
            self._change(bridge, there, known)

    def _groups_of(self, bridge: str) -> Groups | None:
        """The groups of a bridge as they are; None where the bridge is not there."""
        if bridge not in self._there.flows:
            self._there.groups.pop(bridge, None)
            return None
        return self._there.groups.setdefault(bridge, {})

    def _change(self, bridge: str, there: Groups, wanted: Groups) -> None:
        differing = {n: buckets for n, buckets in wanted.items() if there.get(n) != buckets}
        failed = self._table.change(bridge, there, differing)
        for number, buckets in wanted.items():
            if number in failed:
                self._failed(bridge, number, wanted, failed[number])
                continue
            self._well(bridge, number, buckets)
            if number in differing:
                old = there.get(number)
                self.changes += (old is None) + len((old or {}).items() ^ buckets.items())
                there[number] = dict(buckets)

    def _wanted(self, state: HostState) -> dict[str, Groups]:
        found: dict[str, Groups] = defaultdict(dict)
        for group in state.each(Group):
            found[group.bridge].setdefault(group.group, {})
        for bucket in state.each(Bucket):
            buckets = found[bucket.bridge].setdefault(bucket.group, {})
            try:
                buckets[bucket.bucket] = bucket_actions_text(bucket)
            except ValueError as error:
                self._trouble.fail(bucket.key, "", f"a bucket is left out: {error}")
        return found

    def _failed(self, bridge: str, number: int, wanted: Groups, why: str) -> None:
        for key in _keys(bridge, number, wanted[number]):
            self._trouble.fail(key, "", why)

    def _well(self, bridge: str, number: int, buckets: dict[int, str]) -> None:
        for key in _keys(bridge, number, buckets):
            self._trouble.pop(key, None)


def _keys(bridge: str, number: int, buckets: dict[int, str]) -> list[Key]:
    inside: list[Key] = [("bucket", bridge, str(number), str(bucket)) for bucket in buckets]
    return [("group", bridge, str(number)), *inside]
