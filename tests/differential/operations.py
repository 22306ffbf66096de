"""What is asked: requests, and the world that they are drawn from.

A request names objects by `Twin`, an object that exists on both sides under two ids; `on(side)` fills in that
side's id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.differential import pick
from tests.differential.pick import Draw
from tests.differential.sides import Identity

UNKNOWN = "00000000-0000-4000-8000-000000000bad"


@dataclass(eq=False)
class Twin:
    """One object on both sides. `facts`: attribute → what each side last said of it."""

    kind: str
    ids: tuple[str, str]
    facts: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def fact(self, name: str) -> Any:
        """Return what the reference last said of an attribute, None where it never did."""
        return self.facts.get(name, (None, None))[0]


Text = tuple[str | Twin, ...]
"""A text whose parts may differ between the sides."""


@dataclass
class Request:
    """One request for both sides."""

    who: Identity
    method: str
    path: Text
    body: Any = None
    headers: dict[str, str | Text] = field(default_factory=dict)
    makes: str = ""
    """Kind of what a 201 brings into the world."""
    removes: Twin | None = None

    def on(self, side: int) -> tuple[str, Any, dict[str, str]]:
        """Return path, body and headers with that side's ids."""
        headers = {name: text(value, side) for name, value in self.headers.items()}
        return text(self.path, side), render(self.body, side), headers

    def __str__(self) -> str:
        path, body, headers = self.on(0)
        return f"{self.who.name}: {self.method} {path} {body!r} {headers or ''}"


def text(value: str | Text, side: int) -> str:
    """Return a text as that side has it."""
    if isinstance(value, str):
        return value
    return "".join(part.ids[side] if isinstance(part, Twin) else part for part in value)


def both(theirs: Any, ours: Any) -> Twin:
    """Return a value that the sides know by different words, ready for a query."""
    return Twin("value", (quote(str(theirs)), quote(str(ours))))


def render(value: Any, side: int) -> Any:
    if isinstance(value, Twin):
        return value.ids[side]
    if isinstance(value, dict):
        return {key: render(each, side) for key, each in value.items()}
    if isinstance(value, list):
        return [render(each, side) for each in value]
    return value


COLLECTIONS = {
    "network": "networks",
    "subnet": "subnets",
    "port": "ports",
    "router": "routers",
    "floatingip": "floatingips",
    "security_group": "security-groups",
    "security_group_rule": "security-group-rules",
}
"""Kinds that any request may be about → their path."""

PATHS = COLLECTIONS | {
    "policy": "qos/policies",
    "address_group": "address-groups",
    "rbac_policy": "rbac-policies",
}
"""Kind → path, of all that is made."""


class Twins:
    """What was made so far, and the drawing of what a request may name."""

    def __init__(self, identities: list[Identity]) -> None:
        self.identities = identities
        self.twins: list[Twin] = []

    def of(self, *kinds: str) -> list[Twin]:
        return [twin for twin in self.twins if twin.kind in kinds]

    def where(self, kind: str, name: str, value: Any) -> list[Twin]:
        """Return the twins of a kind of which the reference last said this."""
        return [twin for twin in self.of(kind) if twin.fact(name) == value]

    def note(self, theirs: Any, ours: Any) -> dict[str, Any]:
        """Remember what both sides say of one object; return what Netloom said of it before."""
        if not isinstance(theirs, dict) or not isinstance(ours, dict) or "id" not in theirs:
            return {}
        for twin in self.twins:
            if twin.ids == (theirs["id"], ours.get("id")):
                before = {name: value for name, (_, value) in twin.facts.items()}
                twin.facts |= {
                    name: (theirs[name], ours[name]) for name in theirs.keys() & ours.keys()
                }
                return before
        return {}

    def some(self, draw: Draw, kind: str) -> Any:
        """Return a twin of the kind, now and then an id that nobody has."""
        twins = self.of(kind)
        if not twins or draw(pick.integers(0, 19)) == 0:
            return UNKNOWN
        return newest(draw, twins)

    def likely(self, draw: Draw, kind: str, name: str, value: Any) -> Any:
        """Return a twin of the kind, mostly one with this attribute (an external network …)."""
        twins = self.where(kind, name, value)
        return newest(draw, twins) if twins and draw(pick.integers(0, 5)) else self.some(draw, kind)

    def who(self, draw: Draw) -> Identity:
        """Return who asks, now and then somebody whose project has nothing yet."""
        if draw(pick.integers(0, 40)) == 0:
            return Identity(
                "newcomer", f"{draw(pick.integers(0, 2**128 - 1)):032x}", "member,reader"
            )
        admin, member, reader, other, service, manager = self.identities
        return draw(
            pick.sampled_from(
                [
                    admin,
                    admin,
                    admin,
                    member,
                    member,
                    member,
                    member,
                    reader,
                    other,
                    other,
                    service,
                    manager,
                ]
            )
        )


def newest(draw: Draw, twins: list[Twin]) -> Twin:
    """Return a twin; the newest are the likeliest: chains of objects come about."""
    return twins[
        -1 - min(draw(pick.integers(0, len(twins) - 1)), draw(pick.integers(0, len(twins) - 1)))
    ]
