"""The table of what the Networking API serves: one row a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from neutron_lib import exceptions as lib

from netloom.model import Context, Network, Resource, Subnet
from netloom.network import networks, subnets
from netloom.store import Reader, Writer


class Noun(Struct, frozen=True, kw_only=True):
    """One collection of objects.

    `parent`: the field that names the object whose owner policy may ask for, and that object's kind.
    `actions`: member actions, name → what carries it out.
    """

    collection: str
    singular: str
    kind: type[Resource]
    rules: Any
    not_found: Callable[[str], Exception]
    bulk: bool = True
    taggable: bool = True
    updatable: bool = True
    parent: str | None = None
    parent_not_found: Callable[[str], Exception] = lambda id: lib.NetworkNotFound(net_id=id)
    actions: dict[str, Callable[[Writer, Context, Any, dict[str, Any]], Any]] = {}

    def create(self, w: Writer, ctx: Context, attrs: dict[str, Any]) -> Any:
        """Make one object."""
        return self.rules.create(w, ctx, attrs)

    def show(self, r: Reader, ctx: Context, objs: Sequence[Any]) -> list[dict[str, Any]]:
        """Return objects as the API shows them."""
        return self.rules.show(r, ctx, objs)


NOUNS: dict[str, Noun] = {
    noun.collection: noun
    for noun in (
        Noun(
            collection="networks",
            singular="network",
            kind=Network,
            rules=networks,
            not_found=lambda id: lib.NetworkNotFound(net_id=id),
        ),
        Noun(
            collection="subnets",
            singular="subnet",
            kind=Subnet,
            rules=subnets,
            not_found=lambda id: lib.SubnetNotFound(subnet_id=id),
            parent="network_id",
        ),
    )
}
"""Collection (with underscores) → its row."""
