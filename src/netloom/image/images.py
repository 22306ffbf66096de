"""Images: their records, who may see them, and when they are usable.

`queued` until the data is whole, checked and on disk; then `active`, or `deactivated` for as long as its owner
wants nobody to use it.
"""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import structs

from netloom.image.inspection import CONTAINER_FORMATS, DISK_FORMATS
from netloom.model import Caller
from netloom.model.cloud import Image, Server
from netloom.model.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge
from netloom.model.settings import ImageSettings
from netloom.store import Reader, Writer

VISIBILITIES = ("public", "private", "shared", "community")
MEMBER_STATUSES = ("pending", "accepted", "rejected")

_PREFIX = "image-"
"""A member is an access of the store: action `image-pending`, `image-accepted` or `image-rejected`."""

MAX_PROPERTIES = 128
MAX_TAGS = 128


def get(reader: Reader, caller: Caller, image_id: str) -> Image:
    """Return an image that the caller may see; raises NotFound otherwise, whether or not it is there."""
    image = reader.get(Image, image_id)
    if image is None or not may_see(reader, caller, image):
        raise NotFound(f"No image found with ID {image_id}")
    return image


def may_see(reader: Reader, caller: Caller, image: Image) -> bool:
    """Say whether the caller may see and use the image."""
    if caller.is_admin or image.project_id == caller.project_id:
        return True
    if image.visibility in ("public", "community"):
        return True
    if image.visibility != "shared":
        return False
    return any(access.target == caller.project_id for access in reader.access(image.id))


def visible(
    reader: Reader, caller: Caller, visibility: str | None, member_status: str
) -> list[Image]:
    """Return the images that a list shows the caller.

    Without `visibility`: its own, public ones, and shared ones that its project said `member_status` to;
    images of the community, and for an admin those of others, only show when asked for.
    """
    if member_status != "all" and member_status not in MEMBER_STATUSES:
        raise BadRequest(f"Invalid status: {member_status}")
    wanted = MEMBER_STATUSES if member_status == "all" else (member_status,)
    shared = set[str]().union(
        *(reader.accessible(caller.project_id, _PREFIX + status) for status in wanted)
    )
    shown: list[Image] = []
    for image in reader.list(Image):
        if visibility not in (None, "all", image.visibility):
            continue
        own = image.project_id == caller.project_id
        if (
            own
            or image.visibility == "public"
            or (image.visibility == "community" and visibility)
            or (image.visibility == "shared" and image.id in shared)
            or caller.is_admin
        ):
            shown.append(image)
    return shown


def create(w: Writer, caller: Caller, settings: ImageSettings, image: Image) -> Image:
    """Note a new image; its data comes later."""
    _check(image)
    _check_visibility(caller, image.visibility)
    if 0 <= settings.max_images <= w.count(Image, project_id=image.project_id):
        raise TooLarge(
            f"The project has {settings.max_images} images already, as many as it may have."
        )
    if w.get(Image, image.id) is not None:
        raise Conflict(f"Image ID {image.id} already exists!")
    return w.insert(image)


def update(w: Writer, caller: Caller, image_id: str, new: Image) -> Image:
    """Store a changed record of an image."""
    old = owned(w, caller, image_id)
    _check(new)
    if old.visibility != new.visibility:
        _check_visibility(caller, new.visibility)
    if old.status != "queued" and (old.disk_format, old.container_format) != (
        new.disk_format,
        new.container_format,
    ):
        raise Forbidden("disk_format and container_format are read-only once the image has data.")
    if not caller.is_admin and old.project_id != new.project_id:
        raise Forbidden("The owner can only be changed by an admin.")
    return w.update(new)


def owned(reader: Reader, caller: Caller, image_id: str) -> Image:
    """Return an image that the caller may change; Forbidden where it may only see it."""
    image = get(reader, caller, image_id)
    if not caller.is_admin and image.project_id != caller.project_id:
        raise Forbidden(
            f"You are not permitted to modify image {image_id}: it belongs to another project."
        )
    return image


def ready_for_data(reader: Reader, caller: Caller, image_id: str) -> Image:
    """Return an image that data may be sent for; says what is missing otherwise."""
    image = owned(reader, caller, image_id)
    if image.status != "queued":
        raise Conflict(f"Image {image_id} has data already (its status is {image.status}).")
    if not image.disk_format or not image.container_format:
        raise BadRequest("Set disk_format and container_format before sending data.")
    return image


def activate(w: Writer, caller: Caller, image_id: str, data: dict[str, Any]) -> Image:
    """The data is there (`size`, `checksum` and so on): the image can be used."""
    image = ready_for_data(w, caller, image_id)
    return w.update(structs.replace(image, status="active", **data))


def set_active(w: Writer, caller: Caller, image_id: str, active: bool) -> None:
    """Take an image out of use, or back into it; servers that run keep running."""
    image = owned(w, caller, image_id)
    if image.status not in ("active", "deactivated"):
        action = "reactivate" if active else "deactivate"
        raise Forbidden(f"Not allowed to {action} image in status '{image.status}'")
    w.update(structs.replace(image, status="active" if active else "deactivated"))


def delete(w: Writer, caller: Caller, image_id: str) -> Image:
    """Delete an image; its data goes after the transaction."""
    image = owned(w, caller, image_id)
    if image.protected:
        raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    if users := w.count(Server, image_id=image_id):
        # A host reads the image again when it has to build the instance anew.
        raise Conflict(
            f"Image {image_id} could not be deleted because it is in use by {users} server(s)."
        )
    w.delete(Image, image_id)
    return image


def new_id(given: str | None) -> str:
    """Return the id that the client gave, or a new one."""
    if given is None:
        return str(uuid.uuid4())
    try:
        parsed = str(uuid.UUID(given))
    except ValueError:
        parsed = ""
    if parsed != given:
        raise BadRequest(f"Invalid image id {given!r}: it must be a UUID.")
    return parsed


def _check(image: Image) -> None:
    if image.disk_format is not None and image.disk_format not in DISK_FORMATS:
        raise BadRequest(
            f"Invalid disk_format {image.disk_format!r}: one of {', '.join(DISK_FORMATS)}."
        )
    if image.container_format is not None and image.container_format not in CONTAINER_FORMATS:
        formats = ", ".join(CONTAINER_FORMATS)
        raise BadRequest(f"Invalid container_format {image.container_format!r}: one of {formats}.")
    if image.visibility not in VISIBILITIES:
        raise BadRequest(
            f"Invalid visibility {image.visibility!r}: one of {', '.join(VISIBILITIES)}."
        )
    if len(image.name) > 255:
        raise BadRequest("An image name has at most 255 characters.")
    if min(image.min_disk, image.min_ram) < 0 or max(image.min_disk, image.min_ram) >= 2**31:
        raise BadRequest("min_disk and min_ram are whole numbers from 0 to 2147483647.")
    if len(image.properties) > MAX_PROPERTIES or len(image.tags) > MAX_TAGS:
        raise TooLarge(f"An image has at most {MAX_PROPERTIES} properties and {MAX_TAGS} tags.")
    if any(len(tag) > 255 for tag in image.tags) or any(
        not 0 < len(name) < 256 for name in image.properties
    ):
        raise BadRequest("Tags and names of properties have at most 255 characters.")


def _check_visibility(caller: Caller, visibility: str) -> None:
    if visibility == "public" and not caller.is_admin:
        raise Forbidden("You are not authorized to complete publicize_image action.")


# ---- members: the projects that an image is shared with


def members(reader: Reader, caller: Caller, image_id: str) -> dict[str, str]:
    """Return project → status. The owner sees all members, a member only itself."""
    image = get(reader, caller, image_id)
    found = {a.target: a.action.removeprefix(_PREFIX) for a in reader.access(image.id)}
    if caller.is_admin or image.project_id == caller.project_id:
        return found
    return {project: status for project, status in found.items() if project == caller.project_id}


def add_member(w: Writer, caller: Caller, image_id: str, project_id: str) -> None:
    """Share the image with a project, which has yet to accept it."""
    image = owned(w, caller, image_id)
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    if project_id in members(w, caller, image_id):
        raise Conflict(f"Project {project_id} is a member of image {image_id} already.")
    w.grant(image.id, project_id, _PREFIX + "pending")
    w.bump(Image.KIND, image.id)


def set_member(w: Writer, caller: Caller, image_id: str, project_id: str, status: str) -> None:
    """A member says whether it wants to see the image in its lists."""
    if status not in MEMBER_STATUSES:
        raise BadRequest(f"Invalid status {status!r}: one of {', '.join(MEMBER_STATUSES)}.")
    found = members(w, caller, image_id)
    if project_id not in found:
        raise NotFound(f"{project_id} not found in the member list of the image {image_id}.")
    if not caller.is_admin and project_id != caller.project_id:
        raise Forbidden("Only the member itself says whether it accepts an image.")
    w.revoke(image_id, project_id, _PREFIX + found[project_id])
    w.grant(image_id, project_id, _PREFIX + status)
    w.bump(Image.KIND, image_id)


def remove_member(w: Writer, caller: Caller, image_id: str, project_id: str) -> None:
    """Stop sharing the image with a project."""
    owned(w, caller, image_id)
    found = members(w, caller, image_id)
    if project_id not in found:
        raise NotFound(f"{project_id} not found in the member list of the image {image_id}.")
    w.revoke(image_id, project_id, _PREFIX + found[project_id])
    w.bump(Image.KIND, image_id)
