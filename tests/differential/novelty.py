"""Which of several requests is the newest: that of which the least was asked before."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.differential.operations import UNKNOWN, Request, Twin, Twins

Feature = tuple[Any, ...]

_STATES = (
    "router:external",
    "shared",
    "enable_dhcp",
    "device_owner",
    "port_security_enabled",
    "stateful",
)
_THERE = (
    "fixed_ips",
    "port_id",
    "external_gateway_info",
    "subnets",
    "routes",
    "binding:host_id",
    "gateway_ip",
)
_OF_CHANCE = re.compile(r"[0-9a-f-]{32,}")


class Novelty:
    """Counts what was asked, by what tells requests from one another."""

    def __init__(self, past: Path | None = None) -> None:
        """`past`: a file of what other runs asked, a line each; `keep` adds what this one did."""
        self._asked: Counter[Feature] = Counter()
        self._past = past
        self._seen = set(past.read_text().splitlines()) if past and past.exists() else set[str]()
        self.different: set[str] = set()
        """Requests that were asked, each object by its part in it and not by its id."""

    def keep(self) -> None:
        if self._past:
            self._past.write_text("".join(f"{each}\n" for each in sorted(self._seen)))

    def note(self, request: Request, world: Twins) -> None:
        self.different.add(told(request, world))
        self._seen.add(told(request, world))
        self._asked.update(features(request))

    def newest(self, requests: list[Request], world: Twins) -> Request:
        """Return the request whose features were asked the least."""
        fresh = [each for each in requests if told(each, world) not in self._seen]
        return max(fresh or requests, key=lambda each: self._rarity(each))

    def _rarity(self, request: Request) -> float:
        rarities = [1 / (1 + self._asked[feature]) for feature in features(request)]
        # Of what nobody has there is little to be learnt, in however many ways it is asked.
        vain = UNKNOWN in str(request)
        return sum(rarities) / len(rarities) / (4 if vain else 1)


def told(request: Request, world: Twins) -> str:
    """Return a request in words that are the same in each world."""
    path = "".join(_word(part) for part in request.path)
    text = f"{request.who.name}: {request.method} {path} {_plain(request.body)!r} {_plain(request.headers)}"
    for identity in world.identities:
        text = text.replace(identity.project, f"<{identity.name}>")
    return _OF_CHANCE.sub("·", text.encode("unicode_escape").decode())


def features(request: Request) -> list[Feature]:
    """Return what a request is made of: who asks what of what in which state, and each part of it with these."""
    where = "".join(_word(part).split("?")[0] for part in request.path)
    what: list[Feature] = [("who", request.who.name)]
    what += [("of", *_state(request, part)) for part in request.path if isinstance(part, Twin)]
    what += [("header", name, str(value)) for name, value in request.headers.items()]
    what += [("query", part) for part in re.split(r"[?&]", "".join(map(_word, request.path)))[1:]]
    what += _parts((), request.body, request)
    found: list[Feature] = [(request.method, where, each) for each in what]
    return found + [(request.method, where, *two) for two in combinations(what, 2)]


def _parts(place: Feature, value: Any, request: Request) -> Iterator[Feature]:
    if isinstance(value, dict) and value and len(place) < 4:
        for name, each in value.items():
            yield from _parts((*place, name), each, request)
    elif isinstance(value, list) and value and len(place) < 4:
        yield ("many", *place, len(value))
        for each in value[:3]:
            yield from _parts((*place, "[]"), each, request)
    else:
        yield ("is", *place, *_sort(value, request))


def _sort(value: Any, request: Request) -> Feature:
    """Return what sort of value one is."""
    if isinstance(value, Twin):
        return _state(request, value)
    if isinstance(value, bytes | str):
        return (type(value).__name__, value[:40], len(value) // 100)
    return (type(value).__name__, repr(value)[:40])


def _state(request: Request, twin: Twin) -> Feature:
    """Return in which state an object is, and whose, as seen by who asks."""
    mine = "project_id" in twin.facts and twin.fact("project_id") == request.who.project
    there = tuple(bool(twin.fact(name)) for name in _THERE if name in twin.facts)
    return (
        twin.kind,
        mine,
        tuple(str(twin.fact(name)) for name in _STATES if name in twin.facts),
        there,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Twin):
        return _word(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _word(part: str | Twin) -> str:
    return part if isinstance(part, str) else f"<{part.kind}>"
