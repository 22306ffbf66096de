"""What nftables holds in a namespace, as values that can be compared rule by rule.

`nft -j` gives rules as data, in the tool's own wording of today. So the wording of what is wanted comes from the same tool: the
wanted text is loaded into a namespace made for that moment and listed there (`expected`). Counters, handles and what the
kernel itself puts into sets are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from netloom.dataplane.linux import netns
from netloom.dataplane.mark import digest
from netloom.dataplane.process import ApplyError, run

_DYNAMIC = frozenset({"senders", "published", "lately"})
"""Sets of ours that packets fill."""
_MOST_WORDS = 3

TableName = tuple[str, str]
"""(family, name)."""


class Chain(Struct, frozen=True):
    """`frame`: hook, priority and policy as text, empty for a chain that others jump to. `rules`: as canonical JSON."""

    frame: str = ""
    rules: tuple[str, ...] = ()


class Table(Struct, frozen=True):
    """One table. `sets`: name → type and elements as canonical JSON."""

    chains: dict[str, Chain] = field(default_factory=dict[str, Chain])
    sets: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def hooked(self) -> bool:
        """Whether packets come through any of its chains."""
        return any(chain.frame for chain in self.chains.values())


Ruleset = dict[TableName, Table]


def ruleset(namespace: str) -> Ruleset:
    """All tables of a namespace; raises ApplyError."""
    with netns.inside(namespace):
        return _listed()


def _listed() -> Ruleset:
    return parsed(run(["nft", "-j", "list", "ruleset"]))


def parsed(text: str) -> Ruleset:
    """What `nft -j list ruleset` said."""
    chains: dict[TableName, dict[str, tuple[str, list[str]]]] = {}
    sets: dict[TableName, dict[str, str]] = {}
    for entry in json.loads(text)["nftables"]:
        ((kind, item),) = entry.items()
        if kind == "table":
            chains.setdefault((item["family"], item["name"]), {})
            sets.setdefault((item["family"], item["name"]), {})
            continue
        if "table" not in item:
            continue
        where = (item["family"], item["table"])
        if kind == "chain":
            words = [str(item[k]) for k in ("type", "hook", "dev", "prio", "policy") if k in item]
            chains[where][item["name"]] = (" ".join(words), [])
        elif kind == "rule":
            rule = {"expr": _plain(item["expr"])}
            if "comment" in item:
                rule["comment"] = item["comment"]
            chains[where][item["chain"]][1].append(_canonical(rule))
        elif kind in ("set", "map"):
            kept = {k: v for k, v in item.items() if k not in ("handle", "family", "table", "elem")}
            elements = [] if item["name"] in _DYNAMIC else item.get("elem", [])
            kept["elem"] = sorted(_canonical(_plain(element)) for element in elements)
            sets[where][item["name"]] = _canonical(kept)
    return {
        where: Table(
            {name: Chain(frame, tuple(rules)) for name, (frame, rules) in found.items()},
            sets[where],
        )
        for where, found in chains.items()
    }


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """A statement without what packets change in it."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if isinstance(value.get("counter"), dict):
            value = {**value, "counter": None}
        return {key: _plain(item) for key, item in value.items()}
    return value


class Wanted(Struct, frozen=True):
    """One table as it is wanted. `text` makes it; `more` is loaded with it where the kernel can do that."""

    name: TableName
    text: str
    more: str = ""


class Expected:
    """How wanted tables look when they are listed: asked of nft once for each text."""

    def __init__(self) -> None:
        self._known: dict[str, Table] = {}

    def tables(self, wanted: Mapping[str, Wanted], *, forget: bool = False) -> dict[str, Table]:
        """Name → the table as `ruleset` would show it; left out where nft refuses its text.

        `forget`: these are all that there are, others need not be remembered.
        """
        marks = {name: digest(item.text + item.more, 32) for name, item in wanted.items()}
        unknown = {marks[name]: wanted[name] for name in wanted if marks[name] not in self._known}
        if unknown:
            self._known |= _listed_as(unknown)
        found = {n: self._known[mark] for n, mark in marks.items() if mark in self._known}
        if forget:
            self._known = {marks[name]: table for name, table in found.items()}
        return found


def _listed_as(wanted: dict[str, Wanted]) -> dict[str, Table]:
    """Load all these tables beside each other into a namespace of this moment, and list them."""
    numbered = {
        mark: (f"{item.name[1]}-{n}", item) for n, (mark, item) in enumerate(wanted.items())
    }
    with netns.scratch():
        for more in (True, False):
            texts = {mark: _named(name, item, more) for mark, (name, item) in numbered.items()}
            if _loads("".join(texts.values())):
                break
        else:
            for text in texts.values():  # one of them is refused: the others are known all the same
                _loads(text)
        there = _listed()
    return {
        mark: there[item.name[0], name]
        for mark, (name, item) in numbered.items()
        if (item.name[0], name) in there
    }


def _named(name: str, item: Wanted, more: bool) -> str:
    family, old = item.name
    text = item.text + (item.more if more else "")
    return text.replace(f"table {family} {old}", f"table {family} {name}")


def _loads(text: str) -> bool:
    try:
        run(["nft", "-f", "-"], stdin=text)
    except ApplyError:
        return False
    return True


class Difference(Struct, frozen=True):
    """One thing that is not as wanted in a table, in words. `names`: the chain or set, and all that its rule names."""

    words: str
    names: frozenset[str]


def differences(wanted: Table, there: Table) -> list[Difference]:
    """What is not as wanted in a table; empty where nothing is."""
    found: list[Difference] = []

    def note(name: str, words: str, rule: str = "null") -> None:
        found.append(Difference(words, frozenset({name, *_strings(json.loads(rule))})))

    for name in sorted(wanted.chains.keys() | there.chains.keys()):
        mine, theirs = wanted.chains.get(name), there.chains.get(name)
        if theirs is None:
            note(name, f"chain {name} was gone")
        elif mine is None:
            note(name, f"chain {name} was added")
        elif mine.frame != theirs.frame:
            note(name, f"chain {name} was '{theirs.frame}' and not '{mine.frame}'")
        elif mine.rules != theirs.rules:
            missing, added = _less(mine.rules, theirs.rules), _less(theirs.rules, mine.rules)
            for rule in missing:
                note(name, f"a rule of chain {name} was gone: {told(rule)}", rule)
            for rule in added:
                note(name, f"a rule was added to chain {name}: {told(rule)}", rule)
            if not missing and not added:
                note(name, f"the rules of chain {name} were in another order")
    for name in sorted(wanted.sets.keys() | there.sets.keys()):
        if name not in there.sets:
            note(name, f"set {name} was gone")
        elif name not in wanted.sets:
            note(name, f"set {name} was added")
        elif wanted.sets[name] != there.sets[name]:
            note(name, f"set {name} had other elements")
    return found


def _strings(value: Any) -> Iterator[str]:
    """All texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def in_short(differences: Iterable[Difference]) -> str:
    """The first of these differences in one line."""
    said = [each.words for each in differences]
    rest = f" and {len(said) - _MOST_WORDS} more" if len(said) > _MOST_WORDS else ""
    return "; ".join(said[:_MOST_WORDS]) + rest


def _less(some: Iterable[str], others: Iterable[str]) -> list[str]:
    left = list(others)
    found: list[str] = []
    for rule in some:
        if rule in left:
            left.remove(rule)
        else:
            found.append(rule)
    return found


def told(rule: str) -> str:
    """A rule in few words: its comment, or what it compares and does."""
    value = json.loads(rule)
    if "comment" in value:
        return str(value["comment"])
    return ", ".join(_statement(part) for part in value["expr"])[:160]


def _statement(part: dict[str, Any]) -> str:
    ((kind, body),) = part.items()
    if kind == "match":
        left = body["left"]
        while isinstance(left, dict):
            left = (
                " ".join(str(v) for v in left.values())
                if _flat(left)
                else next(iter(left.values()))
            )
        return f"{left} {body['op']} {body['right']}"
    return f"{kind} {_canonical(body)}" if body is not None else kind


def _flat(value: dict[str, Any]) -> bool:
    return not any(isinstance(item, dict | list) for item in value.values())


def comment_of(rule: str) -> str:
    """A rule's comment, empty where it has none."""
    return str(json.loads(rule).get("comment", ""))


def statements(rule: str) -> list[dict[str, Any]]:
    """A rule's statements as nft's JSON has them."""
    found: list[dict[str, Any]] = json.loads(rule)["expr"]
    return found
