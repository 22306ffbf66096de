from __future__ import annotations

import random

from netloom.agent.reconcile.diff import News
from netloom.agent.status import Row, Rows, changes, say_again
from netloom.agent.tracker import Trouble
from netloom.model.hoststate import Flow, HostObject, HostState, Interface, Key
from netloom.model.openflow import Match
from netloom.model.origin import Origin
from tests.support.status_rows import collect

TAP = Interface(bridge="br-int", name="tap1", type="veth", origin=(Origin("port", "p1"),))
SHARED = Flow(
    bridge="br-int",
    table=0,
    priority=1,
    match=Match(in_port="tap1"),
    origin=(Origin("port", "p1"), Origin("network", "n1")),
)


def test_the_worst_of_an_object_s_parts_counts() -> None:
    state = HostState.of([TAP, SHARED])
    assert collect(state, {}) == {
        ("port", "p1", "l2"): ("ok", ""),
        ("network", "n1", "l2"): ("ok", ""),
    }
    trouble = {TAP.key: Trouble("pending", "not plugged"), SHARED.key: Trouble("error", "refused")}
    rows = collect(state, trouble)
    assert rows["port", "p1", "l2"] == ("error", "refused")
    assert rows["network", "n1", "l2"] == ("error", "refused")


def test_a_port_without_a_device_is_here_where_its_tagged_frames_are_taken_in() -> None:
    sub = Flow(
        bridge="br-int",
        table=0,
        priority=1,
        match=Match(in_port="tap1", vlan=101),
        origin=(Origin("port", "sub"),),
    )
    elsewhere = Flow(
        bridge="br-int", table=40, priority=1, match=Match(net=7), origin=(Origin("port", "far"),)
    )
    assert collect(HostState.of([sub, elsewhere]), {}) == {("port", "sub", "l2"): ("ok", "")}


def test_blame_spares_the_others() -> None:
    state = HostState.of([TAP, SHARED])
    rows = collect(
        state, {SHARED.key: Trouble("pending", "not plugged", blame=(Origin("port", "p1"),))}
    )
    assert rows["port", "p1", "l2"] == ("pending", "not plugged")
    assert rows["network", "n1", "l2"] == ("ok", "")


def test_only_what_changed_is_sent() -> None:
    before = {("port", "p1", "l2"): ("ok", ""), ("port", "p2", "l2"): ("ok", "")}
    after = {
        ("port", "p1", "l2"): ("ok", ""),
        ("port", "p2", "l2"): ("error", "x"),
        ("port", "p3", "l2"): ("ok", ""),
    }
    sent = changes(before, after, 8)
    assert {(row.id, row.state, row.seq) for row in sent} == {("p2", "error", 8), ("p3", "ok", 8)}


def test_trouble_with_what_is_no_more_is_taken_back() -> None:
    before = {
        ("network", "n1", "dhcp"): ("error", "the disk is full"),
        ("port", "p1", "l2"): ("pending", "not plugged"),
        ("port", "p2", "l2"): ("ok", ""),
    }
    sent = changes(before, {}, 8)
    assert {(row.id, row.aspect, row.state) for row in sent} == {
        ("n1", "dhcp", "gone"),
        ("p1", "l2", "gone"),
    }


def test_that_a_port_is_well_its_own_host_says_and_no_other() -> None:
    elsewhere = Flow(
        bridge="br-int", table=20, priority=1, match=Match(), origin=(Origin("port", "far"),)
    )
    state = HostState.of([TAP, elsewhere])
    assert set(collect(state, {})) == {("port", "p1", "l2")}
    # Trouble with a rule about it is said wherever it is.
    rows = collect(state, {elsewhere.key: Trouble("error", "refused")})
    assert rows["port", "far", "l2"] == ("error", "refused")


def test_of_a_port_that_changed_everything_is_said_again() -> None:
    sent = {
        ("port", "p1", "l2"): ("ok", ""),
        ("port", "p2", "l2"): ("ok", ""),
        ("port", "p3", "l2"): ("error", "x"),
    }
    say_again(sent, ["p1", "p3", "unknown"])
    after = {("port", "p1", "l2"): ("ok", ""), ("port", "p2", "l2"): ("ok", "")}
    said = {(row.id, row.state) for row in changes(sent, after, 9)}
    assert said == {("p1", "ok"), ("p3", "gone")}


def naive(state: HostState, trouble: dict[Key, Trouble]) -> dict[Row, str]:
    """The worst state of each object of the API, from all host objects."""
    weight = ["ok", "pending", "error"]
    here = {origin for item in state.each(Interface) for origin in item.origin}
    rows: dict[Row, str] = {}
    for key, item in state.objects.items():
        for origin in item.origin:
            bad = trouble.get(key)
            guilty = bad is not None and (bad.blame is None or origin in bad.blame)
            now = bad.state if bad is not None and guilty else "ok"
            kind, ident = origin.kind, origin.id
            if kind == "port" and now == "ok" and origin not in here:
                continue
            row = (kind, ident, item.aspect)
            rows[row] = max(rows.get(row, "ok"), now, key=weight.index)
    return rows


def test_rows_that_follow_changes_are_those_of_the_whole_state() -> None:
    draw = random.Random(3)
    rows, before = Rows(), HostState()
    for _ in range(300):
        objects: list[HostObject] = []
        for name in draw.sample("abcdef", draw.randint(0, 6)):
            origin = tuple(
                draw.sample(
                    [Origin.parse(o) for o in ("port/1", "port/2", "network/n", "router/r")], 2
                )
            )
            if draw.random() < 0.3:
                objects.append(Interface(bridge="br-int", name=name, type="veth", origin=origin))
            else:
                match = Match(in_port=name)
                objects.append(Flow(bridge="b", table=0, priority=1, match=match, origin=origin))
        after = HostState.of(objects)
        rows.follow(News.of(before.objects, after.objects))
        before = after
        trouble = {
            key: Trouble(draw.choice(["pending", "error"]), "x", blame=draw.choice([None, (item.origin[0],)]))
            for key, item in after.objects.items()
            if draw.random() < 0.4
        }  # fmt: skip
        said = rows.said(trouble)
        assert {row: state for row, (state, _) in said.items()} == naive(after, trouble)
