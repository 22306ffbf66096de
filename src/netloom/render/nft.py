"""Rulesets for `nft -f`: the NAT of a router's namespace, and what a DHCP server may hear.

Each is a whole table that replaces itself in one transaction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from netloom.model.hoststate import Dnsmasq, FloatingNat, NeighbourBound, SourceNat
from netloom.render import values

NFT_TABLE = "netloom"
NEIGHBOUR_TABLE = "netloom-neighbours"
_MOST_LATELY = 4096

DHCP_TABLE = "netloom-dhcp"


def nft_ruleset(floating: Iterable[FloatingNat], source: Iterable[SourceNat]) -> str:
    """The whole NAT table of one router's namespace, for `nft -f`: it replaces what was there at once.

    One DNAT and one SNAT for each floating IP and the catch-all SNAT. A connection that was redirected
    to an inside address and goes out inside again (from instance to floating IP, the hairpin) changes its source too, so
    that its answers come back through the router. Where there is a SourceNat, connections from outside
    are forwarded only when a floating IP let them in.
    """
    nats = sorted(floating, key=lambda nat: nat.external)
    catch_all = sorted(source, key=lambda nat: nat.device)
    for nat in (*nats, *catch_all):
        check_nat(nat)
    devices = sorted({nat.device for nat in nats} | {nat.device for nat in catch_all})
    before: list[str] = []
    after: list[str] = ['meta mark 0x1 accept comment "from outside: keeps its source"']
    forward: list[str] = []
    for device in devices:
        before.append(f'iifname "{device}" meta mark set 0x1')
        after.append(f'oifname != "{device}" ct status ! dnat accept')
    for nat in nats:
        comment = f' comment "{nat.origin[0]}"' if nat.origin else ""
        before.append(f"ip daddr {nat.external} dnat to {nat.internal}{comment}")
        after.append(f"ip saddr {nat.internal} snat to {nat.external}{comment}")
    for device in devices:
        after.append(f'oifname != "{device}" masquerade comment "to a floating IP and back inside"')
    for nat in catch_all:
        comment = f' comment "{nat.origin[0]}"' if nat.origin else ""
        after.append(f'oifname "{nat.device}" snat to {nat.address}{comment}')
        # A packet whose connection was just forgotten would go out untranslated.
        forward.append(f'oifname "{nat.device}" ct state invalid drop')
        forward.append(f'iifname "{nat.device}" ct state established,related accept')
        forward.append(f'iifname "{nat.device}" ct status dnat accept')
        forward.append(f'iifname "{nat.device}" drop comment "from outside, to no floating IP"')
    lines = [
        f"table ip {NFT_TABLE}",
        f"delete table ip {NFT_TABLE}",
        f"table ip {NFT_TABLE} {{",
        *_chain("prerouting", "nat", "prerouting priority dstnat", before),
        *_chain("postrouting", "nat", "postrouting priority srcnat", after),
        *_chain("forward", "filter", "forward priority filter", forward),
        "}",
    ]
    return "\n".join(lines) + "\n"


def check_nat(nat: FloatingNat | SourceNat) -> None:
    """Raise Unwritable where one of its values is not what nft would take it for."""
    values.device(nat.device)
    for address in (nat.external, nat.internal) if isinstance(nat, FloatingNat) else (nat.address,):
        values.ipv4(address)
    for why in nat.origin[:1]:
        values.word(why.replace("/", "-", 1))


def dhcp_ruleset(server: Dnsmasq) -> str:
    """What reaches the DHCP server: messages of its leases' own clients, each in its own name.

    The frame's source is the port's own MAC address (the switch sees to that); the hardware address in the message (`chaddr`)
    must be the same, and the address that the client says it has (`ciaddr`) must be its own or none. So nobody can ask for,
    give back or decline what is another's, and messages of invented clients use none of the server's time. A message that
    says it was relayed is not taken: the server would answer whatever address stands there.

    Offsets are those of RFC 2131 behind the UDP header of 8 bytes. Options have no fixed place: what depends on them is
    dnsmasq's to decide (`dnsmasq.DECLINED`).
    """
    clients: set[str] = set()
    for lease in server.leases:
        mac = values.mac(lease.mac)
        number = f"0x{mac.replace(':', '')}"
        for address in ("0.0.0.0", lease.ip, *lease.addresses):
            packed = ipaddress.IPv4Address(values.ipv4(address)).packed.hex()
            clients.add(f"{mac} . {number} . 0x{packed}")
    elements = f" elements = {{ {', '.join(sorted(clients))} }};" if clients else ""
    lines = [
        f"table ip {DHCP_TABLE}",
        f"delete table ip {DHCP_TABLE}",
        f"table ip {DHCP_TABLE} {{",
        f"  set clients {{ typeof ether saddr . @th,288,48 . @th,160,32;{elements} }}",
        "  chain dhcp {",
        '    @th,64,24 != 0x010106 counter drop comment "no request of an Ethernet client"',
        '    @th,256,32 != 0x0 counter drop comment "relayed (giaddr)"',
        '    ether saddr . @th,288,48 . @th,160,32 @clients counter accept comment "in its own name"',
        '    counter drop comment "chaddr or ciaddr of another"',
        "  }",
        "  chain input {",
        "    type filter hook input priority filter; policy accept;",
        '    iifname "lo" accept comment "the agent itself"',
        "    udp dport 67 jump dhcp",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _chain(name: str, kind: str, hook: str, rules: list[str]) -> list[str]:
    head = f"    type {kind} hook {hook}; policy accept;"
    return [f"  chain {name} {{", head, *(f"    {rule}" for rule in rules), "  }"]


def neighbour_ruleset(bound: NeighbourBound, known: Iterable[str]) -> str:
    """The table that bounds whom a namespace asks for by ARP, for `nft -f`: it replaces what was there at once.

    The kernel has one table of neighbours for all namespaces, so whoever has a router ask for thousands of addresses
    would take it from everybody. A packet goes on where its next hop is known, or was asked for lately; other next
    hops are so many a second.
    """
    elements = ", ".join(values.ipv4(address) for address in sorted(set(known)))
    rules = [
        'oifname "lo" accept',
        "ip daddr 224.0.0.0/3 accept",
        "rt ip nexthop @known accept",
        "rt ip nexthop @lately update @lately { rt ip nexthop } accept",
        f"limit rate over {bound.rate}/second burst {bound.burst} packets drop",
        "add @lately { rt ip nexthop }",
    ]
    lines = [
        f"table ip {NEIGHBOUR_TABLE}",
        f"delete table ip {NEIGHBOUR_TABLE}",
        f"table ip {NEIGHBOUR_TABLE} {{",
        f"  set known {{ type ipv4_addr; {f'elements = {{ {elements} }}' if elements else ''} }}",
        f"  set lately {{ type ipv4_addr; size {_MOST_LATELY}; flags dynamic,timeout; timeout 5m; }}",
        *_chain("bound", "filter", "postrouting priority 90", rules),
        "}",
    ]
    return "\n".join(lines) + "\n"


def neighbour_changes(gone: Iterable[str], come: Iterable[str]) -> str:
    """What takes addresses out of the table's known ones and puts others in."""
    lines = [
        f"delete element ip {NEIGHBOUR_TABLE} known {{ {values.ipv4(address)} }}"
        for address in gone
    ]
    lines += [
        f"add element ip {NEIGHBOUR_TABLE} known {{ {values.ipv4(address)} }}" for address in come
    ]
    return "\n".join(lines) + "\n"
