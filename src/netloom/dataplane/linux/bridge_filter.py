"""The filter of a host's Linux bridges in nftables: read back whole, and changed piece by piece.

Ours are the two tables of this name (`render/bridge_filter.py`). The wording of what is wanted comes from nft itself, as in `nft.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from netloom.dataplane.linux import netns, nft
from netloom.dataplane.mark import digest
from netloom.dataplane.process import ApplyError, run
from netloom.model.filtering import FarSet
from netloom.render.bridge_filter import TABLE, add_base, far_set_text

FAMILIES = ("bridge", "inet")
Name = tuple[str, str]
"""(family, name of a chain, set or map)."""
Rules = Mapping[Name, tuple[str, ...]]


class Content(Struct):
    """What both tables hold: chains with their frame and rules, sets and maps with their elements (in a map, to what each leads)."""

    frames: dict[Name, str] = field(default_factory=dict[Name, str])
    chains: dict[Name, tuple[str, ...]] = field(default_factory=dict[Name, tuple[str, ...]])
    sets: dict[Name, dict[str, str]] = field(default_factory=dict[Name, dict[str, str]])


def read() -> Content:
    """What is there in this namespace."""
    content = Content()
    for family in FAMILIES:
        try:
            text = run(["nft", "-j", "list", "table", family, TABLE])
        except ApplyError as error:
            if "No such file" in str(error):
                continue
            raise
        _take(content, family, text)
    return content


def forbidding() -> dict[tuple[str, str, str], str]:
    """Chains of others that drop forwarded packets which they do not know, those of our bridges too → in words."""
    found: dict[tuple[str, str, str], str] = {}
    for entry in json.loads(run(["nft", "-j", "list", "chains"]))["nftables"]:
        item = entry.get("chain", {})
        if item.get("hook") == "forward" and item.get("policy") == "drop":
            where = (item["family"], item["table"], item["name"])
            if where[0] in ("ip", "ip6", "inet", "bridge") and where[1] != TABLE:
                found[where] = (
                    f"chain {where[2]} of table {where[0]} {where[1]}, which is not Netloom's, drops packets of bridges"
                    " that it does not accept"
                )
    return found


def _take(content: Content, family: str, text: str) -> None:
    ((_, table),) = nft.parsed(text).items()
    for name, chain in table.chains.items():
        content.chains[family, name] = chain.rules
        if chain.frame:
            content.frames[family, name] = chain.frame
    for entry in json.loads(text)["nftables"]:
        ((kind, item),) = entry.items()
        if kind in ("set", "map"):
            elements = (_element(element) for element in item.get("elem", []))
            content.sets[family, item["name"]] = dict(elements)


def _element(element: Any) -> tuple[str, str]:
    """Key and value of an element, as text in the form in which it is written."""
    if isinstance(element, list):
        key, value = element
        if isinstance(value, dict):
            ((verdict, body),) = value.items()
            return _key(key), f"{verdict} {body['target']}" if body else verdict
        return _key(key), str(value)
    return _key(element), ""


def _key(value: Any) -> str:
    if isinstance(value, dict) and "concat" in value:
        return " . ".join(map(_key, value["concat"]))
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, int):
        return f"{value:#010x}"
    text = str(value)
    return text if ":" in text or (text[:1].isdigit() and "." in text) else f'"{text}"'


class Expected:
    """How chains look when they are listed: asked of nft once for each text."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}
        self._base: tuple[dict[Name, str], dict[Name, tuple[str, ...]]] | None = None

    def base(self) -> tuple[dict[Name, str], dict[Name, tuple[str, ...]]]:
        """The frames and rules of the chains that have a hook."""
        if self._base is None:
            content = _listed(add_base())
            self._base = content.frames, {name: content.chains[name] for name in content.frames}
        return self._base

    def rules(self, wanted: Mapping[Name, list[str]], sets: Iterable[FarSet]) -> Rules:
        """Chain → its rules as `read` shows them; left out where nft refuses its text."""
        marks = {name: digest("\n".join(rules), 32) for name, rules in wanted.items()}
        unknown = {name: wanted[name] for name, mark in marks.items() if mark not in self._known}
        if unknown:
            text = "".join(f"add {far_set_text(item)}\n" for item in sets)
            targets = {("inet", word) for r in wanted.values() for word in jumps(r)}
            content = _listed(add_base() + text + chains_text({n: [] for n in targets} | unknown))
            known = {n: content.chains[n] for n in unknown if n in content.chains}
            self._known |= {marks[name]: rules for name, rules in known.items()}
        found = {n: self._known[mark] for n, mark in marks.items() if mark in self._known}
        self._known = {marks[name]: rules for name, rules in found.items()}
        return found


def jumps(rules: Iterable[str]) -> set[str]:
    """The chains to which rules jump."""
    words = [rule.split() for rule in rules]
    return {each[each.index("jump") + 1] for each in words if "jump" in each}


def _listed(text: str) -> Content:
    with netns.scratch():
        run(["nft", "-f", "-"], stdin=text)
        return read()


def chains_text(chains: Mapping[Name, list[str]]) -> str:
    """What makes chains have these rules and no others, whether they are there or not."""
    lines: list[str] = []
    for family, name in chains:
        lines.append(f"add chain {family} {TABLE} {name}")
        lines.append(f"flush chain {family} {TABLE} {name}")
    for (family, name), rules in chains.items():
        lines += [f"add rule {family} {TABLE} {name} {rule}" for rule in rules]
    return "".join(f"{line}\n" for line in lines)


def elements_text(verb: str, elements: Iterable[tuple[Name, str, str]]) -> str:
    """What adds or deletes elements of sets and maps: (name, key, value)."""
    grouped: dict[Name, list[str]] = {}
    for name, key, value in elements:
        grouped.setdefault(name, []).append(f"{key} : {value}" if value else key)
    return "".join(
        f"{verb} element {family} {TABLE} {name} {{ {', '.join(some)} }}\n"
        for (family, name), some in grouped.items()
    )


def deleted(family: str, chain: str) -> str:
    """What deletes a chain to which nothing leads any more."""
    return f"delete chain {family} {TABLE} {chain}\n"


def change(text: str) -> None:
    """Carry out changes, all or none; raises ApplyError."""
    if text:
        run(["nft", "-f", "-"], stdin=text)


def forget_connections(zone: int) -> None:
    """Forget all connections of a zone."""
    try:
        run(["conntrack", "-D", "-w", str(zone)])
    except ApplyError as error:
        if "0 flow entries" not in str(error):
            raise
