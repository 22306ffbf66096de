"""Listing images: filters, order and pages as the image API has them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from netloom.api.service import boolean, whole
from netloom.model.errors import BadRequest

DEFAULT_PAGE = 1000
SORTABLE = frozenset(
    ["name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"]
)
_CONTROL = frozenset(
    [
        "limit",
        "marker",
        "sort",
        "sort_key",
        "sort_dir",
        "member_status",
        "visibility",
        "tag",
        "size_min",
        "size_max",
        "os_hidden",
    ]
)
_TEXT_IN = frozenset(["id", "name", "status", "container_format", "disk_format"])


def filtered(request: Request, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items that all filters of the query let through. Other names filter by property."""
    query = request.query_params
    hidden = boolean(query.get("os_hidden", "false"), "os_hidden")
    items = [item for item in items if item["os_hidden"] == hidden]
    if tags := set(query.getlist("tag")):
        items = [item for item in items if tags <= set(item["tags"])]
    if "size_min" in query:
        least = whole(query["size_min"], "size_min")
        items = [item for item in items if item["size"] is not None and item["size"] >= least]
    if "size_max" in query:
        most = whole(query["size_max"], "size_max")
        items = [item for item in items if item["size"] is not None and item["size"] <= most]
    for name, wanted in query.multi_items():
        if name in _CONTROL:
            continue
        if name == "protected":
            flag = boolean(wanted, name)
            items = [item for item in items if item["protected"] == flag]
        elif name in _TEXT_IN and wanted.startswith("in:"):
            choices = _choices(name, wanted[3:])
            items = [item for item in items if item[name] in choices]
        elif name in ("created_at", "updated_at"):
            items = [item for item in items if _at(item[name], wanted)]
        else:
            items = [item for item in items if _text(item.get(name)) == wanted]
    return items


def _choices(name: str, wanted: str) -> set[str]:
    try:
        return set(next(csv.reader([wanted]), []))
    except csv.Error as error:
        raise BadRequest(f"Unable to filter by '{name}': {error}.") from None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _at(moment: str, wanted: str) -> bool:
    operator, colon, bound = wanted.partition(":")
    if not colon or operator not in ("gt", "gte", "lt", "lte", "eq", "neq"):
        operator, bound = "eq", wanted
    bound = bound if bound.endswith("Z") else bound.split("+")[0] + "Z"
    # Both are ISO 8601 in UTC of one form, so that text order is the order in time.
    return {
        "gt": moment > bound,
        "gte": moment >= bound,
        "lt": moment < bound,
        "lte": moment <= bound,
        "eq": moment == bound,
        "neq": moment != bound,
    }[operator]


def ordered(request: Request, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort by `sort=key:dir,…` or by `sort_key` and `sort_dir`; newest first without."""
    query = request.query_params
    if "sort" in query:
        if "sort_key" in query or "sort_dir" in query:
            raise BadRequest("Old and new sorting syntax cannot be combined.")
        pairs = [part.partition(":")[::2] for part in query["sort"].split(",")]
        keys = [(key, direction or "desc") for key, direction in pairs]
    else:
        directions = query.getlist("sort_dir") or ["desc"]
        names = query.getlist("sort_key") or ["created_at"]
        if len(directions) not in (1, len(names)):
            raise BadRequest("The number of sort_dir does not match the number of sort_key.")
        directions = directions * len(names) if len(directions) == 1 else directions
        keys = list(zip(names, directions, strict=True))
    # A key that stands again decides nothing.
    first = dict(reversed(keys))
    items = sorted(items, key=lambda item: item["id"])
    for key in reversed(dict.fromkeys(key for key, _ in keys)):
        direction = first[key]
        if key not in SORTABLE:
            raise BadRequest(f"Unsupported sort key {key!r}: one of {', '.join(sorted(SORTABLE))}.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction {direction!r}: asc or desc.")
        items.sort(key=_sort_value(key), reverse=direction == "desc")
    return items


def _sort_value(key: str) -> Callable[[dict[str, Any]], tuple[bool, Any]]:
    return lambda item: (item[key] is not None, item[key] if item[key] is not None else 0)


def page(request: Request, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the page that `marker` and `limit` ask for, with links to the first and the next."""
    query = request.query_params
    limit = min(whole(query.get("limit", str(DEFAULT_PAGE)), "limit"), DEFAULT_PAGE)
    if marker := query.get("marker"):
        places = [index for index, item in enumerate(items) if item["id"] == marker]
        if not places:
            raise BadRequest(f"Invalid marker: image {marker} could not be found.")
        items = items[places[0] + 1 :]
    rest = [(name, value) for name, value in query.multi_items() if name != "marker"]
    first = "/v2/images" + ("?" + urlencode(rest) if rest else "")
    body: dict[str, Any] = {"images": items[:limit], "first": first, "schema": "/v2/schemas/images"}
    if 0 < limit < len(items):
        body["next"] = "/v2/images?" + urlencode([*rest, ("marker", items[limit - 1]["id"])])
    return body
