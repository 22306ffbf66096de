"""Flavors: sizes of servers, made by admins."""

from __future__ import annotations

import uuid
from collections.abc import Set
from typing import Any

from msgspec import structs

from netloom.model import Caller
from netloom.model.cloud import Flavor
from netloom.model.errors import BadRequest, Conflict, NotFound
from netloom.store import Claimed, Reader, Writer

ACCESS = "use-flavor"
"""Store access: a project may use a flavor that is not public."""

_NAMES = "name:flavor"
LARGEST = 2**31 - 1


def usable(caller: Caller, flavor: Flavor, granted: Set[str]) -> bool:
    """Say whether the caller may see and use the flavor."""
    return flavor.is_public or caller.is_admin or flavor.id in granted


def get(reader: Reader, caller: Caller, flavor_id: str) -> Flavor:
    """Return a flavor that the caller may use; raises NotFound."""
    flavor = reader.get(Flavor, flavor_id)
    if flavor is None or not usable(caller, flavor, reader.accessible(caller.project_id, ACCESS)):
        raise NotFound(f"Flavor {flavor_id} could not be found.")
    return flavor


def visible(reader: Reader, caller: Caller) -> list[Flavor]:
    """Return the flavors that the caller may use."""
    granted = reader.accessible(caller.project_id, ACCESS)
    return [flavor for flavor in reader.list(Flavor) if usable(caller, flavor, granted)]


def create(w: Writer, flavor_id: str | None, attrs: dict[str, Any]) -> Flavor:
    """Make a flavor."""
    flavor = Flavor(id=flavor_id or str(uuid.uuid4()), **attrs)
    if not flavor.name.strip() or len(flavor.name) > 255 or not 0 < len(flavor.id) <= 255:
        raise BadRequest("A flavor's name and id have 1 to 255 characters.")
    if flavor.id != flavor.id.strip() or "/" in flavor.id:
        raise BadRequest("A flavor's id has no slash, and no space at its ends.")
    sizes = {name: getattr(flavor, name) for name in ("vcpus", "ram", "disk", "ephemeral", "swap")}
    for name, size in sizes.items():
        least = 1 if name in ("vcpus", "ram") else 0
        if not least <= size <= LARGEST:
            raise BadRequest(f"Invalid input for {name}: a whole number from {least} to {LARGEST}.")
    if flavor.ephemeral or flavor.swap:
        raise BadRequest("Instances here have no ephemeral and no swap disks: both must be 0.")
    if w.get(Flavor, flavor.id) is not None:
        raise Conflict(f"Flavor with ID {flavor.id} already exists.")
    try:
        w.claim(_NAMES, flavor.name, flavor.id)
    except Claimed:
        raise Conflict(f"Flavor with name {flavor.name} already exists.") from None
    return w.insert(flavor)


def describe(w: Writer, flavor_id: str, description: str) -> Flavor:
    """Change the description, the only thing of a flavor that may change."""
    return w.update(structs.replace(_any(w, flavor_id), description=description))


def delete(w: Writer, flavor_id: str) -> None:
    """Delete a flavor. Servers keep what it said when they were made."""
    flavor = _any(w, flavor_id)
    w.release_all(flavor.id)
    w.delete(Flavor, flavor.id)


def set_extra_specs(w: Writer, flavor_id: str, specs: dict[str, str]) -> Flavor:
    """Add extra specs."""
    flavor = _any(w, flavor_id)
    return w.update(structs.replace(flavor, extra_specs=flavor.extra_specs | specs))


def drop_extra_spec(w: Writer, flavor_id: str, key: str) -> None:
    """Remove one extra spec."""
    flavor = _any(w, flavor_id)
    if key not in flavor.extra_specs:
        raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
    w.update(
        structs.replace(
            flavor, extra_specs={k: v for k, v in flavor.extra_specs.items() if k != key}
        )
    )


def projects(reader: Reader, flavor_id: str) -> list[str]:
    """Return the projects that may use a flavor that is not public."""
    flavor = _any(reader, flavor_id)
    if flavor.is_public:
        raise NotFound("Access list not available for public flavors.")
    return [access.target for access in reader.access(flavor.id) if access.action == ACCESS]


def allow(w: Writer, flavor_id: str, project_id: str) -> None:
    """Let a project use a flavor that is not public."""
    flavor = _any(w, flavor_id)
    if flavor.is_public:
        raise Conflict("Can not add access to a public flavor.")
    if project_id in projects(w, flavor_id):
        raise Conflict(
            f"Flavor access already exists for flavor {flavor_id} and project {project_id}."
        )
    w.grant(flavor.id, project_id, ACCESS)


def disallow(w: Writer, flavor_id: str, project_id: str) -> None:
    """Stop letting a project use the flavor."""
    if project_id not in projects(w, flavor_id):
        raise NotFound(f"Flavor access not found for {flavor_id} / {project_id} combination.")
    w.revoke(flavor_id, project_id, ACCESS)


def _any(reader: Reader, flavor_id: str) -> Flavor:
    flavor = reader.get(Flavor, flavor_id)
    if flavor is None:
        raise NotFound(f"Flavor {flavor_id} could not be found.")
    return flavor
