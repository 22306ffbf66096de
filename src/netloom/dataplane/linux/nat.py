"""NAT of a router's namespace: one nftables table, replaced as a whole in one transaction.

The table `ip netloom` is ours; a comment in it carries the fingerprint of its text. A connection that a
floating IP let in is forgotten as soon as that floating IP goes or points elsewhere. Until that is done, the table has
a chain `unfinished`: who was interrupted forgets all connections, as nobody knows which.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

from netloom.dataplane.linux import netns
from netloom.dataplane.mark import digest
from netloom.dataplane.process import ApplyError, run
from netloom.model.hoststate import FloatingNat, SourceNat
from netloom.render.nft import NFT_TABLE, nft_ruleset

log = logging.getLogger(__name__)

_COMMENT = re.compile(r'comment "netloom ([0-9a-f]{16})"')
_DNAT = re.compile(r"ip daddr (\S+) dnat to (\S+)")
_SNAT = re.compile(r'oifname "([^"]+)" snat to (\S+)')
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


def marked_ruleset(floating: Sequence[FloatingNat], source: Sequence[SourceNat]) -> tuple[str, str]:
    """The text for `nft -f` and its fingerprint, which the text itself carries."""
    text = nft_ruleset(floating, source)
    mark = digest(text)
    head = f"table ip {NFT_TABLE} {{\n"
    return text.replace(head, f'{head}  comment "netloom {mark}"\n', 1), mark


def _listing(namespace: str) -> str:
    with netns.inside(namespace):
        try:
            return run(["nft", "list", "table", "ip", NFT_TABLE])
        except ApplyError as error:
            if "No such file" in str(error) or "does not exist" in str(error):
                return ""
            raise


def read(namespace: str) -> str | None:
    """Fingerprint of the namespace's table, None where there is none, empty where it is not whole."""
    listing = _listing(namespace)
    return _mark_of(listing) if listing else None


def _mark_of(listing: str) -> str:
    found = _COMMENT.search(listing)
    return found.group(1) if found and f"chain {_UNFINISHED} " not in listing else ""


def apply(
    namespace: str, floating: Sequence[FloatingNat], source: Sequence[SourceNat], keep: bool = False
) -> str:
    """Replace the table, then cut the connections whose translation is gone; returns the fingerprint of what is there.

    `keep`: floating IPs that are no longer wanted stay for now, as their addresses are still there.
    """
    before = _listing(namespace)
    there = set(_DNAT.findall(before))
    now = {(nat.external, nat.internal) for nat in floating}
    leaving_before = set(_SNAT.findall(before))
    leaving = {(nat.device, nat.address) for nat in source}
    if keep and now <= there and leaving <= leaving_before:
        return _mark_of(before)  # nothing new
    if keep:
        floating = [*floating, *_others(there, floating, source)]
        now = {(nat.external, nat.internal) for nat in floating}
    text, mark = marked_ruleset(floating, source)
    with netns.inside(namespace):
        _load(f"{text}add chain ip {NFT_TABLE} {_UNFINISHED}\n")
        if f"chain {_UNFINISHED} " in before:
            run(["conntrack", "-F"])
        cut(external for external, _ in there - now)
        cut({address for _, address in leaving_before} - {address for _, address in leaving})
        if before and leaving - leaving_before:
            _forget_untranslated()
        # An instance that had no floating IP left by the router's address: its connections would go on
        # that way, as if the floating IP were not there.
        for _, internal in now - there:
            _forget("--orig-src", internal)
        run(["nft", "delete", "chain", "ip", NFT_TABLE, _UNFINISHED])
    return mark


def _load(text: str) -> None:
    """Load a ruleset with the bounds of connections; without them where the kernel cannot count (nft_connlimit)."""
    try:
        run(["nft", "-f", "-"], stdin=text + _BOUNDS)
    except ApplyError as error:
        run(["nft", "-f", "-"], stdin=text)
        log.warning("connections through routers are not bounded: %s", error)


def _others(
    there: Iterable[tuple[str, str]], floating: Sequence[FloatingNat], source: Sequence[SourceNat]
) -> Iterable[FloatingNat]:
    """Floating IPs of the table (outside and inside address) that are not among the wanted ones."""
    namespace, device = next((nat.namespace, nat.device) for nat in (*floating, *source))
    wanted = {nat.external for nat in floating}
    for external, internal in sorted(there):
        if external not in wanted:
            yield FloatingNat(
                namespace=namespace, device=device, external=external, internal=internal
            )


def remove(namespace: str) -> None:
    """Take the table away and cut what it translated."""
    if not netns.exists(namespace):
        return
    before = _listing(namespace)
    if not before:
        return
    with netns.inside(namespace):
        run(["nft", "-f", "-"], stdin=f"table ip {NFT_TABLE}\ndelete table ip {NFT_TABLE}\n")
        cut(
            {external for external, _ in _DNAT.findall(before)}
            | {to for _, to in _SNAT.findall(before)}
        )


def cut(addresses: Iterable[str]) -> None:
    """Forget every connection, in the calling thread's namespace, from or to these outside addresses."""
    for address in sorted(set(addresses)):
        _forget("--orig-dst", address)
        _forget("--reply-dst", address)


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
