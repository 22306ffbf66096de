"""What is said of repairs, and how a fight slows down."""

from __future__ import annotations

import logging

import pytest

from netloom.agent.links import linkless
from netloom.agent.reconcile.repairs import (
    AT_ONCE,
    LONGEST_PAUSE,
    QUIET_SECONDS,
    TOLD_SECONDS,
    Repairs,
)
from netloom.dataplane.mark import broken
from netloom.model.hoststate import Interface
from netloom.model.origin import Origin

ITEM = Interface(bridge="br-int", name="tapone", type="veth", origin=(Origin("port", "one"),))


def damage(repairs: Repairs, now: float, there: str | None = None) -> float:
    repairs.is_well(ITEM.key, "mark")
    wait, _ = repairs.pause(ITEM, "mark", there, now)
    return wait


def test_what_was_never_well_or_is_wanted_otherwise_is_no_repair() -> None:
    repairs = Repairs()
    assert repairs.pause(ITEM, "mark", None, 1.0) == (0.0, "")
    repairs.is_well(ITEM.key, "mark")
    assert repairs.pause(ITEM, "another", "mark", 2.0) == (0.0, "")
    repairs.is_well(ITEM.key, "mark")
    repairs.expect(ITEM.key)
    assert repairs.pause(ITEM, "mark", None, 3.0) == (0.0, "")
    repairs.is_well(ITEM.key, "mark")
    repairs.forget(ITEM.key)
    assert repairs.pause(ITEM, "mark", None, 4.0) == (0.0, "")
    assert repairs.rows(4.0) == {}


def test_a_fight_slows_down_and_is_said_ever_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    repairs = Repairs()
    waits: list[float] = []
    with caplog.at_level(logging.WARNING):
        for number in range(16):
            waits.append(damage(repairs, 10.0 + number, broken("device tapone was down")))
            repairs.speak()
    assert waits[:AT_ONCE] == [0.0] * AT_ONCE
    assert waits[AT_ONCE : AT_ONCE + 4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST_PAUSE
    assert [record.getMessage() for record in caplog.records] == [
        f"interface br-int tapone: device tapone was down: repaired ({times})"
        for times in ("once", "2 times", "4 times", "8 times", "16 times")
    ]
    ((row, (state, text)),) = repairs.rows(30.0).items()
    assert row == ("port", "one", "repair") and state == "ok"
    assert "device tapone was down: repaired (16 times, last at " in text
    # Peace: the next one is repaired at once again; later nobody tells of it any more.
    assert damage(repairs, 26.0 + QUIET_SECONDS) == 0.0
    assert "it was gone: repaired (17 times" in repairs.rows(200.0)["port", "one", "repair"][1]
    assert repairs.rows(200.0 + TOLD_SECONDS) == {}


def test_what_is_damaged_now_and_then_is_always_repaired_at_once() -> None:
    """An object of a busy host: each restart of the switch, each slip of an operator takes it away."""
    repairs = Repairs()
    assert {damage(repairs, 25.0 * number) for number in range(100)} == {0.0}
    # And a daemon that takes it away as soon as it is there waits ever longer, as ever.
    now, waits = 2500.0, list[float]()
    for _ in range(30):
        waits.append(damage(repairs, now))
        now += waits[-1] + 0.5
    assert waits[-10:] == [LONGEST_PAUSE] * 10


def test_links_that_are_not_ours_are_shown() -> None:
    def wrong(kind: str, now: str, running: bool = True, expected: bool = False) -> str:
        item = Interface(
            bridge="b", name="dev", type=kind, expected=expected, origin=(Origin("port", "one"),)
        )
        at = {"dev"} if running else set[str]()
        assert linkless([item], {"dev": "up"}, at) == {}
        trouble = linkless([item], {"dev": now}, at).get(item.key)
        return f"{trouble.state}: {trouble.detail}" if trouble else ""

    assert wrong("system", "down").startswith("error: device dev is down")
    assert wrong("system", "no link").startswith("error: device dev has no link")
    assert wrong("internal", "down", expected=True).startswith("pending: device dev is down")
    assert wrong("internal", "no link", expected=True).startswith("pending: device dev has no link")
    assert wrong("veth", "no link").startswith("pending: device dev has no link")
    assert wrong("veth", "down") == ""  # ours: put up
    assert wrong("veth", "no link", running=False) == ""  # its instance is off
    # One that never had a link is still being set up.
    assert wrong("veth", "no link yet") == ""
    assert wrong("internal", "no link yet", expected=True) == ""
    assert wrong("system", "no link yet").startswith("error: device dev has no link")


@pytest.mark.parametrize(
    ("one", "two", "state", "words"),
    [
        ("up", "up", None, ""),
        ("no link", "up", "pending", "device eth1 of bond-x without a link: eth2 carries all"),
        ("up", "down", "pending", "device eth2 of bond-x without a link: eth1 carries all"),
        ("down", "no link", "error", "device eth1 and device eth2 of bond-x without a link: none"),
    ],
)
def test_a_bond_goes_on_by_its_other_card(one: str, two: str, state: str, words: str) -> None:
    bond = Interface(bridge="br-x", name="bond-x", type="bond", members=("eth1", "eth2"))
    trouble = linkless([bond], {"eth1": one, "eth2": two}, ()).get(bond.key)
    assert (trouble.state if trouble else None) == state
    assert words in (trouble.detail if trouble else "")
