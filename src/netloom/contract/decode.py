"""From a request's body to attributes that the rules can trust.

Each collection's attribute map is compiled once: what may be sent, in which order it is checked (Neutron's),
and the defaults already converted. So a body costs what it holds, not what it might hold.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import msgspec
import webob.exc
from msgspec import Struct
from neutron_lib.api import validators
from oslo_config import cfg

from netloom.contract.attributes import MAPS, SINGULARS, UNSET, Attributes
from netloom.contract.errors import HTTPBadRequest
from netloom.model import Caller

# neutron-lib's validator of address pairs reads this limit from oslo.config, where Neutron itself declares it.
cfg.CONF.register_opt(cfg.IntOpt("max_allowed_address_pair", default=10))

Validator = Callable[[Any, Any], str | None]
_MUTABLE = (list, dict)
_SCALARS = (int, float, type(None))


MOST_ITEMS = 256
"""Items of one list, or members of one object, within an attribute. neutron-lib's validators compare each item of some
lists with all others before any limit of Neutron's is looked at; the limits of single attributes are far below."""

MOST_OBJECTS = 1000
"""Objects that one request may create."""

STRANGE = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    webob.exc.HTTPBadRequest,
)
"""What the library's converters and validators throw at a value of the wrong JSON type, or too large."""


def refused(name: str, error: Exception) -> HTTPBadRequest:
    """Return the 400 for a value at which the library threw one of STRANGE."""
    if isinstance(error, webob.exc.HTTPBadRequest):
        return HTTPBadRequest(str(error.detail))
    return HTTPBadRequest(f"Invalid input for {name}. Reason: {error}.")


class _Attribute(Struct, frozen=True):
    """One attribute: who may send it when, and how its value is converted and validated."""

    name: str
    allow_post: bool
    allow_put: bool
    required: bool
    """A POST must send it."""
    default: Any
    """Converted; UNSET where the rules decide or where it cannot be sent."""
    convert: Callable[[Any], Any] | None
    validators: tuple[tuple[Validator, Any], ...]

    def value_of(self, value: Any) -> Any:
        """Return the value as the rules get it; raises what Neutron raises for a wrong one."""
        if isinstance(value, _MUTABLE):
            _check_items(self.name, value)
        try:
            if self.convert is not None:
                value = self.convert(value)
            for validate, argument in self.validators:
                reason = validate(value, argument)
                if reason:
                    raise HTTPBadRequest(f"Invalid input for {self.name}. Reason: {reason}.")
        except STRANGE as error:
            raise refused(self.name, error) from None
        return value


def _check_items(name: str, value: Any) -> None:
    """Raise HTTPBadRequest for a list or an object that has too many items, at any depth."""
    waiting: list[Any] = [value]
    while waiting:
        each = waiting.pop()
        if len(each) > MOST_ITEMS:
            raise HTTPBadRequest(
                f"Invalid input for {name}. Reason: more than {MOST_ITEMS} items in one list."
            )
        parts = each.values() if isinstance(each, dict) else each
        waiting += [part for part in parts if isinstance(part, _MUTABLE)]


class _Resource(Struct, frozen=True):
    """One collection, compiled; `attributes` in the map's order."""

    collection: str
    singular: str
    known: frozenset[str]
    attributes: tuple[_Attribute, ...]


class Decoded(Struct, frozen=True):
    """A body that was asked for: one object, or several at once (`bulk`)."""

    items: list[dict[str, Any]]
    bulk: bool


def _compile(collection: str, attributes: Attributes) -> _Resource:
    compiled: list[_Attribute] = []
    for name, facts in attributes.items():
        # Both names of the owner are reduced to project_id before anything is looked at.
        if name == "tenant_id":
            continue
        attribute = _Attribute(
            name=name,
            allow_post=facts["allow_post"],
            allow_put=facts["allow_put"],
            required=facts["allow_post"] and "default" not in facts,
            default=UNSET,
            convert=facts.get("convert_to"),
            validators=tuple(
                (cast(Validator, validators.get_validator(rule)), argument)
                for rule, argument in facts.get("validate", {}).items()
            ),
        )
        if facts["allow_post"] and facts.get("default", UNSET) is not UNSET:
            default = attribute.value_of(deepcopy(facts["default"]))
            attribute = msgspec.structs.replace(attribute, default=default)
        compiled.append(attribute)
    return _Resource(
        collection=collection,
        singular=SINGULARS[collection],
        known=frozenset(attributes),
        attributes=tuple(compiled),
    )


_RESOURCES = {
    collection: _compile(collection, attributes)
    for collection, attributes in MAPS.items()
    if collection != "availability_zones"
}


def decode_create(collection: str, body: bytes, caller: Caller, bulk: bool = True) -> Decoded:
    """Return what a POST asks to create, complete with defaults and owner.

    An attribute that was not sent and whose default the rules decide is absent. `project_id` is there
    and `tenant_id` is not. Raises HTTPBadRequest or InvalidInput as Neutron does, before anything else where
    several are sent and `bulk` says that they may not be.
    """
    resource = _RESOURCES[collection]
    document = parse(body, resource.singular)
    if collection not in document:
        return Decoded([_created(resource, _object(resource, document), caller)], bulk=False)
    if not bulk:
        raise HTTPBadRequest("Bulk operation not supported")
    entries = document[collection]
    if not entries:
        raise HTTPBadRequest("Resources required")
    if isinstance(entries, _SCALARS):
        raise HTTPBadRequest("Body contains invalid data")
    if len(entries) > MOST_OBJECTS:
        raise HTTPBadRequest(f"At most {MOST_OBJECTS} {collection} are created by one request")
    return Decoded(
        [_created(resource, _entry(resource, entry), caller) for entry in entries], bulk=True
    )


def decode_update(collection: str, body: bytes, caller: Caller) -> dict[str, Any]:
    """Return what a PUT asks to change: only what was sent."""
    resource = _RESOURCES[collection]
    document = parse(body, resource.singular)
    if collection in document:
        raise HTTPBadRequest("Bulk operation not supported")
    sent = dict(_object(resource, document))
    _own(sent, caller)
    _refuse_unknown(resource, sent)
    for attribute in resource.attributes:
        if attribute.name in sent and not attribute.allow_put:
            # Neutron's attribute maps know the owner by its older name only.
            name = "tenant_id" if attribute.name == "project_id" else attribute.name
            raise HTTPBadRequest(f"Cannot update read-only attribute {name}")
    return _converted(resource, sent)


def missing(collection: str) -> HTTPBadRequest:
    """Return the error for a body that does not hold the object it should."""
    return HTTPBadRequest(f"Unable to find '{SINGULARS[collection]}' in request body")


def names_object(collection: str, body: bytes) -> bool:
    """Tell whether a body holds an object of a collection, or several."""
    if not body:
        return False
    document = json(body)
    return (
        not isinstance(document, dict)
        or SINGULARS[collection] in document
        or collection in document
    )


def json(body: bytes) -> Any:
    """Return what a body says; raises HTTPBadRequest where it is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPBadRequest("Body contains invalid data") from None


def parse(body: bytes, singular: str) -> dict[str, Any]:
    """Return a body as a document; raises HTTPBadRequest where it is none."""
    if not body:
        raise HTTPBadRequest(f"Unable to find '{singular}' in request body")
    document = json(body)
    if not isinstance(document, dict):
        raise HTTPBadRequest("Body contains invalid data")
    return document


def _object(resource: _Resource, document: dict[str, Any]) -> dict[str, Any]:
    """Return the object under its wrapper."""
    sent = document.get(resource.singular)
    if sent is None:
        raise HTTPBadRequest(f"Unable to find '{resource.singular}' in request body")
    if not isinstance(sent, dict):
        raise HTTPBadRequest(f"Object '{resource.singular}' contains invalid data")
    return sent


def _entry(resource: _Resource, entry: Any) -> dict[str, Any]:
    """Return one object of a bulk body, with or without its own wrapper."""
    if isinstance(entry, _SCALARS):
        raise HTTPBadRequest("Body contains invalid data")
    if isinstance(entry, dict) and resource.singular in entry:
        return _object(resource, entry)
    return _object(resource, {resource.singular: entry})


def _own(sent: dict[str, Any], caller: Caller) -> None:
    """Reduce both names of the owner to `project_id`; only an administrator may name another project."""
    if "tenant_id" in sent:
        tenant = sent.pop("tenant_id")
        if sent.setdefault("project_id", tenant) != tenant:
            raise HTTPBadRequest("'project_id' and 'tenant_id' do not match")
    if (
        "project_id" in sent
        and sent["project_id"] != caller.project_id
        and not caller.roles & {"admin", "service", "advsvc"}
    ):
        raise HTTPBadRequest(
            "Specifying 'project_id' other than the authenticated project in request is not allowed for "
            "the current user."
        )


def _refuse_unknown(resource: _Resource, sent: dict[str, Any]) -> None:
    unknown = [name for name in sent if name not in resource.known]
    if unknown:
        raise HTTPBadRequest(f"Unrecognized attribute(s) '{', '.join(unknown)}'")


def _created(resource: _Resource, wrapped: dict[str, Any], caller: Caller) -> dict[str, Any]:
    sent = dict(wrapped)
    _own(sent, caller)
    # What belongs to its parent has no owner of its own.
    if "project_id" not in sent and "project_id" in resource.known:
        if not caller.project_id:
            raise HTTPBadRequest(
                "Running without keystone AuthN requires that project_id is specified"
            )
        sent["project_id"] = caller.project_id
    _refuse_unknown(resource, sent)
    for attribute in resource.attributes:
        if attribute.name in sent:
            if not attribute.allow_post:
                raise HTTPBadRequest(f"Attribute '{attribute.name}' not allowed in POST")
        elif attribute.required:
            raise HTTPBadRequest(
                f"Failed to parse request. Required attribute '{attribute.name}' not specified"
            )
    attrs = _converted(resource, sent)
    for attribute in resource.attributes:
        if attribute.name not in attrs and attribute.default is not UNSET:
            default = attribute.default
            attrs[attribute.name] = default.copy() if isinstance(default, _MUTABLE) else default
    return attrs


def _converted(resource: _Resource, sent: dict[str, Any]) -> dict[str, Any]:
    """Convert and validate what was sent, in the map's order."""
    return {
        attribute.name: attribute.value_of(sent[attribute.name])
        for attribute in resource.attributes
        if attribute.name in sent
    }
