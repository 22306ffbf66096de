"""Servers: made in one transaction with their ports and their host, deleted in one.

What becomes of a server afterwards its host reports: `network/status.py` makes its status of that, and
`keeper` puts one in ERROR that takes too long.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field, structs

from netloom.compute import flavors, keypairs, nics, placement, quotas
from netloom.compute.errors import NoValidHost
from netloom.image import images
from netloom.model import Caller, Context
from netloom.model.cloud import Flavor, Image, Keypair, Server
from netloom.model.errors import BadRequest, Conflict, Forbidden, NotFound
from netloom.model.settings import ComputeSettings
from netloom.network import security_groups, status
from netloom.store import Reader, Writer

INSTANCE_TYPE = "netloom_instance_type"
"""Image property: how instances of it run, where the cloud's default is not right for it."""

MAX_USER_DATA = 65535
"""Bytes of user data, in base64."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a request to create servers asks for, `least` to `most` of them."""

    name: str
    image_id: str
    flavor_id: str
    networks: nics.Requested = None
    groups: tuple[str, ...] = ("default",)
    key_name: str | None = None
    user_data: str | None = None
    admin_pass: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    description: str = ""
    tags: tuple[str, ...] = ()
    zone: str | None = None
    host: str | None = None
    hostname: str | None = None
    least: int = 1
    most: int = 1


def get(reader: Reader, caller: Caller, server_id: str) -> Server:
    """Return a server that the caller may see; raises NotFound."""
    server = reader.get(Server, server_id)
    if server is None or not (caller.is_admin or server.project_id == caller.project_id):
        raise NotFound(f"Instance {server_id} could not be found.")
    return server


def create(
    w: Writer,
    ctx: Context,
    settings: ComputeSettings,
    wanted: Wanted,
    may_make_port: Callable[[dict[str, Any]], None],
) -> list[Server]:
    """Make servers. Where no host can take one, it is made nevertheless, in ERROR with the reason.

    `may_make_port` raises where policy lets the caller make no port with these attributes.
    """
    caller, project_id = ctx.caller, ctx.caller.project_id
    _check_texts(w, settings, wanted, project_id)
    if wanted.host and not caller.is_admin:
        raise Forbidden(
            "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed."
        )
    placement.check_wish(w, zone=wanted.zone, host=wanted.host)
    image = _image(w, caller, wanted.image_id)
    flavor = _flavor(w, caller, wanted.flavor_id, image)
    keypair = _keypair(w, caller, wanted.key_name)
    security_groups.ensure_default(w, ctx, project_id)
    plans = nics.resolve(w, ctx, project_id, wanted.networks)
    for plan in plans:
        if plan.port is None:
            may_make_port(nics.wanted(plan, project_id))
    groups = nics.find_groups(w, project_id, wanted.groups or ("default",))
    if wanted.most > 1 and any(plan.port or plan.fixed_ip for plan in plans):
        raise BadRequest("A port or a fixed IP cannot be given to more than one server.")
    number = quotas.fitting(
        w, settings, project_id, flavor.vcpus, flavor.ram, wanted.least, wanted.most
    )
    made: list[Server] = []
    for index in range(number):
        name = wanted.name if number == 1 else f"{wanted.name}-{index + 1}"
        id = str(uuid.uuid4())
        server = Server(
            id=id,
            project_id=project_id,
            user_id=caller.user_id,
            name=name,
            description=wanted.description,
            tags=wanted.tags,
            image_id=image.id,
            flavor=flavor,
            instance_type=image.properties.get(INSTANCE_TYPE, settings.default_instance_type),
            key_name=keypair.name if keypair else None,
            public_key=keypair.public_key if keypair else None,
            user_data=wanted.user_data,
            admin_pass=wanted.admin_pass,
            metadata=wanted.metadata,
            hostname=_hostname(wanted, name, id, index if number > 1 else None),
            launch_index=index,
            reserved_with=made[0].id if made else "",
        )
        made.append(_place(w, ctx, server, plans, groups, wanted))
    return made


def _place(
    w: Writer,
    ctx: Context,
    server: Server,
    plans: Sequence[nics.Plan],
    groups: Sequence[str],
    wanted: Wanted,
) -> Server:
    networks = {plan.network.id: plan.network for plan in plans}
    try:
        row = placement.choose(
            w, ctx, networks.values(), server.instance_type, zone=wanted.zone, host=wanted.host
        )
    except NoValidHost as error:
        server = w.insert(structs.replace(server, fault={"code": 500, "message": str(error)}))
        w.set_api_status(Server, server.id, "ERROR")
        return server
    zone = row.facts.availability_zone if row.facts else server.availability_zone
    server = structs.replace(server, host=row.name, availability_zone=zone)
    port_ids = nics.attach(w, ctx, server, plans, groups)
    own = tuple(plan.port.id for plan in plans if plan.port)
    server = w.insert(structs.replace(server, port_ids=port_ids, own_port_ids=own))
    w.set_api_status(Server, server.id, "BUILD")
    return server


def _check_texts(r: Reader, settings: ComputeSettings, wanted: Wanted, project_id: str) -> None:
    check_name(wanted.name)
    check_metadata(r, settings, project_id, wanted.metadata)
    if wanted.user_data is not None:
        if len(wanted.user_data) > MAX_USER_DATA:
            raise BadRequest(f"User data is too large: at most {MAX_USER_DATA} bytes in base64.")
        try:
            base64.b64decode(wanted.user_data, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest("Userdata content needs to be in base64.") from None
    if not 1 <= wanted.least <= wanted.most:
        raise BadRequest("min_count must be at least 1 and at most max_count.")
    if wanted.hostname is not None and not _HOSTNAME.fullmatch(wanted.hostname):
        raise BadRequest(
            "A hostname has 1 to 63 letters, digits and hyphens, no hyphen at its ends."
        )
    check_tags(wanted.tags)


def check_tags(tags: Sequence[str]) -> None:
    """Raise BadRequest for tags that Nova would not take."""
    if len(tags) > 50 or any(not 0 < len(tag) <= 60 or "/" in tag or "," in tag for tag in tags):
        raise BadRequest("At most 50 tags of 1 to 60 characters, without slash and comma.")


def check_name(name: str) -> None:
    """Raise BadRequest for a name that Nova would not take."""
    if not name.strip() or len(name) > 255 or not name.isprintable():
        raise BadRequest("A server's name has 1 to 255 printable characters and is not blank.")


def check_metadata(
    r: Reader, settings: ComputeSettings, project_id: str, metadata: dict[str, str]
) -> None:
    """Raise for metadata that is too much."""
    limit = quotas.limits(r, settings, project_id)["metadata_items"]
    if 0 <= limit < len(metadata):
        raise Forbidden(f"Maximum number of metadata items exceeds {limit}")
    if any(not 0 < len(key) <= 255 or len(value) > 255 for key, value in metadata.items()):
        raise BadRequest("Keys and values of metadata have at most 255 characters.")


def _image(r: Reader, caller: Caller, image_id: str) -> Image:
    try:
        image = images.get(r, caller, image_id)
    except NotFound:
        raise BadRequest(f"Can not find requested image {image_id}") from None
    if image.status != "active":
        raise BadRequest(f"Image {image_id} is not active.")
    return image


def _flavor(r: Reader, caller: Caller, flavor_id: str, image: Image) -> Flavor:
    try:
        flavor = flavors.get(r, caller, flavor_id)
    except NotFound as error:
        raise BadRequest(str(error)) from None
    if image.min_ram > flavor.ram:
        raise BadRequest("Flavor's memory is too small for requested image.")
    size = max(image.min_disk * 1024**3, image.virtual_size or image.size or 0)
    # A disk of 0 means: as large as the image.
    if flavor.disk and size > flavor.disk * 1024**3:
        raise BadRequest(
            f"Flavor's disk is too small for requested image. Flavor disk is {flavor.disk * 1024**3} bytes, "
            f"image is {size} bytes."
        )
    return flavor


def _keypair(r: Reader, caller: Caller, name: str | None) -> Keypair | None:
    if name is None:
        return None
    try:
        return keypairs.get(r, caller.user_id, name)
    except NotFound:
        raise BadRequest("Invalid key_name provided.") from None


_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def _hostname(wanted: Wanted, name: str, server_id: str, index: int | None) -> str:
    """Return the hostname asked for, or one made of the name: one label, as Nova makes it (no dots)."""
    if wanted.hostname is not None:
        return wanted.hostname if index is None else f"{wanted.hostname}-{index + 1}"
    made = (
        re.sub(r"[^A-Za-z0-9-]", "", re.sub(r"[ _.]", "-", name)).lower().strip("-")[:63].strip("-")
    )
    return made or f"server-{server_id}"


def delete(w: Writer, ctx: Context, server: Server) -> None:
    """Delete a server with the ports that were made for it."""
    nics.detach(w, ctx, server)
    w.delete(Server, server.id)


def update(w: Writer, server: Server, attrs: dict[str, Any]) -> Server:
    """Change name, description, hostname, tags or metadata."""
    if "name" in attrs:
        check_name(attrs["name"])
    if "hostname" in attrs and not _HOSTNAME.fullmatch(attrs["hostname"]):
        raise BadRequest(
            "A hostname has 1 to 63 letters, digits and hyphens, no hyphen at its ends."
        )
    return w.update(structs.replace(server, **attrs))


def set_power(w: Writer, server: Server, power: str) -> None:
    """Switch a server on or off; its host does it."""
    action, state = ("start", "active") if power == "on" else ("stop", "stopped")
    if server.power == power:
        raise Conflict(f"Cannot '{action}' instance {server.id} while it is in vm_state {state}")
    if not server.host:
        raise Conflict(f"Cannot '{action}' instance {server.id} while it is in vm_state error")
    # What its host has reported so far is of before: only from this change on it says what became of it.
    w.update(structs.replace(server, power=power, power_seq=w.last_seq + 1))


def reboot(w: Writer, server: Server, gently: bool) -> None:
    """Have the host restart a server's instance, on its own disk; `gently` (Nova's SOFT) it is asked to end first.

    Raises Conflict as Nova does: a soft reboot is for a server that is ACTIVE and at rest, a hard one also for
    one that is stopped, in ERROR, or in the middle of a soft reboot.
    """
    before = w.api_status(Server, [server.id]).get(server.id) or status.BUILD
    powering = (before == status.ACTIVE) != (server.power == "on")
    fit = {status.ACTIVE} if gently else {status.ACTIVE, status.SHUTOFF, status.ERROR, "REBOOT"}
    if before in status.REBOOTING - fit:
        task = "rebooting" if before == "REBOOT" else "rebooting_hard"
        raise Conflict(f"Cannot 'reboot' instance {server.id} while it is in task_state {task}")
    if before not in fit or not server.host:
        state = {status.SHUTOFF: "stopped", status.BUILD: "building"}.get(before, before.lower())
        raise Conflict(f"Cannot 'reboot' instance {server.id} while it is in vm_state {state}")
    if powering and before in (status.ACTIVE, status.SHUTOFF):
        task = "powering-off" if before == status.ACTIVE else "powering-on"
        raise Conflict(f"Cannot 'reboot' instance {server.id} while it is in task_state {task}")
    w.update(
        structs.replace(
            server,
            power="on",
            power_seq=w.last_seq + 1,
            restarts=server.restarts + 1,
            gently=gently,
            fault=None,
        )
    )
    w.set_api_status(Server, server.id, "REBOOT" if gently else "HARD_REBOOT")


def fail(w: Writer, server: Server, message: str) -> None:
    """Put a server in ERROR, with a reason for its user."""
    w.update(structs.replace(server, fault={"code": 500, "message": message}))
    w.set_api_status(Server, server.id, "ERROR")
