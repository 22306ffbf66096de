"""Compute API: key pairs."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.compute.microversions import at_least
from netloom.api.compute.pages import page
from netloom.api.http import (
    caller_of,
    respond,
    run_costly,
    run_read,
    run_write,
    services_of,
)
from netloom.api.service import Handler, decoded_member, must_be_admin, must_be_member
from netloom.compute import keypairs
from netloom.model.cloud import Keypair
from netloom.model.errors import BadRequest


class KeypairBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends of a new key pair."""

    name: str
    public_key: str | None = None
    type: str | None = None
    user_id: str | None = None


def _form(request: Request, keypair: Keypair) -> dict[str, Any]:
    form = {
        "name": keypair.name,
        "public_key": keypair.public_key,
        "fingerprint": keypair.fingerprint,
    }
    return form | {"type": keypair.type} if at_least(request, 2) else form


def _user(request: Request, given: str | None) -> str:
    """Return whose key pairs are meant; others' are for admins, from 2.10 on."""
    caller = caller_of(request)
    if given is None or given == caller.user_id or not at_least(request, 10):
        return caller.user_id
    must_be_admin(caller, "os_compute_api:os-keypairs")
    return given


async def _list(request: Request) -> Response:
    user_id = _user(request, request.query_params.get("user_id"))
    found = await run_read(request, lambda r, _: keypairs.visible(r, user_id))
    links: dict[str, Any] = {}
    if at_least(request, 35):
        found, links = page(request, found, "keypairs_links", lambda keypair: keypair.name)
    return respond(
        200, {"keypairs": [{"keypair": _form(request, keypair)} for keypair in found], **links}
    )


async def _create(request: Request) -> Response:
    caller, settings = caller_of(request), services_of(request).settings.compute
    must_be_member(caller, "os_compute_api:os-keypairs:create")
    body = await decoded_member(request, "keypair", KeypairBody)
    if body.type not in (None, "ssh") or (body.type and not at_least(request, 2)):
        raise BadRequest(
            "Only key pairs of type ssh are offered (the type can be given from 2.2 on)."
        )
    if body.user_id is not None and not at_least(request, 10):
        raise BadRequest("Additional properties are not allowed ('user_id' was unexpected)")
    user_id = _user(request, body.user_id)
    keypairs.check_name(body.name)
    private = None
    if body.public_key is None:
        if at_least(request, 92):
            raise BadRequest("'public_key' is a required property")
        private, public = await run_costly(request, keypairs.generate)
    else:
        keypairs.check(body.public_key)
        public = body.public_key
    made = await run_write(
        request, lambda w, _: keypairs.create(w, settings, caller, user_id, body.name, public)
    )
    form = _form(request, made) | {"user_id": made.user_id}
    if private is not None:
        form["private_key"] = private
    return respond(201 if at_least(request, 2) else 200, {"keypair": form})


async def _show(request: Request) -> Response:
    user_id = _user(request, request.query_params.get("user_id"))
    found = await run_read(
        request, lambda r, _: keypairs.get(r, user_id, request.path_params["name"])
    )
    form = _form(request, found) | {
        "user_id": found.user_id,
        # Nova shows a row's number, which says nothing; a client may want something that tells rows apart.
        "id": int(found.fingerprint.replace(":", "")[:7], 16),
        "created_at": found.created_at.rstrip("Z"),
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }
    return respond(200, {"keypair": form})


async def _delete(request: Request) -> Response:
    must_be_member(caller_of(request), "os_compute_api:os-keypairs:delete")
    user_id = _user(request, request.query_params.get("user_id"))
    await run_write(request, lambda w, _: keypairs.delete(w, user_id, request.path_params["name"]))
    return respond(204 if at_least(request, 2) else 202)


TABLE: list[tuple[str, str, Handler]] = [
    ("GET", "/os-keypairs", _list),
    ("POST", "/os-keypairs", _create),
    ("GET", "/os-keypairs/{name}", _show),
    ("DELETE", "/os-keypairs/{name}", _delete),
]
"""(methods, path below /v2.1, handler)."""
