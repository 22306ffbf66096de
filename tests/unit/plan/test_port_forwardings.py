"""Port forwardings: what a router's host does for them, in text and in a real kernel."""

from __future__ import annotations

from netloom.model.hoststate import Address, Device, FloatingNat
from netloom.plan import plan
from netloom.render.nft import nft_ruleset
from tests.support import worlds


def forwarding() -> worlds.World:
    """Walkthrough B, where the floating IP forwards single ports to vm-my2."""
    world = worlds.walkthrough_b()
    world.change("floatingips", "fip1", port_id=None, fixed_ip_address=None)
    world.forwarding("ssh", "fip1", "2222:2222", "my2", "22:22")
    world.forwarding("shifted", "fip1", "3000:3002", "my2", "4000:4002")
    world.forwarding("all-to-one", "fip1", "5000:5009", "my2", "80:80")
    world.forwarding("same", "fip1", "6000:6009", "my2", "6000:6009")
    return world


def test_one_rule_a_forwarding_and_no_snat() -> None:
    state = plan(forwarding().view("network1"))
    (nat,) = state.each(FloatingNat)
    rules = [line.strip() for line in nft_ruleset([nat], []).splitlines() if "dnat to" in line]
    head, tail = "ip daddr 198.51.100.20 ", ' comment "floatingip/fip1"'
    assert rules == [
        f"{head}tcp dport 2222 dnat to 10.0.0.5:22{tail}",
        f"{head}tcp dport 3000-3002 dnat to 10.0.0.5 : tcp dport map "
        f"{{ 3000 : 4000, 3001 : 4001, 3002 : 4002 }}{tail}",
        f"{head}tcp dport 5000-5009 dnat to 10.0.0.5:80{tail}",
        f"{head}tcp dport 6000-6009 dnat to 10.0.0.5{tail}",
    ]
    assert "snat to 198.51.100.20" not in nft_ruleset([nat], [])
    (outer,) = (d for d in state.each(Device) if d.name.startswith("qg-"))
    assert Address("198.51.100.20/32") in outer.addresses


def test_without_any_the_address_goes() -> None:
    world = forwarding()
    world.tables["port_forwardings"].clear()
    state = plan(world.view("network1"))
    assert not list(state.each(FloatingNat))
    assert all(Address("198.51.100.20/32") not in each.addresses for each in state.each(Device))


def test_other_hosts_do_nothing_for_it() -> None:
    world = forwarding()
    with_them = plan(world.view("compute2")).objects
    world.tables["port_forwardings"].clear()
    assert plan(world.view("compute2")).objects == with_them
