"""How objects of a kind are looked for: filters, order and page become one statement that an index answers.

A filter names a field of the struct, one of `fields.LINKED`, `fields.TERMS`, `tag`, `seen_by` or `status`. Statements
depend on the *shape* of what is asked (which fields, one value or several), never on the values, so each is
compiled once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from netloom.store import fields, schema
from netloom.store.rows import Value
from netloom.store.session import Statement

Where = Value | Collection[str] | Collection[int]
Op = Literal["any", "none", "all", "not_all", "part", "null", "entry", "either"]
Beyond = Literal["", "gt", "lt", "null", "notnull"]

_resource, _link, _term = schema.resource, schema.link, schema.term
_KEPT_STATEMENTS = 1000


class Filter(Struct, frozen=True):
    """One condition on a field.

    `any`: the value is one of `values`; `none`: it is not. `null`: it is null. For terms: `all` of the values are
    there, `not_all`, or one has a `part` that is given. `entry`: one entry of a list of structs meets several
    conditions at once; `values` are then pairs (name in the entry, values), where `~name` looks for parts.
    `either`: of no field; the object meets all filters of at least one of `values`.
    """

    field: str
    values: tuple[Any, ...] = ()
    op: Op = "any"

    @property
    def impossible(self) -> bool:
        """Whether nothing can meet it."""
        return not self.values and self.op in ("any", "part", "either")


class Page(Struct, frozen=True):
    """A part of a list. `order`: fields, each ascending or not, the last of them `id`.

    `limit`: how many objects, 0 for all. `after`: the values of the order's fields behind which the page begins.
    """

    order: tuple[tuple[str, bool], ...] = (("id", True),)
    limit: int = 0
    after: tuple[Value, ...] | None = None

    def without(self, same: Mapping[str, Value]) -> Page:
        """The same page of objects that all have these values: they decide nothing, unless the page begins at others."""
        kept = [
            number
            for number, (name, _) in enumerate(self.order)
            if name == "id"
            or name not in same
            or (self.after is not None and self.after[number] != same[name])
        ]
        after = None if self.after is None else tuple(self.after[number] for number in kept)
        return Page(tuple(self.order[number] for number in kept), self.limit, after)

    def turned(self) -> Page:
        """The same in the opposite order."""
        return Page(tuple((name, not up) for name, up in self.order), self.limit, self.after)


def plain(asked: Sequence[Filter], page: Page) -> Page:
    """Return the page without what the filters make needless in its order: where one value is asked for, all have it."""
    same = {
        each.field: each.values[0] for each in asked if each.op == "any" and len(each.values) == 1
    }
    return page.without(same) if len(page.order) > 1 else page


def either(alternatives: Sequence[Sequence[Filter]]) -> Filter:
    """Return the filter that is met where all of at least one alternative are."""
    possible = [tuple(each) for each in alternatives if not any(one.impossible for one in each)]
    return Filter("", tuple(possible), "either")


def filters(where: Mapping[str, Where]) -> tuple[Filter, ...]:
    """Filters given by field: a value, None for null, a collection for any of its values."""
    found: list[Filter] = []
    for field, value in where.items():
        if value is None:
            found.append(Filter(field, op="null"))
        elif isinstance(value, str | int):
            found.append(Filter(field, (value,)))
        else:
            found.append(Filter(field, tuple(value)))
    return tuple(found)


Lead = int | None
"""Number of the filter by whose index objects are found; IN_ORDER: the order's; None: as SQLite plans."""

IN_ORDER = -1
RARE = 200
"""Up to so many matches a filter leads whatever else is asked: they are read and sorted faster than anything else."""


_USUALLY_MANY = frozenset({"project_id", "status", "tag", fields.SEEN_BY})


def probes(
    kind: str, asked: Sequence[Filter], page: Page
) -> Iterator[tuple[int, Statement, dict[str, Any]]]:
    """Yield (number of a filter, statement that counts its matches up to RARE, its values), where it matters.

    Those that usually find few come first: the caller need not go on once one has found less than RARE.

    SQLite cannot know which of several filters is the rare one, and whether a page in another order than the
    filter's index is better found by walking along that order.
    """
    if _is_covered(asked, page):
        return
    order = sorted(enumerate(asked), key=lambda each: each[1].field in _USUALLY_MANY)
    for number, each in order:
        if each.op == "any" and _has_index(kind, each.field):
            yield number, _probe(kind, _shape(each)), _parameters(0, each) | {"limit": RARE}


def lead(asked: Sequence[Filter], page: Page, matches: Mapping[int, int]) -> Lead:
    """Choose what leads the search, given what the probes have counted."""
    if not matches:
        return None
    rarest = min(matches, key=lambda number: matches[number])
    if matches[rarest] < RARE:
        return rarest
    if not page.limit:
        return None
    singles = [number for number in matches if len(asked[number].values) == 1]
    if page.order[0][0] != "id":
        return IN_ORDER
    # Each index has ids in order: the page is found along any of them. What is beside the objects comes first.
    side = [number for number in singles if asked[number].field not in fields.COLUMNS]
    return (side or singles or [IN_ORDER])[0]


def _is_covered(asked: Sequence[Filter], page: Page) -> bool:
    """Tell whether one index answers all filters and has the order, or ids are given: there is nothing to choose."""
    first = page.order[0][0]
    names = {each.field for each in asked}
    if "id" in names or (len(asked) < 2 and not page.limit):
        return True
    if any(each.op != "any" or len(each.values) != 1 for each in asked):
        return False
    if not page.limit:
        return False
    if first == "id":
        return len(asked) < 2 or names in ({"project_id", "name"}, {"project_id", "status"})
    return not asked or (names == {"project_id"} and first in fields.COLUMNS)


def _has_index(kind: str, field: str) -> bool:
    how, _ = fields.how(kind, field)
    return how != "json" or field in fields.INDEXED.get(kind, ())


def statements(
    kind: str, asked: Sequence[Filter], page: Page, leading: Lead = None
) -> Iterator[tuple[Statement, dict[str, Any]]]:
    """Yield the statements, with their values, whose rows put together are the page, in order.

    Without `after` it is one. With it there is one for each field of the order: the objects that equal
    the page's beginning in all fields but the last, then in all but the last two … An index serves each of them,
    also where values are null.
    """
    if any(each.impossible for each in asked):
        return
    values: dict[str, Any] = {}
    for number, each in enumerate(asked):
        values |= _parameters(number, each)
    shapes = tuple(_shape(each) for each in asked)
    limited = bool(page.limit)
    if limited:
        values["limit"] = page.limit
    if page.after is None:
        yield _statement(kind, shapes, page.order, (), "", limited, leading), values
        return
    values |= {f"after{number}": value for number, value in enumerate(page.after)}
    nulls = tuple(value is None for value in page.after)
    for last in reversed(range(len(page.order))):
        field, ascending = page.order[last]
        beyond: tuple[Beyond, ...]
        if ascending:
            beyond = ("notnull",) if nulls[last] else ("gt",)
        elif nulls[last]:
            # What has no value comes first, so nothing comes before it.
            beyond = ()
        else:
            beyond = ("lt", "null") if fields.nullable(kind, field) else ("lt",)
        for each in beyond:
            equal = nulls[:last]
            yield (
                _statement(kind, shapes, page.order, equal, each, limited, leading),
                values,
            )


def count(kind: str, asked: Sequence[Filter]) -> tuple[Statement, dict[str, Any]] | None:
    """Return the statement that counts, with its values; None where nothing can be found."""
    if any(each.impossible for each in asked):
        return None
    values: dict[str, Any] = {}
    for number, each in enumerate(asked):
        values |= _parameters(number, each)
    return _count(kind, tuple(_shape(each) for each in asked)), values


def among(parameter: str) -> Select[Any]:
    """All elements of a collection given as one JSON parameter, so that the statement stays the same."""
    return select(literal_column("value")).select_from(func.json_each(bindparam(parameter)))


_Shape = tuple[str, Op, Any]
"""Field, operation, and whether one value was given (of `entry`: the names, of `either`: the alternatives' shapes)."""


def _shape(asked: Filter) -> _Shape:
    if asked.op == "entry":
        return asked.field, asked.op, tuple(name for name, _ in asked.values)
    if asked.op == "either":
        return "", asked.op, tuple(tuple(map(_shape, each)) for each in asked.values)
    return asked.field, asked.op, len(asked.values) == 1


def _parameters(number: int | str, asked: Filter) -> dict[str, Any]:
    name = f"f{number}"
    if asked.op == "null":
        return {}
    if asked.op == "either":
        values: dict[str, Any] = {}
        for at, alternative in enumerate(asked.values):
            for inner, each in enumerate(alternative):
                values |= _parameters(f"{number}_{at}_{inner}", each)
        return values
    if asked.op == "entry":
        return {
            f"{name}_{i}": json.dumps(list(values)) for i, (_, values) in enumerate(asked.values)
        }
    if asked.op in ("all", "not_all"):
        distinct = list(dict.fromkeys(asked.values))
        return {name: json.dumps(distinct), f"{name}_count": len(distinct)} | (
            {f"{name}_first": distinct[0]} if asked.op == "all" else {}
        )
    if len(asked.values) == 1:
        # A third of the cost of looking into a JSON list, and by far the most frequent.
        return {name: asked.values[0]}
    return {name: json.dumps(list(asked.values))}


def _unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, but no index is used for it."""
    name = f"resource.{column.name}" if isinstance(column, Column) else str(column)
    return literal_column(f"+{name}")


def _compare(column: ColumnElement[Any], shape: _Shape, parameter: str) -> ColumnElement[bool]:
    _, op, one = shape
    if op == "null":
        return column.is_(None)
    if op == "none":
        return column != bindparam(parameter) if one else column.not_in(among(parameter))
    return column == bindparam(parameter) if one else column.in_(among(parameter))


def _column(kind: str, field: str) -> ColumnElement[Any]:
    how, name = fields.how(kind, field)
    if how == "column":
        return _resource.c[name]
    if how != "json":
        # A link is found in its table, and ordered by the field that it was derived from.
        named = fields.encoded_names(kind).get(field)
        if named is None:
            raise ValueError(f"{kind} has no order by {field}")
        name = named
    return literal_column(fields.expression(name))


def _side(kind: str, how: str, name: str) -> tuple[Any, Any, list[ColumnElement[bool]]]:
    """Return, of a link's or term's table, the columns of the object's id and the value, and which rows count."""
    if how == "link":
        return _link.c.source, _link.c.target, [_link.c.role == literal_column(f"'{name}'")]
    of_field = _term.c.field == literal_column(f"'{name}'")
    return _term.c.id, _term.c.value, [of_field, _term.c.kind == literal_column(f"'{kind}'")]


def _beside(
    kind: str, shape: _Shape, how: str, name: str, parameter: str, leads: bool
) -> ColumnElement[bool]:
    """Return the condition of a filter that a link or term answers; where it does not lead, each object is asked."""
    _, op, one = shape
    if op == "null":
        return false()
    id, value, rows = _side(kind, how, name)
    if op in ("all", "not_all"):
        matching = select(func.count()).where(
            *rows, id == _resource.c.id, value.in_(among(parameter))
        )
        counted = matching.correlate(_resource).scalar_subquery()
        wanted = bindparam(f"{parameter}_count")
        if op == "not_all":
            return counted < wanted
        first = select(id).where(*rows, value == bindparam(f"{parameter}_first"))
        return and_(_resource.c.id.in_(first), counted == wanted)
    if op == "part":
        if one:
            met = func.instr(value, bindparam(parameter)) > 0
        else:
            parts = among(parameter).where(func.instr(value, literal_column("json_each.value")) > 0)
            met = parts.exists()
        return _resource.c.id.in_(select(id).where(*rows, met))
    met = value == bindparam(parameter) if one else value.in_(among(parameter))
    if not leads:
        there = select(id).where(*rows, met, id == _resource.c.id).correlate(_resource).exists()
        return not_(there) if op == "none" else there
    found = select(id).where(*rows, met)
    return _resource.c.id.not_in(found) if op == "none" else _resource.c.id.in_(found)


def _entry(kind: str, field: str, names: tuple[str, ...], parameter: str) -> ColumnElement[bool]:
    """Return the condition that one entry of a list of structs meets all of several."""
    parts: list[str] = []
    for number, name in enumerate(names):
        of_entry = f"json_extract(entry.value, '$.\"{name.removeprefix('~')}\"')"
        wanted = f"SELECT value FROM json_each(:{parameter}_{number})"
        parts.append(
            f"EXISTS ({wanted} AS part WHERE instr({of_entry}, part.value))"
            if name.startswith("~")
            else f"{of_entry} IN ({wanted})"
        )
    path = fields.encoded_names(kind)[field]
    document = "CASE WHEN json_valid(resource.doc) THEN resource.doc END"
    return literal_column(
        f"EXISTS (SELECT 1 FROM json_each({document}, '$.\"{path}\"') AS entry WHERE {' AND '.join(parts)})"
    )


def _either(kind: str, alternatives: tuple[tuple[_Shape, ...], ...], parameter: str) -> Any:
    """Return the condition that all of at least one alternative are met; each object is asked, no index leads."""
    return or_(
        *(
            and_(
                *(
                    _condition(kind, shape, f"{parameter}_{at}_{inner}")
                    for inner, shape in enumerate(shapes)
                )
            )
            for at, shapes in enumerate(alternatives)
        )
    )


def _condition(kind: str, shape: _Shape, parameter: str) -> ColumnElement[bool]:
    """Return a filter's condition that is asked of each object."""
    field, op, detail = shape
    if op == "entry":
        return _entry(kind, field, detail, parameter)
    if op == "either":
        return _either(kind, detail, parameter)
    how, name = fields.how(kind, field)
    if how in ("column", "json"):
        return _compare(_unindexed(_column(kind, field)), shape, parameter)
    return _beside(kind, shape, how, name, parameter, False)


def _source(
    kind: str, shapes: tuple[_Shape, ...], leading: Lead
) -> tuple[FromClause, Any, list[Any]]:
    """Return the tables to look in, the column that is the object's id, and the conditions.

    One link or term that leads is joined: its index has the ids in order, so a page of what it finds needs no more
    than the page's rows. Where nothing was chosen, it is the first.
    """
    # The kind stands in the text, not in a parameter: only so may SQLite use an index of that kind.
    conditions: list[Any] = [literal_column("resource.kind") == literal_column(f"'{kind}'")]
    table: FromClause = _resource
    ident: Any = _resource.c.id
    for number, shape in enumerate(shapes):
        field, op, detail = shape
        parameter = f"f{number}"
        if op in ("entry", "either"):
            conditions.append(_condition(kind, shape, parameter))
            continue
        how, name = fields.how(kind, field)
        leads = leading in (None, number)
        if how in ("column", "json"):
            column = _column(kind, field)
            conditions.append(_compare(column if leads else _unindexed(column), shape, parameter))
        elif leads and op == "any" and detail and table is _resource:
            id, value, rows = _side(kind, how, name)
            table = _resource.join(id.table, id == _resource.c.id)
            ident = id
            conditions += [*rows, value == bindparam(parameter)]
        else:
            leads = leads and table is _resource
            conditions.append(_beside(kind, shape, how, name, parameter, leads))
    return table, ident, conditions


@lru_cache(_KEPT_STATEMENTS)
def _statement(
    kind: str,
    shapes: tuple[_Shape, ...],
    order: tuple[tuple[str, bool], ...],
    equal: tuple[bool, ...],
    beyond: Beyond,
    limited: bool,
    leading: Lead,
) -> Statement:
    """Return one statement of a page.

    The first fields of the order equal the page's beginning (`equal`: each by being null, or not); the next
    lies `beyond` it.
    """
    table, ident, conditions = _source(kind, shapes, leading)
    columns = [ident if name == "id" else _column(kind, name) for name, _ in order]
    if leading not in (None, IN_ORDER):
        columns = [each if each is ident else _unindexed(each) for each in columns]
    for number, null in enumerate(equal):
        column = columns[number]
        conditions.append(column.is_(None) if null else column == bindparam(f"after{number}"))
    at = len(equal)
    if beyond:
        here, value = columns[at], bindparam(f"after{at}")
        conditions.append(
            {"gt": here > value, "lt": here < value, "null": here.is_(None)}.get(
                beyond, here.is_not(None)
            )
        )
    found = select(_resource.c.doc, _resource.c.status).select_from(table).where(*conditions)
    ordered = [
        column.asc() if ascending else column.desc()
        for column, (_, ascending) in list(zip(columns, order, strict=True))[at:]
    ]
    found = found.order_by(*ordered)
    return Statement(found.limit(bindparam("limit")) if limited else found)


@lru_cache(_KEPT_STATEMENTS)
def _count(kind: str, shapes: tuple[_Shape, ...]) -> Statement:
    table, _, conditions = _source(kind, shapes, None)
    return Statement(select(func.count()).select_from(table).where(*conditions))


@lru_cache(_KEPT_STATEMENTS)
def _probe(kind: str, shape: _Shape) -> Statement:
    field, _, one = shape
    how, name = fields.how(kind, field)
    if how in ("link", "term") and one:
        # The objects themselves need not be looked at.
        id, value, rows = _side(kind, how, name)
        some = select(literal_column("1")).select_from(id.table).where(*rows)
        some = some.where(value == bindparam("f0"))
    else:
        table, _, conditions = _source(kind, (shape,), 0)
        some = select(literal_column("1")).select_from(table).where(*conditions)
    return Statement(select(func.count()).select_from(some.limit(bindparam("limit")).subquery()))
