"""The NAT of a router's namespace as a ruleset for `nft -f`."""

from __future__ import annotations

from collections.abc import Iterable

from netloom.model.hoststate import FloatingNat, NeighbourBound, SourceNat

NFT_TABLE = "netloom"
NEIGHBOUR_TABLE = "netloom-neighbours"
_MOST_LATELY = 4096


def nft_ruleset(floating: Iterable[FloatingNat], source: Iterable[SourceNat]) -> str:
    """The whole NAT table of one router's namespace, for `nft -f`: it replaces what was there at once.

    One DNAT and one SNAT for each floating IP and the catch-all SNAT. A connection that was redirected
    to an inside address and goes out inside again (from instance to floating IP, the hairpin) changes its source too, so
    that its answers come back through the router. Where there is a SourceNat, connections from outside
    are forwarded only when a floating IP let them in.
    """
    nats = sorted(floating, key=lambda nat: nat.external)
    catch_all = sorted(source, key=lambda nat: nat.device)
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


def _chain(name: str, kind: str, hook: str, rules: list[str]) -> list[str]:
    head = f"    type {kind} hook {hook}; policy accept;"
    return [f"  chain {name} {{", head, *(f"    {rule}" for rule in rules), "  }"]


def neighbour_ruleset(bound: NeighbourBound, known: Iterable[str]) -> str:
    """The table that bounds whom a namespace asks for by ARP, for `nft -f`: it replaces what was there at once.

    The kernel has one table of neighbours for all namespaces, so whoever has a router ask for thousands of addresses
    would take it from everybody. A packet goes on where its next hop is known, or was asked for lately; other next
    hops are so many a second.
    """
    elements = ", ".join(sorted(set(known)))
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
    lines = [f"delete element ip {NEIGHBOUR_TABLE} known {{ {address} }}" for address in gone]
    lines += [f"add element ip {NEIGHBOUR_TABLE} known {{ {address} }}" for address in come]
    return "\n".join(lines) + "\n"
