"""Golden files: the whole plan of each scenario's hosts, as a person reads it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from netloom.plan import plan
from netloom.scope import Inventory, select
from tests.support import worlds
from tests.support.state_text import state_text

SCENARIOS = [
    worlds.two_hosts,
    worlds.walkthrough_a,
    worlds.walkthrough_b,
    worlds.limited,
    worlds.remote_group,
    worlds.address_pairs,
    worlds.provider_vlan,
    worlds.distributed,
    worlds.dual_stack,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_golden(scenario, golden):
    for host, view in scenario().views().items():
        golden(f"plan/{scenario.__name__}/{host}.txt", state_text(plan(view)))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_golden_without_open_vswitch(scenario, golden):
    for host, view in scenario().views().items():
        facts = replace(view.facts, backend="linuxbridge")
        text = state_text(plan(replace(view, facts=facts)))
        golden(f"plan/linuxbridge/{scenario.__name__}/{host}.txt", text)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_scope_gives_a_host_is_enough(scenario):
    world = scenario()
    scoped = Inventory()
    for table, rows in world.tables.items():
        for row in rows.values():
            scoped.put(table, row)
    scoped.facts = dict(world.hosts)
    for host in world.hosts:
        assert plan(select(scoped, host, 1)) == plan(world.view(host))
