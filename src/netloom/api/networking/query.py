"""The query language of lists: filters, fields, sorting, pages.

Filters that the store has an index for go into its statement; the others look at the stored objects, and those
on computed attributes (`status`, `shared` …) at what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cmp_to_key
from typing import Any, TypeVar
from urllib.parse import urlencode

from msgspec import Struct
from neutron_lib import exceptions as lib

from netloom.contract.attributes import MAPS
from netloom.contract.decode import STRANGE, refused
from netloom.contract.errors import HTTPBadRequest
from netloom.model import Port, Resource

T = TypeVar("T", bound=Resource)
Doc = dict[str, Any]
Sort = tuple[str, bool]
"""Attribute, and whether ascending."""

_NO_FILTERS = frozenset({"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"})
_TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
_MOST = 10**18
"""What SQLite can count to, and more than anybody has."""

_INDEXED: dict[str, dict[str, str]] = {
    "subnets": {"network_id": "network_id"},
    "ports": {
        "network_id": "network_id",
        "device_id": "device_id",
        "device_owner": "device_owner",
        "mac_address": "mac_address",
        "binding:host_id": "host",
        "security_groups": "security_group_id",
    },
    "floatingips": {
        "floating_network_id": "floating_network_id",
        "floating_ip_address": "floating_ip_address",
        "port_id": "port_id",
        "router_id": "router_id",
    },
    "security_group_rules": {
        "security_group_id": "security_group_id",
        "remote_group_id": "remote_group_id",
    },
}
_INDEXED_EVERYWHERE = {"id": "id", "project_id": "project_id", "name": "name"}


class Query(Struct, frozen=True):
    """What a list asks for. `fields` None: all; `filters`: attribute → any of these values."""

    filters: dict[str, Any]
    fields: frozenset[str] | None
    sorts: tuple[Sort, ...]
    limit: int
    marker: str | None
    reverse: bool


def parse(collection: str, params: Sequence[tuple[str, str]], max_limit: int = 0) -> Query:
    """Read a query; raises HTTPBadRequest, BadRequest or InvalidInput as Neutron does."""
    values = _values(params)
    filters = _filters(collection, values)
    sorts = _sorts(collection, values)
    limit = _limit(values, max_limit)
    return Query(
        filters=filters,
        fields=frozenset(values["fields"]) if "fields" in values else None,
        sorts=sorts if any(key == "id" for key, _ in sorts) else (*sorts, ("id", True)),
        limit=limit,
        marker=values.get("marker", [""])[-1] or None if limit else None,
        reverse=values.get("page_reverse", [""])[-1].lower() == "true",
    )


def _values(params: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for key, value in params:
        values.setdefault(key, []).append(value)
    return values


def fields_of(collection: str, params: Sequence[tuple[str, str]]) -> frozenset[str] | None:
    """Return the fields that a show asks for; None for all.

    Filters mean nothing here, but one that no list would take is refused as there.
    """
    values = _values(params)
    _filters(collection, values)
    return frozenset(values["fields"]) if "fields" in values else None


def pick(docs: Iterable[Doc], fields: frozenset[str] | None) -> list[Doc]:
    """Return documents with only these fields."""
    if fields is None:
        return list(docs)
    return [{name: value for name, value in doc.items() if name in fields} for doc in docs]


def _filters(collection: str, values: Mapping[str, list[str]]) -> dict[str, Any]:
    attributes = MAPS[collection]
    filters: dict[str, Any] = {}
    unknown: list[str] = []
    for key, given in values.items():
        if key in _NO_FILTERS:
            continue
        facts = attributes.get(key)
        if facts is None or not facts.get("is_filter"):
            unknown.append(key)
        else:
            try:
                filters[key] = _converted(facts, given)
            except STRANGE as error:
                raise refused(key, error) from None
    if unknown:
        raise HTTPBadRequest(f"{unknown} is invalid attribute for filtering")
    return filters


def _converted(facts: Mapping[str, Any], given: list[str]) -> Any:
    """Return a filter's values as the attribute's are kept."""
    if "convert_list_to" in facts:
        return facts["convert_list_to"](given)
    if "convert_to" in facts:
        return [facts["convert_to"](value) for value in given]
    return given


def _sorts(collection: str, values: Mapping[str, list[str]]) -> tuple[Sort, ...]:
    keys = [key for key in values.get("sort_key", ()) if key]
    directions = [direction for direction in values.get("sort_dir", ()) if direction]
    if len(keys) != len(directions):
        raise HTTPBadRequest("The number of sort_keys and sort_dirs must be same")
    attributes = MAPS[collection]
    absent = [key for key in keys if not attributes.get(key, {}).get("is_sort_key")]
    if absent:
        raise HTTPBadRequest(f"{absent} is invalid attribute for sort_keys")
    wrong = [direction for direction in directions if direction not in ("asc", "desc")]
    if wrong:
        raise HTTPBadRequest(
            f"{wrong} is invalid value for sort_dirs, valid value is 'asc' and 'desc'"
        )
    # A key that stands again decides nothing: where it would be asked, its values are equal.
    first = dict(reversed(list(zip(keys, directions, strict=True))))
    return tuple((key, first[key] == "asc") for key in dict.fromkeys(keys))


def _limit(values: Mapping[str, list[str]], max_limit: int) -> int:
    """Return how many objects a page holds; 0 for no limit."""
    given = values.get("limit", ["0"])[-1]
    try:
        limit = min(int(given), _MOST)
    except ValueError:
        limit = -1
    if limit < 0:
        raise lib.BadRequest(
            resource="limit", msg=f"Limit must be an integer 0 or greater and not '{given}'"
        )
    if max_limit > 0:
        return min(max_limit, limit) or max_limit
    return limit


def where(collection: str, query: Query) -> dict[str, set[str]]:
    """Return the part of the filters that the store answers from an index."""
    indexed = _INDEXED_EVERYWHERE | _INDEXED.get(collection, {})
    found: dict[str, set[str]] = {}
    for key, values in query.filters.items():
        name = indexed.get("project_id" if key == "tenant_id" else key)
        if name is not None:
            # Both names of the owner may be given: then both must hold.
            found[name] = found[name] & set(values) if name in found else set(values)
    if collection == "ports" and isinstance(query.filters.get("fixed_ips"), dict):
        for key, name in (("ip_address", "fixed_ip"), ("subnet_id", "subnet_id")):
            if key in query.filters["fixed_ips"]:
                found[name] = set(query.filters["fixed_ips"][key])
    return found


@cache
def stored_fields(kind: type[Resource]) -> dict[str, str]:
    """Return attribute of the API → field of the struct, for what is stored as it is shown."""
    struct: Any = kind
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    stored = {name: field for name, field in names.items() if name not in kind.INTERNAL}
    return stored | {"tenant_id": "project_id"}


def keep_stored(collection: str, kind: type[T], objs: list[T], query: Query) -> list[T]:
    """Return the objects that meet all filters on what is stored and was not asked of the store already."""
    stored = stored_fields(kind)
    indexed = _INDEXED_EVERYWHERE | _INDEXED.get(collection, {})
    for key, values in query.filters.items():
        if key in _TAG_FILTERS:
            objs = [obj for obj in objs if _tags_match(obj.tags, key, values)]
        elif key == "fixed_ips":
            objs = [obj for obj in objs if isinstance(obj, Port) and _fixed_ips_match(obj, values)]
        elif key in stored and key not in indexed and key != "tenant_id":
            field = stored[key]
            objs = [obj for obj in objs if _matches(getattr(obj, field), values)]
    return objs


def keep_shown(kind: type[Resource], docs: list[Doc], query: Query) -> list[Doc]:
    """Return the documents that meet the filters on what is computed."""
    stored = stored_fields(kind)
    for key, values in query.filters.items():
        if key not in stored and key not in _TAG_FILTERS:
            docs = [doc for doc in docs if _matches(doc.get(key), values)]
    return docs


def keep_documents(docs: list[Doc], query: Query) -> list[Doc]:
    """Return the documents that meet every filter, for what is not stored at all."""
    for key, values in query.filters.items():
        docs = [doc for doc in docs if _matches(doc.get(key), values)]
    return docs


def needs_shown(kind: type[Resource], query: Query) -> bool:
    """Tell whether a filter or sort key is only known once objects are shown."""
    stored = stored_fields(kind)
    asked = [*query.filters, *(key for key, _ in query.sorts)]
    return any(key not in stored and key not in _TAG_FILTERS for key in asked)


def _matches(value: Any, wanted: Sequence[Any]) -> bool:
    """Tell whether a value is any of those wanted; of a list, whether any of its values is."""
    if value is None:
        # As in SQL nothing equals what is not there, not even a filter that says so.
        return False
    if isinstance(value, list | tuple):
        return any(_matches(part, wanted) for part in value)
    return value in wanted or (not isinstance(value, str | bool) and str(value) in wanted)


def _tags_match(tags: Sequence[str], key: str, values: Sequence[str]) -> bool:
    wanted = {tag for value in values for tag in value.split(",")}
    found = wanted & set(tags)
    matches = bool(found) if key.endswith("-any") else found == wanted
    return matches is not key.startswith("not-")


def _fixed_ips_match(port: Port, wanted: Any) -> bool:
    """Tell whether one of a port's addresses meets every part of a `fixed_ips` filter."""
    if not isinstance(wanted, dict):
        return True
    addresses, subnets = wanted.get("ip_address"), wanted.get("subnet_id")
    parts = wanted.get("ip_address_substr")
    return any(
        (addresses is None or fixed.ip_address in addresses)
        and (subnets is None or fixed.subnet_id in subnets)
        and (parts is None or any(part in fixed.ip_address for part in parts))
        for fixed in port.fixed_ips
    ) or not (addresses or subnets or parts)


def page(kind: type[Resource] | None, items: list[Any], query: Query, marker: Any) -> list[Any]:
    """Sort objects (of `kind`) or documents and return the page that was asked for.

    `marker`: the object or document after which (or, reversed, before which) the page lies; it need
    not be among the items.
    """
    value = _reader(kind)
    if query.sorts != (("id", True),):
        items = sorted(
            items, key=cmp_to_key(lambda one, other: _compare(value, query.sorts, one, other))
        )
    if not query.limit:
        return items
    if query.reverse:
        if marker is not None:
            items = [item for item in items if _compare(value, query.sorts, item, marker) < 0]
        return items[-query.limit :]
    if marker is not None:
        items = [item for item in items if _compare(value, query.sorts, item, marker) > 0]
    return items[: query.limit]


def _reader(kind: type[Resource] | None) -> Any:
    """Return the function that reads an attribute of a struct or of a document."""
    stored = stored_fields(kind) if kind else {}

    def value(item: Any, key: str) -> Any:
        return item[key] if isinstance(item, dict) else getattr(item, stored[key])

    return value


def _compare(value: Any, sorts: Sequence[Sort], one: Any, other: Any) -> int:
    for key, ascending in sorts:
        first, second = value(one, key), value(other, key)
        if first == second:
            continue
        # What has no value comes first.
        if first is None or second is None:
            order = -1 if first is None else 1
        else:
            order = -1 if first < second else 1
        return order if ascending else -order
    return 0


def links(
    url: str, params: Sequence[tuple[str, str]], query: Query, ids: Sequence[str]
) -> list[Doc]:
    """Return a page's links to the next and to the previous one."""
    if not query.limit:
        return []
    kept = [(key, value) for key, value in params if key not in ("marker", "page_reverse")]
    whole = len(ids) >= query.limit
    found: list[Doc] = []
    if whole or query.reverse:
        found.append(_link("next", url, kept, [("marker", id) for id in ids[-1:]]))
    if whole or not query.reverse:
        back = [*(("marker", id) for id in ids[:1]), ("page_reverse", "True")]
        found.append(_link("previous", url, kept, back))
    return found


def _link(rel: str, url: str, kept: list[tuple[str, str]], added: list[tuple[str, str]]) -> Doc:
    return {"rel": rel, "href": f"{url}?{urlencode([*kept, *added])}"}
