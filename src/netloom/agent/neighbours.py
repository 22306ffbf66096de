"""Who has which address, told to those who knew it otherwise: hosts answer ARP, so they also say when the answer changes.

Whoever had asked before would send to the old MAC address until it asks again, half a minute later, and whoever has
that one now would hear it. An instance does not say it itself: the first that it sends may be an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netloom.dataplane.linux.netlink import arp_request
from netloom.model.hoststate import Flow, HostState
from netloom.model.openflow import ArpReply, Goto, Load
from netloom.plan.ovs.pipeline import Stage
from netloom.render.openflow import actions_text

Where = tuple[int, str]
"""Key of a network, and an address in it."""


class Neighbours:
    """What ARP was answered here. That an address was given up is remembered as long as its network is here."""

    def __init__(self) -> None:
        self._known: dict[Where, str] = {}
        self._here: set[Where] | None = None  # of this host's own devices; None: not looked at yet

    def news(self, state: HostState) -> list[tuple[bytes, str]]:
        """Frames about what changed since last time, and the actions for each.

        An address that is new on this host's devices is told to the whole network, physical networks above all;
        one that moved elsewhere to the devices of this host, as every host does it for its own.
        """
        flows = list(state.each(Flow))
        now = dict(_answers(flows))
        here = set(_here(flows))
        before = {where: mac for where, mac in self._known.items() if where[0] in _networks(flows)}
        came = here - self._here if self._here is not None else set[Where]()
        moved = {where for where, mac in now.items() if before.get(where, mac) != mac}
        # Not answered for a while (another port's address pair named it): nobody knows what was said meanwhile.
        self._known = dict.fromkeys(before, "") | now
        self._here = here
        return [
            (
                arp_request(now[where], where[1], where[1]),
                _to_devices(where[0], remote=where not in came),
            )
            for where in sorted(moved | came)
            if where in now
        ]


def _answers(flows: Iterable[Flow]) -> Iterator[tuple[Where, str]]:
    for flow in flows:
        for action in flow.actions:
            if isinstance(action, ArpReply) and flow.match.net is not None:
                yield (flow.match.net, action.ip), action.mac


def _here(flows: Iterable[Flow]) -> Iterator[Where]:
    """Addresses whose own device is here: plan/ovs/local.py lets what it says of them out."""
    nets: dict[int, int] = {}
    own: list[tuple[int, str]] = []
    for flow in flows:
        match = flow.match
        if match.in_port is not None:
            loads = {a.field: a.value for a in flow.actions if isinstance(a, Load)}
            if "net" in loads and "src_port" in loads:
                nets[loads["src_port"]] = loads["net"]
        elif flow.table == Stage.LOCAL and match.src_port is not None and match.arp_tpa is not None:
            own.append((match.src_port, match.arp_tpa))
    return ((nets[port], address) for port, address in own if port in nets)


def _networks(flows: Iterable[Flow]) -> set[int]:
    return {flow.match.net for flow in flows if flow.match.net is not None}


def _to_devices(net: int, remote: bool) -> str:
    """`remote`: as if the frame had come from elsewhere, for devices here alone."""
    return actions_text((Load("net", net), Load("remote", int(remote)), Goto(int(Stage.L2))))
