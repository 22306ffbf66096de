"""A store on a real SQLite file, with networks and hosts put in, for tests of the rules."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from netloom.model import (
    AllocationPool,
    Caller,
    Context,
    HostFacts,
    Network,
    NetworkSettings,
    Port,
    Router,
    SecurityGroup,
    Subnet,
)
from netloom.network import floatingips, ports, routers, security_group_rules, security_groups
from netloom.store import Store, Writer

ALICE = "a" * 32
BOB = "b" * 32


def context(project: str = ALICE, *roles: str, **settings: Any) -> Context:
    return Context(
        caller=Caller(
            user_id="u-" + project,
            project_id=project,
            roles=frozenset(roles or ("member", "reader")),
        ),
        settings=NetworkSettings(**settings),
    )


@dataclass
class Records:
    """One writer's transaction, and shorthands for what tests make; `ctx` asks."""

    w: Writer
    ctx: Context = field(default_factory=context)
    keys: Iterator[int] = field(default_factory=lambda: count(1))

    def network(self, project: str = ALICE, *, shared: bool = False, **fields: Any) -> Network:
        key = next(self.keys)
        fields = {"segmentation_id": key} | fields
        network = self.w.insert(Network(id=str(uuid4()), project_id=project, key=key, **fields))
        if shared:
            self.w.grant(network.id, "*", "access_as_shared")
        if network.external:
            self.w.grant(network.id, "*", "access_as_external")
        return network

    def external(self, cidr: str = "203.0.113.0/24", **fields: Any) -> tuple[Network, Subnet]:
        network = self.network("e" * 32, external=True, **fields)
        return network, self.subnet(network, cidr, enable_dhcp=False)

    def subnet(self, network: Network, cidr: str, **fields: Any) -> Subnet:
        net = ip_network(cidr)
        first, last = int(net.network_address), int(net.broadcast_address)
        kind = type(net.network_address)
        values: dict[str, Any] = {
            "gateway_ip": str(kind(first + 1)),
            "allocation_pools": (AllocationPool(str(kind(first + 2)), str(kind(last - 1))),),
            "project_id": network.project_id,
        }
        return self.w.insert(
            Subnet(id=str(uuid4()), network_id=network.id, cidr=cidr, **(values | fields))
        )

    def private(self, cidr: str = "10.0.0.0/24", project: str = ALICE) -> tuple[Network, Subnet]:
        network = self.network(project)
        return network, self.subnet(network, cidr)

    def port(self, network: Network, ctx: Context | None = None, **attrs: Any) -> Port:
        ctx = ctx or self.ctx
        body = {"network_id": network.id, "project_id": ctx.caller.project_id} | attrs
        return ports.create(self.w, ctx, body)

    def router(self, ctx: Context | None = None, **attrs: Any) -> Router:
        ctx = ctx or self.ctx
        return routers.create(
            self.w, ctx, {"name": "r", "project_id": ctx.caller.project_id} | attrs
        )

    def again(self, router: Router) -> Router:
        found = self.w.get(Router, router.id)
        assert found is not None
        return found

    def floatingip(self, network: Network, ctx: Context | None = None, **attrs: Any) -> Any:
        ctx = ctx or self.ctx
        body = {"floating_network_id": network.id, "project_id": ctx.caller.project_id} | attrs
        return floatingips.create(self.w, ctx, body)

    def group(self, ctx: Context | None = None, **attrs: Any) -> SecurityGroup:
        ctx = ctx or self.ctx
        body = {
            "name": "g",
            "description": "",
            "stateful": True,
            "project_id": ctx.caller.project_id,
        }
        return security_groups.create(self.w, ctx, body | attrs)

    def rule(self, group: SecurityGroup, ctx: Context | None = None, **attrs: Any) -> Any:
        ctx = ctx or self.ctx
        return security_group_rules.create(
            self.w, ctx, rule_attrs(group.id, ctx.caller.project_id, **attrs)
        )

    def host(self, name: str, *roles: str, alive: bool = True, **facts: Any) -> None:
        self.w.put_host(
            name,
            secret_hash="",
            facts=HostFacts(
                host=name,
                **({"tunnel_ip": "192.0.2.1", "roles": roles or ("compute",)} | facts),
            ),
        )
        self.w.heartbeat(name, time.time() - (0 if alive else 1000), 0)


def as_json(value: Any) -> Any:
    """What a client gets: JSON knows no tuples."""
    return json.loads(json.dumps(value))


def rule_attrs(group_id: str, project: str = ALICE, **attrs: Any) -> dict[str, Any]:
    return {
        "security_group_id": group_id,
        "project_id": project,
        "direction": "ingress",
        "ethertype": "IPv4",
        "protocol": None,
        "port_range_min": None,
        "port_range_max": None,
        "remote_ip_prefix": None,
        "remote_group_id": None,
        "description": "",
    } | attrs


@contextmanager
def new_store(folder: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{folder}/netloom.db")
    try:
        store.upgrade()
        yield store
    finally:
        store.close()
