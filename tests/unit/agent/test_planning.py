"""What the plan says of a change is used where it fits, and compared where it does not."""

import msgspec

from netloom.agent.planning import Planning
from netloom.agent.reconcile.diff import News
from netloom.agent.reconcile.reconciler import Reconciler
from netloom.model.hosts import ViewDelta
from netloom.model.hoststate import HostState, StateDelta
from netloom.plan import plan
from tests.support import worlds


def step(view, **changes):
    """The view after changes of port1, and the step that leads there."""
    row = msgspec.structs.replace(view.ports["port1"], **changes)
    after = msgspec.structs.replace(view, ports={**view.ports, "port1": row})
    return after, ViewDelta(seq=view.seq + 1, upsert={"ports": [row]})


def test_a_step_is_planned_as_the_whole_view_and_says_what_it_changed():
    view, planning = worlds.two_hosts().view("compute1"), Planning()
    first, left = planning.plan_around(view, HostState())
    assert (left, planning.delta) == ({}, None)
    after, delta = step(view, admin_state_up=False)
    planning.tell(delta)
    second, _ = planning.plan_around(after, first)
    assert second == plan(after) and first == plan(view)
    compared = News.of(first.objects, second.objects)
    assert sorted(planning.delta.put) == sorted(compared.fresh)
    assert sorted(planning.delta.gone) == sorted(compared.gone)


def test_after_a_mistake_nothing_is_remembered():
    view, planning = worlds.two_hosts().view("compute1"), Planning()
    first, _ = planning.plan_around(view, HostState())
    after, delta = step(view, fixed_ips=(worlds.FixedIP("sub-a", "nonsense"),))
    planning.tell(delta)
    state, left = planning.plan_around(after, first)
    assert list(left) == [("ports", "port1")] and planning.delta is None
    planning.tell(step(after, fixed_ips=view.ports["port1"].fixed_ips)[1])
    again, left = planning.plan_around(view, state)
    assert (again, left, planning.delta) == (plan(view), {}, None)


def test_what_is_said_of_another_state_is_not_used():
    view, reconciler = worlds.two_hosts().view("compute1"), Reconciler([])
    before, after = plan(view), plan(step(view, admin_state_up=False)[0])
    reconciler.want(before)
    assert reconciler.want(after, after, StateDelta()), "it is compared"
    assert not reconciler.want(before, after, StateDelta()), "it is believed"
