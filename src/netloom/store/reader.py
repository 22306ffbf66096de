"""Reading one consistent snapshot of the store."""

from __future__ import annotations

import builtins
import json
from collections.abc import Collection, Iterable, Sequence, Set
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import (
    LargeBinary,
    Select,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from netloom.model import Resource
from netloom.model.errors import UserError
from netloom.store import damage, host_rows, schema, search
from netloom.store.codec import decode, decode_list, encode
from netloom.store.rows import Access, Change, HostRow, StatusRow
from netloom.store.search import Filter, Page, Where, among
from netloom.store.session import Session, Statement

T = TypeVar("T", bound=Resource)
Kind = str | type[Resource]

_resource, _link = schema.resource, schema.link
_access, _claim, _change = schema.access, schema.claim, schema.change


def kind_name(kind: Kind) -> str:
    """Name of a kind, given as its struct or already by name."""
    return kind if isinstance(kind, str) else kind.KIND


_GET = Statement(
    select(_resource.c.doc, _resource.c.status).where(
        _resource.c.kind == bindparam("kind"), _resource.c.id == bindparam("id")
    )
)
_SOURCES = Statement(
    select(_link.c.source)
    .where(_link.c.target == bindparam("target"), _link.c.role == bindparam("role"))
    .order_by(_link.c.source)
)
_TARGETS = Statement(
    select(_link.c.target)
    .where(_link.c.source == bindparam("source"), _link.c.role == bindparam("role"))
    .order_by(_link.c.target)
)
_CLAIM_OWNER = Statement(
    select(_claim.c.owner).where(
        _claim.c.scope == bindparam("scope"), _claim.c.key == bindparam("key")
    )
)
_CLAIMS = Statement(
    select(_claim.c.key, _claim.c.owner).where(_claim.c.scope == bindparam("scope"))
)
_TALLY = Statement(
    select(schema.tally.c.number).where(
        schema.tally.c.kind == bindparam("kind"), schema.tally.c.project_id == bindparam("project")
    )
)
_ACCESS = Statement(
    select(_access.c.object_id, _access.c.target, _access.c.action)
    .where(_access.c.object_id == bindparam("object_id"))
    .order_by(_access.c.target, _access.c.action)
)
_ACCESSIBLE = Statement(
    select(_access.c.object_id).where(
        or_(_access.c.target == bindparam("project_id"), _access.c.target == "*"),
        _access.c.action == bindparam("action"),
    )
)


@cache
def _api_status_statement(kind: str) -> Statement:
    # With the kind as a parameter SQLite would plan the statement anew each time that it is given its values.
    found = select(_resource.c.id, _resource.c.status)
    return Statement(
        found.where(
            literal_column("kind") == literal_column(f"'{kind}'"), _resource.c.id.in_(among("ids"))
        )
    )


@cache
def _status_statement(by_id: bool, by_host: bool) -> Statement:
    at = schema.status.c
    found = select(*(at[name] for name in StatusRow.__struct_fields__))
    if by_id:
        found = found.where(at.id.in_(among("ids")))
    if by_host:
        found = found.where(at.host == bindparam("host"))
    return Statement(found.order_by(at.id, at.host, at.aspect))


_CHANGES = Statement(
    select(*(_change.c[name] for name in Change.__struct_fields__))
    .where(_change.c.seq > bindparam("after"))
    .order_by(_change.c.seq)
    .limit(bindparam("limit"))
)
_TOUCHED = Statement(
    select(_change.c.seq, _change.c.kind, _change.c.id, _change.c.op)
    .where(_change.c.seq > bindparam("after"))
    .order_by(_change.c.seq)
    .limit(bindparam("limit"))
)
_CHANGED = Statement(
    select(_change.c.kind, _change.c.id, _change.c.request_id)
    .where(_change.c.seq > bindparam("after"))
    .group_by(_change.c.kind, _change.c.id, _change.c.request_id)
    .order_by(func.max(_change.c.seq))
)
_SEQ = Statement(select(func.max(_change.c.seq)))
_OLDEST = Statement(select(func.min(_change.c.seq)))
_SETTING = Statement(select(schema.setting.c.value).where(schema.setting.c.key == bindparam("key")))


def _json(doc: str | None, id: str) -> Any:
    try:
        return None if doc is None else msgspec.json.decode(doc)
    except damage.UNREADABLE as error:
        damage.left_out("change of", id, error)
        return None


class Found(NamedTuple, Generic[T]):
    """An object, and the API's status of it; empty text where its kind has none."""

    obj: T
    status: str

    def value(self, field: str) -> Any:
        """Value of a field by which a page is ordered."""
        value = self.status if field == "status" else getattr(self.obj, field)
        # As SQLite gives a list of a document.
        return encode(value) if isinstance(value, tuple) else value


def _sortable(value: Any) -> tuple[bool, Any]:
    """Return what sorts as SQLite does: null first."""
    return value is not None, "" if value is None else value


class Reader:
    """A snapshot: everything read through one Reader is as of one moment.

    Made by `Store.reader()`; used in one thread at a time.
    """

    def __init__(self, session: Session):
        self._session = session

    def get(self, kind: type[T], id: str) -> T | None:
        """One object, or None; read once in a transaction. Raises UserError where its row cannot be read."""
        objects = self._session.memory.objects
        key = (kind.KIND, id)
        if key not in objects:
            try:
                row = self._session.row(_GET, {"kind": kind.KIND, "id": id})
                objects[key] = None if row is None else (decode(kind, row[0]), row[1])
            except damage.UNREADABLE as error:
                raise UserError(damage.complaint(kind.KIND, id, error)) from error
        found = objects[key]
        return None if found is None else found[0]

    def get_many(self, kind: type[T], ids: Iterable[str]) -> dict[str, T]:
        """Those of `ids` that are there, by id, in one statement or, where all were read already, none."""
        objects = self._session.memory.objects
        wanted = sorted(set(ids))
        unread = {id for id in wanted if (kind.KIND, id) not in objects}
        found: dict[str, T] = {obj.id: obj for obj in self.list(kind, id=unread)} if unread else {}
        for id in wanted:
            known = objects.get((kind.KIND, id))
            if known is not None:
                found[id] = known[0]
        return {id: found[id] for id in wanted if id in found}

    def list(self, kind: type[T], **where: Where) -> list[T]:
        """All objects that meet every filter, ordered by id, in one statement.

        A filter is a field of the struct (under its Python name) or one of `fields.LINKED`, `fields.TERMS`
        and `tag`; a collection means any of its values, None means null. ValueError for others.
        Rows that cannot be read are left out, and said once on the log.
        """
        return [found.obj for found in self._found(kind, search.filters(where), Page(), None)]

    def search(
        self,
        kind: type[T],
        alternatives: Sequence[Sequence[Filter]],
        page: Page,
        shape: type[Any] | None = None,
    ) -> builtins.list[Found[T]]:
        """A page of the objects that meet all filters of at least one alternative, in the page's order.

        The number of statements depends on the filters and on the page's order alone; the number of rows that are
        read on the page where an index answers the filters (`fields`) and the order. `shape`: a
        struct with some of the kind's fields, into which the documents are decoded instead.
        """
        pages = [search.plain(alternative, page) for alternative in alternatives]
        leads = [
            self._lead(kind, alternative, own)
            for alternative, own in zip(alternatives, pages, strict=True)
        ]
        if len(alternatives) == 1:
            return self._found(kind, alternatives[0], pages[0], leads[0], shape)
        if search.IN_ORDER in leads and page.order[0][0] != "id":
            # One walk along the order finds the page of all, and is shorter than the one alternative's alone.
            return self._found(kind, [search.either(alternatives)], page, search.IN_ORDER, shape)
        found: dict[str, Found[T]] = {}
        for alternative, own, leading in zip(alternatives, pages, leads, strict=True):
            rows = self._found(kind, alternative, own, leading, shape)
            found.update((each.obj.id, each) for each in rows)
        merged = builtins.list(found.values())
        for field, ascending in reversed(page.order):
            merged.sort(key=lambda each: _sortable(each.value(field)), reverse=not ascending)
        return merged[: page.limit] if page.limit else merged

    def _found(
        self,
        kind: type[T],
        asked: Sequence[Filter],
        page: Page,
        leading: search.Lead,
        shape: type[Any] | None = None,
    ) -> builtins.list[Found[T]]:
        found: builtins.list[Found[T]] = []
        for statement, values in search.statements(kind.KIND, asked, page, leading):
            if page.limit:
                values["limit"] = page.limit - len(found)
            try:
                rows = self._session.rows(statement, values)
                objs: Any = decode_list(shape or kind, [row[0] for row in rows])
                some = [Found(obj, row[1]) for obj, row in zip(objs, rows, strict=True)]
                if shape is None:
                    # What a rule finds by a name it asks for by its id next, and what is listed has a status.
                    read = {(kind.KIND, each.obj.id): (each.obj, each.status) for each in some}
                    self._session.memory.objects.update(read)
                found += some
            except damage.UNREADABLE:
                found += self._readable(kind, statement, values, shape)
            if page.limit and len(found) >= page.limit:
                break
        return found

    def _lead(self, kind: Kind, asked: Sequence[Filter], page: Page) -> search.Lead:
        matches: dict[int, int] = {}
        for number, statement, values in search.probes(kind_name(kind), asked, page):
            matches[number] = self._session.value(statement, values) or 0
            if matches[number] < search.RARE:
                break
        return search.lead(asked, page, matches)

    def _readable(
        self,
        kind: type[T],
        statement: Statement,
        values: dict[str, Any],
        shape: type[Any] | None,
    ) -> builtins.list[Found[T]]:
        """As `_found`, row by row, without those that cannot be read."""
        found: builtins.list[Found[T]] = []
        assert isinstance(statement.core, Select)
        each = statement.core.with_only_columns(
            cast(_resource.c.id, LargeBinary),
            cast(_resource.c.doc, LargeBinary),
            cast(_resource.c.status, LargeBinary),
        )
        for id, doc, status in self._session.rows(Statement(each), values):
            try:
                found.append(Found(decode(shape or kind, doc.decode()), status.decode()))
            except damage.UNREADABLE as error:
                damage.left_out(kind.KIND, bytes(id or b"").decode(errors="replace"), error)
        return found

    def count(self, kind: Kind, **where: Where) -> int:
        """How many objects meet the filters; see `list`."""
        asked = search.count(kind_name(kind), search.filters(where))
        return 0 if asked is None else self._session.value(*asked) or 0

    def tally(self, kind: Kind, project_id: str) -> int:
        """How many objects of a kind a project has, without counting them."""
        tallies, key = self._session.memory.tallies, (kind_name(kind), project_id)
        if key not in tallies:
            values = {"kind": key[0], "project": project_id}
            tallies[key] = self._session.value(_TALLY, values) or 0
        return tallies[key]

    def sources(self, target: str, role: str) -> list[str]:
        """Ids of the objects that name `target` in this role of `links.LINKS`."""
        return self._session.column(_SOURCES, {"target": target, "role": role})

    def targets(self, source: str, role: str) -> list[str]:
        """Ids of the objects that `source` names in this role."""
        return self._session.column(_TARGETS, {"source": source, "role": role})

    def claim_owner(self, scope: str, key: str) -> str | None:
        """Owner of a claim, or None where it is free."""
        return self._session.value(_CLAIM_OWNER, {"scope": scope, "key": key})

    def claims(self, scope: str) -> dict[str, str]:
        """All claims of a scope: key → owner."""
        return dict(self._session.rows(_CLAIMS, {"scope": scope}))

    def access(self, object_id: str) -> list[Access]:
        """Who else may see or use the object."""
        return [Access(*row) for row in self._session.rows(_ACCESS, {"object_id": object_id})]

    def accessible(self, project_id: str, action: str) -> Set[str]:
        """Ids of the objects that the project may `action`, by name or as one of all."""
        accessible, key = self._session.memory.accessible, (project_id, action)
        if key not in accessible:
            values = {"project_id": project_id, "action": action}
            accessible[key] = set(self._session.column(_ACCESSIBLE, values))
        return accessible[key]

    def api_status(self, kind: Kind, ids: Iterable[str]) -> dict[str, str]:
        """Id → the API's status of those that are there; empty text where none was set."""
        name, objects = kind_name(kind), self._session.memory.objects
        states: dict[str, str] = {}
        unread: builtins.list[str] = []
        for id in ids:
            if (name, id) not in objects:
                unread.append(id)
            elif (known := objects[name, id]) is not None:
                states[id] = known[1]
        if unread:
            statement = _api_status_statement(name)
            states |= self._session.rows(statement, {"ids": json.dumps(unread)})
        return states

    def status_rows(
        self, ids: Collection[str] | None = None, host: str | None = None
    ) -> list[StatusRow]:
        """What hosts report, of all objects or of some, from all hosts or from one."""
        statement = _status_statement(ids is not None, host is not None)
        values = {"ids": json.dumps(list(ids or ())), "host": host}
        return [StatusRow(*row) for row in self._session.rows(statement, values)]

    def changes(self, after: int, limit: int) -> list[Change]:
        """The feed: at most `limit` changes with a seq above `after`, in order."""
        return [
            Change(seq, at, kind, id, op, _json(before, id), _json(changed, id), actor, request_id)
            for seq, at, kind, id, op, before, changed, actor, request_id in self._session.rows(
                _CHANGES, {"after": after, "limit": limit}
            )
        ]

    def touched(self, after: int, limit: int) -> list[tuple[int, str, str, str]]:
        """As `changes`, without the documents: (seq, kind, id, op)."""
        return self._session.rows(_TOUCHED, {"after": after, "limit": limit})

    def changed(self, after: int) -> dict[tuple[str, str], list[str]]:
        """What has changed above `after`: (kind, id) → the requests that changed it. Read those again."""
        found: dict[tuple[str, str], list[str]] = {}
        for kind, id, request_id in self._session.rows(_CHANGED, {"after": after}):
            requests = found.setdefault((kind, id), [])
            if request_id:
                requests.append(request_id)
        return found

    def seq(self) -> int:
        """Seq of the newest change; 0 before the first."""
        return self._session.value(_SEQ) or 0

    def oldest(self) -> int:
        """Seq of the oldest change still kept; the feed is whole for whoever has seen `oldest() - 1`."""
        return self._session.value(_OLDEST) or 0

    def hosts(self, names: Collection[str] | None = None) -> dict[str, HostRow]:
        """Registered hosts by name: all of them, or those of `names`. Where one is meant, `host` finds it."""
        if names is None:
            rows = self._session.rows(host_rows.HOSTS)
        else:
            rows = self._session.rows(host_rows.SOME_HOSTS, {"ids": json.dumps(list(names))})
        over = self._session.liveness.over
        return {row[0]: over(host_rows.of(*row)) for row in rows}

    def heartbeats(self) -> dict[str, float]:
        """Hosts that have said what they are → when each was heard last (seconds since 1970)."""
        return self._session.liveness.newer(dict(self._session.rows(host_rows.HEARTBEATS)))

    def host(self, name: str) -> HostRow | None:
        """One registered host, or None."""
        rows = self._session.rows(host_rows.HOST, {"name": name})
        return self._session.liveness.over(host_rows.of(*rows[0])) if rows else None

    def availability_zones(self) -> builtins.list[str]:
        """Zones of the hosts that have said what they are, each once."""
        return self._session.column(host_rows.ZONES)

    def hosts_with_tunnel_ip(self, tunnel_ip: str) -> builtins.list[str]:
        """Names of the hosts whose tunnels end at an address, in order."""
        return self._session.column(host_rows.WITH_TUNNEL_IP, {"tunnel_ip": tunnel_ip})

    def has_tunnels(self, network_type: str | None = None) -> bool:
        """Whether any host has an end of tunnels; of a type, where one is given."""
        if network_type is None:
            return self._session.value(host_rows.ANY_TUNNEL) is not None
        return self._session.value(host_rows.CARRIES_TUNNEL, {"type": network_type}) is not None

    def secret_hashes(self) -> dict[str, str]:
        """The hash of each registered host's credential."""
        return dict(self._session.rows(host_rows.SECRETS))

    def setting(self, key: str) -> str | None:
        """Value of a setting kept in the database, or None."""
        return self._session.value(_SETTING, {"key": key})

    def explain(
        self, kind: Kind, asked: Sequence[Filter] = (), page: Page | None = None, **where: Where
    ) -> str:
        """How SQLite would look for these objects (its query plan): for tests and for the curious."""
        lines: builtins.list[str] = []
        every = (*asked, *search.filters(where))
        page = search.plain(every, page or Page())
        leading = self._lead(kind, every, page)
        for statement, values in search.statements(kind_name(kind), every, page, leading):
            text, own = statement.on(self._session.dialect)
            cursor = self._session.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {text}", {**own, **values})
            lines += [str(row[-1]) for row in cursor.fetchall()]
        return "\n".join(lines)
