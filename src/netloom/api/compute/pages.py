"""Pages of the compute API's lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from netloom.api.http import services_of
from netloom.api.service import whole
from netloom.model.errors import BadRequest

T = TypeVar("T")
MAX_LIMIT = 1000


def page(
    request: Request, items: list[T], links: str, mark: Callable[[T], str]
) -> tuple[list[T], dict[str, list[dict[str, str]]]]:
    """Return the page that `marker` and `limit` ask for, and a link to the next under the name `links`.

    `mark`: what a marker names of an item.
    """
    query = request.query_params
    if marker := query.get("marker"):
        places = [index for index, item in enumerate(items) if mark(item) == marker]
        if not places:
            raise BadRequest(f"marker [{marker}] not found")
        items = items[places[0] + 1 :]
    limit = min(whole(query.get("limit", str(MAX_LIMIT)), "limit"), MAX_LIMIT)
    if len(items) <= limit:
        return items, {}
    shown = items[:limit]
    if not shown:
        return shown, {}
    kept = [pair for pair in query.multi_items() if pair[0] != "marker"]
    url = services_of(request).settings.server.url + request.scope["path"]
    following = urlencode([*kept, ("marker", mark(shown[-1]))])
    return shown, {links: [{"rel": "next", "href": f"{url}?{following}"}]}
