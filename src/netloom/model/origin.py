"""Origin: which API object something on a host is there for."""

from __future__ import annotations

from msgspec import Struct

from netloom.model.base import Resource

HOST = "host"
"""Kind of a host itself as an origin."""


class Origin(Struct, frozen=True, order=True, gc=False):
    """An API object that causes something on a host, by kind and id; a host itself has the kind `host`.

    As text it is `kind/id` (`port/6f3c…`): for people, for comments in nftables, and in the API's answers. NOTHING is false.
    """

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}" if self.kind else ""

    def __bool__(self) -> bool:
        return bool(self.kind)

    @classmethod
    def of(cls, thing: Resource) -> Origin:
        """Return an object of the API as an origin."""
        return cls(thing.KIND, thing.id)

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read it from its text."""
        kind, _, id = text.partition("/")
        return cls(kind, id)


NOTHING = Origin("", "")
"""Where no object is meant."""
