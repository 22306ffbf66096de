"""The query language of lists: filters, fields, sorting, pages.

All of it is handed to the store, which answers it from indexes: nothing is read that is not on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cmp_to_key
from typing import Any, get_args, get_type_hints
from urllib.parse import urlencode

from msgspec import Struct
from neutron_lib import exceptions as lib

from netloom.contract.attributes import MAPS
from netloom.contract.decode import STRANGE, refused
from netloom.contract.errors import HTTPBadRequest
from netloom.model import Context, Resource
from netloom.store import Filter, Found, Op, Page, Reader

Doc = dict[str, Any]
Sort = tuple[str, bool]
"""Attribute, and whether ascending."""

_NO_FILTERS = frozenset({"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"})
_OF_ONE: dict[Op, Op] = {"all": "any", "not_all": "none"}
_TAG_FILTERS: dict[str, Op] = {
    "tags": "all",
    "tags-any": "any",
    "not-tags": "not_all",
    "not-tags-any": "none",
}
"""Filter → how the tags that it names are compared with an object's."""

_MOST = 10**18
"""What SQLite can count to, and more than anybody has."""


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


@cache
def stored_fields(kind: type[Resource]) -> dict[str, str]:
    """Return attribute of the API → field of the struct, for what is stored as it is shown."""
    struct: Any = kind
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    stored = {name: field for name, field in names.items() if name not in kind.INTERNAL}
    stored["tenant_id"] = "project_id"
    if kind.FIRST_STATUS:
        stored["status"] = "status"
    return stored


Computed = Callable[[Reader, Context, Any], list[Filter]]
"""Turns the values of a filter into those of the store, where it is on no field of its own."""


def filters(
    r: Reader,
    ctx: Context,
    kind: type[Resource],
    query: Query,
    computed: Mapping[str, Computed],
) -> list[Filter]:
    """Return the store's filters for those of a query. `computed`: the collection's own, by attribute."""
    stored = stored_fields(kind)
    found: list[Filter] = []
    for key, values in query.filters.items():
        if key in computed:
            found += computed[key](r, ctx, values)
        elif key in _TAG_FILTERS:
            wanted = {tag for value in values for tag in value.split(",")}
            op = _TAG_FILTERS[key]
            if len(wanted) == 1:
                # All of one are any of one, which an index answers in order.
                op = _OF_ONE.get(op, op)
            found.append(Filter("tag", tuple(sorted(wanted)), op))
        else:
            field = stored[key]
            found.append(Filter(field, _of_type(_type(kind, field), values)))
    return found


@cache
def _type(kind: type[Resource], field: str) -> type:
    """Return the type of a field's values: str, int or bool. What has another needs a computed filter."""
    if field == "status":
        return str
    hint = get_type_hints(kind)[field]
    (found,) = set(get_args(hint) or (hint,)) - {type(None)}
    if found not in (str, int, bool):
        raise TypeError(f"{kind.__name__}.{field} has no plain values to filter by")
    return found


def _of_type(kind: type, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values that one of this type can have: nothing equals those of another, as in SQL."""
    if kind is not int:
        return tuple(value for value in values if type(value) is kind)
    numbers: list[int] = []
    for value in values:
        number = value
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
            number = int(value)
        if type(number) is int and str(number) == str(value) and abs(number) <= _MOST:
            numbers.append(number)
    return tuple(numbers)


def store_page(kind: type[Resource], query: Query, marker: Found[Any] | None) -> Page:
    """Return the part of the list, as the store is asked for it; where the query is reversed, backwards."""
    stored = stored_fields(kind)
    order = tuple((stored[key], ascending) for key, ascending in query.sorts)
    after = None if marker is None else tuple(marker.value(field) for field, _ in order)
    page = Page(order, query.limit, after if query.limit else None)
    return page.turned() if query.reverse and query.limit else page


def keep_documents(docs: list[Doc], query: Query) -> list[Doc]:
    """Return the documents that meet every filter, for what is not stored at all."""
    for key, values in query.filters.items():
        docs = [doc for doc in docs if _matches(doc.get(key), values)]
    return docs


def _matches(value: Any, wanted: Sequence[Any]) -> bool:
    """Tell whether a value is any of those wanted; of a list, whether any of its values is."""
    if value is None:
        # As in SQL nothing equals what is not there, not even a filter that says so.
        return False
    if isinstance(value, list | tuple):
        return any(_matches(part, wanted) for part in value)
    return value in wanted or (not isinstance(value, str | bool) and str(value) in wanted)


def page_of_documents(docs: list[Doc], query: Query, marker: Doc | None) -> list[Doc]:
    """Sort documents, for what is not stored at all, and return the page that was asked for.

    `marker`: the document after which (or, reversed, before which) the page lies; it need not be among the others.
    """
    if query.sorts != (("id", True),):
        docs = sorted(docs, key=cmp_to_key(lambda one, other: _compare(query.sorts, one, other)))
    if not query.limit:
        return docs
    if query.reverse:
        if marker is not None:
            docs = [doc for doc in docs if _compare(query.sorts, doc, marker) < 0]
        return docs[-query.limit :]
    if marker is not None:
        docs = [doc for doc in docs if _compare(query.sorts, doc, marker) > 0]
    return docs[: query.limit]


def _compare(sorts: Sequence[Sort], one: Doc, other: Doc) -> int:
    for key, ascending in sorts:
        first, second = one[key], other[key]
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
