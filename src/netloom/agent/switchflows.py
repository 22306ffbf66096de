"""Bringing a state's groups and flows into the switch: all changes of a bridge in one bundle, then the numbers that are free."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from netloom.agent.connections import Connections
from netloom.agent.flows import number_flows
from netloom.agent.switchgroups import SwitchGroups
from netloom.agent.there import There
from netloom.agent.trouble import Trouble, Troubles
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.groups import GroupTable
from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import HostState, Interface, Key

log = logging.getLogger(__name__)


class SwitchFlows:
    """What a switch holds of a state: groups, flows, and numbers for them."""

    def __init__(
        self,
        switch: Switch,
        groups: GroupTable,
        allocator: Allocator,
        there: There,
        trouble: Troubles,
        connections: Connections,
    ) -> None:
        self._switch = switch
        self._allocator = allocator
        self._there = there
        self._trouble = trouble
        self._connections = connections
        self._groups = SwitchGroups(groups, there, trouble)
        self._changes = 0

    @property
    def changes(self) -> int:
        """How many flows, groups and buckets came, changed or went."""
        return self._changes + self._groups.changes

    def bring_about(self, state: HostState) -> dict[str, set[str]]:
        """Bring about all flows; returns kind → names whose numbers no flow in the switch has any more."""
        flows = number_flows(state, self._there.numbers, self._allocator)
        owners = {item.name: item.origin for item in state.each(Interface)}
        for key, reason in flows.refused.items():
            self._trouble.fail(key, "", reason)
        for key, device in flows.missing.items():
            self._trouble[key] = Trouble(
                "pending", f"device {device} is not plugged", blame=owners.get(device)
            )
        try:
            self._allocator.save()
        except ApplyError as error:
            for key in flows.keys.values():
                self._trouble.fail(key, "", str(error))
            return {}
        self._connections.bound(
            self._allocator.number("zone", name) for name in sorted(flows.used["zone"])
        )
        there = self._there.flows
        self._groups.bring_about(state)
        for name in sorted({*flows.texts, *there}):
            self._flows_of(name, flows.texts.get(name, {}), flows.keys)
        self._groups.clean(state)
        if any(cookies - flows.texts.get(name, {}).keys() for name, cookies in there.items()):
            return {}
        return {kind: self._allocator.names(kind) - names for kind, names in flows.used.items()}

    def free_numbers(self, free: Mapping[str, set[str]]) -> None:
        """Free the numbers that no flow in the switch names any more.

        Until then packets filled their zones: only now are these emptied, for whoever gets the number next.
        """
        try:
            for name in free.get("zone", ()):
                self._connections.release(self._allocator.number("zone", name))
            for kind, names in free.items():
                self._allocator.keep(kind, self._allocator.names(kind) - names)
            self._allocator.save()
        except ApplyError as error:
            log.warning("numbers stay in use: %s", error)  # until flows are looked at next

    def _flows_of(self, bridge: str, wanted: dict[int, str], keys: dict[int, Key]) -> None:
        there = self._there.flows.get(bridge)
        if there is None:
            for number in wanted:
                self._trouble.fail(keys[number], "", f"bridge {bridge} is not there")
            return
        for number in wanted.keys() & there:
            self._trouble.pop(keys[number], None)
        add = {
            number: text
            for number, text in wanted.items()
            if number not in there and self._trouble.is_due(keys[number], text)
        }
        gone = there - wanted.keys()
        failed = self._switch.apply(bridge, add, gone)
        self._changes += len(add) + len(gone)
        for number, text in add.items():
            if number in failed:
                self._trouble.fail(keys[number], text, failed[number])
            else:
                there.add(number)
                self._trouble.pop(keys[number], None)
        there -= gone - failed.keys()
