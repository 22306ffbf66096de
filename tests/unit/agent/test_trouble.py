"""What failed is tried again, with pauses that begin anew when what it waited for has come."""

from __future__ import annotations

from netloom.agent.reconcile.retry import FIRST_PAUSE, LONGEST_PAUSE, Troubles


def test_pauses_grow_and_begin_anew_when_the_cause_is_gone() -> None:
    trouble = Troubles()
    server, other = ("dnsmasq", "one"), ("dnsmasq", "two")
    for _ in range(10):
        trouble.fail(server, "mark", "device tap is not there")
        trouble.fail(other, "mark", "device tap is not there")
    assert trouble[server].again == trouble.now + LONGEST_PAUSE
    trouble.try_again([server, ("route", "nowhere")])
    assert trouble.is_due(server, "mark") and not trouble.is_due(other, "mark")
    assert trouble[server].detail == "device tap is not there"  # still told until it is well
    trouble.fail(server, "mark", "device tap is not there")
    assert trouble[server].again == trouble.now + FIRST_PAUSE
