"""Which hosts are alive, and that a server's own absence is not held against them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from netloom.keeper.clock import was_set, was_set_back_meanwhile
from netloom.model import Away, HostFacts, NetworkSettings
from netloom.network import liveness
from netloom.store import Store
from tests.support.records import context, new_store

NOW = 1_000_000.0
DOWN = 75.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        yield made


def alive(store: Store, name: str, now: float, away: Away | None = None) -> bool:
    ctx = replace(context(agent_down_seconds=DOWN), away=away or Away())
    with store.reader() as r:
        return liveness.alive(r.hosts()[name], ctx, now)


def heard(store: Store, name: str, at: float) -> None:
    with store.writer() as w:
        if name not in w.hosts():
            w.put_host(name, secret_hash="", facts=HostFacts(host=name))
        w.heartbeat(name, at, 0)


def test_a_silent_host_is_dead(store: Store) -> None:
    heard(store, "node1", NOW)
    assert alive(store, "node1", NOW + DOWN)
    assert not alive(store, "node1", NOW + DOWN + 1)


def test_a_restart_of_the_server_kills_no_host(store: Store) -> None:
    heard(store, "good", NOW)
    heard(store, "dying", NOW - 50)
    heard(store, "dead", NOW - 100)
    back = NOW + 3600
    with store.reader() as r:
        away = liveness.not_heard(r, back)
    assert away == Away(NOW, back)
    # As when it went away: the hour in between counts for none of them.
    assert [alive(store, name, back, away) for name in ("good", "dying", "dead")] == [
        True,
        True,
        False,
    ]
    # From then on silence counts again.
    assert not alive(store, "dying", back + 30, away)
    assert alive(store, "good", back + 70, away)
    assert not alive(store, "good", back + 80, away)
    # Who has reported since is seen as always.
    heard(store, "good", back + 10)
    assert alive(store, "good", back + 10 + DOWN, away)
    assert not alive(store, "good", back + 11 + DOWN, away)


def test_a_new_server_was_never_away(store: Store) -> None:
    with store.reader() as r:
        assert liveness.not_heard(r, NOW) == Away(NOW, NOW)


@pytest.mark.parametrize("by", [3600, -3600])
def test_a_clock_that_is_set_kills_no_host_and_keeps_none_alive(store: Store, by: float) -> None:
    heard(store, "good", NOW)
    heard(store, "dying", NOW - 50)
    heard(store, "dead", NOW - 100)
    heard(
        store, "quick", NOW + by
    )  # reported once more before anybody noticed that the clock was set
    away = was_set(store, Away(NOW - 9000, NOW - 8000), by, NOW + by)
    assert away == Away(NOW - 9000 + by, NOW - 8000 + by)
    names = ("good", "dying", "dead", "quick")
    assert [alive(store, name, NOW + by, away) for name in names] == [True, True, False, True]
    assert [alive(store, name, NOW + by + 30, away) for name in names] == [True, False, False, True]
    assert not any(alive(store, name, NOW + by + DOWN + 1, away) for name in names)


def test_a_clock_that_was_set_back_while_the_server_was_away_kills_no_host(store: Store) -> None:
    heard(store, "good", NOW)
    heard(store, "dead", NOW - 100)
    back = NOW - 3600
    was_set_back_meanwhile(store, back)
    with store.reader() as r:
        away = liveness.not_heard(r, back)
    assert alive(store, "good", back, away) and not alive(store, "dead", back, away)
    heard(store, "good", back + 60)
    assert alive(store, "good", back + 70, away)
    assert not alive(store, "good", back + 60 + DOWN + 1, away)


@pytest.mark.parametrize(("down", "heartbeat"), [(75.0, 25.0), (15.0, 5.0), (86400.0, 25.0)])
def test_a_host_is_dead_when_three_reports_did_not_come(down: float, heartbeat: float) -> None:
    assert liveness.heartbeat_seconds(NetworkSettings(agent_down_seconds=down)) == heartbeat
