"""Create, show, list, update, delete and member actions, the same for every noun.

Each is one transaction: what is sent is decoded first, then the object is found as the caller sees it,
then policy is asked, then the rules run. A bulk create is all or nothing because its transaction is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from typing import Any

from neutron_lib import exceptions as lib
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.bodies import off_loop
from netloom.api.heads import root_url
from netloom.api.http import (
    body_of,
    caller_of,
    respond,
    run_at_once,
    run_read,
    run_write,
    services_of,
)
from netloom.api.networking import query, rows
from netloom.api.networking.nouns import Noun
from netloom.api.networking.policy import NETWORK_SHARED, Policy, policy_of
from netloom.contract import decode
from netloom.contract.attributes import MAPS
from netloom.contract.errors import (
    HTTPBadRequest,
    HTTPNotFound,
    PolicyNotAuthorized,
    RevisionNumberConstraintFailed,
)
from netloom.model import Context, Resource
from netloom.network import access
from netloom.store import Filter, Found, Page, Reader, Writer

Doc = dict[str, Any]

_VISIBLE = {
    collection: frozenset(name for name, facts in attributes.items() if facts.get("is_visible"))
    for collection, attributes in MAPS.items()
}


def policy_for(request: Request) -> Policy:
    """Return the policy in force."""
    return policy_of(services_of(request).settings.server.policy_file)


async def create(request: Request, noun: Noun) -> Response:
    """POST of a collection: one object, or several at once."""
    caller, policy = caller_of(request), policy_for(request)
    body = await body_of(request)
    decoded = await off_loop(
        request, body, lambda: decode.decode_create(noun.collection, body, caller, noun.bulk)
    )
    action = noun.action("create")
    # The path names the parent, not the body.
    items = (
        [attrs | {noun.parent: noun.within} for attrs in decoded.items]
        if noun.under and noun.parent
        else decoded.items
    )

    def work(w: Writer, ctx: Context) -> list[Doc]:
        for target in targets(w, ctx, noun, items):
            try:
                policy.require(caller, action, noun.collection, target)
            except PolicyNotAuthorized:
                # Whoever may not know of the network learns no more about it here.
                _hide_parent(w, ctx, noun, target)
                raise
        if decoded.bulk and noun.check_bulk:
            noun.check_bulk(items)
        made = [noun.create(w, ctx, attrs) for attrs in items]
        return present(policy, w, ctx, noun, [w.get(noun.kind, obj.id) or obj for obj in made])

    docs = await run_write(request, work)
    return respond(201, {noun.collection: docs} if decoded.bulk else {noun.singular: docs[0]})


async def show(request: Request, noun: Noun, id: str) -> Response:
    """GET of one object."""
    policy = policy_for(request)
    asked = request.scope["query_string"]
    fields = query.fields_of(noun.collection, request.query_params.multi_items()) if asked else None

    def work(r: Reader, ctx: Context) -> Doc:
        obj = found(r, ctx, noun, id)
        docs = present(policy, r, ctx, noun, [obj], only_allowed=True)
        if not docs:
            raise HTTPNotFound
        return docs[0]

    doc = run_at_once(request, work)
    return respond(200, {noun.singular: query.pick([doc], fields)[0]})


async def list_(request: Request, noun: Noun) -> Response:
    """GET of a collection."""
    policy = policy_for(request)
    params = request.query_params.multi_items()
    asked = query.parse(
        noun.collection, params, services_of(request).settings.network.pagination_max_limit
    )

    def work(r: Reader, ctx: Context) -> list[Any]:
        return listed(policy, r, ctx, noun, asked)

    await _prepare(request, noun, asked)
    return paged(request, noun.collection, await run_read(request, work), asked)


def listed(policy: Policy, r: Reader, ctx: Context, noun: Noun, asked: query.Query) -> list[Any]:
    """Return the documents of a list, as the caller is shown them: dictionaries, or structs for the encoder."""
    _find_parent(r, ctx, noun)
    marker: Found[Any] | None = None
    if asked.marker:
        obj = found(r, ctx, noun, asked.marker)
        marker = Found(obj, r.api_status(noun.kind, [obj.id]).get(obj.id, ""))
    wanted = query.filters(r, ctx, noun.kind, asked, noun.computed)
    if noun.under and noun.parent:
        wanted.append(Filter(noun.parent, (noun.within,)))
    page = query.store_page(noun.kind, asked, marker)
    backwards = bool(asked.reverse and asked.limit)
    if noun.as_stored and asked.fields is None:
        short = _as_stored(policy, r, ctx, noun, wanted, page)
        if short is not None:
            return short[::-1] if backwards else short
    found_rows = access.find_page(r, ctx, noun.kind, wanted, page)
    if backwards:
        found_rows.reverse()
    return present(policy, r, ctx, noun, [row.obj for row in found_rows], only_allowed=True)


def _as_stored(
    policy: Policy, r: Reader, ctx: Context, noun: Noun, wanted: list[Filter], page: Page
) -> list[Any] | None:
    """Return a list's objects as `rows` makes them; None where policy wants to look at more than that can show."""
    caller, show = ctx.caller, noun.action("get")
    every = _asked(policy, noun)
    hidden = {
        name
        for rule, name in every
        if not policy.reads_target(rule) and not policy.allows(caller, rule, {})
    }
    visible = _VISIBLE[noun.collection] - hidden
    needed = {"id", "project_id", *(name for name, _ in page.order)} | (
        {noun.parent} if noun.parent else set()
    )
    varying = [rule for rule, _ in every if policy.reads_target(rule)]
    asked = frozenset().union(*(policy.fields_read(rule) for rule in (show, *varying)))
    if not needed <= visible or not asked <= rows.OWNER | frozenset(noun.parent_fields):
        return None
    shape = rows.shape(noun.kind, visible - noun.kind.INTERNAL, frozenset(noun.from_parent))
    found_rows = access.find_page(r, ctx, noun.kind, wanted, page, shape)
    alike = rows.groups(found_rows, noun.parent)
    parents = _parents(r, ctx, noun, {id for _, id in alike}) if noun.parent else {}
    away: set[tuple[str, str]] = set()
    for (project_id, parent), _ in alike.items():
        target = {"project_id": project_id, "tenant_id": project_id} | parents.get(parent, {})
        if not policy.allows(caller, show, target):
            away.add((project_id, parent))
        elif not all(policy.allows(caller, rule, target) for rule in varying):
            return None
    if away:
        gone = {id(obj) for key in away for obj in alike[key]}
        found_rows = [row for row in found_rows if id(row.obj) not in gone]
    if noun.from_parent and noun.parent_kind:
        objs = r.get_many(noun.parent_kind, {parent for _, parent in alike})
        for (_, parent), several in alike.items():
            from_it = {n: getattr(objs[parent], f) for n, f in noun.from_parent.items()}
            rows.fill(several, from_it)
    return rows.complete(found_rows, bool(noun.kind.FIRST_STATUS))


def paged(request: Request, collection: str, docs: list[Any], asked: query.Query) -> Response:
    """Return a page of a list, with its links to others where pages were asked for."""
    answer: Doc = {collection: query.pick(docs, asked.fields)}
    links = query.links(
        f"{url(request)}{request.scope['path'].removeprefix(_PREFIX)}",
        request.query_params.multi_items(),
        asked,
        [doc["id"] if isinstance(doc, dict) else doc.id for doc in docs],
    )
    if links:
        answer[f"{collection}_links"] = links
    return respond(200, answer)


async def _prepare(request: Request, noun: Noun, asked: query.Query) -> None:
    """Make what a project should find in a list: the caller's own, or the one that an administrator names."""
    lacks, prepare, caller = noun.lacks, noun.prepare, caller_of(request)
    if lacks is None or prepare is None:
        return
    named = asked.filters.get("project_id") or asked.filters.get("tenant_id")
    project_id: str = named[0] if named and caller.is_admin else caller.project_id
    if project_id and await run_read(request, lambda r, ctx: lacks(r, project_id)):
        await run_write(request, lambda w, ctx: prepare(w, ctx, project_id))


async def update(request: Request, noun: Noun, id: str) -> Response:
    """PUT of one object."""
    caller, policy = caller_of(request), policy_for(request)
    body = await body_of(request)

    def sent() -> tuple[bool, Doc]:
        named = decode.names_object(noun.collection, body)
        return named, decode.decode_update(noun.collection, body, caller) if named else {}

    named, attrs = await off_loop(request, body, sent)
    revision = constraint(request)

    def work(w: Writer, ctx: Context) -> Doc:
        old = found(w, ctx, noun, id)
        before = noun.show(w, ctx, [old])[0]
        target = targets(w, ctx, noun, [before | attrs])[0]
        _require(policy, ctx, noun, noun.action("update"), target, attrs)
        if not named:
            raise decode.missing(noun.collection)
        check_revision(old, revision)
        new = noun.update(w, ctx, old, attrs)
        return present(policy, w, ctx, noun, [new])[0]

    return respond(200, {noun.singular: await run_write(request, work)})


async def delete(request: Request, noun: Noun, id: str) -> Response:
    """DELETE of one object."""
    policy = policy_for(request)
    body = await body_of(request)
    revision = constraint(request)

    def work(w: Writer, ctx: Context) -> None:
        old = found(w, ctx, noun, id)
        target = targets(w, ctx, noun, noun.show(w, ctx, [old]))[0]
        _require(policy, ctx, noun, noun.action("delete"), target)
        if body:
            raise HTTPBadRequest("Request body is not supported in DELETE.")
        check_revision(old, revision)
        noun.delete(w, ctx, old)

    await run_write(request, work)
    return respond(204)


async def act(request: Request, noun: Noun, id: str, action: str) -> Response:
    """PUT of a member action, as `routers/{id}/add_router_interface`."""
    policy = policy_for(request)
    body = await body_of(request)
    document: Doc = (
        await off_loop(request, body, lambda: decode.parse(body, noun.singular)) if body else {}
    )
    revision = constraint(request)

    def work(w: Writer, ctx: Context) -> Doc:
        obj = found(w, ctx, noun, id)
        _require(policy, ctx, noun, action, noun.show(w, ctx, [obj])[0])
        check_revision(obj, revision)
        answer = noun.actions[action](w, ctx, obj, document)
        if isinstance(answer, Resource):
            return {noun.singular: present(policy, w, ctx, noun, [answer])[0]}
        return answer

    return respond(200, await run_write(request, work))


async def look(request: Request, noun: Noun, id: str, reading: str) -> Response:
    """GET of a part of an object, as `trunks/{id}/get_subports`."""
    policy = policy_for(request)

    def work(r: Reader, ctx: Context) -> Doc:
        obj = found(r, ctx, noun, id)
        _require(policy, ctx, noun, reading, noun.show(r, ctx, [obj])[0])
        return noun.readings[reading](r, ctx, obj)

    return respond(200, await run_read(request, work))


def found(r: Reader, ctx: Context, noun: Noun, id: str) -> Any:
    """Return an object that the caller may see; raises the noun's error where there is none."""
    _find_parent(r, ctx, noun)
    obj = access.find(r, ctx, noun.kind, id)
    if obj is None or (noun.under and getattr(obj, noun.parent or "") != noun.within):
        raise noun.missing(id)
    return obj


def _find_parent(r: Reader, ctx: Context, noun: Noun) -> None:
    """Raise the parent's error where the path leads through one that the caller may not see."""
    if (
        noun.under
        and noun.parent_kind
        and access.find(r, ctx, noun.parent_kind, noun.within) is None
    ):
        raise noun.parent_not_found(noun.within)


def targets(r: Reader, ctx: Context, noun: Noun, docs: Sequence[Doc]) -> list[Doc]:
    """Return what policy looks at: the documents, with what their rules ask of the parent.

    Raises NetworkNotFound or SecurityGroupNotFound where the parent of an object yet to be made is not there.
    """
    if noun.parent is None:
        return list(docs)
    parents = _parents(r, ctx, noun, {doc[noun.parent] for doc in docs})
    return [doc | parents[doc[noun.parent]] for doc in docs]


def _parents(r: Reader, ctx: Context, noun: Noun, ids: set[str]) -> dict[str, Doc]:
    """Return, by parent's id, the fields of a target that its parent gives, as the noun declares."""
    assert noun.parent_kind is not None, f"{noun.collection} names a parent of no kind"
    objs = r.get_many(noun.parent_kind, ids)
    for id in ids - objs.keys():
        raise noun.parent_not_found(id)
    shared: Set[str] = frozenset()
    if NETWORK_SHARED in noun.parent_fields:
        shared = r.accessible(ctx.caller.project_id, access.SHARED)
    values = {
        id: {"project_id": obj.project_id, "shared": id in shared} for id, obj in objs.items()
    }
    return {
        id: {field: own[field.rpartition(":")[2]] for field in noun.parent_fields}
        for id, own in values.items()
    }


def _hide_parent(r: Reader, ctx: Context, noun: Noun, target: Doc) -> None:
    """Raise the parent's error where the noun hides parents that the caller may not see."""
    kind, parent = noun.parent_kind, noun.parent
    if not noun.hides_parent or kind is None or parent is None:
        return
    if access.find(r, ctx, kind, target[parent]) is None:
        raise noun.parent_not_found(target[parent]) from None


def _asked(policy: Policy, noun: Noun) -> list[tuple[str, str]]:
    """Return the rules that say who sees an attribute of the noun, each with the attribute."""
    return policy.of_attributes(noun.action("get"), _VISIBLE[noun.collection])


def present(
    policy: Policy,
    r: Reader,
    ctx: Context,
    noun: Noun,
    objs: Sequence[Resource],
    only_allowed: bool = False,
) -> list[Doc]:
    """Return objects as this caller is shown them: attributes that policy forbids are left out.

    `only_allowed`: leave out whole objects that policy does not let the caller get.
    """
    docs = noun.show(r, ctx, objs)
    caller = ctx.caller
    if noun.parent is not None:
        # These documents are ours: policy's fields go into them, and out again below with all that is not visible.
        parents = _parents(r, ctx, noun, {doc[noun.parent] for doc in docs})
        for doc in docs:
            doc.update(parents[doc[noun.parent]])
    if only_allowed:
        docs = policy.allowed(caller, noun.action("get"), docs)
    visible = _VISIBLE[noun.collection]
    for rule, name in _asked(policy, noun):
        # A rule that reads nothing of the target is asked once for the whole list.
        if not policy.reads_target(rule):
            away = () if policy.allows(caller, rule, {}) else docs
        else:
            allowed = {id(doc) for doc in policy.allowed(caller, rule, docs)}
            away = [doc for doc in docs if id(doc) not in allowed]
        for doc in away:
            doc.pop(name, None)
    for doc in docs:
        for name in doc.keys() - visible:
            del doc[name]
    return docs


_PREFIX = "/networking"
_QUOTED = re.compile(r'"([^"]*)"')


def url(request: Request) -> str:
    """Return where this API is, as the client reaches it."""
    return f"{root_url(request)}{_PREFIX}"


def _require(
    policy: Policy,
    ctx: Context,
    noun: Noun,
    action: str,
    target: Doc,
    sent: Iterable[str] | None = None,
) -> None:
    """Ask policy; whoever may not even see the object learns only that it is not there."""
    try:
        policy.require(ctx.caller, action, noun.collection, target, sent)
    except PolicyNotAuthorized:
        if not policy.allows(ctx.caller, noun.action("get"), target):
            raise HTTPNotFound from None
        raise


def constraint(request: Request) -> int | None:
    """Return the revision that If-Match asks for; anything else in the header is ignored.

    A header without quotes is one tag, commas and all, as in Neutron.
    """
    header = request.headers.get("if-match", "")
    tags: list[str] = _QUOTED.findall(header) or [header.strip()]
    wanted = [tag.partition("=")[2] for tag in tags if tag.startswith("revision_number=")]
    if len(wanted) > 1:
        raise lib.BadRequest(
            resource="if-match", msg="Multiple revision_number etags are not supported."
        )
    try:
        return int(wanted[0]) if wanted else None
    except ValueError:
        raise lib.BadRequest(
            resource="if-match",
            msg="Revision number etag must be in the format of revision_number=<int>",
        ) from None


def check_revision(obj: Resource, wanted: int | None) -> None:
    """Raise RevisionNumberConstraintFailed where `If-Match` wants another revision than the object has."""
    if wanted is not None and obj.revision_number != wanted:
        raise RevisionNumberConstraintFailed(wanted, obj.revision_number)
