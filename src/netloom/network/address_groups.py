"""Address groups: lists of addresses that rules of security groups name as their other end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib.exceptions.address_group import (
    AddressesAlreadyExist,
    AddressesNotFound,
    AddressGroupInUse,
)

from netloom.contract.address_groups import addresses_of, normal
from netloom.model import AddressGroup, Context, SecurityGroupRule, to_doc
from netloom.network import default_rules
from netloom.network.access import SHARED
from netloom.store import Reader, Writer


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> AddressGroup:
    """Make a group with the addresses that it begins with."""
    return w.insert(
        AddressGroup(
            id=str(uuid4()),
            project_id=attrs["project_id"],
            name=attrs["name"],
            description=attrs["description"],
            addresses=tuple(normal(attrs.get("addresses") or [])),
        )
    )


def update(w: Writer, ctx: Context, old: AddressGroup, attrs: dict[str, Any]) -> AddressGroup:
    """Change what a group is called."""
    named = {name: attrs[name] for name in ("name", "description") if name in attrs}
    return w.update(replace(old, **named))


def delete(w: Writer, ctx: Context, old: AddressGroup) -> None:
    """Delete a group that no rule names; raises AddressGroupInUse."""
    if w.sources(old.id, "security_group_rule.remote_address_group_id"):
        raise AddressGroupInUse(address_group_id=old.id)
    default_rules.forget_remote(w, old.id)
    w.delete(AddressGroup, old.id)


def add_addresses(
    w: Writer, ctx: Context, old: AddressGroup, document: dict[str, Any]
) -> dict[str, Any]:
    """Add addresses that are not there yet; raises AddressesAlreadyExist."""
    asked = addresses_of(document)
    if there := [address for address in asked if address in old.addresses]:
        raise AddressesAlreadyExist(addresses=there, address_group_id=old.id)
    return _changed(w, ctx, old, (*old.addresses, *asked))


def remove_addresses(
    w: Writer, ctx: Context, old: AddressGroup, document: dict[str, Any]
) -> dict[str, Any]:
    """Take addresses out that are there; raises AddressesNotFound."""
    asked = addresses_of(document)
    known = set(old.addresses)
    if missing := [address for address in asked if address not in known]:
        raise AddressesNotFound(addresses=missing, address_group_id=old.id)
    gone = set(asked)
    return _changed(w, ctx, old, tuple(each for each in old.addresses if each not in gone))


def _changed(
    w: Writer, ctx: Context, old: AddressGroup, addresses: tuple[str, ...]
) -> dict[str, Any]:
    group = w.update(replace(old, addresses=addresses))
    doc = show(w, ctx, [group])[0]
    del doc["tags"]
    return {"address_group": doc}


def show(r: Reader, ctx: Context, objs: Sequence[AddressGroup]) -> list[dict[str, Any]]:
    """Return groups as the API shows them to this caller."""
    shared = r.accessible(ctx.caller.project_id, SHARED)
    return [
        to_doc(group) | {"tenant_id": group.project_id, "shared": group.id in shared}
        for group in objs
    ]


def users(r: Reader, group: AddressGroup) -> set[str]:
    """Return the projects whose rules name a group."""
    rules = r.list(SecurityGroupRule, remote_address_group_id=group.id)
    return {rule.project_id for rule in rules}
