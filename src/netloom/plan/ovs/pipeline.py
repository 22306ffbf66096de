"""The stages of a packet's way through br-int: one table of numbers, names and purposes.

Every flow names its stage through this module, and `explain` prints the purposes. The numbers leave
room between the stages, so that a new one never renumbers the others.
"""

from __future__ import annotations

from enum import IntEnum

from netloom.model.networking import Network
from netloom.model.openflow import ToGroup


class Stage(IntEnum):
    """OpenFlow tables of the integration bridge, in the order in which a packet meets them."""

    CLASSIFY = 0
    ADDRESS_SENT_BITS = 2
    ADDRESS_SENT_PACKETS = 3
    SENT_BITS = 4
    SENT_PACKETS = 5
    PORT_SECURITY = 10
    LOCAL = 20
    DELIVER = 25
    EGRESS = 30
    EGRESS_RULES = 31
    EGRESS_ACCEPT = 32
    EGRESS_WHOLE = 33
    L2 = 40
    ROUTE = 41
    NEIGHBOUR = 42
    INGRESS = 50
    INGRESS_RULES = 51
    INGRESS_ACCEPT = 52
    INGRESS_WHOLE = 53
    OUTPUT = 60
    ADDRESS_RECEIVED_BITS = 61
    ADDRESS_RECEIVED_PACKETS = 62
    RECEIVED_BITS = 63
    RECEIVED_PACKETS = 64


PURPOSE: dict[Stage, str] = {
    Stage.CLASSIFY: "which network and device a frame comes from",
    Stage.ADDRESS_SENT_BITS: "what an address of a gateway sends: its bandwidth limit",
    Stage.ADDRESS_SENT_PACKETS: "what an address of a gateway sends: its packet rate limit and mark",
    Stage.SENT_BITS: "what a port sends: its bandwidth limit",
    Stage.SENT_PACKETS: "what a port sends: its packet rate limit and mark",
    Stage.PORT_SECURITY: "an instance uses its own addresses only",
    Stage.LOCAL: "ARP, DHCP and metadata, answered on this host",
    Stage.DELIVER: "what the DHCP device sends, to devices of this host only",
    Stage.EGRESS: "what leaves an instance: connection tracking",
    Stage.EGRESS_RULES: "what leaves an instance: security group rules",
    Stage.EGRESS_ACCEPT: "what leaves an instance: remember the connection",
    Stage.EGRESS_WHOLE: "what leaves an instance: all fragments of an accepted datagram",
    Stage.L2: "where the destination's MAC address is",
    Stage.ROUTE: "through a distributed router, on this host: which of its networks is next",
    Stage.NEIGHBOUR: "through a distributed router: the next MAC address, one hop less",
    Stage.INGRESS: "what reaches an instance: connection tracking",
    Stage.INGRESS_RULES: "what reaches an instance: security group rules",
    Stage.INGRESS_ACCEPT: "what reaches an instance: remember the connection",
    Stage.INGRESS_WHOLE: "what reaches an instance: all fragments of an accepted datagram",
    Stage.OUTPUT: "out of the device of the port, tunnel or physical network that was found",
    Stage.ADDRESS_RECEIVED_BITS: "what is for an address of a gateway: its bandwidth limit",
    Stage.ADDRESS_RECEIVED_PACKETS: "what is for an address of a gateway: its packet rate limit",
    Stage.RECEIVED_BITS: "what is for a port: its bandwidth limit",
    Stage.RECEIVED_PACKETS: "what is for a port: its packet rate limit",
}

OF_LIMITS = frozenset(stage for stage in Stage if stage.name.endswith(("_BITS", "_PACKETS")))
"""Stages to which only what has a limit goes."""

RESERVED_GROUPS = "01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0"
"""Group addresses that no bridge forwards (IEEE 802.1Q, table 8-1): spanning tree, LLDP, pause, 802.1X."""
BROADCAST = "ff:ff:ff:ff:ff:ff"
GROUP_ADDRESS = "01:00:00:00:00:00/01:00:00:00:00:00"
"""Matches every broadcast and multicast MAC address."""


class Domain(IntEnum):
    """The broadcast domains of a network on a host, each an OpenFlow group, or several where there are many receivers."""

    DEVICES = 1
    """Every device here, through its rules."""
    ARP = 2
    """Every device here, without being asked: the rules let all ARP through."""
    HOSTS = 3
    """Every other host with the network, or its wire."""
    OPEN_DEVICES = 4
    """The devices here that get unknown unicast."""
    OPEN_HOSTS = 5
    """The hosts with devices that get unknown unicast, or the wire."""
    DHCP = 6
    """The devices here that an answer of DHCP may be for."""

    def of(self, network: Network, shard: int = 0) -> int:
        """The number of a group of this domain of a network."""
        return (int(self) << 28) | (shard << 24) | network.key

    def groups(self, network: Network, shards: int) -> tuple[ToGroup, ...]:
        """All its groups."""
        return tuple(ToGroup(self.of(network, shard)) for shard in range(shards))


MOST_SHARDS = 16
MOST_BUCKETS = 512
"""Receivers of one group, before a domain is spread over twice as many: Open vSwitch cannot show a group whose
description is longer than an OpenFlow message (64 KiB, or 700 tunnels)."""


def shards_for(receivers: int) -> int:
    """How many groups a domain with so many receivers is spread over."""
    shards = 1
    while receivers > shards * MOST_BUCKETS and shards < MOST_SHARDS:
        shards *= 2
    return shards


class Priority:
    """Priorities within a table: what is written first wins."""

    REFUSE = 300
    SPECIAL = 200
    FRAGMENT = 150
    NORMAL = 100
    RULES = 70
    FALLBACK = 10
    PORT_DEFAULT = 1
    DEFAULT = 0
