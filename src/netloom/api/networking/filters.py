"""Filters of lists that are on no field of the object's own, as the nouns declare them.

Each turns the values that a client sent into filters of the store; no filter at all where all objects meet them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from netloom.api.networking.query import Computed
from netloom.model import Context, Network
from netloom.network.access import SHARED
from netloom.store import Filter, Op, Reader

_NOTHING = [Filter("id")]


def _is_among(field: str, ids: Collection[str], wanted: Sequence[Any]) -> list[Filter]:
    """Return filters for objects of which it is true, or not (`wanted`), that the field is one of `ids`."""
    truths = {value for value in wanted if isinstance(value, bool)}
    if len(truths) == 2:
        return []
    if not truths:
        return _NOTHING
    return [Filter(field, tuple(ids), "any" if truths == {True} else "none")]


def shared(field: str) -> Computed:
    """Make the filter `shared` where the field names the object that is shared with the caller or not."""

    def found(r: Reader, ctx: Context, wanted: Any) -> list[Filter]:
        return _is_among(field, r.accessible(ctx.caller.project_id, SHARED), wanted)

    return found


def on_external_network(r: Reader, ctx: Context, wanted: Any) -> list[Filter]:
    """`router:external` of a subnet: what its network is."""
    external = {network.id for network in r.list(Network, external=True)}
    return _is_among("network_id", external, wanted)


def named(field: str) -> Computed:
    """Make a filter for objects that name any of the values in this field of the store's."""

    def found(r: Reader, ctx: Context, wanted: Any) -> list[Filter]:
        return [Filter(field, tuple(value for value in wanted if isinstance(value, str)))]

    return found


def fixed_ips(r: Reader, ctx: Context, wanted: Any) -> list[Filter]:
    """`fixed_ips` of a port: one of its addresses meets every part of the filter."""
    if not isinstance(wanted, dict):
        return []
    indexed: dict[str, tuple[str, Op]] = {
        "ip_address": ("fixed_ip", "any"),
        "subnet_id": ("subnet_id", "any"),
        "ip_address_substr": ("fixed_ip", "part"),
    }
    given = {name: tuple(wanted[name]) for name in indexed if wanted.get(name)}
    found = [Filter(indexed[name][0], values, indexed[name][1]) for name, values in given.items()]
    if len(given) > 1:
        names = {"ip_address_substr": "~ip_address"}
        entry = tuple((names.get(name, name), values) for name, values in given.items())
        found.append(Filter("fixed_ips", entry, "entry"))
    return found
