"""Random operations: whatever is asked, only the API's errors come out, and what must fit together does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from neutron_lib import exceptions as lib

from netloom.contract.errors import HTTPError, code_of
from netloom.model import (
    Context,
    FloatingIP,
    Network,
    Port,
    Resource,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from netloom.network import (
    floatingips,
    networks,
    ports,
    routers,
    security_group_rules,
    security_groups,
    subnets,
)
from netloom.store import Reader, Store, Writer
from tests.support.records import ALICE, BOB, Records, context, new_store, rule_attrs
from tests.support.whole import check_world

STEPS = 300
CHECKED_EVERY = 5
NOWHERE = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


class Asking:
    """Draws operations on what is there; every one is a transaction of its own, as a request is."""

    def __init__(self, store: Store, seed: int):
        self.store, self.draw = store, random.Random(seed)
        self.done: dict[str, int] = {}

    def step(self) -> None:
        operation = self.draw.choice(OPERATIONS)
        caller = self.draw.choice(
            [context(ALICE), context(ALICE), context(BOB), context("e" * 32, "admin", "member")]
        )
        try:
            with self.store.writer() as w:
                operation(self, w, caller)
        except (lib.NeutronException, HTTPError) as error:
            assert code_of(error) < 500 or code_of(error) == 503, error
            return
        self.done[operation.__name__] = self.done.get(operation.__name__, 0) + 1

    def one(self, r: Reader, kind: type[Resource], **where: Any) -> str:
        found = r.list(kind, **where)
        return self.draw.choice(found).id if found and self.draw.random() < 0.95 else NOWHERE

    def get(self, r: Reader, kind: Any) -> Any:
        found = r.list(kind)
        if not found:
            raise lib.NotFound()
        return self.draw.choice(found)

    def address(self) -> str:
        return f"{self.draw.choice(['10.0.0', '10.0.1', '203.0.113'])}.{self.draw.randrange(0, 12)}"

    def addresses(self, r: Reader) -> list[dict[str, str]]:
        entries: list[dict[str, str]] = []
        for _ in range(self.draw.randrange(3)):
            entry: dict[str, str] = {}
            if self.draw.random() < 0.5:
                entry["subnet_id"] = self.one(r, Subnet)
            if self.draw.random() < 0.5:
                entry["ip_address"] = self.address()
            entries.append(entry)
        return entries

    def some(self, **values: Callable[[], Any]) -> dict[str, Any]:
        return {
            name.replace("__", ":"): value()
            for name, value in values.items()
            if self.draw.random() < 0.4
        }


def add_port(ask: Asking, w: Writer, ctx: Context) -> None:
    attrs = ask.some(
        fixed_ips=lambda: ask.addresses(w),
        mac_address=lambda: f"fa:16:3e:00:00:0{ask.draw.randrange(10)}",
        security_groups=lambda: [ask.one(w, SecurityGroup)],
        port_security_enabled=lambda: ask.draw.random() < 0.5,
        allowed_address_pairs=lambda: [{"ip_address": ask.address()}],
        binding__host_id=lambda: ask.draw.choice(["n1", "nowhere", ""]),
        device_owner=lambda: ask.draw.choice(
            ["compute:nova", "network:dhcp", "network:router_interface"]
        ),
        device_id=lambda: ask.one(w, Router),
    )
    ports.create(
        w, ctx, {"network_id": ask.one(w, Network), "project_id": ctx.caller.project_id} | attrs
    )


def change_port(ask: Asking, w: Writer, ctx: Context) -> None:
    attrs = ask.some(
        fixed_ips=lambda: ask.addresses(w),
        mac_address=lambda: f"fa:16:3e:00:00:0{ask.draw.randrange(10)}",
        security_groups=lambda: [ask.one(w, SecurityGroup)],
        port_security_enabled=lambda: ask.draw.random() < 0.5,
        allowed_address_pairs=lambda: [{"ip_address": ask.address()}],
        binding__host_id=lambda: ask.draw.choice(["n1", "nowhere", ""]),
        device_owner=lambda: ask.draw.choice(["", "compute:nova", "network:router_gateway"]),
        device_id=lambda: ask.draw.choice(["", "x", ask.one(w, Router)]),
    )
    ports.update(w, ctx, ask.get(w, Port), attrs)


def add_router(ask: Asking, w: Writer, ctx: Context) -> None:
    attrs = ask.some(external_gateway_info=lambda: _gateway(ask, w))
    routers.create(w, ctx, {"name": "r", "project_id": ctx.caller.project_id} | attrs)


def _gateway(ask: Asking, r: Reader) -> dict[str, Any] | None:
    if ask.draw.random() < 0.3:
        return None
    more = ask.some(
        enable_snat=lambda: ask.draw.random() < 0.5, external_fixed_ips=lambda: ask.addresses(r)
    )
    return {"network_id": ask.one(r, Network, external=True)} | more


def change_router(ask: Asking, w: Writer, ctx: Context) -> None:
    attrs = ask.some(
        external_gateway_info=lambda: _gateway(ask, w),
        routes=lambda: [{"destination": "192.168.0.0/24", "nexthop": ask.address()}],
    )
    routers.update(w, ctx, ask.get(w, Router), attrs)


def add_interface(ask: Asking, w: Writer, ctx: Context) -> None:
    body = (
        {"subnet_id": ask.one(w, Subnet)}
        if ask.draw.random() < 0.7
        else {"port_id": ask.one(w, Port)}
    )
    routers.add_interface(w, ctx, ask.get(w, Router), body)


def remove_interface(ask: Asking, w: Writer, ctx: Context) -> None:
    body = (
        {"subnet_id": ask.one(w, Subnet)}
        if ask.draw.random() < 0.7
        else {"port_id": ask.one(w, Port)}
    )
    routers.remove_interface(w, ctx, ask.get(w, Router), body)


def add_floatingip(ask: Asking, w: Writer, ctx: Context) -> None:
    attrs = ask.some(port_id=lambda: ask.one(w, Port), floating_ip_address=ask.address)
    network = ask.one(w, Network, external=True)
    body = {"floating_network_id": network, "project_id": ctx.caller.project_id}
    floatingips.create(w, ctx, body | attrs)


def change_floatingip(ask: Asking, w: Writer, ctx: Context) -> None:
    attrs = ask.some(
        port_id=lambda: ask.draw.choice([None, ask.one(w, Port)]), fixed_ip_address=ask.address
    )
    floatingips.update(w, ctx, ask.get(w, FloatingIP), attrs)


def add_group(ask: Asking, w: Writer, ctx: Context) -> None:
    body = {"name": "g", "description": "", "stateful": ask.draw.random() < 0.7}
    security_groups.create(w, ctx, body | {"project_id": ctx.caller.project_id})


def add_rule(ask: Asking, w: Writer, ctx: Context) -> None:
    attrs = ask.some(
        remote_group_id=lambda: ask.one(w, SecurityGroup),
        protocol=lambda: "tcp",
        port_range_min=lambda: 5,
    )
    security_group_rules.create(
        w, ctx, rule_attrs(ask.one(w, SecurityGroup), ctx.caller.project_id, **attrs)
    )


def remove(ask: Asking, w: Writer, ctx: Context) -> None:
    kind, rules = ask.draw.choice(
        [
            (Port, ports),
            (Port, ports),
            (Router, routers),
            (FloatingIP, floatingips),
            (SecurityGroup, security_groups),
            (SecurityGroupRule, security_group_rules),
            (Subnet, subnets),
            (Network, networks),
        ]
    )
    # Networks and subnets are few: they go seldom.
    if kind in (Subnet, Network) and ask.draw.random() < 0.8:
        return
    rules.delete(w, ctx, ask.get(w, kind))


OPERATIONS = [
    add_port,
    add_port,
    change_port,
    change_port,
    add_router,
    change_router,
    add_interface,
    add_interface,
    remove_interface,
    add_floatingip,
    change_floatingip,
    change_floatingip,
    add_group,
    add_rule,
    remove,
]


@pytest.mark.parametrize("seed", range(3))
def test_random_requests_keep_the_world_whole(tmp_path: Path, seed: int) -> None:
    with new_store(tmp_path) as store:
        with store.writer() as w:
            world = Records(w)
            world.host("n1", "network", "compute")
            for cidr in ("10.0.0.0/28", "10.0.0.0/28", "10.0.1.0/24"):
                world.private(cidr)
            world.subnet(world.network(shared=True), "10.0.1.0/28")
            world.external("203.0.113.0/28")
        asking = Asking(store, seed)
        for n in range(STEPS):
            asking.step()
            if n % CHECKED_EVERY == 0 or n == STEPS - 1:
                with store.reader() as r:
                    check_world(r)
        assert len(asking.done) >= len(set(OPERATIONS)) - 2, asking.done
