"""A hostname is one client's on a network, and it is that of the server that has the port."""

from __future__ import annotations

from netloom.model.hoststate import Dnsmasq
from netloom.plan import plan
from tests.support.worlds import World, two_hosts


def names(world: World) -> dict[str, str]:
    """Port id → the name that DHCP on compute1 gives it."""
    found = list(plan(world.view("compute1")).each(Dnsmasq))
    return {lease.port_id: lease.hostname for item in found for lease in item.leases}


def more(world: World, number: int) -> None:
    port = world.port(f"more{number}", "net-a", [("sub-a", f"10.0.0.{number}")])
    world.server(f"vm-more{number}", "compute1", port)


def named(world: World, number: int, hostname: str, created: str) -> None:
    more(world, number)
    world.change("servers", f"vm-more{number}", hostname=hostname, created_at=created)


def test_the_oldest_of_one_name_has_it() -> None:
    world = two_hosts()
    world.change("servers", "vm1", hostname="web", created_at="2026-01-02T00:00:00Z")
    named(world, 66, "WEB", "2026-01-03T00:00:00Z")
    assert names(world) == {"port1": "web", "more66": "host-10-0-0-66"}
    named(world, 67, "web", "2026-01-01T00:00:00Z")
    assert names(world) == {
        "port1": "host-10-0-0-11",
        "more66": "host-10-0-0-66",
        "more67": "web",
    }


def test_nobody_takes_the_name_of_an_address() -> None:
    world = two_hosts()
    world.change("servers", "vm1", hostname="")
    named(world, 66, "host-10-0-0-11", "2026-01-01T00:00:00Z")
    assert names(world) == {"port1": "host-10-0-0-11", "more66": "host-10-0-0-66"}


def test_a_port_that_says_it_is_a_server_s_gets_no_name_of_it() -> None:
    world = two_hosts()
    world.port("evil", "net-a", [("sub-a", "10.0.0.66")], host="compute1", device_id="vm1")
    assert names(world) == {"port1": "vm1", "evil": "host-10-0-0-66"}
    world.change("ports", "port1", device_id="", device_owner="")
    assert names(world)["port1"] == "vm1"
