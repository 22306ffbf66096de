"""The body that creates servers: what is taken, from which microversion, and what is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field
from starlette.requests import Request

from netloom.api.compute.microversions import at_least
from netloom.api.service import boolean, convert, decode, member, whole
from netloom.compute.nics import Nic
from netloom.compute.servers import Wanted
from netloom.model.errors import BadRequest


class GroupName(Struct, frozen=True, forbid_unknown_fields=True):
    """A security group by name or id."""

    name: str


Cards = Annotated[tuple[dict[str, Any], ...], Meta(max_length=64)]
Groups = Annotated[tuple[GroupName, ...], Meta(max_length=64)]
"""Each is looked up in the store: more than anybody gives one server are refused before."""


class ServerBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The member `server`. What has the type Any is looked at below, mostly to be refused."""

    name: str
    flavorRef: str | int
    imageRef: str | None = None
    networks: Cards | Literal["auto", "none"] | None = None
    security_groups: Groups | None = None
    key_name: str | None = None
    user_data: str | None = None
    adminPass: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    availability_zone: str | None = None
    min_count: int | str = 1
    max_count: int | str | None = None
    return_reservation_id: bool | str = False
    config_drive: bool | str | None = None
    disk_config: Any = field(name="OS-DCF:diskConfig", default=None)
    accessIPv4: str | None = None
    accessIPv6: str | None = None
    block_device_mapping: Any = None
    block_device_mapping_v2: tuple[dict[str, Any], ...] | None = None
    personality: Any = None
    scheduler_hints: Any = field(name="os:scheduler_hints", default=None)
    description: str | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    trusted_image_certificates: Any = UNSET
    host: str | UnsetType = UNSET
    hypervisor_hostname: str | UnsetType = UNSET
    hostname: str | UnsetType = UNSET


_SINCE = {
    "description": 19,
    "tags": 52,
    "trusted_image_certificates": 63,
    "host": 74,
    "hypervisor_hostname": 74,
    "hostname": 90,
}

_REFUSED = {
    "block_device_mapping": "Volumes are not offered: boot from an image alone.",
    "personality": "Files cannot be put into instances: use user_data.",
    "scheduler_hints": "Scheduler hints are not offered.",
    "trusted_image_certificates": "Signed images are not offered.",
    "accessIPv4": "accessIPv4 is not offered.",
    "accessIPv6": "accessIPv6 is not offered.",
}


def read(request: Request, body: bytes) -> tuple[Wanted, bool]:
    """Return what is wanted, and whether the client wants a reservation id instead of a server."""
    # Hints lie beside the server, under one of two names.
    document = (
        member(body, "server", ServerBody) if b"scheduler_hints" not in body else _with_hints(body)
    )
    for name, minor in _SINCE.items():
        if getattr(document, name) is not UNSET and not at_least(request, minor):
            raise BadRequest(f"Additional properties are not allowed ('{name}' was unexpected)")
    for name, why in _REFUSED.items():
        if getattr(document, name) not in (None, "", [], {}, UNSET):
            raise BadRequest(why)
    if document.config_drive not in (None, "") and boolean(
        str(document.config_drive), "config_drive"
    ):
        raise BadRequest("Config drives are not offered: the metadata service always answers.")
    if document.disk_config not in (None, "AUTO", "MANUAL"):
        raise BadRequest("OS-DCF:diskConfig must be either 'MANUAL' or 'AUTO'.")
    image_id = _image(document)
    least = _count(document.min_count, "min_count")
    most = least if document.max_count is None else _count(document.max_count, "max_count")
    zone, host = _place(document)
    groups = tuple(group.name for group in document.security_groups or ())
    wanted = Wanted(
        name=document.name,
        image_id=image_id,
        flavor_id=str(document.flavorRef).rstrip("/").rsplit("/", 1)[-1],
        networks=_networks(request, document),
        groups=groups or ("default",),
        key_name=document.key_name,
        user_data=document.user_data,
        admin_pass=document.adminPass,
        metadata=document.metadata,
        description=document.description or "" if document.description is not UNSET else "",
        tags=document.tags if document.tags is not UNSET else (),
        zone=zone,
        host=host,
        hostname=document.hostname if document.hostname is not UNSET else None,
        least=least,
        most=most,
    )
    return wanted, boolean(str(document.return_reservation_id), "return_reservation_id")


class _Hinted(Struct, forbid_unknown_fields=True):
    server: ServerBody
    hints: dict[str, Any] = field(name="os:scheduler_hints", default_factory=dict)
    other_hints: dict[str, Any] = field(name="OS-SCH-HNT:scheduler_hints", default_factory=dict)


def _with_hints(body: bytes) -> ServerBody:
    document = decode(body, _Hinted)
    if document.hints or document.other_hints:
        raise BadRequest(_REFUSED["scheduler_hints"])
    return document.server


def _count(value: int | str, name: str) -> int:
    number = whole(value, name) if isinstance(value, str) else value
    if not 1 <= number <= 1000:
        raise BadRequest(f"{name} must be from 1 to 1000.")
    return number


def _image(document: ServerBody) -> str:
    """Return the image; a block device that says no more than the image does is taken."""
    image_id = (document.imageRef or "").rstrip("/").rsplit("/", 1)[-1]
    for device in document.block_device_mapping_v2 or ():
        same = (
            len(document.block_device_mapping_v2 or ()) == 1
            and device.get("source_type") == "image"
            and device.get("destination_type", "local") == "local"
            and str(device.get("boot_index", "0")) == "0"
            and device.get("uuid")
            and image_id in ("", device["uuid"])
        )
        if not same:
            raise BadRequest("Volumes and further disks are not offered: boot from one image.")
        image_id = str(device["uuid"])
    if not image_id:
        raise BadRequest("Invalid imageRef provided: a server boots from an image here.")
    return image_id


def _networks(request: Request, document: ServerBody) -> Any:
    networks = document.networks
    if isinstance(networks, str):
        if not at_least(request, 37):
            raise BadRequest("'auto' and 'none' as networks need microversion 2.37.")
        return networks
    if networks is None:
        if at_least(request, 37):
            raise BadRequest("'networks' is a required property")
        return None
    nics: list[Nic] = []
    for entry in networks:
        if entry.get("tag") is not None:
            raise BadRequest("Tags of network interfaces are not offered.")
        nics.append(convert({k: v for k, v in entry.items() if k != "tag"}, Nic))
    return nics


def _place(document: ServerBody) -> tuple[str | None, str | None]:
    """Return zone and host; `zone:host` is the older way to name both."""
    zone, _, forced = (document.availability_zone or "").partition(":")
    forced = forced.rstrip(":").split(":")[0]
    named = [name for name in (document.host, document.hypervisor_hostname) if name is not UNSET]
    if forced and named:
        raise BadRequest("A host cannot be given in availability_zone and on its own.")
    return zone or None, forced or (str(named[0]) if named else None)
