"""The heart of the agent, without root: a kernel of toys asserts that no step comes too early or too late."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from netloom.agent.reconcile.diff import Diff, changed, diff
from netloom.agent.reconcile.order import in_order
from netloom.agent.reconcile.reconciler import Reconciler
from netloom.agent.reconcile.repairs import AT_ONCE
from netloom.agent.reconcile.retry import FIRST_PAUSE, LONGEST_PAUSE
from netloom.model.hoststate import HostObject, HostState, Key
from tests.support.toy_kernel import Card, Door, Kernel, Killed, Net, Path, Toys, kinds, state

EMPTY = HostState()
ONE = state(a={"one": ("10.0.0.1",)})
TWO = state(a={"one": ("10.0.0.1", "10.0.0.2"), "two": ()}, b={"three": ("10.0.1.1",)})
MOVED = state(a={"one": ("10.0.0.2",), "two": ("10.0.0.1",)})
OTHER = state(c={"four": ("10.0.2.1",)}, a={})
STATES = [EMPTY, ONE, TWO, MOVED, OTHER]
PAIRS = list(itertools.permutations(STATES, 2))  # each scenario, and each reversed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def agent(kernel: Kernel, clock: Clock | None = None) -> Reconciler:
    return Reconciler(kinds(kernel), clock or Clock())


def bring(reconciler: Reconciler, wanted: HostState) -> None:
    reconciler.want(wanted)
    reconciler.reconcile()


def started(kernel: Kernel, wanted: HostState, clock: Clock | None = None) -> Reconciler:
    """An agent that has just been started: it knows nothing but what it reads."""
    found = agent(kernel, clock)
    found.want(wanted)
    found.read()
    return found


def assert_is(kernel: Kernel, wanted: HostState) -> None:
    assert kernel.objects == wanted.objects


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_any_state_becomes_any_other_in_order(before: HostState, after: HostState) -> None:
    kernel = Kernel()
    reconciler = agent(kernel)
    bring(reconciler, before)
    assert_is(kernel, before)
    bring(reconciler, after)
    assert_is(kernel, after)
    assert not reconciler.trouble and not reconciler.leaving and not reconciler.findings()


def test_states_in_any_sequence() -> None:
    draw = random.Random(7)
    for _ in range(50):
        kernel = Kernel()
        reconciler = agent(kernel)
        for wanted in draw.choices(STATES, k=6):
            bring(reconciler, wanted)
            assert_is(kernel, wanted)


@pytest.mark.parametrize("steps", range(len(TWO.objects)))
def test_what_a_pass_that_ended_did_not_reach_is_not_well(steps: int) -> None:
    kernel = Kernel()
    reconciler = agent(kernel)
    kernel.kill_after = steps
    with pytest.raises(Killed):
        bring(reconciler, TWO)
    left = TWO.objects.keys() - kernel.objects.keys()
    assert left and left <= reconciler.unreached().keys()
    kernel.kill_after = None
    reconciler.read()
    reconciler.reconcile()
    assert_is(kernel, TWO)
    assert not reconciler.unreached()


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_an_agent_that_is_killed_half_way_is_followed_by_one_that_ends_it(
    before: HostState, after: HostState
) -> None:
    for steps in range(100):
        kernel = Kernel()
        reconciler = agent(kernel)
        bring(reconciler, before)
        kernel.kill_after = steps
        try:
            bring(reconciler, after)
        except Killed:
            kernel.kill_after = None
        else:
            assert steps == len(kernel.steps) - sum(1 for _ in before.objects)
            return
        started(kernel, after).reconcile()
        assert_is(kernel, after)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("wanted", [ONE, TWO, MOVED, OTHER])
def test_an_agent_that_starts_anew_changes_nothing(wanted: HostState) -> None:
    kernel = Kernel()
    bring(agent(kernel), wanted)
    kernel.steps.clear()
    again = started(kernel, wanted)
    assert not again.findings()
    again.reconcile()
    assert not kernel.steps and not again.changes


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_each_object_that_fails_stops_only_what_needs_it(
    before: HostState, after: HostState
) -> None:
    for key in {**before.objects, **after.objects}:
        kernel, clock = Kernel(), Clock()
        reconciler = agent(kernel, clock)
        bring(reconciler, before)
        kernel.refuses = {key}
        bring(reconciler, after)
        for other, item in after.objects.items():
            if other == key or (key[0] == "net" and other[1] == key[1]) or _needs(item, key, after):
                continue
            assert kernel.objects.get(other) == item, f"{other} without {key}"
        kernel.refuses = set()
        for _ in range(8):  # what needs it is tried again later than it is itself
            clock.now += LONGEST_PAUSE
            reconciler.reconcile()
        assert_is(kernel, after)
        assert not reconciler.trouble and not reconciler.leaving


def _needs(item: HostObject, key: Key, wanted: HostState) -> bool:
    if isinstance(item, Path):
        card = ("card", item.net, item.card)
        return key == card or _needs(wanted.objects[card], key, wanted)
    return isinstance(item, Card) and key[:2] == ("door", item.net) and key[2] in item.addresses


def test_nothing_is_made_without_what_it_needs() -> None:
    """A router would answer itself at an address without NAT: so the address waits, and says for what."""
    kernel, clock = Kernel(), Clock()
    reconciler = agent(kernel, clock)
    kernel.refuses = {("door", "a", "10.0.0.1")}
    bring(reconciler, ONE)
    assert ("card", "a", "one") not in kernel.objects
    said = reconciler.trouble["card", "a", "one"]
    assert said.state == "pending"
    assert said.detail == "waits for door a 10.0.0.1: 10.0.0.1 is refused"
    kernel.refuses = set()
    clock.now += FIRST_PAUSE
    reconciler.reconcile()
    assert_is(kernel, ONE)


def test_a_failure_is_tried_again_with_pauses_that_double() -> None:
    kernel, clock = Kernel(), Clock()
    kernel.refuses = {("net", "a")}
    reconciler = agent(kernel, clock)
    bring(reconciler, OTHER)
    pauses: list[float] = []
    for _ in range(9):
        due = reconciler.next_retry()
        assert due is not None
        pauses.append(due - clock.now)
        clock.now = due - 0.01
        before = reconciler.trouble["net", "a"].attempts
        reconciler.reconcile()
        assert reconciler.trouble["net", "a"].attempts == before, "not before it is due"
        clock.now = due
        reconciler.reconcile()
    assert pauses[0] == FIRST_PAUSE and pauses[-1] == LONGEST_PAUSE
    assert pauses == sorted(pauses)


def test_what_cannot_be_removed_is_tried_again_too() -> None:
    kernel, clock = Kernel(), Clock()
    reconciler = agent(kernel, clock)
    bring(reconciler, ONE)
    kernel.refuses = {("door", "a", "10.0.0.1")}
    bring(reconciler, state(a={"one": ()}))
    assert ("door", "a", "10.0.0.1") in reconciler.leaving
    assert [f.action for f in reconciler.findings()] == ["remove"]
    kernel.refuses = set()
    clock.now += FIRST_PAUSE
    reconciler.reconcile()
    assert not reconciler.leaving and ("door", "a", "10.0.0.1") not in kernel.objects


def test_damage_is_found_named_and_repaired_and_nothing_else_is_touched() -> None:
    for key, item in TWO.objects.items():
        kernel = Kernel()
        reconciler = agent(kernel)
        bring(reconciler, TWO)
        kernel.steps.clear()
        if key[0] == "net":
            kernel.objects[key] = Net(name=key[1], colour="blue")
        else:
            del kernel.objects[key]
        reconciler.read()
        (found,) = reconciler.findings()
        assert found.key == key and found.origin == item.origin
        assert found.action == ("alter" if key[0] == "net" else "add")
        reconciler.reconcile()
        assert kernel.steps == [("put", key)]
        assert_is(kernel, TWO)


def test_what_was_damaged_is_put_right_before_anything_new_is_made() -> None:
    """New objects of a busy host take many seconds, and what others took away served somebody."""
    kernel = Kernel()
    reconciler = started(kernel, EMPTY)
    bring(reconciler, ONE)
    card = next(key for key in ONE.objects if key[0] == "card")
    kernel.take(card)
    more = state(a={"one": ("10.0.0.1",)}, b={"two": ("10.0.1.1",)})
    reconciler.want(more)
    reconciler.look_into(["a"])
    kernel.steps.clear()
    reconciler.reconcile()
    assert_is(kernel, more)
    assert kernel.steps[0] == ("put", card), kernel.steps


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_what_was_damaged_just_before_a_change_hinders_nothing(
    before: HostState, after: HostState
) -> None:
    for key in before.objects:
        kernel, clock = Kernel(), Clock()
        reconciler = agent(kernel, clock)
        bring(reconciler, before)
        for lost in [key, *(kernel.within(key[1]) if key[0] == "net" else ())]:
            del kernel.objects[lost]
        reconciler.read()
        bring(reconciler, after)
        clock.now += LONGEST_PAUSE
        reconciler.reconcile()
        assert_is(kernel, after)
        assert not reconciler.trouble and not reconciler.leaving


def test_a_fight_over_one_object_slows_down() -> None:
    kernel, clock = Kernel(), Clock()
    reconciler = agent(kernel, clock)
    bring(reconciler, ONE)
    path = ("path", "a", "one-path")
    for number in range(AT_ONCE + 1):
        del kernel.objects[path]
        reconciler.read()
        reconciler.reconcile()
        assert (path in kernel.objects) == (number < AT_ONCE)
    assert "again and again" in reconciler.trouble[path].detail
    clock.now += 1.0
    reconciler.reconcile()
    assert_is(kernel, ONE)


def test_a_pass_costs_what_the_change_costs() -> None:
    kernel = Kernel()
    toys = kinds(kernel)
    reconciler = Reconciler(toys, Clock())
    cards = {f"card{n}": (f"10.0.0.{n}",) for n in range(1, 200)}
    bring(reconciler, state(a=cards))
    for kind in toys:
        kind.marked = 0
    kernel.steps.clear()
    bring(reconciler, state(a=cards))
    bring(reconciler, state(a=cards | {"card1": ()}))
    assert {kind.name: kind.marked for kind in toys} == {"path": 0, "card": 1, "net": 0, "door": 0}
    assert len(kernel.steps) == 2 and not kernel.reads


def test_an_object_that_is_not_ready_waits_and_what_was_there_of_it_goes() -> None:
    kernel = Kernel()
    plugged = {"one"}
    cards = Toys(kernel, "card", ("net",), ready=lambda item: item.name in plugged)
    reconciler = Reconciler([Toys(kernel, "net", ()), cards], Clock())
    wanted = HostState.of([Net(name="a"), Card(net="a", name="one"), Card(net="a", name="two")])
    bring(reconciler, wanted)
    assert ("card", "a", "one") in kernel.objects and ("card", "a", "two") not in kernel.objects
    assert reconciler.trouble["card", "a", "two"].state == "pending"
    assert [(f.action, f.key[-1]) for f in reconciler.findings()] == [("wait", "two")]
    plugged.clear()
    plugged.add("two")
    cards.again = {("card", "a", "one"), ("card", "a", "two")}
    reconciler.reconcile()
    assert ("card", "a", "two") in kernel.objects and ("card", "a", "one") not in kernel.objects
    assert list(reconciler.trouble) == [("card", "a", "one")]


def test_a_look_into_one_net_takes_in_that_one_alone() -> None:
    kernel = Kernel()
    reconciler = agent(kernel)
    bring(reconciler, TWO)
    del kernel.objects["path", "a", "one-path"], kernel.objects["path", "b", "three-path"]
    assert not reconciler.look_into({"c"})
    assert reconciler.look_into({"b"})
    assert [f.key for f in reconciler.findings()] == [("path", "b", "three-path")]
    assert reconciler.look_into({"a"}, frozenset({"path"}))
    assert len(reconciler.findings()) == 2


KEYS = some.tuples(some.sampled_from("ab"), some.sampled_from("123"))
MARKS = some.dictionaries(KEYS, some.sampled_from(["x", "y"]))


@given(MARKS, MARKS)
def test_a_diff_that_is_carried_out_leaves_none(
    wanted: dict[Key, str], there: dict[Key, str]
) -> None:
    found = diff(wanted, there)
    parts = [*found.add, *found.alter, *found.remove]
    assert len(parts) == len(set(parts)) == len(found)
    after = {key: mark for key, mark in there.items() if key not in found.remove}
    after |= {key: wanted[key] for key in (*found.add, *found.alter)}
    assert after == wanted and not diff(wanted, after)
    touched = {k for k in wanted.keys() | there.keys() if wanted.get(k) != there.get(k)}
    assert set(parts) == touched
    assert diff(wanted, there, touched) == found, "only what differs need be compared"
    assert diff(there, wanted) == Diff(found.remove, found.alter, found.add)


@given(some.dictionaries(KEYS, some.integers(0, 2)), some.dictionaries(KEYS, some.integers(0, 2)))
def test_changed_objects_are_those_that_are_not_the_same(
    before: dict[Key, int], after: dict[Key, int]
) -> None:
    def objects(values: dict[Key, int]) -> dict[Key, HostObject]:
        return {k: Door(net=k[0], address=str(value)) for k, value in values.items()}

    fresh, gone = changed(objects(before), objects(after))
    assert set(gone) == before.keys() - after.keys()
    assert set(fresh) == {key for key, value in after.items() if before.get(key) != value}


class Named:
    def __init__(self, name: str, after: tuple[str, ...]) -> None:
        self.name = name
        self.after = after


@given(some.permutations("abcdef"), some.randoms())
def test_kinds_come_after_what_they_need(names: list[str], draw: random.Random) -> None:
    def needed() -> Iterator[Named]:
        for place, name in enumerate(names):
            yield Named(name, tuple(draw.sample(names[:place], draw.randint(0, place))))

    made = list(needed())
    draw.shuffle(made)
    found = in_order(made)
    places = {kind.name: place for place, kind in enumerate(found)}
    assert len(found) == len(made)
    assert all(places[need] < places[kind.name] for kind in made for need in kind.after)


def test_kinds_that_cannot_be_put_in_order_are_refused() -> None:
    with pytest.raises(ValueError, match="wait for each other: a, b"):
        in_order([Named("a", ("b",)), Named("b", ("a",))])
    with pytest.raises(ValueError, match="two kinds are named a"):
        in_order([Named("a", ()), Named("a", ())])
    assert [kind.name for kind in in_order([Named("a", ("none",))])] == ["a"]
