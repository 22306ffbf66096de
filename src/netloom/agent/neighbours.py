"""Addresses that went over to another MAC address: hosts answer ARP, so they also say when the answer changes.

Whoever had asked before would send to the old address until it asks again, half a minute later, and whoever has that
address now would hear it.
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.dataplane.netlink import arp_request
from netloom.model.hoststate import Flow, HostState
from netloom.model.openflow import ArpReply, Goto, Load
from netloom.model.render import actions_text
from netloom.plan.pipeline import Stage

Where = tuple[int, str]
"""Key of a network, and an address in it."""


class Neighbours:
    """What ARP was answered here. An address that is given up is remembered as long as its network is here."""

    def __init__(self) -> None:
        self._known: dict[Where, str] = {}

    def moved(self, state: HostState) -> list[tuple[bytes, str]]:
        """Frames for the devices of this host (and the actions that bring them there) about what changed since last time."""
        flows = list(state.each(Flow))
        now = dict(_answers(flows))
        before = {where: mac for where, mac in self._known.items() if where[0] in _networks(flows)}
        self._known = before | now
        return [
            (arp_request(mac, where[1], where[1]), _to_devices_here(where[0]))
            for where, mac in now.items()
            if before.get(where, mac) != mac
        ]


def _answers(flows: Iterable[Flow]) -> Iterable[tuple[Where, str]]:
    for flow in flows:
        for action in flow.actions:
            if isinstance(action, ArpReply) and flow.match.net is not None:
                yield (flow.match.net, action.ip), action.mac


def _networks(flows: Iterable[Flow]) -> set[int]:
    return {flow.match.net for flow in flows if flow.match.net is not None}


def _to_devices_here(net: int) -> str:
    """As if the frame had come from elsewhere: every host tells its own."""
    return actions_text((Load("net", net), Load("remote", 1), Goto(int(Stage.L2))))
