"""The filter of a host's Linux bridges, for `nft -f`: two tables, and pieces that replace single chains and elements.

Frames pass the hooks of the family `bridge`, IP packets those of `inet` in between (br_netfilter). The first know the device of a
frame and no connection, the second know connections and no device; so the first leave the key of the port in the mark:

========== ============== ======== ===========================================================
family     hook           priority what is asked
========== ============== ======== ===========================================================
bridge     prerouting     -300     chain `from-DEVICE`; the mark becomes the sender's
inet       prerouting     raw      in which zone the bridge's connections are
inet       prerouting     filter   chain `egress-of-MARK`
bridge     forward        -300     chain `to-DEVICE`; the mark becomes the receiver's
inet       forward        filter   chain `ingress-of-MARK`
bridge     input, output  -300     nothing reaches the host itself, and it says nothing there
bridge     postrouting    300      the mark is taken off; an IP packet that no `ingress-of-…` was asked about goes nowhere
========== ============== ======== ===========================================================
"""

from __future__ import annotations

import ipaddress

from netloom.model.family import BY_VERSION, FAMILIES, V6
from netloom.model.filtering import (
    ANSWER,
    FORWARDERS,
    INVALID,
    RELATED,
    FarMember,
    FarSet,
    GroupFilter,
    PortFilter,
    Rule,
)
from netloom.model.openflow import FIRST_OF_HOST, LARGEST_PORT_KEY, Match
from netloom.render import values

TABLE = "netloom-bridge"
"""Name of both tables, that of family `bridge` and that of family `inet`."""
UNASKED = FIRST_OF_HOST
"""Mark of what goes to a port without its rules being asked; from here on nothing is asked of IP packets."""

_STATES = {
    ANSWER: "ct state established ct direction reply",
    RELATED: "ct state related",
    INVALID: "ct state invalid",
}
_TYPES = {
    "near": "iifname . ether saddr . {ip} saddr",
    "wire": "iifname . {ip} saddr",
    "routed": "{ip} saddr",
    "forwarder": "iifname . ether saddr",
    "listed": "{ip} saddr",
}

BASE = f"""\
table bridge {TABLE} {{
	map senders {{
		type ifname : verdict
	}}
	map receivers {{
		type ifname : verdict
	}}
	set cards {{
		type ifname
	}}
	chain sent {{
		type filter hook prerouting priority -300; policy accept;
		iifname vmap @senders
	}}
	chain received {{
		type filter hook forward priority -300; policy accept;
		oifname vmap @receivers
		meta mark != 0x0 drop
	}}
	chain to-host {{
		type filter hook input priority -300; policy accept;
		iifname @cards drop
	}}
	chain from-host {{
		type filter hook output priority -300; policy accept;
		meta mark {UNASKED:#x} ether type arp accept
		oifname @cards drop
	}}
	chain left {{
		type filter hook postrouting priority 300; policy accept;
		meta mark 0x1-{LARGEST_PORT_KEY:#x} meta protocol {{ ip, ip6 }} drop
		meta mark set 0x0
	}}
}}
table inet {TABLE} {{
	map zones {{
		typeof iifname : ct zone
	}}
	map egress {{
		type mark : verdict
	}}
	map ingress {{
		type mark : verdict
	}}
	chain zoned {{
		type filter hook prerouting priority -300; policy accept;
		meta mark 0x0 udp dport 4789 notrack
		ct zone set iifname map @zones
	}}
	chain outer {{
		type filter hook output priority -300; policy accept;
		udp dport 4789 notrack
	}}
	chain sent {{
		type filter hook prerouting priority 0; policy accept;
		meta mark 0x0 accept
		meta mark >= {UNASKED:#x} accept
		meta mark vmap @egress
		drop
	}}
	chain received {{
		type filter hook forward priority 0; policy accept;
		meta mark 0x0 accept
		meta mark >= {UNASKED:#x} accept
		meta mark vmap @ingress
		drop
	}}
}}
"""


def add_base() -> str:
    """Make both tables anew, without a single port: in them nothing passes any device of ours."""
    return (
        "".join(f"table {f} {TABLE}\ndelete table {f} {TABLE}\n" for f in ("bridge", "inet")) + BASE
    )


def chains_of(item: PortFilter) -> dict[tuple[str, str], list[str]]:
    """(family, chain) → the rules of a device's chains, as text."""
    device = values.device(item.device)
    mark = f"meta mark set {values.number(item.mark, 0xFFFFFFFF):#x}"
    unasked = f"meta mark set {UNASKED:#x}"
    tagged = "ether type { 8021q, 8021ad } drop"
    chains = {
        ("bridge", f"from-{device}"): [tagged, *(_frame(r, mark, unasked) for r in item.sender)],
        ("bridge", f"to-{device}"): [
            "meta mark 0x0 drop",
            *(_frame(r, mark, unasked) for r in item.receiver),
        ],
    }
    for rules in chains.values():
        rules.append("drop")
    for name, some in (("egress", item.egress), ("ingress", item.ingress)):
        if item.mark <= LARGEST_PORT_KEY:
            rules = ["accept"] if some is None else [packet(rule, name) for rule in some]
            if name == "ingress":
                rules.insert(0, unasked)  # it was asked about now
            chains["inet", f"{name}-of-{device}"] = rules
    return chains


def elements_of(item: PortFilter) -> dict[tuple[str, str], tuple[str, str]]:
    """(family, map or set) → the element of a device in it: its key, and what is behind it (empty in a set)."""
    device, mark = values.device(item.device), f"{item.mark:#010x}"
    found = {
        ("bridge", "senders"): (f'"{device}"', f"goto from-{device}"),
        ("bridge", "receivers"): (f'"{device}"', f"goto to-{device}"),
        ("bridge", "cards"): (f'"{device}"', ""),
    }
    if item.mark <= LARGEST_PORT_KEY:
        found |= {
            ("inet", name): (mark, f"goto {name}-of-{device}") for name in ("egress", "ingress")
        }
    return found


def group_rules(item: GroupFilter) -> list[str]:
    """The rules of a group's chain."""
    return [packet(rule, item.direction) for rule in item.rules]


def far_set_text(item: FarSet) -> str:
    """What makes a set, empty."""
    family = BY_VERSION.get(item.version, FAMILIES[0])
    kind = _TYPES[item.kind].format(ip=family.nft)
    flags = " flags interval;" if item.kind == "listed" else ""
    return f"set inet {TABLE} {values.word(item.name)} {{ typeof {kind};{flags} }}"


def listed_elements(item: FarSet) -> list[str]:
    """The elements of a set that has all of its own."""
    family = BY_VERSION.get(item.version, FAMILIES[0])
    return [values.network(each, family) for each in item.elements]


def far_element(item: FarMember) -> str:
    """The element of a set."""
    return " . ".join(_part(part) for part in item.parts)


def _part(part: str) -> str:
    if part.count(":") == 5 and len(part) == 17:
        return values.mac(part)
    if "." in part or ":" in part:
        return values.address(part, V6 if ":" in part else FAMILIES[0])
    return f'"{values.device(part)}"'


def _comment(rule: Rule) -> str:
    return f' comment "{rule.origin[0]}"' if rule.origin else ""


def _frame(rule: Rule, mark: str, unasked: str) -> str:
    """A rule that frames meet, as nft has it."""
    words = _words(rule.match)
    if rule.verdict == "accept":
        if rule.eth_dst:
            words.append(f"ether daddr set {values.mac(rule.eth_dst)}")
        words.append(unasked if rule.unasked else mark)
    return " ".join([*words, rule.verdict]) + _comment(rule)


def packet(rule: Rule, direction: str) -> str:
    """A rule that IP packets meet, as nft has it."""
    end = "saddr" if direction == "ingress" else "daddr"
    words: list[str] = []
    if rule.bridge:
        words.append(f'iifname "{values.device(rule.bridge)}"')
    if rule.far:
        words.append(_far(rule.far, end))
    if rule.routed:
        words.append(f"iifname . ether {end} @{FORWARDERS}")
    words += _words(rule.match)
    if rule.ports:
        first, last = (values.number(port, 65535) for port in rule.ports)
        words.append(f"th dport {first}" if first == last else f"th dport {first}-{last}")
    verdict = f"jump {values.word(rule.chain)}" if rule.chain else rule.verdict
    return " ".join([*words, verdict]) + _comment(rule)


def _far(name: str, end: str) -> str:
    kind = next(kind for kind in _TYPES if name.startswith(kind))
    ip = BY_VERSION[int(name[len(kind)])].nft
    return f"{_TYPES[kind].format(ip=ip).replace('saddr', end)} @{values.word(name)}"


def _words(match: Match) -> list[str]:
    """What a match looks at, in nft's words."""
    words: list[str] = []
    if match.remote:
        words.append(f"meta mark >= {FIRST_OF_HOST:#x}")
    if match.src_port is not None:
        words.append(f"meta mark {values.number(match.src_port, LARGEST_PORT_KEY):#x}")
    if match.ct_state:
        words.append(_STATES[match.ct_state])
    if match.eth_src:
        words.append(f"ether saddr {values.mac(match.eth_src)}")
    if match.eth_dst:
        words.append(f"ether daddr {values.mac(match.eth_dst)}")
    family = next((f for f in FAMILIES if f.eth_type == match.eth_type), None)
    if match.eth_type == "arp":
        words += _arp(match)
    elif family is not None:
        words.append(f"meta protocol {family.nft}")
        for side, address in (("saddr", match.ip_src), ("daddr", match.ip_dst)):
            if address:
                words.append(f"{family.nft} {side} {values.network(address, family)}")
    if match.ip_proto is not None:
        words.append(f"meta l4proto {values.number(match.ip_proto, 255)}")
    for side, port in (("sport", match.tp_src), ("dport", match.tp_dst)):
        if isinstance(port, int):
            words.append(f"th {side} {values.number(port, 65535)}")
    icmp = "icmpv6" if family is V6 else "icmp"
    for field, value in (("type", match.icmp_type), ("code", match.icmp_code)):
        if value is not None:
            words.append(f"{icmp} {field} {values.number(value, 255)}")
    if match.nd_target:
        # nft 1.0.6 has no word for it: the target is behind the first 8 bytes of the message.
        about = ipaddress.ip_network(values.network(match.nd_target, V6), strict=False)
        if length := about.prefixlen:
            first = int(about.network_address) >> (V6.bits - length)
            words.append(f"@th,64,{length} {first:#x}")
    return words


def _arp(match: Match) -> list[str]:
    words = ["ether type arp"]
    if match.arp_op is not None:
        words.append(f"arp operation {values.number(match.arp_op, 65535)}")
    if match.arp_sha:
        words.append(f"arp saddr ether {values.mac(match.arp_sha)}")
    for side, address in (("saddr", match.arp_spa), ("daddr", match.arp_tpa)):
        if address:
            words.append(f"arp {side} ip {values.network(address, FAMILIES[0])}")
    return words
