"""A small cloud of a test as explain sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from netloom.explain.cloud import Cloud, Health
from netloom.plan import VERSION
from netloom.store import StatusRow
from tests.support import worlds


class Kept:
    """Reports that are at hand."""

    def __init__(self, rows: Sequence[StatusRow], states: Mapping[str, str]) -> None:
        self.rows, self.states = rows, states

    def of(self, ids: Collection[str]) -> list[StatusRow]:
        return [row for row in self.rows if row.id in ids]

    def by(self, host: str) -> list[StatusRow]:
        return [row for row in self.rows if row.host == host]

    def state(self, server: str) -> str:
        return self.states.get(server, "")


KIND_OF_TABLE = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "routers": "router",
    "floatingips": "floatingip",
    "port_forwardings": "port_forwarding",
    "security_groups": "security_group",
    "security_group_rules": "security_group_rule",
    "address_groups": "address_group",
    "qos_policies": "qos_policy",
    "servers": "server",
}


def cloud(
    world: worlds.World,
    statuses: Iterable[StatusRow] = (),
    states: dict[str, str] | None = None,
    largest_mtu: dict[str, int] | None = None,
    **health: dict[str, Any],
) -> Cloud:
    """A small cloud whose hosts are all well, but for what `health` says of them.

    They report every port that is theirs and that `statuses` does not speak of.
    """
    said = list(statuses)
    known = {row.id for row in said}
    said += [
        StatusRow("port", port.id, port.host, "l2", 1, "ok", "", "now")
        for port in world.tables.get("ports", {}).values()
        if port.host and port.id not in known
    ]
    objects = {KIND_OF_TABLE[t]: rows for t, rows in world.tables.items() if t in KIND_OF_TABLE}
    healths = {
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
    return Cloud(
        objects=objects,
        facts=world.hosts,
        health=healths,
        reports=Kept(said, states or {}),
        largest_mtu=largest_mtu or {},
    )
