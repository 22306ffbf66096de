"""What a host without Open vSwitch lets through its Linux bridges: chains of rules, and the sets that rules look into.

`plan/linuxbridge` makes these objects, `render/bridge_filter.py` writes them for nftables, and `explain` walks a packet through
them. A packet carries the key of the port that it came from, and from the bridge's decision on the key of the port that it
goes to, in its mark: as br-int of Open vSwitch has it in registers.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from netloom.model.hoststate import HostObject, Key
from netloom.model.openflow import Match
from netloom.model.origin import Origin
from netloom.model.port_ranges import Span

Verdict = Literal["accept", "drop", "jump"]
SetKind = Literal["near", "wire", "routed", "forwarder", "listed"]
"""What an element of a set is: bridge, MAC and address (`near`), bridge and address (`wire`), an address (`routed`), bridge and MAC
(`forwarder`), an address or a range of them (`listed`)."""

FORWARDERS = "forwarders"
"""The set of all that forwards to networks here: router ports, and ports without port security."""

ANSWER, RELATED, INVALID = "+trk+est+rpl", "+trk+rel", "+trk+inv"
"""States of a connection that rules ask for: an answer of an accepted one, an error about it, what belongs to none."""


class Rule(Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """One rule of a chain; what no rule accepts is dropped.

    `match`: what a frame looks like; its `src_port` is the key of the port that the frame came from, `remote` 1 that it came
    from another host or a wire. `ports`: destination ports, both ends included. `far`: the set in which the other end must
    be. `bridge`: in which the packet is. `routed`: the other end's MAC address is one of FORWARDERS. `chain`: where a `jump` goes. `eth_dst`: the MAC address that an accepted frame gets.
    `unasked`: of a receiver, that its `ingress` is not asked about an accepted frame.
    """

    verdict: Verdict = "accept"
    match: Match = Match()
    ports: Span | None = None
    far: str | None = None
    bridge: str | None = None
    routed: bool = False
    chain: str | None = None
    eth_dst: str | None = None
    unasked: bool = False
    origin: tuple[Origin, ...] = ()


class FilterBase(HostObject, frozen=True, kw_only=True):
    """The tables themselves, and the hooks by which packets come to the chains of ports: whoever is unknown there passes nothing."""

    @property
    def key(self) -> Key:
        return ("filter-base",)


class PortFilter(HostObject, frozen=True, kw_only=True):
    """All that is asked of frames of one device in a bridge, as a whole: it has all of its rules or it passes nothing.

    `sender`: of each frame that it sends; who passes gets `mark`. `egress`: of each IP packet of these. `receiver`: of each frame
    that is about to leave by it; `ingress`: of each IP packet of these. None: nothing is asked of IP packets. `announces`: (MAC address,
    IPv4 address) of what is behind it, told to all who may have known it elsewhere when the device is made.
    """

    device: str
    mark: int
    sender: tuple[Rule, ...]
    receiver: tuple[Rule, ...]
    egress: tuple[Rule, ...] | None = None
    ingress: tuple[Rule, ...] | None = None
    announces: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> Key:
        return ("filter", self.device)


class GroupFilter(HostObject, frozen=True, kw_only=True):
    """What the rules of a security group accept in one direction (`ingress` or `egress`), whichever ports have the group."""

    group: str
    direction: str
    rules: tuple[Rule, ...] = ()

    @property
    def key(self) -> Key:
        return ("group-filter", self.chain)

    @property
    def chain(self) -> str:
        """The name of its chain."""
        return group_chain(self.group, self.direction)


def group_chain(group: str, direction: str) -> str:
    """The name of the chain of a security group's rules in one direction."""
    return f"{direction}-{group}"


class FarSet(HostObject, frozen=True, kw_only=True):
    """A set of those who may be at the other end. `version`: of their IP addresses; 0 where it holds none.

    `elements`: all of them, where it is `listed`; no range is within another. The other kinds' are FarMembers.
    """

    name: str
    kind: SetKind
    version: int = 4
    elements: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return ("far-set", self.name)


class FarMember(HostObject, frozen=True, kw_only=True):
    """One element of a FarSet, its parts in the order that the set's kind says; several ports may be the same one."""

    name: str
    parts: tuple[str, ...]
    port: str

    @property
    def key(self) -> Key:
        return ("far-member", self.name, *self.parts, self.port)


class FdbEntry(HostObject, frozen=True, kw_only=True):
    """A MAC address that a device of a bridge leads to, whatever is heard. `to`: of a tunnel's device, the host behind it.

    EVERYBODY leads copies of what has no known place to each host that has the network.
    """

    device: str
    mac: str
    to: str | None = None

    @property
    def key(self) -> Key:
        return ("fdb", self.device, self.mac, self.to or "")


EVERYBODY = "00:00:00:00:00:00"
