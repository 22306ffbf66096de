"""A small cloud of a test as explain sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import worlds
from netloom.explain.cloud import Cloud, Health
from netloom.plan import VERSION
from netloom.store import StatusRow

KIND_OF_TABLE = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "routers": "router",
    "floatingips": "floatingip",
    "security_groups": "security_group",
    "security_group_rules": "security_group_rule",
    "servers": "server",
}


def cloud(
    world: worlds.World, statuses: Iterable[StatusRow] = (), **health: dict[str, Any]
) -> Cloud:
    """A small cloud whose hosts are all well, but for what `health` says of them."""
    objects = {KIND_OF_TABLE[t]: rows for t, rows in world.tables.items() if t in KIND_OF_TABLE}
    states = {
        host: Health(
            **{
                "alive": True,
                "applied_seq": 1,
                "wanted_seq": 1,
                "plan_version": VERSION,
                **health.get(host, {}),
            }
        )
        for host in world.hosts
    }
    return Cloud(objects=objects, views=world.views(), health=states, statuses=tuple(statuses))
