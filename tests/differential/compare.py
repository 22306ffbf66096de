"""Two answers, compared: ids, times and addresses that were drawn at random are paired, all else must be equal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.differential.sides import Answer

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
IPV4 = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\d/.])")
ROOT = re.compile(r"http://127\.0\.0\.1:\d+/(networking/)?")
SET = re.compile(r"\{('[^{}:]*')\}")
NAMES = re.compile(r"(^Unrecognized attribute\(s\) )'([^']*)'")
LISTED = re.compile(r"(provider network attributes: )([\w:, ]+)")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

DRAWN = {"provider:segmentation_id"}
"""Numbers that each side draws for itself."""

TIMES = {"created_at", "updated_at"}

COUNTED = {"revision_number"}
"""Netloom counts every change of what it shows once; Neutron leaves some out and counts others twice. What must hold
is that a changed object has a new number: `changed_unseen`."""

ORDERED = {"dns_nameservers"}
"""Lists whose order means something."""

VIEWED = (
    TIMES
    | COUNTED
    | {"status", "shared", "port_details", "availability_zones", "tags", "standard_attr_id"}
    | {"qos_network_policy_id"}
)
"""Attributes that change without a change of the object itself, or look otherwise to each viewer."""


class Pairs:
    """Which of their words stands for which of ours: one to one."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}
        self._theirs: dict[str, str] = {}

    def match(self, theirs: str, ours: str) -> bool:
        """Pair two words at their first meeting; afterwards say whether they belong together."""
        if theirs not in self._ours and ours not in self._theirs:
            self._ours[theirs], self._theirs[ours] = ours, theirs
        return self._ours.get(theirs) == ours

    def known(self, theirs: str) -> str | None:
        return self._ours.get(theirs)

    def paired(self, ours: str) -> bool:
        return ours in self._theirs


def differences(theirs: Answer, ours: Answer, pairs: Pairs) -> list[str]:
    """Return what differs, one line each: place, theirs, ours."""
    if theirs.status != ours.status:
        return [f"status: {theirs.status} {theirs.text[:300]} | {ours.status} {ours.text[:300]}"]
    return list(_walk("", theirs.body, ours.body, pairs))


def changed_unseen(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what changed of an object although its revision number did not rise."""
    names = (before.keys() & after.keys()) - VIEWED
    old, new = before.get("revision_number"), after.get("revision_number")
    if old is None or new is None or new > old:
        return []
    changed = [
        f"{name}: {before[name]!r} -> {after[name]!r}"
        for name in names
        if before[name] != after[name]
    ]
    return [f"revision {old} -> {new}, but {line}" for line in changed]


def _walk(place: str, theirs: Any, ours: Any, pairs: Pairs) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        # Identity first: it pairs the ids that the rest may mention.
        for key in sorted(theirs.keys() | ours.keys(), key=lambda key: (key != "id", key)):
            where = f"{place}.{key}" if place else str(key)
            if key not in ours:
                yield f"{where}: {theirs[key]!r} | absent"
            elif key not in theirs:
                yield f"{where}: absent | {ours[key]!r}"
            elif key in TIMES:
                if not TIME.fullmatch(str(ours[key])):
                    yield f"{where}: {theirs[key]!r} | {ours[key]!r}"
            elif (
                key in DRAWN | COUNTED
                and isinstance(theirs[key], int)
                and isinstance(ours[key], int)
            ):
                continue
            elif key in ORDERED:
                if theirs[key] != ours[key]:
                    yield f"{where}: {theirs[key]!r} | {ours[key]!r}"
            else:
                yield from _walk(where, theirs[key], ours[key], pairs)
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield f"{place}: {len(theirs)} elements {theirs!r} | {len(ours)} elements {ours!r}"
            return
        for one, other in zip(
            _in_order(theirs, pairs, True), _in_order(ours, pairs, False), strict=True
        ):
            yield from _walk(place + "[]", one, other, pairs)
    elif isinstance(theirs, str) and isinstance(ours, str):
        if not _same_text(theirs, ours, pairs):
            yield f"{place}: {theirs!r} | {ours!r}"
    elif theirs != ours or type(theirs) is not type(ours):
        yield f"{place}: {theirs!r} | {ours!r}"


def _same_text(theirs: str, ours: str, pairs: Pairs) -> bool:
    theirs, ours = _neutral(theirs), _neutral(ours)
    for drawn in (UUID, MAC, IPV4):
        one, other = drawn.findall(theirs), drawn.findall(ours)
        if len(one) != len(other):
            return False
        # Lists of ids in messages have no order; single ones are paired.
        if len(one) == 1 and not _belong(one[0], other[0], drawn, pairs):
            return False
        theirs, ours = drawn.sub("·", theirs), drawn.sub("·", ours)
    return theirs == ours


def _neutral(text: str) -> str:
    """Take out where the side lives, and the order of Python's sets, which differs from run to run."""
    text = SET.sub(lambda found: "{" + _sorted(found[1]) + "}", ROOT.sub("/", text))
    text = LISTED.sub(lambda found: found[1] + _sorted(found[2]), text)
    return NAMES.sub(lambda found: f"{found[1]}'{_sorted(found[2])}'", text)


def _sorted(words: str) -> str:
    return ", ".join(sorted(words.split(", ")))


def _belong(theirs: str, ours: str, drawn: re.Pattern[str], pairs: Pairs) -> bool:
    if drawn is IPV4:
        return theirs == ours or (_from_a_pool(theirs) and _from_a_pool(ours))
    return pairs.match(theirs, ours)


def _from_a_pool(address: str) -> bool:
    """Tell addresses that a side draws from those that requests name (attributes.py keeps them apart)."""
    octets = [int(octet) for octet in address.split(".")]
    return octets[1] >= 128 or octets[3] >= 64


def _in_order(items: list[Any], pairs: Pairs, theirs: bool) -> list[Any]:
    """Bring lists whose order means nothing (ids are random) into one that both sides have."""

    def common(ident: str) -> str | None:
        """Return the name under which both sides know an id."""
        return pairs.known(ident) if theirs else ident if pairs.paired(ident) else None

    def key(item: Any) -> str:
        ident = item.get("id") if isinstance(item, dict) else item
        if isinstance(ident, str) and (known := common(ident)):
            return known
        # Met for the first time: by what is not drawn.
        telling = UUID.sub(lambda found: common(found[0]) or "·", repr(_plain(item)))
        return "~" + IPV4.sub("·", MAC.sub("·", telling))

    return sorted(items, key=key)


def _plain(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return sorted(
        (name, _plain(value))
        for name, value in item.items()
        if name not in TIMES | DRAWN and name in _TELLING
    )


_TELLING = {
    "name",
    "direction",
    "ethertype",
    "protocol",
    "remote_group_id",
    "port_range_min",
    "device_owner",
    "device_id",
    "project_id",
    "security_group_id",
    "network_id",
    "cidr",
}
"""Fields by which an object that is met for the first time is recognised in both lists."""
