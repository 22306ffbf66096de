"""Image API v2: records, data in and out, members, tags, schemas."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from netloom.api.http import (
    caller_of,
    respond,
    run_in_thread,
    run_read,
    run_write,
    services_of,
)
from netloom.api.image import forms
from netloom.api.image.lists import filtered, ordered, page
from netloom.api.service import decoded, must_be_member, must_be_reader
from netloom.api.service import routes as make_routes
from netloom.image import files, images
from netloom.image.inspection import virtual_size
from netloom.model import Context
from netloom.model.cloud import Image
from netloom.model.errors import BadRequest, Forbidden, NotFound, TooLarge, UnsupportedMedia
from netloom.store import Reader, Writer

PREFIX = "/image"
_BLOCK = 1024 * 1024
_PATCH_TYPES = (
    "application/openstack-images-v2.1-json-patch",
    "application/openstack-images-v2.0-json-patch",
)


async def _versions(request: Request) -> Response:
    link = [{"rel": "self", "href": f"{services_of(request).settings.server.url}{PREFIX}/v2/"}]
    listed = [
        {"id": f"v2.{minor}", "status": "CURRENT" if minor == 7 else "SUPPORTED", "links": link}
        for minor in (7, 5, 4, 3, 2, 1, 0)
    ]
    # Asked for by its own name it is an answer, anywhere else a choice to make.
    return respond(
        200 if request.scope["path"].endswith("/versions") else 300, {"versions": listed}
    )


def _id(request: Request) -> str:
    return request.path_params["image_id"]


async def _list(request: Request) -> Response:
    caller, query = caller_of(request), request.query_params
    must_be_reader(caller, "get_images")
    visibility = query.get("visibility")
    if visibility not in (None, "all", *images.VISIBILITIES):
        raise BadRequest(f"Invalid visibility value: {visibility}")
    status = query.get("member_status", "accepted")

    def read(r: Reader, _: Context) -> dict[str, Any]:
        shown = [forms.form(image) for image in images.visible(r, caller, visibility, status)]
        return page(request, ordered(request, filtered(request, shown)))

    return respond(200, await run_read(request, read))


async def _create(request: Request) -> Response:
    caller, settings = caller_of(request), services_of(request).settings.image
    must_be_member(caller, "add_image")
    attrs = forms.read_body(await decoded(request, dict[str, Any]))
    owner = attrs.pop("project_id", caller.project_id)
    if owner != caller.project_id and not caller.is_admin:
        raise Forbidden(f"You are not permitted to create images owned by '{owner}'.")
    image = Image(id=images.new_id(attrs.pop("id", None)), project_id=owner, **attrs)
    made = await run_write(request, lambda w, _: images.create(w, caller, settings, image))
    url = f"{services_of(request).settings.server.url}{PREFIX}/v2/images/{made.id}"
    return respond(201, forms.form(made), {"Location": url})


async def _show(request: Request) -> Response:
    caller = caller_of(request)
    must_be_reader(caller, "get_image")
    return respond(
        200, forms.form(await run_read(request, lambda r, _: images.get(r, caller, _id(request))))
    )


async def _patch(request: Request) -> Response:
    caller = caller_of(request)
    must_be_member(caller, "modify_image")
    if request.headers.get("content-type", "").partition(";")[0].strip() not in _PATCH_TYPES:
        raise UnsupportedMedia(f"The content type must be {_PATCH_TYPES[0]}.")
    operations = await decoded(request, tuple[forms.Operation, ...])
    if len(operations) > forms.MOST_OPERATIONS:
        raise BadRequest(f"A patch has at most {forms.MOST_OPERATIONS} operations.")

    def write(w: Writer, _: Context) -> Image:
        old = images.owned(w, caller, _id(request))
        return images.update(w, caller, old.id, forms.patched(old, operations))

    return respond(200, forms.form(await run_write(request, write)))


async def _delete(request: Request) -> Response:
    caller = caller_of(request)
    must_be_member(caller, "delete_image")
    gone = await run_write(request, lambda w, _: images.delete(w, caller, _id(request)))
    await run_in_thread(request, lambda: files.remove(services_of(request).state_dir, gone.id))
    return respond(204)


# ---- data


async def _upload(request: Request) -> Response:
    """Take the data to disk beside its place, look into it, put it in place, then say it is there.

    Until the last step the image stays `queued`: whoever is killed half-way leaves nothing that counts.
    """
    caller, services = caller_of(request), services_of(request)
    must_be_member(caller, "upload_image")
    limit = services.settings.image.max_bytes
    if (
        request.headers.get("content-type", "").partition(";")[0].strip()
        != "application/octet-stream"
    ):
        raise UnsupportedMedia("The content type must be application/octet-stream.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise TooLarge(f"The image is larger than the {limit} bytes that are allowed.")
    image = await run_read(request, lambda r, _: images.ready_for_data(r, caller, _id(request)))
    with await run_in_thread(
        request, lambda: files.Upload(services.state_dir, image.id, limit)
    ) as upload:
        await _receive(request, upload)
        await run_in_thread(request, upload.finish)
        size = await run_in_thread(
            request, lambda: virtual_size(upload.path, image.disk_format or "raw", limit)
        )
        data = {
            "size": upload.size,
            "virtual_size": size,
            "checksum": upload.checksum,
            "os_hash_algo": files.HASH,
            "os_hash_value": upload.hash_value,
        }

        def write(w: Writer, _: Context) -> None:
            images.activate(w, caller, image.id, data)
            # Inside the transaction: an image is never active without its data. Of two uploads at once
            # the second finds the image active and never comes here.
            upload.keep()

        await run_write(request, write)
    return respond(204)


async def _receive(request: Request, upload: files.Upload) -> None:
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= _BLOCK:
            block, waiting = bytes(waiting), bytearray()
            await run_in_thread(request, lambda block=block: upload.write(block))
    await run_in_thread(request, lambda: upload.write(bytes(waiting)))


async def _download(request: Request) -> Response:
    caller = caller_of(request)
    must_be_reader(caller, "download_image")
    image = await run_read(request, lambda r, _: images.get(r, caller, _id(request)))
    if image.status == "deactivated" and not caller.is_admin:
        raise Forbidden(
            "The requested image has been deactivated. Image data download is forbidden."
        )
    if image.status == "queued":
        return respond(204)
    headers = {"Content-MD5": image.checksum or "", "X-Image-Sha512": image.os_hash_value or ""}
    file = files.data(services_of(request).state_dir, image.id)
    return FileResponse(file, media_type="application/octet-stream", headers=headers)


async def _deactivate(request: Request) -> Response:
    return await _set_active(request, "deactivate", False)


async def _reactivate(request: Request) -> Response:
    return await _set_active(request, "reactivate", True)


async def _set_active(request: Request, action: str, active: bool) -> Response:
    caller = caller_of(request)
    must_be_member(caller, action)
    await run_write(request, lambda w, _: images.set_active(w, caller, _id(request), active))
    return respond(204)


# ---- tags and members


async def _put_tag(request: Request) -> Response:
    caller, tag = caller_of(request), request.path_params["tag"]
    must_be_member(caller, "modify_image")

    def write(w: Writer, _: Context) -> None:
        old = images.owned(w, caller, _id(request))
        images.update(
            w, caller, old.id, structs.replace(old, tags=tuple(dict.fromkeys((*old.tags, tag))))
        )

    await run_write(request, write)
    return respond(204)


async def _delete_tag(request: Request) -> Response:
    caller, tag = caller_of(request), request.path_params["tag"]
    must_be_member(caller, "modify_image")

    def write(w: Writer, _: Context) -> None:
        old = images.owned(w, caller, _id(request))
        if tag not in old.tags:
            raise NotFound(f"Image {old.id} has no tag {tag}.")
        images.update(
            w, caller, old.id, structs.replace(old, tags=tuple(t for t in old.tags if t != tag))
        )

    await run_write(request, write)
    return respond(204)


async def _members(request: Request) -> Response:
    caller = caller_of(request)
    must_be_reader(caller, "get_members")
    image = await run_read(request, lambda r, _: images.get(r, caller, _id(request)))
    found = await run_read(request, lambda r, _: images.members(r, caller, image.id))
    listed = [
        forms.member_form(image.id, project, found[project], image) for project in sorted(found)
    ]
    return respond(200, {"members": listed, "schema": "/v2/schemas/members"})


async def _show_member(request: Request) -> Response:
    return respond(200, await _member(request))


async def _member(request: Request, project: str | None = None) -> dict[str, Any]:
    caller, project = caller_of(request), project or request.path_params["member_id"]
    must_be_reader(caller, "get_member")
    image = await run_read(request, lambda r, _: images.get(r, caller, _id(request)))
    found = await run_read(request, lambda r, _: images.members(r, caller, image.id))
    if project not in found:
        raise NotFound(f"{project} not found in the member list of the image {image.id}.")
    return forms.member_form(image.id, project, found[project], image)


async def _add_member(request: Request) -> Response:
    caller = caller_of(request)
    must_be_member(caller, "add_member")
    body = await decoded(request, dict[str, str])
    if set(body) != {"member"} or not body["member"]:
        raise BadRequest("The body must be an object with the one member 'member', a project's id.")
    await run_write(
        request, lambda w, _: images.add_member(w, caller, _id(request), body["member"])
    )
    return respond(200, await _member(request, body["member"]))


async def _update_member(request: Request) -> Response:
    caller, project = caller_of(request), request.path_params["member_id"]
    must_be_member(caller, "modify_member")
    body = await decoded(request, dict[str, str])
    # openstacksdk sends the member along, which the path names already.
    if not {"status"} <= set(body) <= {"status", "member", "member_id"}:
        raise BadRequest("The body must be an object with the member 'status'.")
    await run_write(
        request, lambda w, _: images.set_member(w, caller, _id(request), project, body["status"])
    )
    return respond(200, await _member(request))


async def _remove_member(request: Request) -> Response:
    caller, project = caller_of(request), request.path_params["member_id"]
    must_be_member(caller, "delete_member")
    await run_write(request, lambda w, _: images.remove_member(w, caller, _id(request), project))
    return respond(204)


# ---- what the service says of itself


async def _schema(request: Request) -> Response:
    schemas = {
        "image": forms.image_schema,
        "images": lambda: forms.list_schema("images", forms.image_schema()),
        "member": forms.member_schema,
        "members": lambda: forms.list_schema("members", forms.member_schema()),
    }
    name = request.path_params["name"]
    if name not in schemas:
        raise NotFound(f"There is no schema {name}.")
    return respond(200, schemas[name]())


async def _import_info(_: Request) -> Response:
    listed = {"description": "Import methods available.", "type": "array", "value": []}
    return respond(200, {"import-methods": listed})


async def _stores(_: Request) -> Response:
    """One store: Glance answers so where several are not set up."""
    raise HTTPException(404, "Multi backend is not supported at this site.")


def routes() -> list[BaseRoute]:
    """Return the routes of the image service."""
    image, member = "/v2/images/{image_id}", "/v2/images/{image_id}/members/{member_id}"
    return [
        *make_routes(
            PREFIX,
            forms.error_form,
            [
                ("GET", "", _versions),
                ("GET", "/", _versions),
                ("GET", "/versions", _versions),
                ("GET", "/v2/images", _list),
                ("POST", "/v2/images", _create),
                ("GET", image, _show),
                ("PATCH", image, _patch),
                ("DELETE", image, _delete),
                ("PUT", image + "/file", _upload),
                ("GET", image + "/file", _download),
                ("POST", image + "/actions/deactivate", _deactivate),
                ("POST", image + "/actions/reactivate", _reactivate),
                ("PUT", image + "/tags/{tag}", _put_tag),
                ("DELETE", image + "/tags/{tag}", _delete_tag),
                ("GET", image + "/members", _members),
                ("POST", image + "/members", _add_member),
                ("GET", member, _show_member),
                ("PUT", member, _update_member),
                ("DELETE", member, _remove_member),
                ("GET", "/v2/schemas/{name}", _schema),
                ("GET", "/v2/info/import", _import_info),
                ("GET", "/v2/info/stores", _stores),
            ],
        )
    ]
