"""Why a packet does not arrive, as data: a closed list of causes, and the reason that names the guilty object.

Code decides by a cause, never by the words of a sentence; sentences are for people and are made last.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from netloom.model.origin import Origin


class Cause(StrEnum):
    """What kind of thing is wrong; `explain --json` shows it as `cause`."""

    # security groups and anti-spoofing
    RULES = "rules"
    NO_GROUP = "no_group"
    PORT_SECURITY = "port_security"
    # switched off
    ADMIN_DOWN = "admin_down"
    SERVER_STOPPED = "server_stopped"
    SERVER_FAILED = "server_failed"
    SERVER_BUILDING = "server_building"
    # ports and hosts
    UNBOUND = "unbound"
    BINDING_FAILED = "binding_failed"
    NOT_READY = "not_ready"
    FAILED = "failed"
    NOT_REPORTED = "not_reported"
    HOST_UNKNOWN = "host_unknown"
    HOST_SILENT = "host_silent"
    HOST_AWAY = "host_away"
    HOST_PLAN = "host_plan"
    HOST_BEHIND = "host_behind"
    HOST_TROUBLE = "host_trouble"
    HOST_DISABLED = "host_disabled"
    TUNNEL = "tunnel"
    # addresses
    NOBODY = "nobody"
    SAME_ADDRESS = "same_address"
    NOT_ITS_ADDRESS = "not_its_address"
    NO_DHCP = "no_dhcp"
    NOT_FROM_DHCP = "not_from_dhcp"
    PAIR = "pair"
    # routers, routes and floating IPs
    NO_INTERFACE = "no_interface"
    NO_SUBNET_GATEWAY = "no_subnet_gateway"
    WRONG_SUBNET_GATEWAY = "wrong_subnet_gateway"
    NO_EXTERNAL_GATEWAY = "no_external_gateway"
    NO_ROUTE = "no_route"
    WRONG_ROUTE = "wrong_route"
    LOOP = "loop"
    UNPLACED = "unplaced"
    ONLY_FLOATING = "only_floating"
    SOURCE_ELSEWHERE = "source_elsewhere"
    NO_FLOATING_IP = "no_floating_ip"
    PRIVATE = "private"
    LEAVES = "leaves"
    ANSWER_ASTRAY = "answer_astray"
    ROUTE_OUTSIDE = "route_outside"
    FORWARDING = "forwarding"
    # the rest
    TOO_BIG = "too_big"
    REFUSED = "refused"
    SERVICE = "service"
    WHICH_ADDRESS = "which_address"
    OTHER = "other"


@dataclass(frozen=True)
class Reason:
    """One sentence, the object that it hangs on (NOTHING where there is none), and what to do about it.

    `sure` false: whether it is so cannot be said from here; the sentence goes on from «Cannot say: ».
    """

    sentence: str
    decider: Origin
    fix: str = ""
    sure: bool = True
    cause: Cause = Cause.OTHER
    of_answer: bool = False
    """Whether it is the answer to the packet that does not arrive."""


def capital(text: str) -> str:
    """With a capital letter at its beginning."""
    return text[:1].upper() + text[1:]
