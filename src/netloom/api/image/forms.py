"""How images look on the wire: bodies in and out, JSON patches, schemas, errors."""

from __future__ import annotations

from html import escape
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.http import respond
from netloom.api.service import convert, given
from netloom.image.images import MEMBER_STATUSES, VISIBILITIES
from netloom.image.inspection import CONTAINER_FORMATS, DISK_FORMATS
from netloom.model.cloud import Image
from netloom.model.errors import BadRequest, Conflict, Forbidden, ServiceError

READ_ONLY = frozenset(
    [
        "status",
        "size",
        "virtual_size",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "created_at",
        "updated_at",
        "self",
        "file",
        "schema",
        "stores",
        "direct_url",
        "locations",
    ]
)
"""Attributes that only the service sets."""


class ImageBody(Struct, frozen=True, kw_only=True):
    """What a client may set of an image, beside properties, which are all other members."""

    id: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    visibility: str | UnsetType = UNSET
    protected: bool | UnsetType = UNSET
    disk_format: str | UnsetType | None = UNSET
    container_format: str | UnsetType | None = UNSET
    min_disk: int | UnsetType = UNSET
    min_ram: int | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    os_hidden: bool | UnsetType = UNSET


_KNOWN = frozenset(ImageBody.__struct_fields__)


def error_form(request: Request, error: ServiceError) -> Response:
    """Write an error as Glance does: JSON for who asks for JSON, else a page, which its old client reads."""
    if "application/json" not in request.headers.get("accept", ""):
        title = f"{error.code} {error.title}"
        page = (
            f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
            f"  {escape(str(error), quote=False)}<br /><br />\n\n\n\n </body>\n</html>"
        )
        return Response(page, status_code=error.code, media_type="text/html")
    body = {"code": f"{error.code} {error.title}", "title": error.title, "message": str(error)}
    return respond(error.code, body)


def read_body(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an Image that a client's document sets."""
    if forbidden := READ_ONLY & set(document):
        raise Forbidden(f"Attribute '{min(forbidden)}' is read-only.")
    attrs = given(convert({k: v for k, v in document.items() if k in _KNOWN}, ImageBody))
    if "owner" in attrs:
        attrs["project_id"] = attrs.pop("owner")
    if "name" in attrs:
        attrs["name"] = attrs["name"] or ""
    if "tags" in attrs:
        attrs["tags"] = tuple(dict.fromkeys(attrs["tags"]))
    attrs["properties"] = convert(
        {k: v for k, v in document.items() if k not in _KNOWN}, dict[str, str]
    )
    return attrs


def form(image: Image) -> dict[str, Any]:
    """Return the image as the API shows it."""
    here = f"/v2/images/{image.id}"
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "os_hidden": image.os_hidden,
        "owner": image.project_id,
        "tags": image.tags,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "self": here,
        "file": here + "/file",
        "schema": "/v2/schemas/image",
    }


class Operation(Struct, frozen=True, kw_only=True):
    """One step of a JSON patch (RFC 6902), as far as images take it."""

    op: str
    path: str
    value: Any = None


MOST_OPERATIONS = 512
"""Steps of one patch; an image has at most 128 properties and 128 tags."""


def patched(image: Image, operations: tuple[Operation, ...]) -> Image:
    """Return the image with the operations applied; raises where one cannot be."""
    document = {**image.properties, **{k: v for k, v in form(image).items() if k in _KNOWN}}
    for operation in operations:
        name = _member(operation.path)
        if name in READ_ONLY or name == "id":
            raise Forbidden(f"Attribute '{name}' is read-only.")
        if operation.op not in ("add", "replace", "remove"):
            raise BadRequest(f"Operations are add, replace and remove, not {operation.op!r}.")
        if operation.op != "add" and name not in document:
            raise Conflict(f"Property {name} does not exist.")
        if operation.op == "remove":
            if name in _KNOWN:
                raise Forbidden(f"Property '{name}' may not be removed.")
            del document[name]
        else:
            document[name] = operation.value
    attrs = read_body(document)
    del attrs["id"]
    return structs.replace(image, **attrs)


def _member(path: str) -> str:
    if not path.startswith("/") or path.count("/") != 1 or len(path) < 2:
        raise BadRequest(
            f"Invalid path {path!r} in the patch: it is '/' and the name of one attribute."
        )
    return path[1:].replace("~1", "/").replace("~0", "~")


def member_form(image_id: str, project_id: str, status: str, image: Image) -> dict[str, Any]:
    """Return a member as the API shows it."""
    return {
        "image_id": image_id,
        "member_id": project_id,
        "status": status,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "schema": "/v2/schemas/member",
    }


# ---- schemas: old clients build their commands and check their answers with these


def _text(description: str, nullable: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "type": ["null", "string"] if nullable else "string",
        "description": description,
        **more,
    }


def image_schema() -> dict[str, Any]:
    """Return the JSON schema of an image."""
    read = {"readOnly": True}
    return {
        "name": "image",
        "properties": {
            "id": _text("An identifier for the image"),
            "name": _text("Descriptive name for the image", True, maxLength=255),
            "status": _text(
                "Status of the image", enum=["queued", "active", "deactivated"], **read
            ),
            "visibility": _text("Scope of image accessibility", enum=list(VISIBILITIES)),
            "protected": {
                "type": "boolean",
                "description": "If true, image will not be deletable.",
            },
            "os_hidden": {
                "type": "boolean",
                "description": "If true, image is not in the default list",
            },
            "checksum": _text("md5 hash of image contents.", True, maxLength=32, **read),
            "os_hash_algo": _text("Algorithm of os_hash_value", True, maxLength=64, **read),
            "os_hash_value": _text("Hash of the image contents", True, maxLength=128, **read),
            "owner": _text("Owner of the image", True, maxLength=255),
            "size": {
                "type": ["null", "integer"],
                "description": "Size of image file in bytes",
                **read,
            },
            "virtual_size": {
                "type": ["null", "integer"],
                "description": "Virtual size of image in bytes",
                **read,
            },
            "container_format": _text(
                "Format of the container", True, enum=[None, *CONTAINER_FORMATS]
            ),
            "disk_format": _text("Format of the disk", True, enum=[None, *DISK_FORMATS]),
            "created_at": _text("Date and time of image registration", **read),
            "updated_at": _text("Date and time of the last image modification", **read),
            "tags": {
                "type": "array",
                "description": "List of strings related to the image",
                "items": {"type": "string", "maxLength": 255},
            },
            "min_ram": {
                "type": "integer",
                "description": "Amount of ram (in MB) required to boot image.",
            },
            "min_disk": {
                "type": "integer",
                "description": "Amount of disk space (in GB) required to boot.",
            },
            "self": _text("An image self url", **read),
            "file": _text("An image file url", **read),
            "schema": _text("An image schema url", **read),
        },
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def member_schema() -> dict[str, Any]:
    """Return the JSON schema of an image's member."""
    return {
        "name": "member",
        "properties": {
            "created_at": _text("Date and time of image member creation"),
            "updated_at": _text("Date and time of last modification of image member"),
            "image_id": _text("An identifier for the image"),
            "member_id": _text("An identifier for the image member (projectId)"),
            "status": _text("The status of this image member", enum=list(MEMBER_STATUSES)),
            "schema": _text("The schema of this image member"),
        },
    }


def list_schema(name: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a list of those."""
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }
