"""The closed vocabulary of flows: match fields and actions, with no OpenFlow library behind it.

Devices, conntrack zones, meters and conjunctions appear by name: a number that depends on history (an
ofport, a zone, a meter, a conjunction id) is a symbol here, and the data plane resolves it when it applies.
Registers hold keys, which the server gives: only a flow that matches `in_port` or has an Output names a device.

Registers, as `ovs-ofctl` shows them:

========== ==== ===================================================================
field      reg  meaning
========== ==== ===================================================================
net        0    the network's key (`Network.key`)
src_port   1    key of the local port that the packet came from (`Port.key`)
dst_port   2    key of the port that it goes out of; from `FIRST_OF_HOST` on, one of the host itself
remote     3    1 where the packet came from another host or a physical network
========== ==== ===================================================================
"""

from __future__ import annotations

from msgspec import Struct

from netloom.model import bounds

REGISTERS = {"net": 0, "src_port": 1, "dst_port": 2, "remote": 3}

LARGEST_PORT_KEY = 0x7FFFFFFF
FIRST_OF_HOST = 0x80000000
"""Keys of a host's own ways out, tunnels and physical networks: no port of the API has such a one."""


class Match(Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """What a flow looks at; a field left None is not looked at.

    `in_port`: a device's name. `src_port`, `dst_port`: keys of ports. `eth_type`: `ip` or `arp` or `ipv6`.
    `ip_src`, `ip_dst`, `arp_spa`, `arp_tpa`: address or CIDR. `eth_src`, `eth_dst`: MAC or `MAC/mask`.
    `ip_frag`: `first`, `later` or `yes` (either) for fragments. `nd_target`: of an ICMPv6 neighbour message.
    `vlan`: a VLAN id, or 0 for «untagged». `ip_proto`: the protocol's number. `ip_ttl`: the hops that are left. `tp_src`, `tp_dst`: a port
    or `(value, mask)`. `ct_state`: as ovs-ofctl writes it (`+trk+est-rpl`). `conj`: a conjunction's name.
    """

    in_port: str | None = None
    tun_id: int | None = None
    vlan: int | None = None
    net: int | None = None
    src_port: int | None = None
    dst_port: int | None = None
    remote: int | None = None
    eth_src: str | None = None
    eth_dst: str | None = None
    eth_type: str | None = None
    arp_op: int | None = None
    arp_spa: str | None = None
    arp_tpa: str | None = None
    arp_sha: str | None = None
    ip_src: str | None = None
    ip_dst: str | None = None
    ip_frag: str | None = None
    ip_proto: int | None = None
    ip_ttl: int | None = None
    tp_src: int | tuple[int, int] | None = None
    tp_dst: int | tuple[int, int] | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    nd_target: str | None = None
    ct_state: str | None = None
    conj: str | None = None


class Load(Struct, frozen=True, tag="load"):
    """Put a number into a register field (`net`, `src_port`, `dst_port`, `remote`)."""

    field: str
    value: int


class SetEth(Struct, frozen=True, tag="set_eth"):
    """Rewrite the MAC addresses that are given."""

    src: str | None = None
    dst: str | None = None


class DecTtl(Struct, frozen=True, tag="dec_ttl"):
    """Take one from the packet's hops; one that has no more never gets here."""


class SetTunnel(Struct, frozen=True, tag="set_tunnel"):
    """Address the packet to a host: outer destination `dst` (IPv4 or IPv6), tunnel id `key` (32 bits).

    ValueError where `dst` is not the address of a host: a host reports its own, and this is another's switch.
    """

    key: int
    dst: str

    def __post_init__(self) -> None:
        bounds.tunnel_end(self.dst)


class PushVlan(Struct, frozen=True, tag="push_vlan"):
    """Tag the frame with VLAN `vid`."""

    vid: int


class PopVlan(Struct, frozen=True, tag="pop_vlan"):
    """Take the VLAN tag off."""


class Output(Struct, frozen=True, tag="output"):
    """Send a copy out of `device`; never back to the port that it came from."""

    device: str


class ToGroup(Struct, frozen=True, tag="to_group"):
    """Do the actions of each bucket of a group with a copy of its own, as it is now."""

    group: int


class ForgetInPort(Struct, frozen=True, tag="forget_in_port"):
    """From here on a copy may leave by the device that the packet came by: another port is behind it too."""


class OutputBack(Struct, frozen=True, tag="output_back"):
    """Send the packet out of the port that it came from (OpenFlow IN_PORT)."""


class Goto(Struct, frozen=True, tag="goto"):
    """Go on in another table (resubmit: what follows in this list is done after it returns)."""

    table: int


class Ct(Struct, frozen=True, tag="ct"):
    """Track the connection in the zone named `zone`, then go on in `table`; `commit` remembers it."""

    zone: str
    table: int | None = None
    commit: bool = False


class Metered(Struct, frozen=True, tag="meter"):
    """Drop the packet where the meter named `meter` says that there were too many. A flow has one at most, before all else."""

    meter: str


class SetDscp(Struct, frozen=True, tag="set_dscp"):
    """Write the mark (0 to 63) into the IP header, of either version."""

    mark: int


class Conjunction(Struct, frozen=True, tag="conjunction"):
    """This flow is clause `clause` of `clauses` of the conjunction named `name` (ovs-fields(7))."""

    name: str
    clause: int
    clauses: int


class ArpReply(Struct, frozen=True, tag="arp_reply"):
    """Turn an ARP request into the reply «`ip` is at `mac`» and send it to the port that it came from.

    `table` sends it: there is known how that port's frames leave (those of a subport are tagged).
    """

    mac: str
    ip: str
    table: int


class Normal(Struct, frozen=True, tag="normal"):
    """Do as a learning switch does."""


Action = (
    Load
    | SetEth
    | DecTtl
    | SetTunnel
    | PushVlan
    | PopVlan
    | Output
    | ToGroup
    | ForgetInPort
    | OutputBack
    | Goto
    | Ct
    | Metered
    | SetDscp
    | Conjunction
    | ArpReply
    | Normal
)
"""One step of a flow. No actions at all: the packet is dropped."""
