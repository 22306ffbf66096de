"""Agents, availability zones and quotas: what operators look at, none of it a stored object of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from neutron_lib import exceptions as lib
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.bodies import off_loop
from netloom.api.http import body_of, caller_of, respond, run_read, run_write, services_of
from netloom.api.networking import collections, query
from netloom.contract import decode
from netloom.contract.attributes import MAPS
from netloom.contract.errors import HTTPBadRequest, HTTPMethodNotAllowed, HTTPNotFound
from netloom.model import Context
from netloom.network import l3_agents, lookup, neutron_agents, placement, quotas, routers
from netloom.store import Reader, Writer

Doc = dict[str, Any]


async def agents_answer(request: Request, rest: list[str]) -> Response:
    """Answer `/agents` and `/agents/{id}`; for whoever policy does not let see agents there are none."""
    method = request.method
    if not rest:
        if method == "POST":
            raise lib.BadRequest(
                resource="agents", msg="Agent creation using API is not supported."
            )
        if method != "GET":
            raise HTTPMethodNotAllowed
        return await _agents(request)
    if rest[1:2] == ["l3-routers"]:
        return await _routers_of_agent(request, rest[0], rest[2:])
    if len(rest) > 1:
        raise HTTPNotFound
    id = rest[0]
    if method == "GET":
        fields = query.fields_of("agents", request.query_params.multi_items())
        doc = await run_read(request, lambda r, ctx: _agent(request, r, ctx, id))
        return respond(200, {"agent": query.pick([doc], fields)[0]})
    if method == "PUT":
        body = await body_of(request)
        caller = caller_of(request)
        attrs = await off_loop(request, body, lambda: decode.decode_update("agents", body, caller))

        def change(w: Writer, ctx: Context) -> Doc:
            _agent(request, w, ctx, id, "update_agent")
            neutron_agents.update(w, ctx, neutron_agents.get(w, ctx, id), attrs)
            return neutron_agents.show(w, ctx, [neutron_agents.get(w, ctx, id)])[0]

        return respond(200, {"agent": await run_write(request, change)})
    if method == "DELETE":

        def remove(w: Writer, ctx: Context) -> None:
            _agent(request, w, ctx, id, "delete_agent")
            agent = neutron_agents.get(w, ctx, id)
            neutron_agents.delete(w, ctx, agent)
            placement.forget(w, agent.row.name)

        await run_write(request, remove)
        return respond(204)
    raise HTTPMethodNotAllowed


async def agents_of_router(request: Request, router_id: str) -> Response:
    """Answer `/routers/{id}/l3-agents`."""
    if request.method != "GET":
        raise HTTPMethodNotAllowed
    collections.policy_for(request).require(caller_of(request), "get_l3-agents", "agents", {})

    def work(r: Reader, ctx: Context) -> list[Doc]:
        return neutron_agents.of_router(r, ctx, lookup.router(r, ctx, router_id))

    return respond(200, {"agents": await run_read(request, work)})


async def _routers_of_agent(request: Request, id: str, rest: list[str]) -> Response:
    """Answer `/agents/{id}/l3-routers` and `/agents/{id}/l3-routers/{router}`."""
    if len(rest) > 1:
        raise HTTPNotFound
    verb = {("GET", 0): "get_l3-routers", ("POST", 0): "create_l3-router"}.get(
        (request.method, len(rest)), "delete_l3-router" if request.method == "DELETE" else ""
    )
    if not verb or (verb == "delete_l3-router" and not rest):
        raise HTTPMethodNotAllowed
    collections.policy_for(request).require(caller_of(request), verb, "routers", {})
    if rest:
        await run_write(request, lambda w, ctx: l3_agents.remove(w, ctx, id, rest[0]))
        return respond(204)
    if request.method == "POST":
        body = await body_of(request)
        document = await off_loop(request, body, lambda: decode.parse(body, "router_id"))
        if "router_id" not in document:
            raise HTTPBadRequest("Unable to find 'router_id' in request body")
        router_id = str(document["router_id"])
        await run_write(request, lambda w, ctx: l3_agents.add(w, ctx, id, router_id))
        return respond(201, msgspec.Raw(b"null"))  # a document, as in Neutron

    def work(r: Reader, ctx: Context) -> list[Doc]:
        return routers.show(r, ctx, l3_agents.routers_on(r, neutron_agents.get(r, ctx, id)))

    return respond(200, {"routers": await run_read(request, work)})


async def zones_answer(request: Request, rest: list[str]) -> Response:
    """Answer `/availability_zones`."""
    if rest:
        raise HTTPNotFound
    if request.method != "GET":
        raise HTTPMethodNotAllowed
    asked = query.parse("availability_zones", request.query_params.multi_items())
    docs = await _listed(
        request,
        "availability_zones",
        "get_availability_zone",
        neutron_agents.availability_zones,
        asked,
    )
    # Zones have no id that could mark a page: as in Neutron they always come whole.
    return respond(200, {"availability_zones": query.pick(docs, asked.fields)})


async def quotas_answer(request: Request, rest: list[str]) -> Response:
    """Answer `/quotas`, `/quotas/{project}`, and `/default` and `/details` below it."""
    if not rest:
        if request.method != "GET":
            raise HTTPMethodNotAllowed
        collections.policy_for(request).require(
            caller_of(request), "get_quota", "quotas", {"project_id": ""}
        )
        return respond(200, {"quotas": await run_read(request, quotas.list_own)})
    if len(rest) > 2:
        raise HTTPNotFound
    project_id, what = rest[0], rest[1] if len(rest) == 2 else ""
    if request.method == "GET":
        return await _quota(request, project_id, what)
    if what:
        raise HTTPMethodNotAllowed if what == "default" else HTTPNotFound
    if request.method == "PUT":
        _require_quota(request, "update_quota", project_id)
        body = await body_of(request)
        document = await off_loop(request, body, lambda: decode.parse(body, "quota"))
        if not isinstance(document.get("quota"), dict):
            raise HTTPBadRequest("Unable to find 'quota' in request body")
        limits = await run_write(
            request, lambda w, ctx: quotas.update(w, ctx, project_id, document["quota"])
        )
        return respond(200, {"quota": limits})
    if request.method == "DELETE":
        _require_quota(request, "delete_quota", project_id)
        await run_write(request, lambda w, ctx: quotas.delete(w, ctx, project_id))
        return respond(204)
    raise HTTPMethodNotAllowed


ANSWERS: dict[str, Callable[[Request, list[str]], Awaitable[Response]]] = {
    "agents": agents_answer,
    "availability_zones": zones_answer,
    "quotas": quotas_answer,
}
"""First part of a path → who answers it."""


async def _agents(request: Request) -> Response:
    """List agents, with sorting and pages."""
    max_limit = services_of(request).settings.network.pagination_max_limit
    asked = query.parse("agents", request.query_params.multi_items(), max_limit)
    marker = asked.marker
    before = (
        await run_read(request, lambda r, ctx: _agent(request, r, ctx, marker)) if marker else None
    )
    docs = await _listed(
        request,
        "agents",
        "get_agent",
        lambda r, ctx: neutron_agents.show(r, ctx, neutron_agents.list_all(r, ctx)),
        asked,
    )
    page = query.page_of_documents(docs, asked, before)
    return collections.paged(request, "agents", page, asked)


async def _listed(
    request: Request,
    collection: str,
    rule: str,
    show: Callable[[Reader, Context], list[Doc]],
    asked: query.Query,
) -> list[Doc]:
    """Return what is computed rather than stored and meets all filters; nothing where policy forbids it."""
    if not collections.policy_for(request).allows(caller_of(request), rule, {}):
        return []
    visible = MAPS[collection]
    shown = [
        {name: value for name, value in doc.items() if name in visible}
        for doc in await run_read(request, show)
    ]
    return query.keep_documents(shown, asked)


def _agent(request: Request, r: Reader, ctx: Context, id: str, rule: str = "get_agent") -> Doc:
    """Return an agent, or AgentNotFound for whoever may not know of it."""
    doc = neutron_agents.show(r, ctx, [neutron_agents.get(r, ctx, id)])[0]
    policy = collections.policy_for(request)
    if not policy.allows(ctx.caller, "get_agent", doc):
        raise neutron_agents.AgentNotFound(id=id)
    policy.require(ctx.caller, rule, "agents", doc)
    return doc


async def _quota(request: Request, project_id: str, what: str) -> Response:
    if not what and project_id in ("tenant", "project"):
        # Older clients ask here which project they are in.
        return respond(200, {project_id: {f"{project_id}_id": caller_of(request).project_id}})
    if project_id == "default" and not what:
        return respond(200, {"quota": await run_read(request, lambda r, ctx: quotas.defaults(ctx))})
    if what not in ("", "default", "details"):
        raise HTTPNotFound
    caller = caller_of(request)
    if project_id != caller.project_id:
        # A project's own quotas are for everyone in it; the rule is about other projects'.
        if what == "details" and not caller.is_admin:
            raise lib.AdminRequired(
                reason="Only admin is authorized to access quotas for another project"
            )
        _require_quota(request, "get_quota", project_id)

    def work(r: Reader, ctx: Context) -> Any:
        if what == "details":
            return quotas.details(r, ctx, project_id)
        return quotas.defaults(ctx) if what else quotas.limits(r, ctx, project_id)

    return respond(200, {"quota": await run_read(request, work)})


def _require_quota(request: Request, rule: str, project_id: str) -> None:
    collections.policy_for(request).require(
        caller_of(request), rule, "quotas", {"project_id": project_id}
    )
