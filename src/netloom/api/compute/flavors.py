"""Compute API: flavors, their extra specs and who may use them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.compute.microversions import at_least
from netloom.api.compute.pages import page
from netloom.api.http import caller_of, respond, run_read, run_write, services_of
from netloom.api.service import (
    Handler,
    boolean,
    decoded,
    decoded_member,
    must_be_admin,
    whole,
)
from netloom.compute import flavors
from netloom.model import Context
from netloom.model.cloud import Flavor
from netloom.model.errors import BadRequest, NotFound
from netloom.store import Writer


class FlavorBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an admin may send of a new flavor. Numbers may come as text, as Nova allows."""

    name: str
    ram: int | str
    vcpus: int | str
    disk: int | str
    id: str | int | None = None
    ephemeral: int | str = field(name="OS-FLV-EXT-DATA:ephemeral", default=0)
    swap: int | str = 0
    rxtx_factor: float | str = 1.0
    is_public: bool = field(name="os-flavor-access:is_public", default=True)
    description: str | None = None


def flavor_links(request: Request, flavor_id: str) -> list[dict[str, str]]:
    """Return the links of a flavor."""
    url = services_of(request).settings.server.url + "/compute"
    return [
        {"rel": "self", "href": f"{url}/v2.1/flavors/{flavor_id}"},
        {"rel": "bookmark", "href": f"{url}/flavors/{flavor_id}"},
    ]


def flavor_form(request: Request, flavor: Flavor) -> dict[str, Any]:
    """Return the flavor as the API shows it at the request's microversion."""
    form: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        # Until 2.75 no swap was an empty text.
        "swap": flavor.swap if flavor.swap or at_least(request, 75) else "",
        "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": flavor.is_public,
        "links": flavor_links(request, flavor.id),
    }
    if at_least(request, 55):
        form["description"] = flavor.description or None
    if at_least(request, 61):
        form["extra_specs"] = flavor.extra_specs
    return form


async def _chosen(request: Request) -> tuple[list[Flavor], dict[str, Any]]:
    caller, query = caller_of(request), request.query_params
    found = await run_read(request, lambda r, _: flavors.visible(r, caller))
    public = query.get("is_public", "true")
    if not caller.is_admin or public.lower() == "none":
        # Others than admins always see what they may use, public or not.
        wanted = found
    else:
        flag = boolean(public, "is_public")
        wanted = [flavor for flavor in found if flavor.is_public == flag]
    least_disk, least_ram = (
        whole(query.get("minDisk", "0"), "minDisk"),
        whole(query.get("minRam", "0"), "minRam"),
    )
    wanted = [flavor for flavor in wanted if flavor.disk >= least_disk and flavor.ram >= least_ram]
    keys = {
        "flavorid": "id",
        "id": "id",
        "memory_mb": "ram",
        "root_gb": "disk",
        "name": "name",
        "vcpus": "vcpus",
    }
    key = query.get("sort_key", "flavorid")
    if key not in keys:
        raise BadRequest(f"Invalid sort_key {key!r}: one of {', '.join(sorted(keys))}.")
    wanted.sort(key=lambda f: getattr(f, keys[key]), reverse=query.get("sort_dir", "asc") == "desc")
    return page(request, wanted, "flavors_links", lambda flavor: flavor.id)


async def _list(request: Request) -> Response:
    wanted, links = await _chosen(request)
    listed: list[dict[str, Any]] = []
    for flavor in wanted:
        form: dict[str, Any] = {
            "id": flavor.id,
            "name": flavor.name,
            "links": flavor_links(request, flavor.id),
        }
        if at_least(request, 55):
            form["description"] = flavor.description or None
        listed.append(form)
    return respond(200, {"flavors": listed, **links})


async def _detail(request: Request) -> Response:
    wanted, links = await _chosen(request)
    return respond(200, {"flavors": [flavor_form(request, flavor) for flavor in wanted], **links})


async def _get(request: Request) -> Flavor:
    caller = caller_of(request)
    return await run_read(
        request, lambda r, _: flavors.get(r, caller, request.path_params["flavor_id"])
    )


async def _show(request: Request) -> Response:
    return respond(200, {"flavor": flavor_form(request, await _get(request))})


def _number(value: int | str, name: str) -> int:
    return whole(value, name) if isinstance(value, str) else value


async def _create(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-flavor-manage:create")
    body = await decoded_member(request, "flavor", FlavorBody)
    if body.description is not None and not at_least(request, 55):
        raise BadRequest("Additional properties are not allowed ('description' was unexpected)")
    if float(body.rxtx_factor) != 1.0:
        raise BadRequest("rxtx_factor can only be 1.0: traffic is not shaped by flavors here.")
    attrs: dict[str, Any] = {
        "name": body.name,
        "is_public": body.is_public,
        "description": body.description or "",
        **{n: _number(getattr(body, n), n) for n in ("ram", "vcpus", "disk", "ephemeral", "swap")},
    }
    ident = None if body.id in (None, "auto") else str(body.id)
    made = await run_write(request, lambda w, _: flavors.create(w, ident, attrs))
    return respond(200, {"flavor": flavor_form(request, made)})


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """What of a flavor may change."""

    description: str | None


async def _update(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-flavor-manage:update")
    if not at_least(request, 55):
        raise NotFound("The resource could not be found.")
    body, ident = (
        await decoded_member(request, "flavor", Description),
        request.path_params["flavor_id"],
    )
    changed = await run_write(
        request, lambda w, _: flavors.describe(w, ident, body.description or "")
    )
    return respond(200, {"flavor": flavor_form(request, changed)})


async def _delete(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-flavor-manage:delete")
    await run_write(request, lambda w, _: flavors.delete(w, request.path_params["flavor_id"]))
    return respond(202)


async def _extra_specs(request: Request) -> Response:
    return respond(200, {"extra_specs": (await _get(request)).extra_specs})


async def _extra_spec(request: Request) -> Response:
    specs, key = (await _get(request)).extra_specs, request.path_params["key"]
    if key not in specs:
        raise NotFound(
            f"Flavor {request.path_params['flavor_id']} has no extra specs with key {key}."
        )
    return respond(200, {key: specs[key]})


async def _set_extra_specs(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-flavor-extra-specs:create")
    specs = await decoded_member(request, "extra_specs", dict[str, str])
    ident = request.path_params["flavor_id"]
    await run_write(request, lambda w, _: flavors.set_extra_specs(w, ident, specs))
    return respond(200, {"extra_specs": specs})


async def _delete_extra_spec(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-flavor-extra-specs:delete")
    ident, key = request.path_params["flavor_id"], request.path_params["key"]
    await run_write(request, lambda w, _: flavors.drop_extra_spec(w, ident, key))
    return respond(200)


def _access_form(flavor_id: str, projects: list[str]) -> dict[str, Any]:
    return {
        "flavor_access": [{"flavor_id": flavor_id, "tenant_id": project} for project in projects]
    }


async def _access(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-flavor-access")
    ident = request.path_params["flavor_id"]
    return respond(
        200, _access_form(ident, await run_read(request, lambda r, _: flavors.projects(r, ident)))
    )


class Tenant(Struct, frozen=True, forbid_unknown_fields=True):
    """The project of an access action."""

    tenant: str


async def _action(request: Request) -> Response:
    must_be_admin(caller_of(request), "os_compute_api:os-flavor-access")
    body, ident = (
        await decoded(request, dict[str, Tenant]),
        request.path_params["flavor_id"],
    )
    changes = {"addTenantAccess": flavors.allow, "removeTenantAccess": flavors.disallow}
    if len(body) != 1 or next(iter(body)) not in changes:
        raise BadRequest("The action is one of addTenantAccess and removeTenantAccess.")
    name, tenant = next(iter(body.items()))

    def write(w: Writer, _: Context) -> list[str]:
        changes[name](w, ident, tenant.tenant)
        return flavors.projects(w, ident)

    return respond(200, _access_form(ident, await run_write(request, write)))


TABLE: list[tuple[str, str, Handler]] = [
    ("GET", "/flavors", _list),
    ("POST", "/flavors", _create),
    ("GET", "/flavors/detail", _detail),
    ("GET", "/flavors/{flavor_id}", _show),
    ("PUT", "/flavors/{flavor_id}", _update),
    ("DELETE", "/flavors/{flavor_id}", _delete),
    ("POST", "/flavors/{flavor_id}/action", _action),
    ("GET", "/flavors/{flavor_id}/os-flavor-access", _access),
    ("GET", "/flavors/{flavor_id}/os-extra_specs", _extra_specs),
    ("POST", "/flavors/{flavor_id}/os-extra_specs", _set_extra_specs),
    ("GET", "/flavors/{flavor_id}/os-extra_specs/{key}", _extra_spec),
    ("DELETE", "/flavors/{flavor_id}/os-extra_specs/{key}", _delete_extra_spec),
]
"""(methods, path below /v2.1, handler)."""
