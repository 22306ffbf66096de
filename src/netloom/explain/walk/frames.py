"""A frame on its way, what the pipeline knows of it, and how a Match looks at both."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from netloom.model.openflow import Match

BROADCAST = "ff:ff:ff:ff:ff:ff"
TCP, UDP, ICMP = 6, 17, 1


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One Ethernet frame, as far as flows can look at it. `vlan` 0 is untagged.

    `frag`: `first` or `later` for a fragment; only the first shows its ports and its ICMP type to flows.
    `about`: of an ICMP error, the connection of the packet that it quotes, in that packet's direction.
    """

    eth_src: str
    eth_dst: str
    eth_type: str = "ip"
    vlan: int = 0
    ip_src: str | None = None
    ip_dst: str | None = None
    ip_proto: int | None = None
    ip_ttl: int = 64
    frag: str = ""
    tp_src: int = 0
    tp_dst: int = 0
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int = 0
    arp_op: int | None = None
    arp_spa: str | None = None
    arp_tpa: str | None = None
    arp_sha: str | None = None
    nd_target: str | None = None
    about: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection that an IP frame belongs to, seen in the frame's own direction."""
        ports = (self.tp_src, self.tp_dst)
        if self.ip_proto == ICMP:
            ports = (self.icmp_id, self.icmp_id)
        return Connection(
            self.ip_proto or 0, self.ip_src or "", ports[0], self.ip_dst or "", ports[1]
        )


@dataclass(frozen=True)
class Connection:
    """A flow of packets in one direction."""

    proto: int
    source: str
    source_port: int
    destination: str
    destination_port: int

    @property
    def back(self) -> Connection:
        """The same connection as its answers see it."""
        return Connection(
            self.proto, self.destination, self.destination_port, self.source, self.source_port
        )


@dataclass
class Passing:
    """A frame inside a switch: the frame and what the pipeline has noted about it."""

    frame: Frame
    in_port: str
    tun_id: int | None = None
    tun_dst: str | None = None
    registers: dict[str, int] = field(default_factory=dict)
    ct: frozenset[str] = frozenset()

    def copy(self) -> Passing:
        """One that goes its own way from here."""
        return replace(self, registers=dict(self.registers))


def arp_request(mac: str, address: str, target: str) -> Frame:
    """«Who has target? Tell address»."""
    return Frame(
        eth_src=mac,
        eth_dst=BROADCAST,
        eth_type="arp",
        arp_op=1,
        arp_spa=address,
        arp_tpa=target,
        arp_sha=mac,
    )


def matches(match: Match, passing: Passing) -> bool:
    """Whether a frame fits a match; `conj` is looked at elsewhere."""
    frame = passing.frame
    if frame.frag == "later":
        frame = replace(frame, tp_src=0, tp_dst=0, icmp_type=0, icmp_code=0)
    return (
        _is(match.in_port, passing.in_port)
        and _is(match.tun_id, passing.tun_id)
        and _is(match.vlan, frame.vlan)
        and all(
            _is(getattr(match, name), passing.registers.get(name, 0))
            for name in ("net", "src_port", "dst_port", "remote")
        )
        and _is(match.eth_type, frame.eth_type)
        and _mac(match.eth_src, frame.eth_src)
        and _mac(match.eth_dst, frame.eth_dst)
        and all(
            _is(getattr(match, name), getattr(frame, name))
            for name in ("arp_op", "arp_sha", "ip_proto", "ip_ttl", "icmp_type", "icmp_code")
        )
        and all(
            _inside(getattr(match, name), getattr(frame, name))
            for name in ("ip_src", "ip_dst", "arp_spa", "arp_tpa")
        )
        and (match.ip_frag in (None, frame.frag) or bool(match.ip_frag == "yes" and frame.frag))
        and _inside(match.nd_target, frame.nd_target)
        and _transport(match.tp_src, frame.tp_src)
        and _transport(match.tp_dst, frame.tp_dst)
        and _state(match.ct_state, passing.ct)
    )


def _is(wanted: object, actual: object) -> bool:
    return wanted is None or wanted == actual


def _mac(wanted: str | None, actual: str) -> bool:
    if wanted is None:
        return True
    value, _, mask = wanted.partition("/")
    if not mask:
        return wanted == actual
    bits = _number(mask)
    return _number(value) & bits == _number(actual) & bits


def _number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


@lru_cache(maxsize=65536)
def _inside(wanted: str | None, actual: str | None) -> bool:
    if wanted is None or wanted == actual:
        return True
    if actual is None:
        return False
    address, network = ipaddress.ip_address(actual), ipaddress.ip_network(wanted)
    return address.version == network.version and address in network


def _transport(wanted: int | tuple[int, int] | None, actual: int) -> bool:
    if wanted is None or isinstance(wanted, int):
        return _is(wanted, actual)
    value, mask = wanted
    return actual & mask == value & mask


def _state(wanted: str | None, actual: frozenset[str]) -> bool:
    if wanted is None:
        return True
    flags: list[tuple[str, str]] = re.findall(r"([+-])(\w+)", wanted)
    return all((sign == "+") == (flag in actual) for sign, flag in flags)
