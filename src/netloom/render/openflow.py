"""Flows as the lines that ovs-ofctl reads.

Symbols (devices, zones, meters, conjunctions) go through a `Resolve`: golden files show names, the data plane
puts in this host's numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from netloom.model import bounds
from netloom.model import openflow as of
from netloom.model.family import V4, V6
from netloom.model.family import of as address_family
from netloom.model.hoststate import Bucket, Flow
from netloom.render.values import Unwritable, address, ipv4, mac, mac_or_mask, network, number

MOST_32, MOST_TUNNEL, MOST_TABLE, MOST_GROUP = 0xFFFFFFFF, 0xFFFFFFFF, 253, 0xFFFFFF00
_CT_STATE = re.compile(r"([+-](trk|new|est|rel|rpl|inv|snat|dnat))+")

_SRC, _DST = of.REGISTERS["src_port"], of.REGISTERS["dst_port"]
_FORGET = "load:0->NXM_OF_IN_PORT[]"

MOST_FLOW_CHARACTERS = 1 << 20
"""Far more than the 64 KiB of an OpenFlow message can hold."""

Resolve = Callable[[str, str], str | None]
"""(kind, name) → what stands for the symbol, kind being `port`, `zone`, `meter` or `conj`; None: not there yet."""


class Unresolved(Exception):
    """A flow cannot be written yet: the symbol `name` of `kind` has no number on this host."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} has no number yet")
        self.kind = kind
        self.name = name


def by_name(kind: str, name: str) -> str:
    """The Resolve that shows every symbol by its name."""
    del kind
    return name


def _need(resolve: Resolve, kind: str, name: str) -> str:
    value = resolve(kind, name)
    if value is None:
        raise Unresolved(kind, name)
    if resolve is not by_name and not (value.isascii() and value.isdecimal()):
        raise Unwritable("number of the switch", value)
    return value


def _transport(value: int | tuple[int, int]) -> str:
    if isinstance(value, int):
        return str(number(value, 0xFFFF))
    return f"0x{number(value[0], 0xFFFF):x}/0x{number(value[1], 0xFFFF):x}"


def _register(kind: str, value: int) -> str:
    return f"reg{of.REGISTERS[kind]}={number(value, MOST_32):#x}"


def match_text(match: of.Match, resolve: Resolve = by_name) -> str:
    """The match as ovs-ofctl reads it; empty for «everything». Raises Unresolved, Unwritable."""
    out: list[str] = []
    four = match.eth_type == "ip"
    if match.in_port is not None:
        out.append(f"in_port={_need(resolve, 'port', match.in_port)}")
    if match.eth_type is not None:
        if match.eth_type not in ("ip", "ipv6", "arp"):
            raise Unwritable("type of frame", match.eth_type)
        out.append(match.eth_type)
    if match.tun_id is not None:
        out.append(f"tun_id={number(match.tun_id, MOST_TUNNEL):#x}")
    if match.vlan is not None:
        vlan = number(match.vlan, 4094)
        out.append(f"dl_vlan={vlan}" if vlan else "vlan_tci=0x0000/0x1fff")
    if match.net is not None:
        out.append(_register("net", match.net))
    if match.src_port is not None:
        out.append(_register("src_port", match.src_port))
    if match.dst_port is not None:
        out.append(_register("dst_port", match.dst_port))
    if match.remote is not None:
        out.append(f"reg{of.REGISTERS['remote']}={number(match.remote, MOST_32)}")
    if match.ct_state is not None:
        if not _CT_STATE.fullmatch(match.ct_state):
            raise Unwritable("state of a connection", match.ct_state)
        out.append(f"ct_state={match.ct_state}")
    if match.conj is not None:
        out.append(f"conj_id={_need(resolve, 'conj', match.conj)}")
    masked: tuple[tuple[str, str | None], ...] = (
        ("dl_src", match.eth_src),
        ("dl_dst", match.eth_dst),
    )
    out += [f"{name}={mac_or_mask(value)}" for name, value in masked if value is not None]
    if match.arp_op is not None:
        out.append(f"arp_op={number(match.arp_op, 0xFFFF)}")
    for name, value in (("arp_spa", match.arp_spa), ("arp_tpa", match.arp_tpa)):
        out += [] if value is None else [f"{name}={network(value, V4)}"]
    if match.arp_sha is not None:
        out.append(f"arp_sha={mac_or_mask(match.arp_sha)}")
    for end, value in (("src", match.ip_src), ("dst", match.ip_dst)):
        if value is not None:
            out.append(f"{'nw' if four else 'ipv6'}_{end}={network(value, V4 if four else V6)}")
    if match.ip_frag is not None:
        if match.ip_frag not in ("first", "later", "yes", "no", "not_later"):
            raise Unwritable("kind of fragment", match.ip_frag)
        out.append(f"ip_frag={match.ip_frag}")
    if match.ip_proto is not None:
        out.append(f"nw_proto={number(match.ip_proto, 0xFF)}")
    if match.ip_ttl is not None:
        out.append(f"nw_ttl={number(match.ip_ttl, 0xFF)}")
    if match.tp_src is not None:
        out.append(f"tp_src={_transport(match.tp_src)}")
    if match.tp_dst is not None:
        out.append(f"tp_dst={_transport(match.tp_dst)}")
    if match.icmp_type is not None:
        out.append(f"icmp_type={number(match.icmp_type, 0xFF)}")
    if match.icmp_code is not None:
        out.append(f"icmp_code={number(match.icmp_code, 0xFF)}")
    if match.nd_target is not None:
        out.append(f"nd_target={network(match.nd_target, V6)}")
    return ",".join(out)


def _ct(action: of.Ct, resolve: Resolve) -> str:
    inside = ["commit"] if action.commit else []
    inside.append(f"zone={_need(resolve, 'zone', action.zone)}")
    if action.table is not None:
        inside.append(f"table={number(action.table, MOST_TABLE)}")
    return f"ct({','.join(inside)})"


def action_text(action: of.Action, resolve: Resolve = by_name) -> str:
    """One action as ovs-ofctl reads it. Raises Unresolved, Unwritable."""
    match action:
        case of.Load(field, value):
            return f"load:{number(value, MOST_32):#x}->NXM_NX_REG{of.REGISTERS[field]}[]"
        case of.SetEth(src, dst):
            parts = [f"set_field:{mac(src)}->eth_src"] if src else []
            return ",".join(parts + ([f"set_field:{mac(dst)}->eth_dst"] if dst else []))
        case of.DecTtl():
            return "dec_ttl"
        case of.SetTunnel(key, dst):
            family = address_family(dst)
            field = "tun_dst" if family is V4 else "tun_ipv6_dst"
            end = address(dst, family)
            return f"set_field:{number(key, MOST_TUNNEL):#x}->tun_id,set_field:{end}->{field}"
        case of.PushVlan(vid):
            return f"push_vlan:0x8100,set_field:{number(vid, 4094) | 0x1000}->vlan_vid"
        case of.PopVlan():
            return "pop_vlan"
        case of.Output(device):
            return f"output:{_need(resolve, 'port', device)}"
        case of.ToGroup(group):
            return f"group:{number(group, MOST_GROUP)}"
        case of.ForgetInPort():
            return _FORGET
        case of.OutputBack():
            return "in_port"
        case of.Goto(table):
            return f"resubmit(,{number(table, MOST_TABLE)})"
        case of.Ct():
            return _ct(action, resolve)
        case of.Metered(meter):
            return f"meter:{_need(resolve, 'meter', meter)}"
        case of.SetDscp(mark):
            return f"set_field:{number(mark, 63)}->ip_dscp"
        case of.Conjunction(name, clause, clauses):
            of_all = f"{number(clause, 64)}/{number(clauses, 64)}"
            return f"conjunction({_need(resolve, 'conj', name)},{of_all})"
        case of.ArpReply(own, ip, table):
            own, ip = mac(own), ipv4(ip)
            return (
                f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:{own}->eth_src,set_field:2->arp_op,"
                "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],"
                f"set_field:{own}->arp_sha,set_field:{ip}->arp_spa,"
                f"move:NXM_NX_REG{_SRC}[]->NXM_NX_REG{_DST}[],load:0->NXM_NX_REG{_SRC}[],{_FORGET},"
                f"resubmit(,{number(table, MOST_TABLE)})"
            )
        case of.Normal():
            return "normal"


def actions_text(actions: tuple[of.Action, ...], resolve: Resolve = by_name) -> str:
    """All actions, `drop` for none. Raises Unresolved, Unwritable."""
    return ",".join(action_text(action, resolve) for action in actions) or "drop"


def bucket_actions_text(bucket: Bucket) -> str:
    """The actions of a bucket in the words in which `ovs-ofctl dump-groups` shows them. Raises Unwritable."""
    words = [
        f"set_field:{number(action.value, MOST_32):#x}->reg{of.REGISTERS[action.field]}"
        if isinstance(action, of.Load)
        else action_text(action)
        for action in bucket.actions
    ]
    return bounds.line("a bucket", ",".join(words), MOST_FLOW_CHARACTERS)


def bucket_text(bucket: Bucket) -> str:
    """A bucket as ovs-ofctl reads it. Raises Unwritable."""
    number_ = number(bucket.bucket, MOST_GROUP)
    return f"bucket=bucket_id:{number_},actions={bucket_actions_text(bucket)}"


def flow_text(flow: Flow, resolve: Resolve = by_name) -> str:
    """One flow as a line for `ovs-ofctl add-flows`, without its cookie.

    Raises Unresolved, and Unwritable where a value would be read as something else; no flow is more than one line.
    """
    match = match_text(flow.match, resolve)
    head = f"table={number(flow.table, MOST_TABLE)},priority={number(flow.priority, 0xFFFF)}"
    text = f"{head}{',' + match if match else ''} actions={actions_text(flow.actions, resolve)}"
    return bounds.line("a flow", text, MOST_FLOW_CHARACTERS)
