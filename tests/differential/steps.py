"""What stories are made of: a request that makes, changes, shows or deletes one object."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.differential import pick
from tests.differential.operations import PATHS, UNKNOWN, Request, Twin, Twins
from tests.differential.pick import Draw
from tests.differential.sides import Identity

Story = Generator[Request, Twin | None]


def make(who: Identity, kind: str, **attributes: Any) -> Request:
    body = {kind: {name.replace("__", ":"): value for name, value in attributes.items()}}
    return Request(who, "POST", (PATHS[kind],), body, makes=kind)


def change(who: Identity, twin: Twin | None, **attributes: Any) -> Request:
    kind = twin.kind if twin else "network"
    body = {kind: {name.replace("__", ":"): value for name, value in attributes.items()}}
    return Request(who, "PUT", (PATHS[kind], "/", twin or UNKNOWN), body)


def act(who: Identity, router: Twin | None, action: str, body: Any) -> Request:
    return Request(who, "PUT", ("routers/", router or UNKNOWN, "/", action), body)


def delete(who: Identity, twin: Twin | None) -> Request:
    kind = twin.kind if twin else "network"
    return Request(who, "DELETE", (PATHS[kind], "/", twin or UNKNOWN), removes=twin)


def show(who: Identity, twin: Twin | None) -> Request:
    kind = twin.kind if twin else "network"
    return Request(who, "GET", (PATHS[kind], "/", twin or UNKNOWN))


def pool(base: str) -> list[dict[str, str]]:
    return [{"start": f"{base}.64", "end": f"{base}.99"}]


def some(draw: Draw, *choices: Any) -> Any:
    return draw(pick.sampled_from(choices))


def outside(world: Twins, draw: Draw) -> Any:
    return world.likely(draw, "network", "router:external", True)
