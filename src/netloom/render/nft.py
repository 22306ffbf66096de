"""Rulesets for `nft -f`: NAT and ingress filter of a router's namespace, and what a DHCP server may hear.

Each is a whole table that replaces itself in one transaction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from netloom.model.family import V4, Family, of
from netloom.model.hoststate import (
    AttachedNetwork,
    Dnsmasq,
    FloatingNat,
    NeighbourBound,
    PortNat,
    SourceNat,
)
from netloom.model.port_ranges import PORT_PROTOCOLS
from netloom.render import values
from netloom.render.keepalived import SYNC_PORT

NFT_TABLE = "netloom"
NEIGHBOUR_TABLE = "netloom-neighbours"
_MOST_LATELY = 4096

DHCP_TABLE = "netloom-dhcp"


def nft_ruleset(
    floating: Iterable[FloatingNat],
    source: Iterable[SourceNat],
    networks: Iterable[AttachedNetwork] = (),
    family: Family = V4,
) -> str:
    """The whole table of a family in one router's namespace, for `nft -f`: it replaces what was there at once.

    One DNAT and one SNAT for each floating IP and the catch-all SNAT. A connection that was redirected
    to an inside address and goes out inside again (from instance to floating IP, the hairpin) changes its source too, so
    that its answers come back through the router. Where there is a SourceNat, connections from outside
    are forwarded only when a floating IP let them in. See `tracks` for the namespaces that remember connections.
    """
    nats = sorted(floating, key=lambda nat: nat.external)
    catch_all = sorted(source, key=lambda nat: nat.device)
    sides = sorted(networks, key=lambda network: network.network_id)
    for item in (*nats, *catch_all, *sides):
        check_nat(item, family)
    devices = sorted({nat.device for nat in nats} | {nat.device for nat in catch_all})
    before: list[str] = []
    after: list[str] = ['meta mark 0x1 accept comment "from outside: keeps its source"']
    forward: list[str] = []
    for device in devices:
        before.append(f'iifname "{device}" meta mark set 0x1')
        after.append(f'oifname != "{device}" ct status ! dnat accept')
    for nat in nats:
        comment = f' comment "{nat.origin[0]}"' if nat.origin else ""
        for port in nat.ports:
            before.append(f"{family.nft} daddr {nat.external} {_port_dnat(port)}{comment}")
        if nat.internal:
            before.append(f"{family.nft} daddr {nat.external} dnat to {nat.internal}{comment}")
            after.append(f"{family.nft} saddr {nat.internal} snat to {nat.external}{comment}")
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
        f"table {family.nft} {NFT_TABLE}",
        f"delete table {family.nft} {NFT_TABLE}",
        f"table {family.nft} {NFT_TABLE} {{",
        *_sources(sides, family),
        *(_between_replicas() if family is V4 else ()),
    ]
    if devices:
        lines += [
            *_chain("prerouting", "nat", "prerouting priority dstnat", before),
            *_chain("postrouting", "nat", "postrouting priority srcnat", after),
            *_chain("forward", "filter", "forward priority filter", forward),
        ]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _port_dnat(port: PortNat) -> str:
    """The rule's part that leads ports to others. nft has no sum of port and offset: a shifted range is a map."""
    (first, last), (low, high) = port.external, port.to
    match = f"{port.protocol} dport {first if first == last else f'{first}-{last}'}"
    if low == high:
        return f"{match} dnat to {port.internal}:{low}"
    if low == first:
        return f"{match} dnat to {port.internal}"
    pairs = ", ".join(f"{first + n} : {low + n}" for n in range(last - first + 1))
    return f"{match} dnat to {port.internal} : {port.protocol} dport map {{ {pairs} }}"


def tracks(
    floating: Iterable[FloatingNat],
    source: Iterable[SourceNat],
    networks: Iterable[AttachedNetwork],
) -> bool:
    """Whether the kernel remembers connections for this table: for NAT, and to know an answer from a question."""
    return bool([*floating, *source]) or any(network.external for network in networks)


def chains_of(network_id: str) -> tuple[str, str]:
    """The chains of a network: for what says that it comes from there, and for what goes there."""
    return f"from-{network_id}", f"to-{network_id}"


def _sources(networks: Sequence[AttachedNetwork], family: Family) -> list[str]:
    """The chains that look at which device a forwarded packet comes in, and whether its source belongs there.

    In the hook `forward` a source is as it came in, also in answers of translated connections (the kernel puts those
    right later, in `postrouting`), and the device by which the packet will leave is known. Two look-ups for each
    packet, before `bounds`: nobody uses up the connections of another sender.
    """
    chains: list[str] = []
    came: list[str] = []
    leaves: list[str] = []
    for network in networks:
        devices = [f'"{device}"' for device in sorted(network.devices)]
        known = f"iifname {{ {', '.join(devices)} }} return"
        comment = f' comment "{network.origin[0]}"' if network.origin else ""
        connected = [cidr for cidr in network.connected if family.has(cidr)]
        if connected:
            name, _ = chains_of(network.network_id)
            # An answer from outside may have come by another router.
            rules = [known, *(["ct direction reply return"] if network.external else [])]
            chains += _subchain(name, [*rules, f"counter drop{comment}"])
            came += [f"{cidr} : jump {name}" for cidr in sorted(connected)]
        # Of an inside network the chain above has dropped the others.
        members = [cidr for cidr in network.others if family.has(cidr)]
        members += connected if network.external else []
        if members:
            _, name = chains_of(network.network_id)
            rule = f"{family.nft} saddr {{ {', '.join(sorted(members))} }} counter drop{comment}"
            chains += _subchain(name, [known, rule])
            leaves += [f"{device} : jump {name}" for device in devices]
    rules = [f"{family.nft} saddr vmap {{ {', '.join(came)} }}"] if came else []
    rules += [f"oifname vmap {{ {', '.join(leaves)} }}"] if leaves else []
    if not rules:
        return []
    return [*chains, *_chain("sources", "filter", "forward priority filter - 2", rules)]


def _between_replicas() -> list[str]:
    """The chains that keep everybody else out of what the replicas of an HA router say to one another.

    conntrackd believes whoever reaches its port at any address of the namespace, and the kernel forwards to every
    network that it is on: neither an instance nor the world outside may have a word in that.
    """
    comment = 'comment "only replicas speak to replicas"'
    sync = f"meta l4proto udp udp dport {SYNC_PORT}"
    hears = [
        f'iifname != "lo" iifname != "ha-*" {what} counter drop {comment}'
        for what in (sync, "meta l4proto 112")
    ]
    to_replicas = [f'oifname "ha-*" iifname != "ha-*" counter drop {comment}']
    return [
        *_chain("hears", "filter", "input priority filter", hears),
        *_chain("replicas", "filter", "forward priority filter - 3", to_replicas),
    ]


def check_nat(item: FloatingNat | SourceNat | AttachedNetwork, family: Family = V4) -> None:
    """Raise Unwritable where one of its values is not what nft would take it for."""
    for device in item.devices if isinstance(item, AttachedNetwork) else (item.device,):
        values.device(device)
    match item:
        case FloatingNat():
            inside = [port.internal for port in item.ports]
            addresses = (
                item.external,
                *inside,
                *([item.internal] if item.internal or not inside else []),
            )
            for port in item.ports:
                if port.protocol not in PORT_PROTOCOLS:
                    raise values.Unwritable("protocol with ports", port.protocol)
        case SourceNat():
            addresses = (item.address,)
        case AttachedNetwork():
            addresses = ()
            values.word(item.network_id)
            for cidr in (*item.connected, *item.others):
                values.network(cidr, of(cidr))
    for address in addresses:
        values.address(address, family)
    for why in item.origin[:1]:
        values.word(why.kind)
        values.word(why.id)


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
    return _subchain(name, [f"type {kind} hook {hook}; policy accept;", *rules])


def _subchain(name: str, rules: list[str]) -> list[str]:
    return [f"  chain {name} {{", *(f"    {rule}" for rule in rules), "  }"]


def neighbour_ruleset(bound: NeighbourBound, known: Iterable[str], family: Family = V4) -> str:
    """The table that bounds whom a namespace asks for (by ARP, in IPv4), for `nft -f`: it replaces what was there at once.

    The kernel has one table of neighbours for all namespaces, so whoever has a router ask for thousands of addresses
    would take it from everybody. A packet goes on where its next hop is known, or was asked for lately; other next
    hops are so many a second.
    """
    elements = ", ".join(values.address(address, family) for address in sorted(set(known)))
    hop = f"rt {family.nft} nexthop"
    rules = [
        'oifname "lo" accept',
        f"{family.nft} daddr {family.groups} accept",
        f"{hop} @known accept",
        f"{hop} @lately update @lately {{ {hop} }} accept",
        f"limit rate over {bound.rate}/second burst {bound.burst} packets drop",
        f"add @lately {{ {hop} }}",
    ]
    lines = [
        f"table {family.nft} {NEIGHBOUR_TABLE}",
        f"delete table {family.nft} {NEIGHBOUR_TABLE}",
        f"table {family.nft} {NEIGHBOUR_TABLE} {{",
        f"  set known {{ type {family.nft_type}; {f'elements = {{ {elements} }}' if elements else ''} }}",
        f"  set lately {{ type {family.nft_type}; size {_MOST_LATELY}; flags dynamic,timeout; timeout 5m; }}",
        *_chain("bound", "filter", "postrouting priority 90", rules),
        "}",
    ]
    return "\n".join(lines) + "\n"


def neighbour_changes(gone: Iterable[str], come: Iterable[str], family: Family = V4) -> str:
    """What takes addresses out of the table's known ones and puts others in."""
    known = f"element {family.nft} {NEIGHBOUR_TABLE} known"
    lines = [f"delete {known} {{ {values.address(address, family)} }}" for address in gone]
    lines += [f"add {known} {{ {values.address(address, family)} }}" for address in come]
    return "\n".join(lines) + "\n"
