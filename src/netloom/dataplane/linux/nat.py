"""NAT and ingress filter of a router's namespace: one nftables table, replaced as a whole in one transaction.

The table `ip netloom` of a namespace of ours is ours. What it translates is read as nft's JSON. A connection that a
floating IP let in is forgotten as soon as that floating IP goes or points elsewhere. Until that is done, the table has
a chain `unfinished`: a later run that finds it forgets all connections, as nobody knows which.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from netloom.dataplane.linux import netns, nft
from netloom.dataplane.linux.nft import Table, Wanted
from netloom.dataplane.process import ApplyError, run
from netloom.model.family import V6
from netloom.model.hoststate import AttachedNetwork, FloatingNat, PortNat, SourceNat
from netloom.model.port_ranges import Span
from netloom.render.nft import NFT_TABLE, chains_of, nft_ruleset, tracks

log = logging.getLogger(__name__)

_TO_PORT = re.compile(r"dport=(\d+)")  # the first is that of the question
_ADDRESS = re.compile(r"(?:src|dst)=(\S+)")

_UNFINISHED = "unfinished"

CONNECTIONS = 16384
"""That a router remembers for one sender, and for one instance behind its floating IP.

The kernel's own bound (nf_conntrack_max, mostly 262,144) is of the whole namespace: one instance behind a router would
cut off all others.
"""
_PARTS = 16
"""The kernel counts by walking a list (20,000 packets took 86 s at a bound of 16,384, 3 s at 1,000): so each sender has
several lists, told apart by the last bits of the source port.
"""
_COUNTED = f"(th sport & {_PARTS - 1}) ct count over {CONNECTIONS // _PARTS}"
_BOUNDS = f"""table ip {NFT_TABLE} {{
  set senders {{ typeof ip saddr . th sport; size 65535; flags dynamic; }}
  set published {{ typeof ip daddr . th sport; size 65535; flags dynamic; }}
  chain bounds {{
    type filter hook forward priority filter - 1; policy accept;
    ct state new add @senders {{ ip saddr . {_COUNTED} }} drop
    ct state new ct status dnat add @published {{ ip daddr . {_COUNTED} }} drop
  }}
}}
"""


TABLE = ("ip", NFT_TABLE)
TABLE6 = (V6.nft, NFT_TABLE)
"""The ingress filter of IPv6; nothing is translated there."""

Pair = tuple[str, str]


class Translations(Struct, frozen=True):
    """What a table translates, as it says itself.

    `floating`: outside address → (inside address, comment), where the address is empty if single `ports` are led on; `source`: device → (address, comment); `device`: the outside
    device that it names first. `unfinished`: whoever changed it was interrupted.
    """

    floating: dict[str, Pair] = field(default_factory=dict[str, Pair])
    ports: dict[str, tuple[PortNat, ...]] = field(default_factory=dict[str, tuple[PortNat, ...]])
    source: dict[str, Pair] = field(default_factory=dict[str, Pair])
    device: str = ""
    unfinished: bool = False


def translations(table: Table) -> Translations:
    """Read a table of ours."""
    floating: dict[str, Pair] = {}
    ports: dict[str, tuple[PortNat, ...]] = {}
    source: dict[str, Pair] = {}
    device = ""
    chains = table.chains
    for rule in chains["prerouting"].rules if "prerouting" in chains else ():
        compared, to = _meaning(rule, "dnat")
        device = device or compared.get("iifname", "")
        if to and "daddr" in compared and (led := _led(rule, to)) is not None:
            floating.setdefault(compared["daddr"], ("", nft.comment_of(rule)))
            ports[compared["daddr"]] = (*ports.get(compared["daddr"], ()), led)
        elif to and "daddr" in compared:
            floating[compared["daddr"]] = (to, nft.comment_of(rule))
    for rule in chains["postrouting"].rules if "postrouting" in chains else ():
        compared, to = _meaning(rule, "snat")
        if to and "oifname" in compared:
            source[compared["oifname"]] = (to, nft.comment_of(rule))
    return Translations(floating, ports, source, device, _UNFINISHED in chains)


def _meaning(rule: str, verdict: str) -> tuple[dict[str, str], str]:
    """(field → the value that it must equal, where `verdict` translates to) of one rule."""
    compared: dict[str, str] = {}
    to = ""
    for statement in nft.statements(rule):
        match = statement.get("match")
        if match is not None and match["op"] == "==" and isinstance(match["right"], str):
            left = match["left"]
            named = left.get("meta", {}).get("key") or left.get("payload", {}).get("field")
            if named:
                compared[named] = match["right"]
        if verdict in statement:
            to = str(statement[verdict].get("addr", ""))
    return compared, to


def _led(rule: str, to: str) -> PortNat | None:
    """The ports that a rule leads to others; None where it looks at no port."""
    protocol, external, there = "", None, None
    for statement in nft.statements(rule):
        match = statement.get("match")
        if match is not None and match["left"].get("payload", {}).get("field") == "dport":
            protocol, external = match["left"]["payload"]["protocol"], _span(match["right"])
        if "dnat" in statement:
            there = statement["dnat"].get("port")
    if external is None:
        return None
    if isinstance(there, dict):
        values = [pair[1] for pair in there["map"]["data"]["set"]]
        low_high = (min(values), max(values))
    else:
        low_high = external if there is None else _span(there)
    return PortNat(protocol=protocol, external=external, internal=to, to=low_high)


def _span(value: Any) -> Span:
    """One port or a range, as nft writes it."""
    first, last = value["range"] if isinstance(value, dict) else (value, value)
    return int(first), int(last)


def without_mark(table: Table) -> Table:
    """The table without the chain that says that a change of it was interrupted."""
    return Table({n: c for n, c in table.chains.items() if n != _UNFINISHED}, table.sets)


def networks(table: Table) -> set[str]:
    """The ids of the networks that a table keeps apart from others."""
    parts = [chain.partition("-") for chain in table.chains]
    return {id for kind, _, id in parts if f"{kind}-{id}" in chains_of(id)}


def wanted(
    floating: Sequence[FloatingNat],
    source: Sequence[SourceNat],
    networks: Sequence[AttachedNetwork] = (),
) -> Wanted:
    """The table for these, with the bounds of connections where connections are remembered at all."""
    more = _BOUNDS if tracks(floating, source, networks) else ""
    return Wanted(TABLE, nft_ruleset(floating, source, networks), more)


def wanted6(networks: Sequence[AttachedNetwork]) -> Wanted | None:
    """The table of IPv6 for these; None where none of them has an IPv6 subnet."""
    if not any(
        V6.has(cidr) for network in networks for cidr in (*network.connected, *network.others)
    ):
        return None
    return Wanted(TABLE6, nft_ruleset((), (), networks, V6))


def _filter6(namespace: str, networks: Sequence[AttachedNetwork]) -> None:
    """Put the table of IPv6 in, or take it away."""
    table = wanted6(networks)
    if table is None and TABLE6 not in nft.ruleset(namespace):
        return
    name = " ".join(TABLE6)
    text = table.text if table is not None else f"table {name}\ndelete table {name}\n"
    with netns.inside(namespace):
        run(["nft", "-f", "-"], stdin=text)


def _there(namespace: str) -> Table | None:
    return nft.ruleset(namespace).get(TABLE)


def apply(
    namespace: str,
    floating: Sequence[FloatingNat],
    source: Sequence[SourceNat],
    networks: Sequence[AttachedNetwork] = (),
) -> None:
    """Replace the table, then cut the connections whose translation is gone.

    A change in which an earlier agent was interrupted stays unfinished: `finish` may come only when addresses that are not
    wanted are gone too, else the router itself would answer there.
    """
    _filter6(namespace, networks)
    before = _there(namespace)
    if before is None and not floating:
        with netns.inside(namespace):
            _load(wanted(floating, source, networks), "")  # nothing to cut, so nothing to finish
        return
    was = translations(before) if before is not None else Translations()
    there = {(external, internal) for external, (internal, _) in was.floating.items() if internal}
    now = {(item.external, item.internal) for item in floating if item.internal}
    led_there = {(external, port) for external, ports in was.ports.items() for port in ports}
    led = {(item.external, port) for item in floating for port in item.ports}
    leaving_before = {(device, address) for device, (address, _) in was.source.items()}
    leaving = {(item.device, item.address) for item in source}
    with netns.inside(namespace):
        _load(wanted(floating, source, networks))
        cut(external for external, _ in there - now)
        for external, port in led_there - led:
            _cut_ports(external, port)
        cut({address for _, address in leaving_before} - {address for _, address in leaving})
        if before is not None and leaving - leaving_before:
            _forget_untranslated()
        # An instance that had no floating IP left by the router's address: its connections would go on
        # that way, as if the floating IP were not there.
        for _, internal in now - there:
            _forget("--orig-src", internal)
        if not was.unfinished:
            run(["nft", "delete", "chain", "ip", NFT_TABLE, _UNFINISHED])


def finish(namespace: str) -> None:
    """End a change in which an agent was interrupted: forget all connections, as nobody knows which were to be cut."""
    with netns.inside(namespace):
        run(["conntrack", "-F"])
        run(["nft", "delete", "chain", "ip", NFT_TABLE, _UNFINISHED])


def _load(table: Wanted, more: str = f"add chain ip {NFT_TABLE} {_UNFINISHED}\n") -> None:
    """Load a table, `unfinished`; without the bounds of connections where the kernel cannot count (nft_connlimit)."""
    text = f"{table.text}{more}"
    try:
        run(["nft", "-f", "-"], stdin=text + table.more)
    except ApplyError as error:
        if not table.more:
            raise
        run(["nft", "-f", "-"], stdin=text)
        log.warning("connections through routers are not bounded: %s", error)


def remove(namespace: str) -> None:
    """Take the table away and cut what it translated."""
    if not netns.exists(namespace):
        return
    _filter6(namespace, ())
    before = _there(namespace)
    if before is None:
        return
    was = translations(before)
    with netns.inside(namespace):
        run(["nft", "-f", "-"], stdin=f"table ip {NFT_TABLE}\ndelete table ip {NFT_TABLE}\n")
        cut({*was.floating, *(address for address, _ in was.source.values())})


def cut(addresses: Iterable[str]) -> None:
    """Forget every connection, in the calling thread's namespace, from or to these outside addresses."""
    for address in sorted(set(addresses)):
        _forget("--orig-dst", address)
        _forget("--reply-dst", address)


def _cut_ports(address: str, port: PortNat) -> None:
    """Forget the connections that were led on from ports of an outside address: those that are there, port by port."""
    here = ("--orig-dst", address, "-p", port.protocol)
    lines = run(["conntrack", "-L", *here]).splitlines()
    used = {int(found[1]) for line in lines if (found := _TO_PORT.search(line))}
    for number in sorted(used):
        if port.external[0] <= number <= port.external[1]:
            _forget(*here, "--orig-port-dst", str(number))


def _forget_untranslated() -> None:
    """Forget connections that no NAT was there for: they would go on without. What stays inside is known again at once."""
    found: set[tuple[str, str]] = set()
    for line in run(["conntrack", "-L"]).splitlines():
        addresses = _ADDRESS.findall(line)
        if len(addresses) == 4 and addresses[:2] == [addresses[3], addresses[2]]:
            found.add((addresses[0], addresses[1]))
    for source, target in sorted(found):
        there, back = (
            ("--orig-src", source, "--orig-dst", target),
            ("--reply-src", target, "--reply-dst", source),
        )
        _forget(*there, *back)


def _forget(*which: str) -> None:
    try:
        run(["conntrack", "-D", *which])
    except ApplyError as error:
        if "0 flow entries" not in str(error):  # how conntrack says that there were none
            raise
