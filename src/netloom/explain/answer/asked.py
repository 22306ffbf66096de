"""The question: two ends, what is sent, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass

from netloom.explain.answer.fixes import ANYWHERE
from netloom.explain.answer.resolve import Spot, inside_port
from netloom.explain.walk.frames import ICMP
from netloom.model.errors import UserError
from netloom.plan.ovs.rule_services import PROTOCOLS, WITH_PORTS

SMALLEST, LARGEST = 28, 65535
"""Sizes of an IP packet in bytes: a ping without data, and the most that IPv4 can say."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`number`: of the protocol. `size`: of the IP packet in bytes, with «do not fragment»; 0 is a small one."""

    start: Spot
    target: Spot
    protocol: str
    number: int
    port: int | None
    size: int

    @property
    def service(self) -> str:
        """Protocol and port as a person writes them: `tcp/22`."""
        return f"{self.protocol}/{self.port}" if self.port else self.protocol

    @property
    def inside_port(self) -> int | None:
        """The port that the target itself sees: behind a port forwarding another one."""
        return inside_port(self.target, self.port)

    def opened_to(self, address: str) -> str:
        """What a rule must be open to: an end's address, or everywhere where that end is «outside»."""
        anywhere = any(end.anywhere and end.address == address for end in (self.start, self.target))
        return ANYWHERE if anywhere else address

    @property
    def is_ping(self) -> bool:
        """Whether the packet is an ICMP echo request."""
        return self.number == ICMP


def protocol_number(protocol: str, port: int | None) -> int:
    """A protocol's number, by name or number. Raises UserError."""
    number = PROTOCOLS.get(protocol)
    if number is None:
        if not protocol.isdecimal() or len(protocol) > 3 or not 0 < int(protocol) < 256:
            raise UserError(
                f"unknown protocol {protocol}: icmp, tcp, udp, another name or a number up to 255"
            )
        number = int(protocol)
    if number in (6, 17) and port is None:
        raise UserError(f"{protocol} needs a port: add --port")
    if port is not None and number not in WITH_PORTS:
        raise UserError(f"{protocol} has no ports: leave --port out")
    if port is not None and not 0 < port < 65536:
        raise UserError(f"{port} is no port: 1 to 65535")
    return number


def check_size(size: int) -> int:
    """A size of a packet, or 0 for none given. Raises UserError."""
    if size and not SMALLEST <= size <= LARGEST:
        raise UserError(f"{size} is no size of a packet: {SMALLEST} to {LARGEST} bytes")
    return size
