"""Flows as the lines that ovs-ofctl reads.

Symbols (devices, zones, conjunctions) go through a `Resolve`: golden files show names, the data plane
puts in this host's numbers.
"""

from __future__ import annotations

from collections.abc import Callable

from netloom.model import bounds
from netloom.model import openflow as of
from netloom.model.hoststate import Flow

MOST_FLOW_CHARACTERS = 1 << 20
"""Far more than the 64 KiB of an OpenFlow message can hold."""

Resolve = Callable[[str, str], str | None]
"""(kind, name) → what stands for the symbol, kind being `port`, `zone` or `conj`; None: not there yet."""


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
    return value


def _transport(value: int | tuple[int, int]) -> str:
    return str(value) if isinstance(value, int) else f"0x{value[0]:x}/0x{value[1]:x}"


def match_text(match: of.Match, resolve: Resolve = by_name) -> str:
    """The match as ovs-ofctl reads it; empty for «everything». Raises Unresolved."""
    out: list[str] = []
    if match.in_port is not None:
        out.append(f"in_port={_need(resolve, 'port', match.in_port)}")
    if match.eth_type is not None:
        out.append(match.eth_type)
    if match.tun_id is not None:
        out.append(f"tun_id={match.tun_id:#x}")
    if match.vlan is not None:
        out.append(f"dl_vlan={match.vlan}" if match.vlan else "vlan_tci=0x0000/0x1fff")
    if match.net is not None:
        out.append(f"reg{of.REGISTERS['net']}={match.net:#x}")
    if match.src_port is not None:
        out.append(f"reg{of.REGISTERS['src_port']}={_need(resolve, 'port', match.src_port)}")
    if match.dst_port is not None:
        out.append(f"reg{of.REGISTERS['dst_port']}={_need(resolve, 'port', match.dst_port)}")
    if match.remote is not None:
        out.append(f"reg{of.REGISTERS['remote']}={match.remote}")
    if match.ct_state is not None:
        out.append(f"ct_state={match.ct_state}")
    if match.conj is not None:
        out.append(f"conj_id={_need(resolve, 'conj', match.conj)}")
    plain = (
        ("dl_src", match.eth_src),
        ("dl_dst", match.eth_dst),
        ("arp_op", match.arp_op),
        ("arp_spa", match.arp_spa),
        ("arp_tpa", match.arp_tpa),
        ("arp_sha", match.arp_sha),
        ("nw_src" if match.eth_type == "ip" else "ipv6_src", match.ip_src),
        ("nw_dst" if match.eth_type == "ip" else "ipv6_dst", match.ip_dst),
        ("ip_frag", match.ip_frag),
        ("nw_proto", match.ip_proto),
    )
    out += [f"{name}={value}" for name, value in plain if value is not None]
    if match.tp_src is not None:
        out.append(f"tp_src={_transport(match.tp_src)}")
    if match.tp_dst is not None:
        out.append(f"tp_dst={_transport(match.tp_dst)}")
    if match.icmp_type is not None:
        out.append(f"icmp_type={match.icmp_type}")
    if match.icmp_code is not None:
        out.append(f"icmp_code={match.icmp_code}")
    if match.nd_target is not None:
        out.append(f"nd_target={match.nd_target}")
    return ",".join(out)


def _ct(action: of.Ct, resolve: Resolve) -> str:
    inside = ["commit"] if action.commit else []
    inside.append(f"zone={_need(resolve, 'zone', action.zone)}")
    if action.table is not None:
        inside.append(f"table={action.table}")
    return f"ct({','.join(inside)})"


def action_text(action: of.Action, resolve: Resolve = by_name) -> str:
    """One action as ovs-ofctl reads it. Raises Unresolved."""
    match action:
        case of.Load(field, value):
            number = _need(resolve, "port", value) if isinstance(value, str) else f"{value:#x}"
            return f"load:{number}->NXM_NX_REG{of.REGISTERS[field]}[]"
        case of.SetEth(src, dst):
            parts = [f"set_field:{src}->eth_src"] if src else []
            return ",".join(parts + ([f"set_field:{dst}->eth_dst"] if dst else []))
        case of.SetTunnel(key, dst):
            return f"set_field:{key:#x}->tun_id,set_field:{dst}->tun_dst"
        case of.PushVlan(vid):
            return f"push_vlan:0x8100,set_field:{vid | 0x1000}->vlan_vid"
        case of.PopVlan():
            return "pop_vlan"
        case of.Output(device):
            return f"output:{_need(resolve, 'port', device)}"
        case of.OutputDst():
            return f"output:NXM_NX_REG{of.REGISTERS['dst_port']}[]"
        case of.OutputBack():
            return "in_port"
        case of.Goto(table):
            return f"resubmit(,{table})"
        case of.Ct():
            return _ct(action, resolve)
        case of.Conjunction(name, clause, clauses):
            return f"conjunction({_need(resolve, 'conj', name)},{clause}/{clauses})"
        case of.ArpReply(mac, ip):
            return (
                f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:{mac}->eth_src,set_field:2->arp_op,"
                "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],"
                f"set_field:{mac}->arp_sha,set_field:{ip}->arp_spa,in_port"
            )
        case of.Normal():
            return "normal"


def actions_text(actions: tuple[of.Action, ...], resolve: Resolve = by_name) -> str:
    """All actions, `drop` for none. Where a flow makes several copies, one for a device that is not
    there yet is left out: nobody would hear it, and the others of a broadcast shall not wait for it.
    """
    several = sum(isinstance(action, of.Goto | of.Output) for action in actions) > 1
    out: list[str] = []
    skip = False
    for action in actions:
        if several and isinstance(action, of.Load) and isinstance(action.value, str):
            # The device's number, and with the Goto that follows, one copy for it.
            skip = resolve("port", action.value) is None
        if skip or (
            several and isinstance(action, of.Output) and resolve("port", action.device) is None
        ):
            skip = skip and not isinstance(action, of.Goto)
            continue
        out.append(action_text(action, resolve))
    return ",".join(out) or "drop"


def flow_text(flow: Flow, resolve: Resolve = by_name) -> str:
    """One flow as a line for `ovs-ofctl add-flows`, without its cookie.

    Raises Unresolved, and ValueError where it would not be one line: a second one would be another flow.
    """
    match = match_text(flow.match, resolve)
    head = f"table={flow.table},priority={flow.priority}"
    text = f"{head}{',' + match if match else ''} actions={actions_text(flow.actions, resolve)}"
    return bounds.line("a flow", text, MOST_FLOW_CHARACTERS)
